"""Which of many strings are anywhere in a text: phrases whose units are bytes, looked up from their first four on."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.flat_texts import Bytes, flat_bytes
from align_data.common.hashing import Hashes, pair_keys
from align_data.common.key_table import Places
from align_data.common.phrases import Trie

GRAM = 4
"""Bytes that are looked up at once: as many as make a number of 32 bits."""
_BITS = 20
_SPREAD = np.uint32(0x9E3779B1)
Grams = NDArray[np.uint32]


class Substrings:
    """Strings that are looked for in lines of bytes; none has a line feed."""

    def __init__(self, strings: pl.Series) -> None:
        content, ends = flat_bytes(strings)
        lengths, starts = np.diff(ends), ends[:-1]
        padded = np.append(content, np.zeros(GRAM, np.uint8))
        self._sizes = [
            _Size(size, np.flatnonzero(np.minimum(lengths, GRAM) == size), lengths, starts, padded)
            for size in range(1, GRAM + 1)
            if (np.minimum(lengths, GRAM) == size).any()
        ]

    def occurrences(self, lines: Bytes) -> tuple[Places, NDArray[np.int32]]:
        """Return where strings begin in `lines`, of which the last byte is a line feed, and which strings."""
        grams = _grams(np.append(lines, np.zeros(GRAM - 1, np.uint8)))
        each = [size.occurrences(grams, lines) for size in self._sizes]
        places, strings = zip(*each, strict=True) if each else ((), ())
        return (
            np.concatenate([np.empty(0, np.intp), *places]),
            np.concatenate([np.empty(0, np.int32), *strings]),
        )


class _Size:
    """Strings of so many bytes, or of GRAM and more."""

    def __init__(self, size: int, strings: Places, lengths: NDArray[np.int64], starts: Places, content: Bytes) -> None:
        self._size = size
        grams = self._of(_grams(content)[starts[strings]])
        # Most grams of a text begin no string: one look at a table that a core's cache holds tells it.
        self._is_there = np.zeros(2**_BITS, bool)
        self._is_there[_slots(grams)] = True
        units = content.astype(np.uint64)
        self._trie = Trie(strings, lengths[strings], starts[strings], self._keys(grams), units, first=size)

    def _of(self, grams: Grams) -> Grams:
        """Return the first bytes of grams: they come first in memory, and so are the lowest."""
        return grams & np.uint32(2 ** (8 * self._size) - 1) if self._size < GRAM else grams

    def _keys(self, grams: Grams) -> Hashes:
        return pair_keys(grams.astype(np.uint64), np.full(len(grams), self._size, np.uint64))

    def occurrences(self, grams: Grams, lines: Bytes) -> tuple[Places, NDArray[np.int32]]:
        grams = self._of(grams)
        at = np.flatnonzero(self._is_there.take(_slots(grams)))
        return self._trie.occurrences(at, self._keys(grams.take(at)), lines)


def _grams(content: Bytes) -> Grams:
    """Return the GRAM bytes from each byte on as a number, the first byte the lowest."""
    return np.ndarray(max(0, len(content) - GRAM + 1), "<u4", np.ascontiguousarray(content), strides=(1,)).copy()


def _slots(grams: Grams) -> Places:
    return ((grams * _SPREAD) >> np.uint32(32 - _BITS)).astype(np.intp)
