"""Whether a text has a word for one of ImageNet-21k's synsets (`align-data model add wordnet` and `in21k`)."""

from __future__ import annotations

from functools import cache, partial

import polars as pl

from align_data.common import placed_models
from align_data.common.errors import SignalError
from align_data.signals.base import Piece, Signal
from align_data.signals.distinct import of_distinct
from align_data.signals.wordnet import WordNet

WORDNET, SYNSETS = "wordnet", "in21k"


def missing() -> str | None:
    """Say why no synset can be looked up here, or None if it can."""
    absent = [name for name in (WORDNET, SYNSETS) if placed_models.lookup(name) is None]
    if not absent:
        return None
    models = f"the model {absent[0]}" if len(absent) == 1 else f"the models {' and '.join(absent)}"
    return f"need {models}: {', then '.join(f'align-data model add {name}' for name in absent)}"


@cache
def _wordnet(_: str | None) -> WordNet:
    """Return the database whose files have this hash, read once."""
    return WordNet(placed_models.contents(WORDNET))


@cache
def _synsets(_: str | None) -> frozenset[int]:
    """Return the offsets of the synsets in the list of this hash, without their parts of speech, as DataComp's code."""
    try:
        return frozenset(int(line[1:]) for line in placed_models.contents(SYNSETS)["synsets.txt"].split())
    except (KeyError, ValueError) as error:
        raise SignalError(f"the model {SYNSETS} is not a list of synsets such as n02084071: {error}") from error


def _listed(words: pl.Series) -> pl.Series:
    """Tell of distinct words whether the first synset of each is in the list."""
    wordnet, synsets = _wordnet(placed_models.digest(WORDNET)), _synsets(placed_models.digest(SYNSETS))
    return pl.Series([wordnet.first_synset(word) in synsets for word in words.to_list()], dtype=pl.Boolean)


def _any_listed(texts: pl.Series) -> pl.DataFrame:
    """Return of each text, as `has`, whether one of its words is listed."""
    words = texts.str.split(" ").to_frame("word").with_row_index("text").explode("word")
    distinct = words["word"].unique()
    listed = pl.DataFrame({"word": distinct, "listed": _listed(distinct)})
    by_text = words.join(listed, on="word").group_by("text").agg(has=pl.col("listed").any())
    return by_text.sort("text").select("has")


def has_hypernym_in21k(piece: Piece) -> pl.Series:
    """Tell whether a word between blanks has its first synset in the list."""
    return of_distinct(piece.frame["alt_text"], _any_listed)["has"]


SIGNALS = (
    Signal(
        name="has_hypernym_in21k",
        kind="row",
        group="caption",
        type="bool",
        unit="true or false",
        about="Whether for a word between blanks, with all its signs, the first of WordNet 3.0's synsets is one of "
        "ImageNet-21k's 21,843: looked up in lower case as a noun, a verb, an adjective, an adverb, each by WordNet's "
        "exceptions and endings, as NLTK 3.8.1 does. Nothing is looked up of a word of over 100 characters.",
        source="DataComp, baselines/apply_filter.py: text_based",
        needs=("alt_text",),
        measure=has_hypernym_in21k,
        on_request=True,
        params={name: partial(placed_models.digest, name) for name in (WORDNET, SYNSETS)},
        missing=missing,
    ),
)
