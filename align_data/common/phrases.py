"""Which of many phrases are in a text, all occurrences, also those within each other.

A phrase is a run of units, such as words, each by its 64-bit key. What Aho and Corasick's automaton does unit by unit,
this does for all texts of a piece at once: the first units of all phrases are looked up at every place of the texts,
the second ones where a phrase may go on, and so on. It visits every place once for each unit of the longest beginning
of a phrase there, which for natural phrases is hardly more than once.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        self.keys = np.zeros(len(lengths), np.uint64)
        """Each phrase's own key; of two equal phrases only the first is ever met."""
        self._levels: list[_Level] = []
        ends = np.cumsum(lengths)
        phrases = np.flatnonzero(lengths)
        starts = (ends - lengths)[phrases]
        keys = units[starts] if len(phrases) else np.empty(0, np.uint64)
        depth = 1
        while len(phrases):
            is_whole = lengths[phrases] == depth
            self.keys[phrases[is_whole]] = keys[is_whole]
            self._levels.append(_level(keys, phrases, is_whole))
            phrases, starts, keys = phrases[~is_whole], starts[~is_whole], keys[~is_whole]
            keys = pair_keys(keys, units[starts + depth])
            depth += 1

    def occurrences(self, lengths: NDArray[np.int64], units: Hashes) -> Occurrences:
        """Return all phrases in texts of so many units each, one text's behind another's."""
        rows = np.full(len(units) + 1, -1, np.int32)  # behind the last unit is no row
        rows[:-1] = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        of_rows, of_phrases = [rows[:0]], [rows[:0]]
        at, keys = np.arange(len(units)), units
        for depth, level in enumerate(self._levels, 1):
            which, places = level.beginnings.hits(keys)
            at = at.take(which)
            phrases = level.phrases.take(places)
            is_phrase = np.flatnonzero(phrases >= 0)
            of_rows.append(rows.take(at.take(is_phrase)))
            of_phrases.append(phrases.take(is_phrase))
            on = np.flatnonzero(level.goes_on.take(places))
            on = on[rows.take(at.take(on) + depth) == rows.take(at.take(on))]
            if not len(on):
                break
            at, keys = at.take(on), keys.take(which.take(on))
            keys = pair_keys(keys, units.take(at + depth))
        return Occurrences(np.concatenate(of_rows), np.concatenate(of_phrases))


def _level(keys: Hashes, phrases: Places, is_whole: NDArray[np.bool_]) -> _Level:
    distinct, places = np.unique(keys, return_inverse=True)
    whole = np.full(len(distinct), -1, np.int32)
    # Backwards, so that of equal phrases the first stays.
    whole[places[is_whole][::-1]] = phrases[is_whole][::-1]
    goes_on = np.zeros(len(distinct), bool)
    goes_on[places[~is_whole]] = True
    return _Level(KeyTable(distinct), whole, goes_on)
