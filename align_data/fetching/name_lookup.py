"""Looking names up: asked of name servers without a thread for each, thousands at a time.

c-ares does the asking: it reads resolv.conf, nsswitch.conf and the hosts file as the system's resolver does, asks again
where a server is silent, and by TCP where an answer is too long. What comes back is a stranger's word: the guard judges
every address.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pycares
from aiohttp.abc import AbstractResolver, ResolveResult
from pycares import errno as codes

from align_data.fetching.resolver import TimedResult

_CHANNEL_NAMES = 10_000
"""Names that are asked for on one channel: it remembers their answers itself, without a limit."""
_PATIENCE = 5.0
"""Seconds for which a silent name server is asked: c-ares itself gives up in one or two where answers were quick so
far, though it is the rare names that are slow, and in a quarter of a minute where they were slow."""
_RECEIVE_BUFFER = 2**22
"""Bytes of answers that may wait while this process is busy."""
_FLAGS = pycares.ARES_FLAG_EDNS | 1 << 10
"""The second is ARES_FLAG_DNS0x20: a forged answer must have the letters' case too. pycares has no name for it."""
_NO_SORT = 1 << 7
"""ARES_AI_NOSORT: to sort them, it would make a socket for each address before the guard has seen it."""
_UNKNOWN = {
    codes.ARES_ENOTFOUND: "the name does not exist",
    codes.ARES_ENODATA: "the name has no address",
    codes.ARES_EBADNAME: "not a name that can be looked up",
    codes.ARES_ENOTIMP: "not a name that is looked up by DNS",
}
"""What will be the same for another run."""
_FAILED = {
    codes.ARES_ETIMEOUT: "no name server answered in time",
    codes.ARES_ESERVFAIL: "the name server failed",
    codes.ARES_EREFUSED: "the name server refused",
    codes.ARES_ECONNREFUSED: "no name server can be reached",
    codes.ARES_EBADRESP: "the name server's answer makes no sense",
    codes.ARES_EFORMERR: "the name server did not understand",
}


class NameLookup(AbstractResolver):
    """Looks names up by the name servers given, or by the system's."""

    def __init__(self, servers: Sequence[str] = ()) -> None:
        self._servers = servers
        self._family = families()
        self._channel: NameChannel | None = None

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name, IPv4 first; gaierror with EAI_NONAME if there are none, else EAI_AGAIN."""
        nodes = await self._ask(host, family or self._family)
        nodes.sort(key=lambda node: node.family == socket.AF_INET6)  # stable: the servers' order is meant
        return [
            TimedResult(
                hostname=host,
                host=node.addr[0].decode(),
                port=port,
                family=node.family,
                proto=0,
                flags=0,
                ttl=node.ttl,
            )
            for node in nodes
        ]

    async def _ask(self, host: str, family: int) -> list[Any]:
        """Ask until somebody answers, or for as long as it is worth."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while True:
                    if self._channel is None or self._channel.asked >= _CHANNEL_NAMES:
                        if self._channel is not None:
                            self._channel.retire()
                        self._channel = NameChannel(self._servers)
                    with suppress(SilenceError):
                        return await self._channel.ask(host, family)
        except TimeoutError:
            raise _error(codes.ARES_ETIMEOUT) from None

    async def close(self) -> None:
        """Abandon all that is under way."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None


class NameChannel:
    """A channel of c-ares on the event loop: its sockets are watched, and a timer lets it ask again."""

    def __init__(self, servers: Sequence[str]) -> None:
        self.asked = 0
        self._loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.Future[list[Any]]] = set()
        self._reading: set[int] = set()
        self._writing: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._retired = self._closed = False
        self._channel = pycares.Channel(
            flags=_FLAGS,
            servers=servers or None,
            sock_state_cb=self._watch,
            socket_receive_buffer_size=_RECEIVE_BUFFER,
        )

    async def ask(self, host: str, family: int) -> list[Any]:
        """Return what c-ares knows of a name's addresses."""
        self.asked += 1
        answer: asyncio.Future[list[Any]] = self._loop.create_future()
        self._waiting.add(answer)
        self._channel.getaddrinfo(
            host,
            None,
            family=socket.AddressFamily(family),
            type=socket.SOCK_STREAM,
            flags=_NO_SORT,
            callback=partial(self._answered, answer),
        )
        self._set_timer()
        return await answer

    def retire(self) -> None:
        """Close it when all is answered that was asked for."""
        self._retired = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        """Close it; what is not answered yet never is."""
        if self._closed:
            return
        self._channel.cancel()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for fd in self._reading:
            self._loop.remove_reader(fd)
        for fd in self._writing:
            self._loop.remove_writer(fd)
        self._channel.close()

    def _answered(self, answer: asyncio.Future[list[Any]], info: Any, status: int | None) -> None:
        self._waiting.discard(answer)
        if not answer.done():
            if status is None:
                answer.set_result(info.nodes)
            else:
                answer.set_exception(_error(status))
        if self._retired and not self._waiting:
            self._loop.call_soon(self.close)  # not within the channel's own call

    def _watch(self, fd: int, readable: bool, writable: bool) -> None:
        if self._closed:  # by the thread that ends the channel
            return
        if readable:
            self._loop.add_reader(fd, self._process, fd, pycares.ARES_SOCKET_BAD)
            self._reading.add(fd)
        elif fd in self._reading:
            self._loop.remove_reader(fd)
            self._reading.remove(fd)
        if writable:
            self._loop.add_writer(fd, self._process, pycares.ARES_SOCKET_BAD, fd)
            self._writing.add(fd)
        elif fd in self._writing:
            self._loop.remove_writer(fd)
            self._writing.remove(fd)

    def _process(self, readable: int, writable: int) -> None:
        self._channel.process_fd(readable, writable)
        self._set_timer()

    def _set_timer(self) -> None:
        """Look again when c-ares has something to do; once a while is enough, however many wait."""
        if self._waiting and self._timer is None and not self._closed:
            wait: float = self._channel.timeout(1.0)  # type: ignore[no-untyped-call]
            self._timer = self._loop.call_later(max(0.05, wait), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._process(pycares.ARES_SOCKET_BAD, pycares.ARES_SOCKET_BAD)


class SilenceError(socket.gaierror):
    """No name server answered."""


def _error(status: int) -> socket.gaierror:
    if status == codes.ARES_ETIMEOUT:
        return SilenceError(socket.EAI_AGAIN, _FAILED[status])
    if status in _UNKNOWN:
        return socket.gaierror(socket.EAI_NONAME, _UNKNOWN[status])
    return socket.gaierror(socket.EAI_AGAIN, _FAILED.get(status, codes.strerror(status)))


def families(interfaces: Path = Path("/proc/net/if_inet6")) -> socket.AddressFamily:
    """Return which addresses are worth asking for: of IPv6 only where this machine has one that leads outside."""
    try:
        addresses = [line.split()[0] for line in interfaces.read_text().splitlines() if line]
    except OSError:
        return socket.AF_UNSPEC
    return socket.AF_UNSPEC if any(map(_leads_outside, addresses)) else socket.AF_INET


def _leads_outside(address: str) -> bool:
    return not address.startswith(("fe8", "fe9", "fea", "feb")) and int(address, 16) > 1
