"""Blocks of bytes cut into lines."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

IntArray = np.ndarray[tuple[int], np.dtype[np.int64]]
_LF, _CR = 10, 13


@dataclass(frozen=True)
class Lines:
    """The whole lines of a block: LF, CR and CRLF end a line.

    Line k is data[starts[k]:ends[k]], without what ends it; the next begins at stops[k].
    """

    data: bytes
    signs: Any
    """`data` as an array of uint8."""
    starts: IntArray
    ends: IntArray
    stops: IntArray

    def __len__(self) -> int:
        return len(self.stops)

    def line(self, number: int) -> bytes:
        """Return a line."""
        return self.data[self.starts[number] : self.ends[number]]

    def at(self, position: int) -> int:
        """Return the number of the line that a position lies on."""
        return min(bisect_right(self._stops, position), len(self) - 1)

    @cached_property
    def _stops(self) -> list[int]:
        return list(self.stops.tolist())


def cut(data: bytes, final: bool) -> Lines:
    """Cut a block into its lines; bytes behind its last whole line are a line only of the `final` block."""
    signs = np.frombuffer(data, np.uint8)
    if b"\r" in data:
        ends, stops = _any_ends(signs)
        if not final and len(stops) and stops[-1] == len(data) and data[-1] == _CR:  # half of a CRLF, perhaps
            ends, stops = ends[:-1], stops[:-1]
    else:
        ends = np.flatnonzero(signs == _LF)
        stops = ends + 1
    if final and (stops[-1] if len(stops) else 0) < len(data):
        ends, stops = np.append(ends, len(data)), np.append(stops, len(data))
    starts = np.concatenate([np.zeros(min(1, len(stops)), np.int64), stops[:-1]])
    return Lines(data, signs, starts, ends, stops)


def _any_ends(signs: Any) -> tuple[IntArray, IntArray]:
    """Return where each line's end begins, and behind it."""
    feeds, returns = signs == _LF, signs == _CR
    pairs = np.zeros(len(signs), bool)  # the CR of a CRLF
    pairs[:-1] = returns[:-1] & feeds[1:]
    feeds[1:] &= ~pairs[:-1]
    ends = np.flatnonzero(feeds | returns)
    return ends, ends + 1 + pairs[ends]
