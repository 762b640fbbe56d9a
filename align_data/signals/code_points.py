"""The code points of texts side by side, and what each is: for statistics that one look at every character tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

TEXTS = 2**11
"""Texts looked at together, at most: what is computed of them stays in a core's cache, in memory used again."""
BYTES = 2**18
"""Bytes of texts looked at together, but for a text that is longer."""

CORE, LETTER, DIGIT, UPPER, HAN, RUN, STOP, BLANK = (np.uint8(1 << bit) for bit in range(8))
STOPS = ",;:?!."
"""The punctuation marks that OBELICS counts."""
_CLASSES = {
    CORE: r"[\p{L}[\p{M}--[\p{Me}\p{VS}]]]",  # a keycap and an emoji's selector are no part of a word
    LETTER: r"\p{L}",
    DIGIT: r"\p{Nd}",
    UPPER: r"[\p{Lu}\p{Lt}]",
    HAN: r"\p{Han}",
    RUN: r"[\p{L}\p{M}\p{N}_']",
    STOP: f"[{STOPS}]",
    BLANK: " ",
}
_ALL = 0x110000

Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]
Points = NDArray[np.uint32]


@dataclass(frozen=True)
class CodePoints:
    """The code points of texts, with one between every two texts and behind the last."""

    points: Points
    kinds: NDArray[np.uint8]
    """The classes of each as bits; what stands between texts is BLANK."""
    ends: NDArray[np.intp]
    """Where each text ends: the place of what stands behind it."""

    @property
    def begins(self) -> NDArray[np.intp]:
        """Where each text begins."""
        return np.append(0, self.ends[:-1] + 1).astype(np.intp)[: len(self.ends)]

    @property
    def lengths(self) -> Counts:
        """How many code points each text has."""
        return np.diff(self.ends, prepend=-1) - 1

    def has(self, kinds: np.uint8) -> Flags:
        """Tell of each code point whether it is of one of the classes."""
        return (self.kinds & kinds).astype(bool)

    def count(self, flags: Flags) -> Counts:
        """Return how many code points of each text are flagged."""
        return self.count_at(np.flatnonzero(flags))

    def count_at(self, places: NDArray[np.intp]) -> Counts:
        """Return how many of some ascending places lie in each text."""
        return np.diff(np.searchsorted(places, self.ends), prepend=0)

    def before(self, flags: Flags) -> Flags:
        """Tell of each code point whether the one before it is flagged."""
        return np.append(False, flags[:-1])


def code_points(frame: pl.DataFrame) -> list[CodePoints]:
    """Return the code points of the texts of a piece, some thousand texts at a time."""
    return [_laid_out(texts) for texts in _together(frame["alt_text"])]


def _together(texts: pl.Series) -> Iterator[pl.Series]:
    behind = np.cumsum(texts.str.len_bytes().to_numpy(), dtype=np.int64)
    start = 0
    while start < len(texts) or not start:
        most = (behind[start - 1] if start else 0) + BYTES
        stop = max(start + 1, min(start + TEXTS, int(np.searchsorted(behind, most, side="right"))))
        yield texts[start:stop]
        start = stop


def _laid_out(texts: pl.Series) -> CodePoints:
    ends = np.cumsum(texts.str.len_chars().to_numpy() + np.int64(1)) - 1
    joined: str = texts.str.join("\n").item()
    points = np.frombuffer(f"{joined}\n".encode("utf-32-le"), np.uint32)
    kinds = classes().take(points)
    kinds[ends] = BLANK
    return CodePoints(points, kinds, ends)


@cache
def classes() -> NDArray[np.uint8]:
    """Return the classes of every code point as bits.

    Made by the regular expressions that define them, so that they have the Unicode version of all other signals.
    """
    table = np.zeros(_ALL, np.uint8)
    for bit, expression in _CLASSES.items():
        table[members(expression)] |= bit
    return table


@cache
def lower_case() -> Points:
    """Return the lower case of every code point that has one of one code point, and all others as they are."""
    table = np.arange(_ALL, dtype=np.uint32)
    cased = members(r"[\p{Lu}\p{Lt}]")
    lowered = pl.Series([chr(point) for point in cased]).str.to_lowercase()
    single = (lowered.str.len_chars() == 1).to_numpy()
    table[cased[single]] = np.frombuffer("".join(lowered.filter(single)).encode("utf-32-le"), np.uint32)
    return table


def members(expression: str) -> NDArray[np.intp]:
    """Return in order the code points that a regular expression of one character matches."""
    points = np.delete(np.arange(_ALL, dtype=np.uint32), np.arange(0xD800, 0xE000))
    # A run of a string of all characters in order is a range of them.
    runs = pl.Series([points.tobytes().decode("utf-32-le")]).str.extract_all(f"(?:{expression})+")[0]
    matching = "".join(runs).encode("utf-32-le")
    return np.frombuffer(matching, np.uint32).astype(np.intp)
