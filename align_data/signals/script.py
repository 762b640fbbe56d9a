"""The dominant writing system of a text."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

NONE, OTHER = "None", "Other"

# Unicode's long names. Every script with a living literature on the web; the rest is Other.
SCRIPTS = (
    *("Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Han", "Hiragana", "Katakana", "Hangul", "Bopomofo"),
    *("Thai", "Lao", "Khmer", "Myanmar", "Tibetan", "Devanagari", "Bengali", "Gurmukhi", "Gujarati", "Oriya"),
    *("Tamil", "Telugu", "Kannada", "Malayalam", "Sinhala", "Georgian", "Armenian", "Ethiopic", "Mongolian"),
    *("Cherokee", "Syriac", "Thaana", "Canadian_Aboriginal", "Tifinagh", "Nko", "Javanese", "Balinese"),
)
_NAMES = pl.Series([NONE, *SCRIPTS, OTHER])


def script(texts: pl.Series) -> pl.Series:
    """Return the script that most letters of each text are of, the first in SCRIPTS of equals; NONE without letters."""
    plain = texts.str.len_bytes() == texts.str.len_chars()
    number = np.where(texts.str.contains("[A-Za-z]").to_numpy(), 1, 0)
    mixed = np.flatnonzero(~plain.to_numpy())
    if len(mixed):
        number[mixed] = _dominant(texts.gather(mixed))
    return _NAMES.gather(number).alias("script")


def _dominant(texts: pl.Series) -> NDArray[np.intp]:
    """Return the number of each text's script in _NAMES, by counting code points."""
    lengths = texts.str.len_chars().to_numpy()
    letters = _table()[np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)]
    row = np.repeat(np.arange(len(texts)), lengths)
    width = len(_NAMES)
    counts = np.bincount(row * width + letters, minlength=len(texts) * width).reshape(len(texts), width)
    counts[:, 0] = 0  # what is not a letter
    dominant: NDArray[np.intp] = counts.argmax(axis=1)
    return dominant


@cache
def _table() -> NDArray[np.uint8]:
    """Return for every code point the number of its script in _NAMES, 0 if it is not a letter.

    Made by the regular expressions that define the scripts, so that it has the Unicode version of all other signals.
    """
    points = np.delete(np.arange(0x110000, dtype=np.uint32), np.arange(0xD800, 0xE000))
    letters = "".join(pl.Series([points.tobytes().decode("utf-32-le")]).str.extract_all(r"\p{L}+")[0])
    points = np.frombuffer(letters.encode("utf-32-le"), np.uint32)
    alphabet = pl.Series([letters])
    table = np.zeros(0x110000, dtype=np.uint8)
    table[points] = len(_NAMES) - 1
    for number, name in enumerate(SCRIPTS, 1):
        for run in alphabet.str.extract_all(rf"\p{{{name}}}+")[0]:
            # A run of a string of all letters in order is a range of them.
            first, last = np.searchsorted(points, [ord(run[0]), ord(run[-1])])
            table[points[first : last + 1]] = number
    return table
