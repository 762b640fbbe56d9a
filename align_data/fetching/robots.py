"""What hosts let us ask for: their robots.txt, asked for once by all processes of a user on this machine (RFC 9309)."""

from __future__ import annotations

import asyncio
import io
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, closing, suppress
from typing import BinaryIO

import aiohttp
from yarl import URL

from align_data.fetching import backoff
from align_data.fetching.client import Client, Policy, Response, Visit, no_success, read_body
from align_data.fetching.machine import DAY, Machine
from align_data.fetching.outcome import Outcome
from align_data.fetching.response_body import ResponseBody
from align_data.fetching.robots_txt import MAX_ROBOTS, RobotsRules, own_lines
from align_data.fetching.target import host_of, origin, target

FAILED_FOR = 3600.0
"""Seconds for which a run does not ask again for a robots.txt that could not be had."""
_HOPS = 5
"""Redirects that are followed; where there are more, there is no robots.txt."""
_IN_MEMORY = 2**25
"""Bytes of rules that a process has at hand, about; others it reads again."""
_SHORT = 2**16
"""Bytes of an error's page that are read for the sake of its connection, at most."""
_PATIENCE = 2.0
"""Seconds that reading them may take."""
_OF_THE_HOST = frozenset({"dns", "refused_address"})
"""What a request comes to that nothing is connected for."""
_OF_THE_SERVER = frozenset({"connect", "tls", "timeout"})
"""What a request comes to that nothing answers."""

Elsewhere = Callable[[str], AbstractAsyncContextManager[Visit]]
"""Opens what asks another host, as soon as that may be asked."""
Known = Callable[[str], "RobotsRules | Outcome | None"]
"""Returns the rules of an origin, or what asking for them came to; None if it is yet to be asked."""


class Robots:
    """What is known of robots.txt, and how to learn it."""

    def __init__(self, machine: Machine, client: Client, seconds: float) -> None:
        self._machine, self._client, self._seconds = machine, client, seconds
        self._rules: OrderedDict[str, tuple[float, RobotsRules | Outcome]] = OrderedDict()
        """By origin, the longest unused first."""
        self._size = 0

    def known(self, origin: str) -> RobotsRules | Outcome | None:
        """Return the rules of an origin, or what asking for them came to; None if it is yet to be asked."""
        until, rules = self._rules.get(origin, (0.0, None))
        if rules is not None and until > backoff.now():
            self._rules.move_to_end(origin)
            return rules
        stored = self._machine.robots(origin)
        return None if stored is None else self._remember(origin, *stored)

    def judge(self, url: URL, origin: str) -> Outcome | float | None:
        """Return the outcome of a URL that may not be requested, or the seconds that its origin wants between requests.

        None where its origin is to be asked for its robots.txt first.
        """
        rules = self.known(origin)
        if not isinstance(rules, RobotsRules):
            return rules
        path = url.raw_path_qs if rules.judges else ""
        disallowed = rules.disallowed(path)
        if disallowed is not None:
            return Outcome("robots_disallowed", f"robots.txt: {disallowed}")
        usage = None if self._client.policy.ignore_opt_out else rules.refused_usage(path)
        return rules.delay if usage is None else Outcome("opted_out", f"robots.txt: {usage}")

    def unknown(self, origin: str) -> bool:
        """Tell whether an origin is yet to be asked for its robots.txt."""
        return self.known(origin) is None

    async def learn(self, visit: Visit, url: URL, elsewhere: Elsewhere) -> Outcome | None:
        """Ask the origin of a URL for its robots.txt, and remember what it says.

        Returns the outcome where nothing is learnt yet: an address has no free connection, or the host wants to be
        asked later.
        """
        asking = _Asking(self._client.policy, visit, elsewhere, self.known)
        try:
            async with asyncio.timeout(self._seconds):
                outcome = await asking.ask(f"{url.origin()}/robots.txt", self._seconds)
        except TimeoutError:
            outcome = Outcome("timeout", f"not finished after {self._seconds:g} s")
        if outcome.full is not None or outcome.retry_after is not None:
            return outcome
        robots = _judged(outcome, asking)
        until = self._machine.keep_robots(asking.origins, robots, DAY if isinstance(robots, bytes) else FAILED_FOR)
        for each in asking.origins:
            self._remember(each, until, robots)
        return None

    def _remember(self, origin: str, until: float, robots: bytes | Outcome) -> RobotsRules | Outcome:
        rules = RobotsRules(robots) if isinstance(robots, bytes) else robots
        self._forget(origin)
        self._rules[origin] = (until, rules)
        self._size += _size(rules)
        while self._size > _IN_MEMORY and len(self._rules) > 1:
            self._forget(next(iter(self._rules)))
        return rules

    def _forget(self, origin: str) -> None:
        _, rules = self._rules.pop(origin, (0.0, None))
        self._size -= _size(rules)


