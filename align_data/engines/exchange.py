"""Counting keys: sorted runs, their merging, and how a run is cut by ranges of the key.

Sorting is several times faster than any hash table here (docs/LOG.md), and a sorted run is cut by slicing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.hashing import Keys
from align_data.common.sorting import argsort, starts

Counts = NDArray[np.int64]
Places = NDArray[np.int32]
"""Indices into a run of keys."""
Memo = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class SortedRun:
    """Distinct keys of one kind in ascending order, and how often each occurred.

    `memo` is what the asker will need to read the totals that come back; None if it wants none.
    """

    kind: str
    keys: Keys
    counts: Counts
    memo: Memo | None = None


@dataclass(frozen=True)
class Merged:
    """A slice of merged runs: distinct keys, their totals, and the place among them of every run's next keys."""

    keys: Keys
    totals: Counts
    at: Places
    """The places of all runs' keys, one run's behind another's."""
    ends: list[int]
    """Where in `at` each run's places end."""

    @property
    def places(self) -> list[Places]:
        """The places of each run's keys."""
        return np.split(self.at, self.ends[:-1])


SLICE = 2**20
"""Keys merged at once, at most: in memory that is used again and again."""
CACHED = 2**18
"""Keys merged at once while a processor's cache holds that many."""
STRETCH = 1024
"""Keys of a run in a slice, on the average: with fewer, handling them would cost more than the cache saves."""


def count(keys: Keys) -> tuple[Keys, Counts]:
    """Return the distinct keys in order and the occurrences of each."""
    # numpy's sort is as fast only where it has vector instructions that suit it, a fifth as fast elsewhere.
    ordered = pl.Series(keys).sort(multithreaded=False).to_numpy()
    at = np.flatnonzero(starts(ordered))
    return ordered[at], np.diff(at, append=len(ordered))


def place(keys: Keys) -> tuple[Keys, Counts, Places]:
    """Return the distinct keys in order, the occurrences of each, and for every given key its place among them."""
    distinct, _, at, places = _rank(keys)
    return distinct, np.diff(at, append=len(keys)), places


def merge(
    runs: Sequence[tuple[Keys, Counts]], slice_keys: int = SLICE, each: Callable[..., Iterator[Merged]] = map
) -> Iterator[Merged]:
    """Yield the distinct keys of all runs in ascending slices, with the sum of each one's counts.

    A slice's working memory is some dozen bytes for each of its `slice_keys` keys; `each` merges one after the other,
    or some ahead.
    """
    longest = max((keys for keys, _ in runs), key=len, default=())
    if not len(longest):
        return
    slices = -(-sum(len(keys) for keys, _ in runs) // slice_keys)
    at = np.unique(longest[np.arange(1, slices) * len(longest) // slices])
    cuts = [cut(keys, at) for keys, _ in runs]

    def merged(stretches: Sequence[tuple[int, int]]) -> Merged:
        keys = np.concatenate([keys[i:j] for (keys, _), (i, j) in zip(runs, stretches, strict=True)])
        counts = np.concatenate([counts[i:j] for (_, counts), (i, j) in zip(runs, stretches, strict=True)])
        distinct, order, begins, places = _rank(keys)
        before = np.zeros(len(keys) + 1, np.int64)
        np.cumsum(counts[order], out=before[1:])
        totals = np.diff(before[np.append(begins, len(keys))])
        return Merged(distinct, totals, places, list(accumulate(j - i for i, j in stretches)))

    yield from each(merged, zip(*(pairwise(run) for run in cuts), strict=True))


def _rank(keys: Keys) -> tuple[Keys, NDArray[np.intp], NDArray[np.intp], Places]:
    """Return the distinct keys, the order that sorts all, where each begins in it, and each key's place."""
    order, ordered = argsort(keys)
    is_start = starts(ordered)
    places = np.empty(len(keys), dtype=np.int32)
    places[order] = np.cumsum(is_start, dtype=np.int32) - np.int32(1)
    at = np.flatnonzero(is_start)
    return ordered[at], order, at, places


def bounds(ranges: int) -> Keys:
    """Return the `ranges` - 1 keys at which the later of `ranges` equal ranges begin."""
    width = 2**64 // ranges
    return np.array([i * width - 2**63 for i in range(1, ranges)], dtype=np.int64)


def cut(keys: Keys, at: Keys) -> list[int]:
    """Return the positions that cut sorted `keys` at the bounds `at`, with 0 and the length around them."""
    return [0, *np.searchsorted(keys, at).tolist(), len(keys)]
