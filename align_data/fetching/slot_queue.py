"""The queue for slots: hosts that wait for a connection that they or others hold, in this process or another."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from align_data.fetching.connection_slots import Free, Slots
from align_data.fetching.crawl_state import Host

LOOK = 0.1
"""Seconds between two looks for a slot that another process may have freed."""


class SlotQueue:
    """Takes slots, and lets hosts wait for them: `admit` is called with a host's name when it may try again."""

    def __init__(self, slots: Slots, admit: Callable[[str], None], go_on: Callable[[], None]) -> None:
        """Call `go_on` when some hosts may have been admitted."""
        self._slots, self._admit, self._go_on = slots, admit, go_on
        self._loop = asyncio.get_running_loop()
        self._barred: dict[str, deque[tuple[str, int]]] = {}
        """Name of slots → hosts that wait for one, and of how many."""
        self._looking: asyncio.TimerHandle | None = None

    def take(self, slots: str, limit: int) -> Free | None:
        """Take one of `limit` slots; None if all are taken."""
        return self._slots.take(slots, limit)

    def bar(self, name: str, host: Host, slots: str, limit: int) -> None:
        """Let a host wait for one of `limit` slots."""
        host.barred = True
        self._barred.setdefault(slots, deque()).append((name, limit))
        if self._looking is None:
            self._looking = self._loop.call_later(LOOK, self._look)

    def freed(self, slots: str) -> None:
        """Let the next host try that waits for one of these slots."""
        waiting = self._barred.get(slots)
        if not waiting:
            return
        name, _ = waiting.popleft()
        if not waiting:
            del self._barred[slots]
        self._admit(name)

    def _look(self) -> None:
        """See whether other processes have freed slots that hosts wait for."""
        self._looking = None
        for slots, waiting in list(self._barred.items()):
            for _ in range(self._slots.room(slots, waiting[0][1], len(waiting))):
                self.freed(slots)
        if self._barred and self._looking is None:
            self._looking = self._loop.call_later(LOOK, self._look)
        self._go_on()
