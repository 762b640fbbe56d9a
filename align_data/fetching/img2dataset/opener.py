"""urllib under the guard, for what fetches by it: every hop judged, every socket made by the guard, every body bounded.

An opener here knows http, https and redirects; nothing of files, FTP, data URLs or proxies. What it refuses it says
in the words of `messages.ours`. One thread asks for one URL at a time, from `open` to the last byte.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

from align_data.fetching.chunked_body import NoChunkError
from align_data.fetching.client import MOST_REDIRECTS, REDIRECTS, Policy, succeeds
from align_data.fetching.guard import Guard
from align_data.fetching.img2dataset_messages import ours
from align_data.fetching.opt_outs import opt_out
from align_data.fetching.outcome import Outcome
from align_data.fetching.response_body import ResponseBody
from align_data.fetching.response_head import Head, NoHeadError
from align_data.fetching.target import resolved, target

T = TypeVar("T")

_SOME = 2**16
"""Bytes that are read at once."""


class Refusal(Exception):  # noqa: N818 - no error of ours: it is the other side's
    """A request that came to an end which has a status of ours; its text says which."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(ours(status, reason))


def _or_refuse(found: T | Outcome) -> T:
    if isinstance(found, Outcome):
        raise Refusal(found.status, found.reason or "")
    return found


class _Clock(threading.local):
    """When the URL that this thread asks for must be done."""

    until = float("inf")

    def left(self) -> float:
        """Return the seconds that are left; TimeoutError where there are none."""
        seconds = self.until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("timed out")
        return seconds


_CLOCK = _Clock()


class _Socket(socket.socket):
    """A socket that waits no longer than the clock of its thread says, however slowly its bytes come."""

    def recv_into(self, *arguments: Any) -> int:
        """Receive some bytes."""
        self.settimeout(_CLOCK.left())
        return super().recv_into(*arguments)


class _TlsSocket(ssl.SSLSocket):
    """The same under TLS."""

    def recv_into(self, *arguments: Any) -> int:
        """Receive some bytes."""
        self.settimeout(_CLOCK.left())
        return super().recv_into(*arguments)


def _connect(guard: Guard, address: tuple[str, int], *_: Any) -> socket.socket:
    """Connect to the first address of a host that the guard lets through and that answers."""
    failed: Exception | None = None
    if "@" in address[0]:
        raise Refusal("untried", "urllib takes the user for a part of the host; our own client can ask")
    for info in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
        try:
            made = guard.socket(info)
        except OSError as error:
            failed = failed or Refusal("refused_address", f"{address[0]}: {error}")
            continue
        found = _Socket(made.family, made.type, made.proto, fileno=made.detach())
        try:
            found.settimeout(_CLOCK.left())
            found.connect(info[4])
            return found
        except OSError as error:
            found.close()
            failed = error
    raise failed or OSError("the name has no address")


class _Begun(io.RawIOBase):
    """A stream of which some has been read; the rest comes through what has read its head."""

    def __init__(self, come: bytes, rest: Any, head: Head) -> None:
        self._come, self._rest, self._head = come, rest, head

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what has come, then what comes."""
        while not self._come:
            come = self._rest.read1(_SOME)
            if not come:
                return 0
            self._come = self._head.take(come)[1]
        some = self._come[: len(buffer)]
        self._come = self._come[len(some) :]
        buffer[: len(some)] = some
        return len(some)

    def close(self) -> None:
        """Close what is read from."""
        self._rest.close()
        super().close()


class _Body(http.client.HTTPResponse):
    """A response whose body is taken as the client takes it: whole, bounded, and only if it begins like an image."""

    def __init__(self, *arguments: Any, policy: Policy, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._most, self._formats = policy.max_bytes, policy.formats

    def begin(self) -> None:
        """Read the head as the client does."""
        head, come = Head(), b""
        while not head.whole:
            some = self.fp.read1(_SOME)
            if not some:
                raise http.client.RemoteDisconnected("the connection ended before an answer")
            try:
                plain, body = head.take(some)
            except (NoHeadError, NoChunkError) as error:
                raise Refusal("bad_response", str(error)) from error
            come = plain + body
        self.fp = io.BufferedReader(_Begun(come, self.fp, head))
        super().begin()

    def read(self, amount: int | None = None) -> bytes:
        """Return the whole body, unpacked, or the next `amount` bytes as they come."""
        if amount is not None or self.isclosed():
            return super().read(amount)
        with closing(ResponseBody(self.headers.get("Content-Encoding", ""), self._most, self._formats)) as content:
            return self._taken(content)

    def _taken(self, content: ResponseBody) -> bytes:
        try:
            body = b"".join([_or_refuse(content.take(some)) for some in self._pieces()])
        except TimeoutError:
            raise
        except (http.client.IncompleteRead, OSError) as error:
            raise Refusal("truncated", str(error)) from error
        except NoChunkError as error:
            raise Refusal("bad_response", str(error)) from error
        except http.client.HTTPException as error:
            raise Refusal("bad_response", f"{type(error).__name__}: {error}") from error
        rest, end = content.end()
        return body + rest if end.status == "ok" else _or_refuse(end)

    def _pieces(self) -> Iterator[bytes]:
        announced, size = self.length, 0
        while announced is None or size < announced:
            some = self.read1(_SOME if announced is None else min(_SOME, announced - size))
            if not some:
                break
            size += len(some)
            yield some
        if announced is not None and size < announced:
            raise Refusal("truncated", f"{size:,} of {announced:,} bytes")


class _Plain(http.client.HTTPConnection):
    """A connection through the guard."""

    def __init__(self, *arguments: Any, policy: Policy, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._create_connection = partial(_connect, policy.guard)
        self.response_class = partial(_Body, policy=policy)  # type: ignore[assignment]


class _Tls(http.client.HTTPSConnection):
    """The same under TLS."""

    def __init__(self, *arguments: Any, policy: Policy, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._create_connection = partial(_connect, policy.guard)
        self.response_class = partial(_Body, policy=policy)  # type: ignore[assignment]


class _Http(urllib.request.HTTPHandler):
    """Opens http URLs."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self._policy = policy

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Return the response to a request."""
        return self.do_open(partial(_Plain, policy=self._policy), request)


class _Https(urllib.request.HTTPSHandler):
    """Opens https URLs."""

    def __init__(self, policy: Policy) -> None:
        context = ssl.create_default_context()
        context.sslsocket_class = _TlsSocket
        super().__init__(context=context)
        self._policy, self._tls = policy, context

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Return the response to a request."""
        return self.do_open(partial(_Tls, policy=self._policy), request, context=self._tls)


