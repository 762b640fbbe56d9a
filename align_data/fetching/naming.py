"""Naming: the names of hosts are looked up before they have a turn, so that no connection waits for a name.

Thousands are under way at once, and some ahead of what is being fetched: a name that nobody ever answers takes seconds.
They are asked for one after another, not in bursts, which a name server would drop.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from align_data.fetching.client import Client
from align_data.fetching.name_cache import Remembered
from align_data.fetching.outcome import Outcome

AT_ONCE = 2048
"""Names that one process looks up at once."""
AHEAD = 4096
"""Hosts whose names are known and that wait for a connection: with more no further names are looked up."""
_RATE = 1000.0
"""Names that one process begins to look up in a second."""
_BURST = 20.0
"""Names that it asks for together, at most."""


class Naming:
    """Looks names up, in the order in which they are wanted.

    `named` is called with a host, what its name came to and how many seconds that took; `failed` with an error that no
    host is to blame for; `go_on` when there may be more to do.
    """

    def __init__(
        self,
        client: Client,
        seconds: float,
        named: Callable[[str, Remembered | Outcome, float], None],
        failed: Callable[[BaseException], None],
        go_on: Callable[[], None],
    ) -> None:
        self._client, self._seconds, self._named, self._failed, self._go_on = client, seconds, named, failed, go_on
        self._loop = asyncio.get_running_loop()
        self._wanted: OrderedDict[str, None] = OrderedDict()
        self._asked: dict[str, asyncio.Task[None]] = {}
        self._allowance, self._counted_at = _BURST, self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def want(self, host: str) -> None:
        """Let a host's name be looked up, if it is not already."""
        if host not in self._asked:
            self._wanted[host] = None

    def ask(self, ready: int) -> None:
        """Look up what the limits allow, when so many hosts wait for a connection."""
        now = self._loop.time()
        self._allowance = min(_BURST, self._allowance + (now - self._counted_at) * _RATE)
        self._counted_at = now
        while self._wanted and len(self._asked) < AT_ONCE and ready < AHEAD:
            if self._allowance < 1:
                self._timer = self._timer or self._loop.call_later(_BURST / _RATE, self._tick)
                return
            host, _ = self._wanted.popitem(last=False)
            self._asked[host] = asyncio.ensure_future(self._look_up(host))
            self._allowance -= 1
            ready += 1

    def _tick(self) -> None:
        self._timer = None
        self._go_on()

    async def _look_up(self, host: str) -> None:
        began = self._loop.time()
        try:
            named = await self._client.name(host, self._seconds)
            del self._asked[host]
            self._named(host, named, self._loop.time() - began)
        except Exception as error:
            self._failed(error)
