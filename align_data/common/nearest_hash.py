"""The nearest of some listed 64-bit hashes, exactly: by comparing all with all, or by keys that near ones share."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from align_data.common.bits import ALL, WIDTH, chunks, leading, moved, spread
from align_data.common.hashing import Hashes
from align_data.common.sorting import argsort

Distances = NDArray[np.uint8]
Places = NDArray[np.int64]
FAR = WIDTH + 1
"""The distance that stands for 'none within'."""
HELD = 2**19
"""Distances that are held at once, where all are compared with all."""
_BLOCK = 2**15
"""Hashes that are looked up at a time, which stay in the processor's cache."""
_COMPARE, _LOOK_UP, _CANDIDATE, _LIST, _KEY = 0.7, 25.0, 8.0, 60.0, 3.0
"""Nanoseconds: to compare two hashes of many, to look one up by a key, to compare one with a candidate, to sort a
listed one by a key, to tell where a key begins."""
_PLACE = np.int64(48)
"""Bits of a place, behind those of a distance."""


def nearest_hash(hashes: Hashes, listed: Hashes, within: int, held: int = HELD) -> tuple[Distances, Places]:
    """Return for each hash the least distance to a listed one, and the first such one's place.

    FAR and 0 where none is within the distance, or none is listed.
    """
    number = _chunks(len(hashes), len(listed), within)
    distances, places = (
        _compared(hashes, listed, held)
        if number is None
        else _looked_up(spread(hashes), spread(listed), within, number)
    )
    far = distances > within
    distances[far], places[far] = FAR, 0
    return distances, places


def _chunks(size: int, listed: int, within: int) -> int | None:
    """Return into how many chunks the bits are best divided; None where comparing all with all costs less."""

    def cost(number: int) -> float:
        bits = min(WIDTH * (number - within) / number, _table_bits(listed))
        alike: float = listed / 2.0**bits
        each: float = size * (_LOOK_UP + alike * _CANDIDATE) + listed * _LIST + 2.0**bits * _KEY
        return comb(number, within) * each

    best = min(range(within + 1, min(WIDTH, within + 10) + 1), key=cost, default=None)
    return None if best is None or cost(best) > float(size) * listed * _COMPARE else best


def _table_bits(listed: int) -> int:
    """Return how many leading bits of a key tell where to look: with more, most of a table would be empty."""
    return listed.bit_length() + 1


def _compared(hashes: Hashes, listed: Hashes, held: int) -> tuple[Distances, Places]:
    """Compare all hashes with all."""
    best, place = np.full(len(hashes), FAR, np.uint8), np.zeros(len(hashes), np.int64)
    width = max(1, min(len(listed), 2**16))
    step = max(1, held // width)
    for begin in range(0, len(listed), width):
        block = listed[begin : begin + width]
        for top in range(0, len(hashes), step):
            distances = np.bitwise_count(hashes[top : top + step, None] ^ block)
            at = distances.argmin(axis=1)
            least = np.take_along_axis(distances, at[:, None], axis=1)[:, 0]
            better = least < best[top : top + step]  # of equally near ones the first stays
            best[top : top + step][better] = least[better]
            place[top : top + step][better] = at[better] + begin
    return best, place


def _looked_up(hashes: Hashes, listed: Hashes, within: int, number: int) -> tuple[Distances, Places]:
    """Compare each hash with the listed ones that agree with it in some choice of chunks."""
    best = np.full(len(hashes), FAR << _PLACE, np.int64)  # a distance, and the place behind it
    parts = chunks(ALL, number)
    for choice in combinations(range(number), number - within):
        key = sum(parts[chunk] for chunk in choice)
        moves, bits = leading(key), min(key.bit_count(), _table_bits(len(listed)))
        order, ordered = argsort(moved(listed, moves))
        begins = np.zeros((1 << bits) + 1, np.int64)
        sizes = np.bincount((ordered >> np.uint64(WIDTH - bits)).astype(np.int64), minlength=1 << bits)
        np.cumsum(sizes, out=begins[1:])
        for start in range(0, len(hashes), _BLOCK):
            block = moved(hashes[start : start + _BLOCK], moves)
            keys = (block >> np.uint64(WIDTH - bits)).astype(np.int64)
            into = best[start : start + _BLOCK]
            for rows, at in _candidates(begins[keys], begins[keys + 1]):
                distance = np.bitwise_count(block[rows] ^ ordered[at])
                near = np.flatnonzero(distance <= within)
                if len(near):
                    rows_near, nearness = rows[near], distance[near].astype(np.int64) << _PLACE
                    into[rows_near] = np.minimum(into[rows_near], nearness | order[at[near]])
    return (best >> _PLACE).astype(np.uint8), best & ((1 << _PLACE) - 1)


def _candidates(starts: Places, stops: Places) -> Iterator[tuple[Places, Places]]:
    """Yield rows and a place of each: the first of its stretch, and then the next, as long as there is one."""
    rows = np.flatnonzero(starts < stops)
    at, stop = starts[rows], stops[rows]
    while len(rows):
        yield rows, at
        at = at + 1
        stays = at < stop
        rows, at, stop = rows[stays], at[stays], stop[stays]