class _Redirects(urllib.request.BaseHandler):
    """Follows redirects as the client does: as many, and to the byte. urllib's own quotes where they lead anew."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def http_error_302(
        self, request: urllib.request.Request, response: Any, _code: int, _said: str, headers: http.client.HTTPMessage
    ) -> Any:
        """Open what a Location leads to."""
        response.close()
        location = headers["Location"].encode("iso-8859-1").decode("utf-8", "surrogateescape")
        where = resolved(request.full_url, location)
        hops = getattr(request, "hops", 0) + 1
        if hops > MOST_REDIRECTS:
            raise Refusal("too_many_redirects", f"the last one to {where[:200]}")
        asked = _or_refuse(target(where, self._guard))
        follows = urllib.request.Request(str(asked), headers=request.headers, unverifiable=True)  # noqa: S310 - judged
        follows.hops = hops  # type: ignore[attr-defined]
        return self.parent.open(follows)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


class _Judge(urllib.request.BaseHandler):
    """Says of ourselves what the client says, and judges the head of a response as it does."""

    handler_order = 1000

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """Return the request with our headers."""
        for name, value in (("User-agent", self._policy.agent), ("Accept", "image/*,*/*;q=0.5")):
            request.add_unredirected_header(name, value)
        return request

    def http_response(self, request: urllib.request.Request, response: http.client.HTTPResponse) -> Any:
        """Return the response if its body is worth reading, or what a redirect leads to."""
        code, headers = response.status, response.headers
        if code in REDIRECTS and "Location" in headers:
            response.close()  # urllib would read its body, however long
            return self.parent.error("http", request, response, code, response.reason, headers)
        wrong = self._wrong(code, response.reason, headers)
        if wrong is not None:
            response.close()
        return response if wrong is None else _or_refuse(wrong)

    def _wrong(self, code: int, reason: str, headers: http.client.HTTPMessage) -> Outcome | None:
        if not succeeds(code, headers.get("Content-Length"), headers.get("Content-Range")):
            return _no_success(code, reason, headers)
        said = None if self._policy.ignore_opt_out else opt_out(lambda name: headers.get_all(name, []))
        if said is not None:
            return Outcome("opted_out", said)
        announced = int(headers.get("Content-Length", "0"))
        return None if announced <= self._policy.max_bytes else _announced(announced)

    https_request, https_response = http_request, http_response


def _no_success(code: int, reason: str, headers: http.client.HTTPMessage) -> Outcome:
    """Return the outcome of an answer that is not the image: an error, or a wish to be asked later."""
    if not 100 <= code <= 599:
        return Outcome("bad_response", f"HTTP status {code}")
    if code == 429 or (code == 503 and "Retry-After" in headers):
        return Outcome("rate_limited", f"HTTP {code}, Retry-After: {headers.get('Retry-After', 'not said')[:60]}")
    return Outcome(f"http_{code}", reason)


def _announced(size: int) -> Outcome:
    return Outcome("too_large", f"{size:,} bytes announced")


class _Opener(urllib.request.OpenerDirector):
    """Opens nothing that the client would not ask for."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self._policy = policy

    def open(self, fullurl: Any, data: Any = None, timeout: Any = None) -> Any:  # noqa: ARG002 - the policy's holds
        """Return the response to a request, or to what it is redirected to, within the policy's deadline."""
        request = fullurl if isinstance(fullurl, urllib.request.Request) else urllib.request.Request(fullurl)  # noqa: S310
        asked = _or_refuse(target(request.full_url, self._policy.guard))
        if not request.unverifiable:  # as those are that follow a redirect
            _CLOCK.until = time.monotonic() + self._policy.deadline
        request.full_url = str(asked)
        try:
            return super().open(request, data, _CLOCK.left())
        except (http.client.RemoteDisconnected, http.client.InvalidURL):
            raise
        except http.client.HTTPException as error:
            raise Refusal("bad_response", f"{type(error).__name__}: {error}") from error


def opener(policy: Policy) -> urllib.request.OpenerDirector:
    """Return what opens URLs as a policy has it."""
    made = _Opener(policy)
    handlers = (_Http, _Https, _Judge)
    for handler in (
        *(kind(policy) for kind in handlers),
        _Redirects(policy.guard),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        made.add_handler(handler)
    return made
