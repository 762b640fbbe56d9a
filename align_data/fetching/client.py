"""The client: one request, one outcome. Redirects are handed back, so that each hop is judged and waits its turn.

aiohttp, because its connector takes the resolver and the maker of sockets from us; of the clients that do, it is the
fastest in Python (docs/LOG.md has the comparison).
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from align_data import __version__
from align_data.common.errors import AlignDataError
from align_data.fetching.connection import Connector
from align_data.fetching.connection_slots import Free
from align_data.fetching.failures import failure, no_name
from align_data.fetching.guard import Guard, RefusedAddressError, Socket, plain
from align_data.fetching.name_cache import NameCache, Remembered
from align_data.fetching.name_lookup import NameLookup
from align_data.fetching.opt_outs import opt_out
from align_data.fetching.outcome import Outcome
from align_data.fetching.resolver import Pinned, Resolver
from align_data.fetching.response_body import ResponseBody
from align_data.fetching.target import LONGEST, is_address, origin, resolved, target

MAX_BYTES = 20 * 2**20
DEADLINE = 30.0
REDIRECTS = frozenset({301, 302, 303, 307, 308})
PAUSE = 5.0
"""Seconds for which a host that is busy is left alone where it does not say how long."""
_SUCCESSES = frozenset({201, 202, 203, 206})
_RANGE = re.compile(r"bytes[ =]0-(\d{1,18})/(\d{1,18})", re.IGNORECASE)
MOST_REDIRECTS = 10
"""One more ends a URL."""


Room = Callable[[str], Free | None]
"""Takes a slot for a connection to an address, and returns a function that frees it; None if all are taken."""


@dataclass(frozen=True)
class Policy:
    """What a fetch may do: whom it connects to, how much it reads, how long it waits, what it says of itself."""

    guard: Guard = field(default_factory=Guard)
    max_bytes: int = MAX_BYTES
    deadline: float = DEADLINE
    ignore_opt_out: bool = False
    ignore_robots: bool = False
    """Whether to ask without a look at robots.txt."""
    contact: str | None = None
    proxy: str | None = None
    formats: tuple[str, ...] = ()
    """Optional ones that are kept as images."""
    dns: tuple[str, ...] = ()
    """Name servers, as ADDRESS or ADDRESS:PORT; the system's if there are none."""

    @property
    def agent(self) -> str:
        """What the header User-Agent says."""
        return f"align-data/{__version__} (image-text data sets; {self.contact or 'no contact given'})"


class Client:
    """Lets visits be made: what they share is the policy, and the names that are looked up."""

    def __init__(self, policy: Policy, resolver: Resolver) -> None:
        self.policy, self._resolver = policy, resolver

    @staticmethod
    @asynccontextmanager
    async def of(
        policy: Policy, inner: AbstractResolver | None = None, names: NameCache | None = None
    ) -> AsyncIterator[Client]:
        """Open a client; `inner` looks names up, by DNS unless given, and `names` has what is known of them."""
        # A proxy's address is the user's own choice, and the only one connected to.
        resolver = Resolver(inner or NameLookup(policy.dns), None if policy.proxy else policy.guard, names)
        try:
            yield Client(policy, resolver)
        finally:
            await resolver.close()

    def target(self, url: str) -> URL | Outcome:
        """Return a URL as it is requested, or the outcome of one that cannot be."""
        return target(url, self.policy.guard)

    def has_name(self, host: str) -> bool:
        """Tell whether a host must be looked up here before it can be connected to."""
        return self.policy.proxy is None and not is_address(host)

    async def name(self, host: str, seconds: float) -> Remembered | Outcome:
        """Look a host's name up; return its addresses that may be connected to, or what its URLs come to without."""
        try:
            async with asyncio.timeout(seconds):
                return await self._resolver.addresses(host)
        except TimeoutError:
            return Outcome("timeout", f"the name was not looked up after {seconds:g} s")
        except RefusedAddressError as error:
            return Outcome("refused_address", str(error))
        except OSError as error:
            return no_name(error)

    def visit(self, room: Room | None = None, named: Remembered | None = None) -> Visit:
        """Return what asks one URL after another; whatever connection it has is closed at its end.

        `room` is asked for each address that is to be connected to; `named` has the addresses of the only host that is
        asked, if they are known.
        """
        return Visit(self.policy, self._resolver if named is None else Pinned(named.addresses), room)


