"""Bits of 64-bit hashes: spread, and moved so that those of a mask lead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from align_data.common.hashing import Hashes

WIDTH = 64
ALL = 2**WIDTH - 1
_STEP = 37
"""How far apart neighbouring bits of a hash are put: odd, so that each has a place of its own."""
_BLOCK = 2**15
"""Hashes moved at a time, which stay in the processor's cache."""
Moves = Sequence[tuple[int, int, int]]
"""Masks of bits that stay side by side, and by how many places each goes up and down."""


@cache
def _tables() -> NDArray[np.uint64]:
    """Return what each value of each byte of a hash becomes, where its bits are spread."""
    tables = np.zeros((8, 256), np.uint64)
    values = np.arange(256, dtype=np.uint64)
    for bit in range(WIDTH):
        byte, within = divmod(bit, 8)
        place = bit * _STEP % WIDTH
        tables[byte] |= (values >> np.uint64(within) & np.uint64(1)) << np.uint64(place)
    return tables


def spread(hashes: Hashes) -> Hashes:
    """Return hashes with their bits in another, fixed order: neighbouring ones of a pHash say nearly the same."""
    whole = np.zeros(len(hashes), np.uint64)
    for place, table in enumerate(_tables()):
        whole |= table[(hashes >> np.uint64(8 * place)).astype(np.uint8)]
    return whole


def chunks(mask: int, number: int) -> list[int]:
    """Divide the bits of a mask among `number` masks as evenly as can be, in order."""
    places = [place for place in range(WIDTH) if mask >> place & 1]
    ends = [len(places) * i // number for i in range(number + 1)]
    return [sum(1 << place for place in places[start:stop]) for start, stop in pairwise(ends)]


def leading(mask: int) -> Moves:
    """Return the moves by which the bits of a mask come to lead, and all others to follow, each in their order."""
    moves = []
    place = WIDTH
    for half in (mask, ALL & ~mask):
        for begin, width in _runs(half):
            place -= width
            moves.append((((1 << width) - 1) << begin, max(0, place - begin), max(0, begin - place)))
    return moves


def _runs(mask: int) -> Iterator[tuple[int, int]]:
    """Yield place and length of each run of set bits, from the highest."""
    place = WIDTH
    while mask & ((1 << place) - 1):
        end = (mask & ((1 << place) - 1)).bit_length()
        begin = end
        while begin and mask >> (begin - 1) & 1:
            begin -= 1
        yield begin, end - begin
        place = begin


def moved(hashes: Hashes, moves: Moves) -> Hashes:
    """Return hashes with their bits moved."""
    whole = np.zeros(len(hashes), np.uint64)
    for begin in range(0, len(hashes), _BLOCK):
        block, into = hashes[begin : begin + _BLOCK], whole[begin : begin + _BLOCK]
        for mask, up, down in moves:
            piece = block & np.uint64(mask)
            if up:
                piece <<= np.uint64(up)
            else:
                piece >>= np.uint64(down)
            into |= piece
    return whole


def back(moves: Moves) -> Moves:
    """Return the moves that undo these."""
    return [((mask << up) >> down, down, up) for mask, up, down in moves]
