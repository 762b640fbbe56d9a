"""How much texts repeat themselves: by words, by several words in a row, by several characters in a row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.signals.caption_words import Hashes, Words, hashed
from align_data.signals.code_points import CodePoints, Counts, Flags

ROWS = 2**13
"""Texts whose n-grams are sorted together, at most."""
_KEY = np.uint64(64 - 13)
"""Bits of a sorted n-gram that are of its hash; the rest has its row."""
_ODD = np.uint64(0x9E3779B97F4A7C15)
Shares = NDArray[np.float64]


class Runs(NamedTuple):
    """The distinct n-grams of some texts."""

    rows: NDArray[np.intp]
    """Whose each is, ascending."""
    counts: Counts
    """How often it occurs there."""


def runs(lengths: Counts, keys: Hashes, *, repeating: bool = False) -> Runs:
    """Return the distinct n-grams of at most ROWS texts, which have `lengths` many; only of texts `repeating` any.

    Two of a text are taken for one by chance once in 10^15.
    """
    packed = keys * _ODD
    packed >>= np.uint64(64) - _KEY
    packed |= np.repeat(np.arange(len(lengths), dtype=np.uint64) << _KEY, lengths)
    # Several times as fast as numpy where that has no vector instructions to sort with.
    packed = pl.Series(packed).sort(multithreaded=False).to_numpy()
    is_first = np.append(True, packed[1:] != packed[:-1])[: len(packed)]
    if repeating:  # of few texts, and the rest is not looked at further
        repeats = np.zeros(len(lengths), bool)
        repeats[(packed[~is_first] >> _KEY).astype(np.intp)] = True
        those = np.repeat(repeats, lengths)
        packed, is_first = packed[those], is_first[those]
    begins = np.flatnonzero(is_first)
    return Runs((packed[begins] >> _KEY).astype(np.intp), np.diff(begins, append=len(packed)))


def share(part: Counts | Shares, whole: Counts) -> Shares:
    """Return which share of a whole a part is; 0 of nothing."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


def flagged(lengths: Counts, flags: Flags) -> Counts:
    """Return how many of the words of each text are flagged; the flags of one text's stand behind another's."""
    before = np.append(0, np.cumsum(flags))
    return np.diff(before[np.cumsum(lengths)], prepend=0)


def commonest(lengths: Counts, keys: Hashes) -> tuple[Counts, Counts]:
    """Return how often the most frequent word of each text occurs, and how many different ones it has."""
    distinct = np.zeros(len(lengths), np.int64)
    greatest = np.zeros(len(lengths), np.int64)
    for start in range(0, len(lengths), ROWS):
        rows = slice(start, start + ROWS)
        first, last = int(lengths[:start].sum()), int(lengths[: start + ROWS].sum())
        of = runs(lengths[rows], keys[first:last])
        distinct[rows] = np.bincount(of.rows, minlength=len(lengths[rows]))
        np.maximum.at(greatest[rows], of.rows, of.counts)
    return greatest, distinct


def word_repetition(words: Words, n: int) -> Shares:
    """Return which share of the n-grams of words occur more than once in their text."""
    ends = np.cumsum(words.lengths)
    grams = np.maximum(words.lengths - n + 1, 0)
    begins = np.repeat(ends - words.lengths, grams) + _counted(grams)
    key = np.zeros(len(begins), np.uint64)
    for at in range(n):
        key = key * _ODD + words.keys[begins + at]
        key ^= key >> np.uint64(29)
    of = runs(grams, key, repeating=True)
    again = of.counts > 1
    return share(np.bincount(of.rows[again], of.counts[again], len(grams)), grams)


def _counted(lengths: Counts) -> Counts:
    """Return 0, 1, 2 and so on up to each length, one behind the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)


def char_repetition_10(text: CodePoints) -> Shares:
    """Return which share of the 10-grams of characters the most frequent repeated ones have.

    As OBELICS and the BigScience corpus before it: of those that occur more than once as many as the square root of
    how many different ones there are, the most frequent first.
    """
    grams = np.maximum(text.lengths - 9, 0)
    of = runs(grams, _tens(text), repeating=True)
    distinct = np.bincount(of.rows, minlength=len(grams))
    again = of.counts > 1
    rows, counts = of.rows[again], of.counts[again]
    order = np.lexsort((-counts, rows))
    rows, counts = rows[order], counts[order]
    repeated = np.bincount(rows, minlength=len(grams))
    counted = _counted(repeated) < np.sqrt(distinct).astype(np.int64)[rows]
    return share(np.bincount(rows[counted], counts[counted], len(grams)), grams)


def _tens(text: CodePoints) -> Hashes:
    """Return a hash of every ten characters in a row, those of one text behind those of another."""
    whole = np.ones(max(len(text.points) - 9, 0), bool)
    for back in range(10):
        # Ten that reach what stands behind their text.
        at = text.ends - back
        whole[at[(at >= 0) & (at < len(whole))]] = False
    one = hashed(text.points)
    two = _chained(one, one, 1)
    eight = _chained(_chained(two, two, 2), _chained(two, two, 2), 4)
    return _chained(eight, two, 8)[: len(whole)][whole]


def _chained(front: Hashes, behind: Hashes, length: int) -> Hashes:
    """Return a hash of what has `length` characters and what follows it."""
    factor = np.uint64(pow(int(_ODD), length, 2**64))
    behind = behind[length:]
    return front[: len(behind)] * factor + behind
