"""Signals counted over the whole raw pool, before any rule: the keys that are counted, and the values read from totals.

A pair of words never occurs more often than either of its words. So the rarest n-gram of a text of two words or
more is a pair of words, and of the words alone only those that are a whole text need an answer.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.hashing import Keys, keys, pair_keys
from align_data.common.sorting import least
from align_data.signals.base import Piece, PoolCount, Signal
from align_data.signals.words import without_format

RAREST_NGRAM = "rarest_ngram"
NO_NGRAM = int(np.iinfo(np.int64).max)
_UNFOLDED = r"[^\p{L}[\p{M}--[\p{Me}\p{VS}]]0]+"
"""What is no letter, no mark on letters and no number that has become 0."""


def text_keys(piece: Piece) -> Keys:
    """Return each text's key."""
    return keys(piece.frame["alt_text"]).view(np.int64)


def folded(texts: pl.Series) -> pl.Series:
    """Return texts in lower case, each number as 0, and what is neither letter nor number as a blank."""
    lowered = without_format(texts).str.to_lowercase()
    return lowered.str.replace_all(r"\p{Nd}+", "0").str.replace_all(_UNFOLDED, " ").str.strip_chars(" ")


def folded_keys(piece: Piece) -> Keys:
    """Return the key of each folded text."""
    return keys(folded(piece.frame["alt_text"])).view(np.int64)


def ngram_keys(piece: Piece) -> tuple[Keys, Keys, NDArray[np.int32]]:
    """Return the keys of all n-grams of a piece: those only counted, those also looked up, and of these how many a row.

    Every occurrence is in one of the two; those looked up are in the order of the rows.
    """
    lengths, words = piece.words
    several = lengths > 1
    ends = np.cumsum(lengths) - 1
    ends, alone = ends[several], ends[lengths == 1]
    queries = np.empty_like(words)
    queries[:-1] = pair_keys(words[:-1], words[1:])
    queries[alone] = words[alone]
    queried = np.ones(len(words), dtype=bool)
    queried[ends] = False
    counted = np.delete(words, alone)
    return counted.view(np.int64), queries[queried].view(np.int64), (lengths - several).astype(np.int32)


def rarest(totals: NDArray[np.int64], lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return for each row the least of its totals, which are `lengths` many; NO_NGRAM for a row of none."""
    return least(totals, lengths, NO_NGRAM)


SIGNALS = (
    Signal(
        name="images_per_text",
        kind="corpus",
        group="corpus",
        type="int64",
        unit="pairs",
        about="Number of pairs in the raw pool with exactly this text.",
        source="ALIGN section 3",
        needs=("alt_text",),
        counted=PoolCount("texts"),
    ),
    Signal(
        name="rows_per_text",
        kind="corpus",
        group="corpus",
        type="int64",
        unit="rows",
        about="Number of rows in the input with exactly this text: what was merged into one pair counts each time.",
        source="COYO-700M, README; it does not say whether a text appears in a row or in a pair",
        needs=("alt_text", "copies"),
        counted=PoolCount("rows"),
    ),
    Signal(
        name="images_per_folded_text",
        kind="corpus",
        group="corpus",
        type="int64",
        unit="pairs",
        about="Number of pairs in the raw pool with this text but for case, punctuation, symbols and what numbers are "
        "in it: `App Store`, `app store` and `App-Store!` are one text, `Photo 1` and `photo 23` another. Texts of "
        "punctuation and symbols alone are one with the empty text.",
        source="ours, after ALIGN's rule for images_per_text, which `App Store` and `app store` pass one by one",
        needs=("alt_text",),
        counted=PoolCount("folded"),
        on_request=True,
    ),
    Signal(
        name="texts_per_image",
        kind="corpus",
        group="corpus",
        type="int64",
        unit="pairs",
        about="Number of pairs in the raw pool with this URL.",
        source="ALIGN section 3; it does not say whether an image is a URL or a content",
        needs=("uid", "url"),
        counted=PoolCount("urls"),
    ),
    Signal(
        name=RAREST_NGRAM,
        kind="corpus",
        group="corpus",
        type="int64",
        unit="occurrences",
        about="Count in the raw pool of the text's least frequent n-gram: every occurrence, lower-cased words, "
        "unigrams and bigrams in one list. A rule's `top_k` becomes the count whose vocabulary is nearest to it in "
        "size, which may be larger.",
        source="ALIGN section 3; one list or two, it does not say",
        needs=("alt_text",),
        counted=PoolCount("ngrams", rarest),
        none=NO_NGRAM,
        version=2,
    ),
)
