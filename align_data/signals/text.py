"""Signals of the text and the URL alone."""

from __future__ import annotations

import numpy as np
import polars as pl

from align_data.signals.base import Piece, Signal
from align_data.signals.script import script
from align_data.signals.words import whitespace

HOST = r"^[hH][tT][tT][pP][sS]?://(?:[^/?#@]*@)?(\[[^\]/?#]*\]|[^/?#:]*)"
"""The host of an absolute URL, as group 1."""

FASTTEXT = r"[^ \n\r\t\x0b\x0c\x00]+|\n"
"""One word of fastText, as Dictionary::readWord reads it: no other white space parts words."""


def n_words(piece: Piece) -> pl.Series:
    """Count the words of tokenizer `words`."""
    return pl.Series(piece.words.lengths.astype(np.int32))


def n_words_whitespace(piece: Piece) -> pl.Series:
    """Count words as str.split does."""
    return whitespace(piece.frame["alt_text"])


def n_words_fasttext(piece: Piece) -> pl.Series:
    """Count words as fastText's `tokenize` does, whose line ends are words too."""
    return piece.frame["alt_text"].str.count_matches(FASTTEXT).cast(pl.Int32)


def n_chars(piece: Piece) -> pl.Series:
    """Count code points."""
    return piece.frame["alt_text"].str.len_chars().cast(pl.Int32)


def text_script(piece: Piece) -> pl.Series:
    """Name the dominant script."""
    return script(piece.frame["alt_text"])


def host(piece: Piece) -> pl.Series:
    """Take the host out of the URL, in lower case; the empty text where a takedown left no URL."""
    return piece.frame["url"].str.extract(HOST, 1).str.to_lowercase().fill_null("")


SIGNALS = (
    Signal(
        name="n_words",
        kind="row",
        group="text",
        type="int32",
        unit="words",
        about="Number of words (tokenizer `words`): a word begins with a letter or a decimal digit (Unicode's L and "
        "Nd) and goes on with these and marks; one apostrophe or hyphen between two such runs keeps them together, "
        "as do Hebrew's geresh and gershayim and Armenian's signs inside words. "
        "Each Han, Hiragana, Katakana, Thai, Lao, Khmer or Myanmar letter or number, and the sound mark ー, is a word, "
        "with its marks. Format characters (Cf), such as joiners and soft hyphens, are passed over; the zero width "
        "space parts words.",
        source="ours; ALIGN section 3 counts unigrams and names no tokenizer",
        needs=("alt_text",),
        measure=n_words,
        version=2,
    ),
    Signal(
        name="n_words_whitespace",
        kind="row",
        group="text",
        type="int32",
        unit="words",
        about="Number of words (tokenizer `whitespace`) as Python's str.split counts them.",
        source="DataComp, baselines/apply_filter.py",
        needs=("alt_text",),
        measure=n_words_whitespace,
        former="n_words.whitespace",
    ),
    Signal(
        name="n_words_fasttext",
        kind="row",
        group="text",
        type="int32",
        unit="words",
        about="Number of words as fastText's `tokenize` counts them: what blanks, tabs, line ends, carriage returns, "
        "vertical tabs, form feeds and NULs part, and each line end. All white space of a stored text is blanks, so "
        "it is n_words_whitespace; in the raw text a no-break or an ideographic space parts nothing.",
        source="fastText, Dictionary::readWord; DataComp's image-based filter counts so, in the raw text",
        needs=("alt_text",),
        measure=n_words_fasttext,
        on_request=True,
    ),
    Signal(
        name="n_chars",
        kind="row",
        group="text",
        type="int32",
        unit="code points",
        about="Number of Unicode code points of the normalised text.",
        source="LAION and DataComp, who count those of the raw text",
        needs=("alt_text",),
        measure=n_chars,
    ),
    Signal(
        name="script",
        kind="row",
        group="text",
        type="string",
        unit="Unicode script",
        about="The writing system that most letters of the text are of, by Unicode's long name (Latin, Han, Cyrillic); "
        "None for a text without letters, Other for a rare one.",
        source="ours",
        needs=("alt_text",),
        measure=text_script,
        erased_by_takedown=False,
    ),
    Signal(
        name="host",
        kind="row",
        group="text",
        type="string",
        unit="host name",
        about="The host in the image's URL, in lower case, without port and user.",
        source="ours",
        needs=("url",),
        measure=host,
        erased_by_takedown=True,
    ),
)