class Visit:
    """Asks for one URL after another, on one connection at a time: it is kept while the server stays the same.

    A pool that all share would keep connections that no limit counts, open to servers that nobody listens to.
    """

    def __init__(self, policy: Policy, resolver: AbstractResolver, room: Room | None) -> None:
        self._policy, self._resolver, self._room = policy, resolver, room
        self.addresses: set[str] = set()
        """What it was connected to."""
        self._full: str | None = None
        """An address without a free connection at the last attempt."""
        self._session: aiohttp.ClientSession | None = None
        self._origin = ""
        self._protocol: ResponseHandler | None = None
        """Of the connection that was last asked on."""

    async def __aenter__(self) -> Visit:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(
        self, url: str, body: BinaryIO, seconds: float, request_url: URL | None = None, judge: Judge | None = None
    ) -> Outcome:
        """Ask for a URL once; what it sends is in `body` if the status is ok. Never raises for what a host does.

        `request_url` is the URL as it is requested, where that is known; `judge` makes the outcome of an answer, in
        place of what looks for an image in it.
        """
        checked = request_url or target(url, self._policy.guard)
        if isinstance(checked, Outcome):
            return checked
        self._full = None
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                session = await self._session_with(checked)
                async with session.get(checked, allow_redirects=False, proxy=self._policy.proxy) as response:
                    assert isinstance(response, Response)
                    self._protocol = response.protocol
                    if response.status == 407 and self._policy.proxy:
                        return Outcome("connect", "the proxy refuses this user (407)")
                    return await (judge or self._judge)(url, response, body)
        except TimeoutError:
            return Outcome("timeout", f"not finished after {self._policy.deadline:g} s")
        except AlignDataError:
            raise
        except Exception as error:  # of a client that meets what nobody has thought of: one URL, not the run
            failed = failure(error)
            full = self._full if failed.status == "connect" else None
            return failed if full is None else Outcome("", f"{full} has no free connection", full=full)

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()
            self._session = self._protocol = None

    async def _session_with(self, url: URL) -> aiohttp.ClientSession:
        """Return a session that has a connection to this server, or none yet."""
        if self._protocol is not None:
            await asyncio.sleep(0)  # what has come meanwhile is read
        # What comes without being asked for would be taken for the answer to the next URL.
        unasked = self._protocol is not None and self._protocol.should_close
        if self._session is None or self._origin != origin(url) or unasked:
            await self.close()
            self._session, self._origin = self._new_session(), origin(url)
        return self._session

    def _new_session(self) -> aiohttp.ClientSession:
        connector = Connector(
            limit=0,  # the crawl counts connections, by host too
            resolver=self._resolver,
            socket_factory=None if self._policy.proxy else self._socket,
            use_dns_cache=False,  # it would end with the visit
        )
        headers = {"User-Agent": self._policy.agent, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
        return aiohttp.ClientSession(
            connector=connector,
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=Response,
            auto_decompress=False,  # aiohttp would unpack without a limit
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            max_field_size=LONGEST,  # of a Location; of trailers, too, there may be no more than there may be here
        )

    def _socket(self, info: Sequence[Any]) -> Socket:
        """Make the socket for an address, if it may be connected to and there is room for one more."""
        connection = self._policy.guard.socket(info)
        if self._room is not None:
            address = plain(info[4][0])
            connection.on_close = self._room(address)
            if connection.on_close is None:
                connection.close()
                self._full = address
                raise OSError(errno.EAGAIN, f"{address} has no free connection")
            self.addresses.add(address)
        return connection

    async def _judge(self, url: str, response: Response, body: BinaryIO) -> Outcome:
        headers, max_bytes = response.headers, self._policy.max_bytes
        if not succeeds(response.status, headers.get("Content-Length"), headers.get("Content-Range")):
            return no_success(url, response)
        said = None if self._policy.ignore_opt_out else opt_out(lambda name: headers.getall(name, []))
        if said is not None:
            return Outcome("opted_out", said)
        announced = headers.get("Content-Length", "")
        if announced.isdecimal() and int(announced) > max_bytes:
            return Outcome("too_large", f"{int(announced):,} bytes announced")
        with closing(ResponseBody(headers.get("Content-Encoding", ""), max_bytes, self._policy.formats)) as content:
            return await read_body(response, content, body)


class Response(aiohttp.ClientResponse):
    """A response that remembers its connection after releasing it."""

    protocol: ResponseHandler | None = None
    closed_by: asyncio.Future[None] | None = None
    """Done when the connection is closed, with an error if it broke."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Read the head."""
        self.protocol = connection.protocol
        self.closed_by = None if self.protocol is None else self.protocol.closed
        if self.closed_by is not None:
            self.closed_by.remove_done_callback(_error)  # of the answer before
            self.closed_by.add_done_callback(_error)  # asyncio complains of an error that nobody has looked at
        return await super().start(connection)


Judge = Callable[[str, Response, BinaryIO], Awaitable[Outcome]]
"""Makes the outcome of an answer to a request for a URL, whose body may go to a file."""


def _error(closed: asyncio.Future[None]) -> BaseException | None:
    return None if closed.cancelled() else closed.exception()


def succeeds(status: int, length: str | None, part: str | None) -> bool:
    """Tell whether an answer may be the picture, as browsers have it: any success with a body that is all of it.

    `length` is its Content-Length, `part` its Content-Range.
    """
    if status == 200:
        return True
    content_range = _RANGE.fullmatch((part or "").strip())
    whole = (
        status != 206
        or part is None
        or (content_range is not None and int(content_range[1]) + 1 == int(content_range[2]))
    )
    return status in _SUCCESSES and length != "0" and whole


async def read_body(response: Response, content: ResponseBody, body: BinaryIO) -> Outcome:
    """Take the body as far as it is wanted."""
    with _watched(response) as broken:
        async for chunk in response.content.iter_any():
            piece = content.take(chunk)
            if isinstance(piece, Outcome):
                return piece
            body.write(piece)
    if broken:
        return Outcome("truncated", broken[0])
    remainder, end = content.end()
    body.write(remainder)
    return end


@contextmanager
def _watched(response: Response) -> Iterator[list[str]]:
    """Let a body end with its connection; give what then has the error, if the body does not know its end itself.

    For aiohttp such a body just ends there; and it waits on for one of which it could not understand a later piece.
    """
    broken: list[str] = []
    body, closed = response.content, response.closed_by

    def lost(closed: asyncio.Future[None]) -> None:
        error = _error(closed)
        if not body.is_eof() and body.exception() is None:
            protocol_error = response.protocol.exception() if response.protocol is not None else None
            ended = aiohttp.ClientPayloadError("the connection ended in the middle of the body")
            body.set_exception(protocol_error if isinstance(protocol_error, HttpProcessingError) else ended)
        elif error is not None and "Transfer-Encoding" not in response.headers:
            broken.append(str(error))

    if closed is None or "Content-Length" in response.headers:
        yield broken
        return
    closed.add_done_callback(lost)
    try:
        yield broken
    finally:
        closed.remove_done_callback(lost)


def no_success(url: str, response: aiohttp.ClientResponse) -> Outcome:
    """Return the outcome of an answer that is not the image: an error, a redirect, or a wish to be asked later."""
    status, headers = response.status, response.headers
    if not 100 <= status <= 599:
        return Outcome("bad_response", f"HTTP status {status}")
    if status in REDIRECTS and "Location" in headers:
        return Outcome("", location=resolved(url, headers["Location"]))
    if status == 429 or (status == 503 and "Retry-After" in headers):
        retry_after = headers.get("Retry-After")
        reason = f"HTTP {status}" if retry_after is None else f"HTTP {status}, Retry-After: {retry_after[:60]}"
        return Outcome("rate_limited", reason, retry_after=wait_asked(retry_after))
    return Outcome(f"http_{status}", response.reason or None)


def wait_asked(value: str | None) -> float:
    """Return the seconds that a Retry-After header asks for; PAUSE where it does not say, or names what has passed."""
    seconds = _seconds(value or "")
    return seconds if seconds > 0 else PAUSE


def _seconds(value: str) -> float:
    """Return the seconds until what a Retry-After header names; 0 where it names nothing."""
    seconds = re.split("[,;]", value, maxsplit=1)[0].strip()  # a proxy joins equal headers
    if seconds.isdecimal():
        return float(seconds)
    try:
        when = parsedate_to_datetime(value)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return (when - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError, TypeError, IndexError):  # whatever it makes of what is no date
        return 0.0
