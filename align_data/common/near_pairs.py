"""All pairs of 64-bit hashes that differ in few bits, exactly: by keys that such a pair must share.

Of m chunks of the bits, d differing bits leave m - d the same: so sorting by each choice of m - d chunks brings every
near pair together at least once. A pair counts only at its first choice. Values are sorted, not their places: the bits
of a choice are moved to the front, and back again in the few pairs that are near.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import comb

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.bits import ALL, WIDTH, back, chunks, leading, moved
from align_data.common.hashing import Hashes

Pairs = tuple[Hashes, Hashes]
_BLOCK = 2**15
"""Hashes compared at a time, which stay in the processor's cache."""
_LONG = 4096
"""Hashes of one key beyond which they are indexed anew by the bits that are left."""
_SORT, _COMPARE, _CHOICE = 40.0, 2.0, 60_000.0
"""Nanoseconds that a hash takes to be sorted, a pair to be compared, a choice to be begun."""


def near_pairs(hashes: Hashes, within: int, shared: int = 0, groups: int = 1) -> Iterator[Pairs]:
    """Yield all pairs of distinct hashes that differ in at most `within` bits, each pair once.

    Only pairs that agree in all bits of the mask `shared`, by which the hashes are in about so many `groups`.
    """
    number = _chunks(len(hashes), within, WIDTH - shared.bit_count(), groups)
    if number is None:
        yield from _near_by_key(hashes, within, shared, [], (), is_whole=groups == 1)
        return
    parts = chunks(ALL & ~shared, number)
    for choice in combinations(range(number), number - within):
        yield from _near_by_key(hashes, within, shared, parts, choice)


def _chunks(size: int, within: int, free: int, groups: int) -> int | None:
    """Return into how many chunks the free bits are best divided; None where comparing all with all costs less."""

    def cost(number: int) -> float:
        alike: float = size / groups / 2.0 ** (free * (number - within) / number)
        return comb(number, within) * (size * (_SORT + alike / 2 * _COMPARE) + _CHOICE)

    possible = range(within + 1, min(free, within + 10) + 1)
    best = min(possible, key=cost, default=None)
    return None if best is None or cost(best) > size * (_SORT + size / groups / 2 * _COMPARE) else best


def _near_by_key(
    hashes: Hashes, within: int, shared: int, parts: Sequence[int], choice: tuple[int, ...], *, is_whole: bool = False
) -> Iterator[Pairs]:
    """Yield the near pairs that agree in the chosen chunks, and in no earlier choice."""
    key = shared | sum(parts[number] for number in choice)
    moves = leading(key)
    undo = back(moves)
    ordered = pl.Series(moved(hashes, moves)).sort(multithreaded=False).to_numpy()
    for lower, upper in _batches(_side_by_side(ordered, within, key.bit_count(), is_whole=is_whole)):
        differing = moved(lower ^ upper, undo)
        counts = differing & np.uint64(key) == 0
        if choice:
            # Its first choice has every agreeing chunk before its last one.
            for number in range(choice[-1]):
                if number not in choice:
                    counts &= differing & np.uint64(parts[number]) != 0
        if counts.any():
            yield moved(lower[counts], undo), moved(upper[counts], undo)


def _side_by_side(ordered: Hashes, within: int, bits: int, *, is_whole: bool) -> Iterator[Pairs]:
    """Yield pairs of sorted hashes that differ in few bits: all with the same leading `bits`, and some others.

    With `is_whole` runs are not indexed anew, however long.
    """
    if len(ordered) < 2:
        return
    starts = _starts(ordered, bits)
    lengths = np.diff(starts, append=len(ordered))
    long = np.flatnonzero(lengths > _LONG)
    if len(long) and not is_whole:
        shared = ALL & ~((1 << (WIDTH - bits)) - 1)
        remaining = np.ones(len(ordered), bool)
        for start, length in zip(starts[long], lengths[long], strict=True):
            yield from near_pairs(ordered[start : start + length], within, shared)
            remaining[start : start + length] = False
        ordered = ordered[remaining]
        lengths = np.delete(lengths, long)
    yield from _by_shifts(ordered, lengths, within)


def _starts(ordered: Hashes, bits: int) -> NDArray[np.int64]:
    """Return where each run of sorted hashes with the same leading bits begins."""
    starts = [np.zeros(1, np.int64)]
    for begin in range(0, len(ordered) - 1, _BLOCK) if bits else ():
        block = ordered[begin : begin + _BLOCK + 1] >> np.uint64(WIDTH - bits)
        starts.append(np.flatnonzero(block[1:] != block[:-1]) + begin + 1)
    return np.concatenate(starts)


def _batches(pairs: Iterator[Pairs]) -> Iterator[Pairs]:
    """Join small yields of pairs."""
    waiting: list[Pairs] = []
    size = 0
    for batch in pairs:
        waiting.append(batch)
        size += len(batch[0])
        if size > _BLOCK:
            yield _joined(waiting)
            waiting, size = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(batches: Sequence[Pairs]) -> Pairs:
    return np.concatenate([lower for lower, _ in batches]), np.concatenate([upper for _, upper in batches])


def _by_shifts(ordered: Hashes, lengths: NDArray[np.int64], within: int) -> Iterator[Pairs]:
    """Yield near pairs in runs of these lengths: each hash is compared with the next, the one after, and so on.

    While most hashes have one so far behind in their run, all are compared, whatever run they are in.
    """
    sizes = np.bincount(lengths)
    behind = np.cumsum(sizes[::-1])[::-1]  # runs at least so long
    partners = np.cumsum(behind[::-1])[::-1]  # hashes that have one so far behind, and one more
    dense = int(np.count_nonzero(partners[2:] * 6 > len(ordered)))
    for begin in range(0, len(ordered), _BLOCK) if dense else ():
        block = ordered[begin : begin + _BLOCK]
        for shift in range(1, dense + 1):
            behind_it = ordered[begin + shift : begin + shift + len(block)]
            near = np.bitwise_count(block[: len(behind_it)] ^ behind_it) <= within
            if near.any():
                at = np.flatnonzero(near)
                yield block[at], behind_it[at]
    yield from _sparse(ordered, lengths, within, dense + 1)


def _sparse(ordered: Hashes, lengths: NDArray[np.int64], within: int, shift: int) -> Iterator[Pairs]:
    """Go on from a shift that few hashes have a partner at."""
    ends = np.cumsum(lengths)
    long = lengths > shift
    starts, partners = (ends - lengths)[long], lengths[long] - shift
    at = np.repeat(starts - np.concatenate([[0], np.cumsum(partners)[:-1]]), partners) + np.arange(partners.sum())
    stop = np.repeat(ends[long], partners)
    while len(at):
        near = np.bitwise_count(ordered[at] ^ ordered[at + shift]) <= within
        if near.any():
            yield ordered[at[near]], ordered[at[near] + shift]
        shift += 1
        stays = at + shift < stop
        at, stop = at[stays], stop[stays]
