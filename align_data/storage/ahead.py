"""Bytes of an object store read ahead: large ranges in the background, for whoever says which places are to be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from align_data.storage.store import Store

SPAN = 2**25
"""Bytes that are asked for at once, at most, unless one place has more."""
_GAP = 2**18
"""Bytes that nobody wants, at most, that are read with those on both sides."""
_REQUESTS = 2
"""Ranges that are held or on their way: the one that is read from, and those behind it."""


class FileRange(NamedTuple):
    """A range of a file."""

    file: str
    start: int
    stop: int

    def has(self, other: FileRange) -> bool:
        """Tell whether another one is inside."""
        return self.file == other.file and self.start <= other.start and other.stop <= self.stop


def merged(spans: Iterable[FileRange]) -> Iterator[FileRange]:
    """Yield neighbours as one, in their order."""
    current: FileRange | None = None
    for span in spans:
        if current is not None and current.file == span.file and current.start <= span.start <= current.stop + _GAP:
            longer = current._replace(stop=max(current.stop, span.stop))
            if longer.stop - longer.start <= SPAN:
                current = longer
                continue
        if current is not None:
            yield current
        current = span
    if current is not None:
        yield current


class ReadAhead:
    """Reads ranges that were foretold from memory, into which the next ones are read meanwhile."""

    def __init__(self, store: Store, foretold: Iterable[FileRange]) -> None:
        self._store, self._coming = store, merged(foretold)
        self._threads = ThreadPoolExecutor(_REQUESTS - 1)
        self._held: list[tuple[FileRange, Future[bytes]]] = []
        self._fill()

    def read(self, wanted: FileRange) -> bytes | None:
        """Return the bytes of a range, None where it is not among those that come next."""
        at = next((at for at, (span, _) in enumerate(self._held) if span.has(wanted)), None)
        if at is None:
            return None
        if at:
            del self._held[:at]
            self._fill()
        span, content = self._held[0]
        return content.result()[wanted.start - span.start : wanted.stop - span.start]

    def close(self) -> None:
        """Give up what is on its way."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._held.clear()

    def _fill(self) -> None:
        for span in self._coming:
            self._held.append((span, self._threads.submit(self._store.range, *span)))
            if len(self._held) >= _REQUESTS:
                return
