"""How many nouns, determiners and prepositions a text has, by a tagger of English (`align-data model add pos`)."""

from __future__ import annotations

from functools import cache, partial
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common import placed_models
from align_data.common.errors import SignalError
from align_data.signals.base import Measure, Piece, Signal
from align_data.signals.distinct import of_distinct
from align_data.signals.tagger import Tagger

MODEL = "pos"
MOST_TOKENS = 1000
"""What is looked at of a longer text."""
_NOT = r"(?i)n['’]t\b"
_WORD_OR_SIGN = (
    r"(?i)n't\b|['’](?:s|re|ve|ll|d|m)\b|(?:\p{L}\.){2,}|"
    r"[\p{L}\p{M}\p{N}]+(?:[-‐‑][\p{L}\p{M}\p{N}]+|[.,]\p{N}+)*|[^\s]"
)
"""A token, as the Penn Treebank has them: `do` and `n't`, `dog` and `'s`, `U.S.`, `mother-in-law`, `1,000`; a sign."""
CLASSES = {
    "nouns": ("NN", "NNS", "NNP", "NNPS"),
    "determiners": ("DT", "PDT", "WDT", "EX"),
    "prepositions": ("IN",),
}
"""The Penn Treebank's tags of each class, by the universal tagset's map (Petrov et al. 2012)."""


def missing() -> str | None:
    """Say why no parts of speech can be told here, or None if they can."""
    if placed_models.lookup(MODEL) is not None:
        return None
    return f"need the model {MODEL}: align-data model add {MODEL}"


@cache
def _tagger(_: str | None) -> Tagger:
    """Return the tagger whose files have this hash, read once."""
    try:
        return Tagger(placed_models.contents(MODEL)["tagger.json"])
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise SignalError(f"the model {MODEL} is not a tagger of parts of speech: {error!r}") from error


def tokens(texts: pl.Series) -> pl.Series:
    """Return each text's tokens in order, as lists."""
    return texts.str.replace_all(_NOT, " n't").str.extract_all(_WORD_OR_SIGN).list.head(MOST_TOKENS)


def _counts(texts: pl.Series) -> pl.DataFrame:
    """Return of each text how many tokens are of each class, and how many have a letter or a digit, as `words`."""
    tagger = _tagger(placed_models.digest(MODEL))
    lists = tokens(texts)
    tags, flat = tagger.tag(lists), lists.explode(empty_as_null=False)
    lettered = flat.str.contains(r"\p{L}").to_numpy()
    text = np.repeat(np.arange(len(texts)), lists.list.len().to_numpy())

    def count(flags: NDArray[np.bool_]) -> pl.Series:
        return pl.Series(np.bincount(text[flags], minlength=len(texts)).astype(np.int32))

    counts = {"words": count(lettered | flat.str.contains(r"\p{N}").to_numpy())}
    for name, of_class in CLASSES.items():
        counts[name] = count(lettered & np.isin(np.array(tagger.tags), of_class)[tags])
    return pl.DataFrame(counts)


def _of_texts(frame: pl.DataFrame) -> pl.DataFrame:
    return of_distinct(frame["alt_text"], _counts)


def _count(name: str, piece: Piece) -> pl.Series:
    return piece.once(_of_texts)[name]


def noun_ratio(piece: Piece) -> pl.Series:
    """Divide the number of nouns by that of words; 0 for a text without words."""
    counts = piece.once(_of_texts)
    return (counts["nouns"] / counts["words"]).fill_nan(0.0)


_TAGGED = (
    "by an averaged perceptron trained on the Wall Street Journal, which takes every text for English and looks at its "
    f"first {MOST_TOKENS:,} words and signs"
)


def _speech(
    name: str, type_: Literal["int32", "float64"], unit: str, about: str, source: str, measure: Measure
) -> Signal:
    return Signal(
        name=name,
        kind="row",
        group="caption",
        type=type_,
        unit=unit,
        about=f"{about}, {_TAGGED}.",
        source=source,
        needs=("alt_text",),
        measure=measure,
        on_request=True,
        params={MODEL: partial(placed_models.digest, MODEL)},
        missing=missing,
    )


_CC3M = "CC3M (Sharma et al. 2018, section 3) by Google Cloud Natural Language"
SIGNALS = (
    _speech(
        "n_nouns",
        "int32",
        "words",
        "Number of nouns, common and proper (the Penn Treebank's NN, NNS, NNP and NNPS)",
        f"{_CC3M}, CC12M, COYO-700M, none of which names its tagger's version",
        partial(_count, "nouns"),
    ),
    _speech(
        "n_determiners",
        "int32",
        "words",
        "Number of determiners (DT, PDT, WDT and EX, as the universal tagset maps them)",
        f"{_CC3M}, CC12M",
        partial(_count, "determiners"),
    ),
    _speech(
        "n_prepositions",
        "int32",
        "words",
        "Number of prepositions and subordinating conjunctions (IN; the Treebank gives `to` a tag of its own)",
        f"{_CC3M}; SBU Captions (Ordonez et al. 2011)",
        partial(_count, "prepositions"),
    ),
    _speech(
        "noun_ratio",
        "float64",
        "share",
        "Share of nouns among the words, tokens with a letter or a digit; 0 for a text without words",
        f"{_CC3M}, whose threshold is not published",
        noun_ratio,
    ),
)
