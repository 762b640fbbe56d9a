"""Which of many phrases are in a text, all occurrences, also those within each other.

A phrase is a run of units, such as words, each by its 64-bit key. What Aho and Corasick's automaton does unit by unit,
this does for all texts of a piece at once: the first units of all phrases are looked up at every place of the texts,
the second ones where a phrase may go on, and so on. It visits every place once for each unit of the longest beginning
of a phrase there, which for natural phrases is hardly more than once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from align_data.common.hashing import Hashes, pair_keys
from align_data.common.key_table import KeyTable, Places


@dataclass(frozen=True)
class Occurrences:
    """Where phrases are in some texts, in no order."""

    rows: NDArray[np.int32]
    phrases: NDArray[np.int32]


@dataclass(frozen=True)
class _Level:
    """All beginnings of phrases of so many units: which are a phrase, -1 for none, and which go on."""

    beginnings: KeyTable
    phrases: NDArray[np.int32]
    goes_on: NDArray[np.bool_]


class Phrases:
    """Phrases, by how many units each has and the keys of all their units; one without units is nowhere."""

    def __init__(self, lengths: NDArray[np.int64], units: Hashes) -> None:
        phrases = np.flatnonzero(lengths)
        starts = (np.cumsum(lengths) - lengths)[phrases]
        self._trie = Trie(phrases, lengths[phrases], starts, units[starts], units, first=1)
        self.keys = np.zeros(len(lengths), np.uint64)
        """Each phrase's own key; of two equal phrases only the first is ever met."""
        self.keys[phrases] = self._trie.keys

    def occurrences(self, lengths: NDArray[np.int64], units: Hashes) -> Occurrences:
        """Return all phrases in texts of so many units each, one text's behind another's."""
        rows = np.full(len(units) + 1, -1, np.int32)  # behind the last unit is no row
        rows[:-1] = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)

        def go_on(at: Places, depth: int) -> Places:
            return np.flatnonzero(rows.take(at + depth) == rows.take(at))

        at, phrases = self._trie.occurrences(np.arange(len(units)), units, units, go_on)
        return Occurrences(rows.take(at), phrases)


class Trie:
    """The beginnings of phrases, level by level, from those of `first` units on, whose keys are there already.

    `phrases` are their numbers, `starts` where each one's units begin in `units`; none is shorter than `first`.
    """

    def __init__(
        self,
        phrases: Places,
        lengths: NDArray[np.int64],
        starts: Places,
        keys: Hashes,
        units: Hashes,
        *,
        first: int,
    ) -> None:
        self.keys = keys.copy()
        """The key of each whole phrase."""
        self._first = first
        self._levels: list[_Level] = []
        at = np.arange(len(phrases))
        depth = first
        while len(at):
            is_whole = lengths[at] == depth
            self.keys[at] = keys
            self._levels.append(_level(keys, phrases[at], is_whole))
            at, keys = at[~is_whole], keys[~is_whole]
            keys = pair_keys(keys, units[starts[at] + depth])
            depth += 1

    def occurrences(
        self, at: Places, keys: Hashes, units: NDArray[Any], go_on: Callable[[Places, int], Places] | None = None
    ) -> tuple[Places, NDArray[np.int32]]:
        """Return where phrases begin in `units`, and which: those of which the beginnings at `at` have these keys.

        `go_on` says at which of some places a unit of the same text follows behind so many; by default at all.
        """
        places, numbers = [at[:0]], [np.empty(0, np.int32)]
        for depth, level in enumerate(self._levels, self._first):
            which, known = level.beginnings.hits(keys)
            at, keys = at.take(which), keys.take(which)
            phrases = level.phrases.take(known)
            is_phrase = np.flatnonzero(phrases >= 0)
            places.append(at.take(is_phrase))
            numbers.append(phrases.take(is_phrase))
            on = np.flatnonzero(level.goes_on.take(known))
            at, keys = at.take(on), keys.take(on)
            if go_on is not None:
                on = go_on(at, depth)
                at, keys = at.take(on), keys.take(on)
            if not len(at):
                break
            keys = pair_keys(keys, units.take(at + depth).astype(np.uint64, copy=False))
        return np.concatenate(places), np.concatenate(numbers)


def _level(keys: Hashes, phrases: Places, is_whole: NDArray[np.bool_]) -> _Level:
    distinct, places = np.unique(keys, return_inverse=True)
    whole = np.full(len(distinct), -1, np.int32)
    # Backwards, so that of equal phrases the first stays.
    whole[places[is_whole][::-1]] = phrases[is_whole][::-1]
    goes_on = np.zeros(len(distinct), bool)
    goes_on[places[~is_whole]] = True
    return _Level(KeyTable(distinct), whole, goes_on)
