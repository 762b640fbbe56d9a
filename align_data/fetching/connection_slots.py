"""Slots: so many connections to a host or an address, however many processes on this machine ask for them.

A slot is a lock on one byte of a file that all of them open. The system frees it when its process ends, however that
ends. Where a file system has no locks, each process counts for itself.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

MAX_SLOTS = 2**14
"""Slots of one name, at most."""
_TAKEN = frozenset({errno.EACCES, errno.EAGAIN})

Free = Callable[[], None]
"""Gives a slot back."""


class Slots:
    """The slots of one file. A process opens it once: to close it would free all that the process holds."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        self._taken: dict[int, set[int]] = {}

    def take(self, name: str, limit: int) -> Free | None:
        """Take one of `limit` slots of a name, and return a function that frees it; None if all are taken."""
        start = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest()) * MAX_SLOTS
        taken = self._taken.get(start, set())
        for number in range(min(limit, MAX_SLOTS)):
            if number not in taken and self._lock(start + number):
                self._taken.setdefault(start, taken).add(number)
                return partial(self._free, start, number)
        return None

    def room(self, name: str, limit: int, needed: int) -> int:
        """Return how many slots of a name are free now, up to `needed`."""
        taken: list[Free] = []
        while len(taken) < needed and (free := self.take(name, limit)) is not None:
            taken.append(free)
        for free in taken:
            free()
        return len(taken)

    def close(self) -> None:
        """Free all."""
        os.close(self._file)

    def _lock(self, byte: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError as error:
            return error.errno not in _TAKEN
        return True

    def _free(self, start: int, number: int) -> None:
        taken = self._taken[start]
        taken.discard(number)
        if not taken:
            del self._taken[start]
        try:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, start + number)
        except OSError:  # closed before, and all freed with it; or there are no locks
            return
