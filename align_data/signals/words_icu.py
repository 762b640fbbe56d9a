"""Words as ICU parts texts (extra `icu`): by UAX #29, and by dictionaries where words are written without spaces.

icu4py brings ICU's code with its dictionaries of Chinese and Japanese, Thai, Lao, Khmer and Burmese. Where the
tokenizer `words` counts each character of these, this counts the words that a reader sees.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.signals.base import Piece, Signal

_TOGETHER = 2**20
"""Characters of texts that ICU is shown together, but for a longer text: a call costs as much as ten words."""
_LOCALE = "en"
"""Of a language that has no rules of its own."""


def missing() -> str | None:
    """Say why ICU cannot be asked here, or None if it can."""
    if importlib.util.find_spec("icu4py"):
        return None
    return "need the extra icu: pip install 'align-data[icu]'"


def _version() -> str | None:
    return str(importlib.import_module("icu4py").icu_version) if missing() is None else None


def n_words_icu(piece: Piece) -> pl.Series:
    """Count the segments that have a letter or a number."""
    texts = piece.frame["alt_text"]
    counts = [_counted(together) for together in _together(texts)]
    return pl.Series(np.concatenate([np.empty(0, np.int32), *counts]), dtype=pl.Int32)


def _together(texts: pl.Series) -> Iterator[pl.Series]:
    """Yield the texts in runs of about _TOGETHER characters."""
    ends = texts.str.len_chars().to_numpy().astype(np.int64).cumsum()
    start = 0
    while start < len(texts):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + _TOGETHER, side="right")))
        yield texts[start:end]
        start = end


def _counted(texts: pl.Series) -> NDArray[np.int32]:
    """Return how many words each text has; between lines there is always a boundary."""
    lines = "\n".join(texts)
    breaker = importlib.import_module("icu4py.breakers").WordBreaker(lines, _LOCALE)
    starts, ends = np.fromiter(chain.from_iterable(breaker.segments()), np.int32).reshape(-1, 2).T
    characters = np.frombuffer(lines.encode("utf-32-le"), np.uint32)
    units = np.where(characters < 0x10000, np.int8(1), np.int8(2))  # ICU counts in UTF-16
    before = _sums(np.repeat(_of_words()[characters], units))
    words = starts[before[ends] > before[starts]]
    ends_of_texts = np.cumsum(texts.str.len_chars().to_numpy().astype(np.int64) + 1) - 1
    counts: NDArray[np.int32] = np.diff(np.searchsorted(words, _sums(units)[ends_of_texts]), prepend=0).astype(np.int32)
    return counts


def _sums(values: NDArray[Any]) -> NDArray[np.int32]:
    """Return the sum of what is before each value, and of all."""
    sums = np.zeros(len(values) + 1, np.int32)
    np.cumsum(values, out=sums[1:])
    return sums


@cache
def _of_words() -> NDArray[np.bool_]:
    """Tell of every code point whether it is a letter or a number, by the Unicode version of all other signals."""
    points = np.delete(np.arange(0x110000, dtype=np.uint32), np.arange(0xD800, 0xE000))
    of_words = "".join(pl.Series([points.tobytes().decode("utf-32-le")]).str.extract_all(r"[\p{L}\p{N}]+")[0])
    table = np.zeros(0x110000, dtype=bool)
    table[np.frombuffer(of_words.encode("utf-32-le"), np.uint32)] = True
    return table


SIGNALS = (
    Signal(
        name="n_words_icu",
        kind="row",
        group="text",
        type="int32",
        unit="words",
        about="Number of words as ICU parts the text: segments of UAX #29 that have a letter or a number (Unicode's L "
        "and N), by ICU's dictionaries in Chinese, Japanese, Thai, Lao, Khmer and Burmese, where n_words counts "
        "characters. Hyphens part words: mother-in-law is three.",
        source="UAX #29, Unicode Text Segmentation, and ICU",
        needs=("alt_text",),
        measure=n_words_icu,
        params={"icu": _version},
        missing=missing,
        on_request=True,
    ),
)
