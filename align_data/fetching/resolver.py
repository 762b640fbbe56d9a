"""The resolver: names to addresses that may be connected to, each looked up once while the answer holds."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence

from aiohttp.abc import AbstractResolver, ResolveResult

from align_data.fetching.guard import Guard, RefusedAddressError
from align_data.fetching.name_cache import MOST_ADDRESSES, NameCache, Remembered

REMEMBERED = 60.0
"""Seconds for which an answer is remembered that does not say how long it holds; likewise that there is none."""
SHORTEST, LONGEST = 30.0, 3600.0
"""Seconds for which one is remembered that does: at least, and at most."""


class TimedResult(ResolveResult, total=False):
    """An address, and for how many seconds it holds."""

    ttl: int


class Resolver(AbstractResolver):
    """Resolves names, and hands on the addresses that the guard lets through, whoever looked them up.

    The guard looks again where the socket is made; here it says so in plain words, and a name of which one address is
    good is not given up.
    """

    def __init__(self, inner: AbstractResolver, guard: Guard | None, names: NameCache | None = None) -> None:
        self._inner, self._guard, self._names = inner, guard, names or NameCache()
        self._asked: dict[str, asyncio.Task[Remembered]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a host that may be connected to; RefusedAddressError if none may."""
        known = await self.addresses(host, family)
        return results(host, port, known.addresses)

    async def addresses(self, host: str, family: socket.AddressFamily = socket.AF_UNSPEC) -> Remembered:
        """Return those addresses, and how long they hold."""
        known = self._names.get(host) or await self._once(host, family)
        if known.error:
            raise socket.gaierror(known.error, known.reason)
        return Remembered(known.until, self._let_through(host, known.addresses))

    async def close(self) -> None:
        """Close the resolver behind; who still waits hears nothing."""
        for task in self._asked.values():
            task.cancel()
        await self._inner.close()
        self._names.close()

    async def _once(self, host: str, family: socket.AddressFamily) -> Remembered:
        """Ask, once for all who wait for a name. Who gives up waiting does not take the answer from the others."""
        task = self._asked.get(host)
        if task is None:
            task = self._asked[host] = asyncio.ensure_future(self._ask(host, family))
            task.add_done_callback(lambda ended: self._ended(host, ended))
        return await asyncio.shield(task)

    def _ended(self, host: str, task: asyncio.Task[Remembered]) -> None:
        del self._asked[host]
        if not task.cancelled():
            task.exception()  # asyncio complains of an error that nobody has waited for

    async def _ask(self, host: str, family: socket.AddressFamily) -> Remembered:
        try:
            answer = await self._inner.resolve(host, 0, family)
            if not answer:
                raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
            remembered = Remembered(time.time() + _seconds(answer), self._worth([result["host"] for result in answer]))
        except socket.gaierror as error:
            remembered = Remembered(time.time() + REMEMBERED, (), error.errno or socket.EAI_FAIL, error.strerror or "")
        self._names.put(host, remembered)
        return remembered

    def _worth(self, addresses: Sequence[str]) -> Sequence[str]:
        """Return the addresses that are remembered: of a thousand some that are let through, if any are."""
        if len(addresses) > MOST_ADDRESSES and self._guard is not None:
            addresses = [address for address in addresses if self._guard.why_not(address) is None] or addresses
        return addresses[:MOST_ADDRESSES]

    def _let_through(self, host: str, addresses: Sequence[str]) -> Sequence[str]:
        if self._guard is None:
            return addresses
        reasons = [self._guard.why_not(address) for address in addresses]
        allowed = [address for address, why in zip(addresses, reasons, strict=True) if why is None]
        if not allowed:
            raise RefusedAddressError(f"{host}: {reasons[0]}")
        return allowed


class Pinned(AbstractResolver):
    """Resolves a host to the addresses that were looked up for it before."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - they are of whatever family they are
    ) -> list[ResolveResult]:
        """Return them."""
        return results(host, port, self._addresses)

    async def close(self) -> None:
        """Close nothing."""


def results(host: str, port: int, addresses: Sequence[str]) -> list[ResolveResult]:
    """Return addresses as aiohttp has them."""
    return [
        ResolveResult(
            hostname=host,
            host=address,
            port=port,
            family=socket.AF_INET6 if ":" in address else socket.AF_INET,
            proto=0,
            flags=socket.AI_NUMERICHOST,
        )
        for address in addresses
    ]


def _seconds(answer: Sequence[ResolveResult]) -> float:
    """Return for how long an answer is remembered."""
    ttls = [ttl for result in answer if isinstance(ttl := result.get("ttl"), int)]
    return min(max(SHORTEST, min(ttls)), LONGEST) if ttls else REMEMBERED