def _size(rules: RobotsRules | Outcome | None) -> int:
    """Return about how many bytes rules take: those of short lines many times what the lines do."""
    return 500 + 25 * len(rules.lines) if isinstance(rules, RobotsRules) else 500


class _RobotsBody(ResponseBody):
    """The beginning of a robots.txt, as far as it is read."""

    def __init__(self, encodings: str) -> None:
        super().__init__(encodings, 2 * MAX_ROBOTS)
        self.text = bytearray()

    def _looked_at(self, piece: bytes) -> bytes | Outcome:
        self.text += piece
        return b"" if len(self.text) <= MAX_ROBOTS else Outcome("ok")

    def _too_large(self) -> Outcome:
        return Outcome("ok")

    def _judged(self) -> Outcome:
        return Outcome("ok")


class _Asking:
    """One robots.txt being asked for, where redirects lead too."""

    def __init__(self, policy: Policy, visit: Visit, elsewhere: Elsewhere, known: Known) -> None:
        self._policy, self._visit, self._elsewhere, self._known = policy, visit, elsewhere, known
        self.origins: list[str] = []
        """Whose robots.txt it is: a redirect may lead to that of another."""
        self.answered = False
        self.lines = b""
        """Its lines for us."""

    async def ask(self, url: str, seconds: float) -> Outcome:
        """Return what became of it."""
        home: str | None = None
        for _ in range(_HOPS + 1):
            request_url = target(url, self._policy.guard)
            if isinstance(request_url, Outcome):
                return request_url
            host = host_of(request_url).rstrip(".")
            home = host if home is None else home
            if request_url.raw_path_qs == "/robots.txt":
                known = self._known(origin(request_url)) if self.answered else None
                if isinstance(known, RobotsRules):
                    self.lines = known.lines
                    return Outcome("ok")
                self.origins.append(origin(request_url))
            if host == home:
                outcome = await self._visit.get(url, io.BytesIO(), seconds, request_url, self._judge)
            else:
                async with self._elsewhere(host) as visit:
                    outcome = await visit.get(url, io.BytesIO(), seconds, request_url, self._judge)
            if outcome.location is None:
                return outcome
            url = outcome.location
        return Outcome("too_many_redirects")

    async def _judge(self, url: str, response: Response, body: BinaryIO) -> Outcome:
        self.answered = True
        if not 200 <= response.status <= 299:
            await _read_to_end(response)
            return no_success(url, response)
        with closing(_RobotsBody(response.headers.get("Content-Encoding", ""))) as content:
            outcome = await read_body(response, content, body)
        self.lines = own_lines(bytes(content.text))
        return outcome


async def _read_to_end(response: Response) -> None:
    """Read the body of an answer that says all in its status, if it is short: then its connection can be kept."""
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(_PATIENCE):
            read = 0
            async for chunk in response.content.iter_any():
                read += len(chunk)
                if read > _SHORT:
                    return


def _judged(outcome: Outcome, asking: _Asking) -> bytes | Outcome:
    """Return the lines for us of a robots.txt, none where there is no such file; or what the host's URLs come to."""
    status, reason = outcome.status, outcome.reason
    if status == "ok":
        return asking.lines
    if status == "too_many_redirects" or status.startswith(("http_3", "http_4")):
        return b""
    if not asking.answered and status in _OF_THE_HOST:
        return outcome
    if not asking.answered and status in _OF_THE_SERVER:
        return Outcome(status, f"robots.txt: {reason}")
    return Outcome("robots_unreachable", f"robots.txt: {status}" + (f", {reason}" if reason else ""))
