"""The words of texts as OBELICS takes them: what stands between blanks, without what is no letter at its ends.

Each is known by a 64-bit key of its lower case: these words are only counted and compared.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.signals.code_points import (
    BLANK,
    BYTES,
    CORE,
    TEXTS,
    UPPER,
    CodePoints,
    Counts,
    Points,
    code_points,
    lower_case,
)

Hashes = NDArray[np.uint64]
Places = NDArray[np.intp]
_BASE = 0x9E3779B97F4A7C15
_MIX = np.uint64(0xD6E8FEB86659FD93)
_USUAL = BYTES + TEXTS
"""Code points that are looked at together, at most, but for a text that is longer."""


class Words(NamedTuple):
    """The words of some texts."""

    lengths: Counts
    """How many words each text has."""
    keys: Hashes
    """The keys of all words in order, one text's behind another's."""
    capitals: Counts
    """How many words of each text begin in upper case."""


def between_blanks(text: CodePoints) -> tuple[Places, Places]:
    """Return where the runs between blanks begin and end, in the order of the texts."""
    blanks = np.flatnonzero(text.kinds & BLANK)
    begins = np.append(0, blanks + 1)[:-1]
    full = begins < blanks
    return begins[full], blanks[full]


def caption_words(text: CodePoints) -> Words:
    """Return the words of texts."""
    begins, ends = _places(text)
    capitals = text.count_at(begins[text.has(UPPER)[begins]])
    return Words(text.count_at(begins), _keys(text.points, begins, ends), capitals)


def _places(text: CodePoints) -> tuple[Places, Places]:
    """Return where the words of texts begin and end."""
    begins, ends = between_blanks(text)
    is_core = text.has(CORE)
    # Few have to be looked for: most words begin and end with a letter.
    cores = np.flatnonzero(is_core)
    at = np.flatnonzero(~is_core[begins])
    begins[at] = _at(cores, np.searchsorted(cores, begins[at]), beyond=len(is_core))
    full = begins < ends
    begins, ends = begins[full], ends[full]
    at = np.flatnonzero(~is_core[ends - 1])
    ends[at] = cores[np.searchsorted(cores, ends[at]) - 1] + 1
    return begins, ends


def _at(places: Places, numbers: Places, beyond: int) -> Places:
    """Return the places of these numbers, and `beyond` for a number that is too great."""
    return np.append(places, beyond)[numbers]


def keys_of(words: list[str]) -> Hashes:
    """Return the keys of words that stand alone."""
    frame = pl.DataFrame({"alt_text": words}, {"alt_text": pl.String})
    return np.concatenate([caption_words(text).keys for text in code_points(frame)])


def hashed(points: Points) -> Hashes:
    """Return a hash of each code point: sums of multiples of these tell orders of characters apart."""
    hashes = points.astype(np.uint64)
    hashes += np.uint64(1)
    hashes *= _MIX
    hashes ^= hashes >> np.uint64(32)
    return hashes


def _keys(points: Points, begins: Places, ends: Places) -> Hashes:
    """Return the keys of what stands between `begins` and `ends`: a polynomial of the hashes of the code points.

    The sums of all from the front give that of any stretch, times a power of the base that the stretch's place tells.
    """
    powers, inverse = _usual_powers() if len(points) <= _USUAL else _powers(len(points))
    sums = np.zeros(len(points) + 1, np.uint64)
    np.cumsum(hashed(_lowered(points)) * powers[: len(points)], out=sums[1:])
    return (sums[ends] - sums[begins]) * inverse[begins]


@cache
def _usual_powers() -> tuple[Hashes, Hashes]:
    return _powers(_USUAL)


def _powers(number: int) -> tuple[Hashes, Hashes]:
    """Return so many powers of the base, and of its inverse."""
    bases = _BASE, pow(_BASE, -1, 2**64)
    first, second = (np.full(number + 1, base, np.uint64) for base in bases)
    first[0] = second[0] = 1
    return np.cumprod(first), np.cumprod(second)


def _lowered(points: Points) -> Points:
    capital = (points - np.uint32(ord("A"))) < 26  # what is below wraps around to above
    lowered = points + capital.view(np.uint8) * np.uint32(32)
    wide = np.flatnonzero(points >= 128)
    lowered[wide] = lower_case()[points[wide]]
    return lowered
