"""How positive or negative a text sounds, by VADER's lexicon and rules for English (extra `polarity`)."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from importlib import metadata

import polars as pl

from align_data.signals.base import Piece, Signal
from align_data.signals.distinct import of_distinct

MOST_CHARS = 1000
"""What is looked at of a longer text: VADER takes time by the square of its words, and an emoji is some of these."""


def missing() -> str | None:
    """Say why VADER cannot be asked here, or None if it can."""
    if importlib.util.find_spec("vaderSentiment"):
        return None
    return "need the extra polarity: pip install 'align-data[polarity]'"


@cache
def _version() -> str | None:
    return f"vaderSentiment {metadata.version('vaderSentiment')}" if missing() is None else None


def _compounds(texts: pl.Series) -> pl.DataFrame:
    # An analyzer is cheap to make beside a piece of texts, and threads measure side by side.
    analyzer = importlib.import_module("vaderSentiment.vaderSentiment").SentimentIntensityAnalyzer()
    scores = [analyzer.polarity_scores(text)["compound"] for text in texts.str.head(MOST_CHARS).to_list()]
    return pl.DataFrame({"compound": pl.Series(scores, dtype=pl.Float64)})


def polarity(piece: Piece) -> pl.Series:
    """Return VADER's compound score of each text."""
    return of_distinct(piece.frame["alt_text"], _compounds)["compound"]


SIGNALS = (
    Signal(
        name="polarity",
        kind="row",
        group="caption",
        type="float64",
        unit="-1 to 1",
        about="How negative (-1) or positive (1) an English text sounds: VADER's compound score of its first "
        f"{MOST_CHARS:,} characters; 0 where no word is in its lexicon.",
        source="CC3M (Sharma et al. 2018, section 3), by Google Cloud Natural Language and with thresholds that are "
        "not published; VADER (Hutto and Gilbert 2014)",
        needs=("alt_text",),
        measure=polarity,
        on_request=True,
        params={"vader": _version},
        missing=missing,
    ),
)
