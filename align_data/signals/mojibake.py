"""Signs of text that was decoded by the wrong encoding, by ftfy's detector (extra `mojibake`)."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from importlib import metadata

import polars as pl

from align_data.signals.base import Piece, Signal
from align_data.signals.distinct import of_distinct


def missing() -> str | None:
    """Say why ftfy cannot be asked here, or None if it can."""
    if importlib.util.find_spec("ftfy"):
        return None
    return "need the extra mojibake: pip install 'align-data[mojibake]'"


@cache
def _version() -> str | None:
    return f"ftfy {metadata.version('ftfy')}" if missing() is None else None


def _counts(texts: pl.Series) -> pl.DataFrame:
    badness = importlib.import_module("ftfy.badness").badness
    counts = [badness(text) for text in texts.to_list()]
    return pl.DataFrame({"sequences": pl.Series(counts, dtype=pl.Int32)})


def mojibake(piece: Piece) -> pl.Series:
    """Count the unlikely sequences of each text: ASCII has none."""
    texts = piece.frame["alt_text"]
    beyond_ascii = texts.str.len_bytes() != texts.str.len_chars()
    counts = pl.zeros(len(texts), dtype=pl.Int32, eager=True)
    of_others = of_distinct(texts.filter(beyond_ascii), _counts)["sequences"]
    return counts.scatter(beyond_ascii.arg_true(), of_others)


SIGNALS = (
    Signal(
        name="mojibake",
        kind="row",
        group="caption",
        type="int32",
        unit="sequences",
        about="Number of sequences of characters that are likely UTF-8 read as another encoding, such as `â€™` for an "
        "apostrophe: ftfy's measure of badness. 0 for ASCII.",
        source="ftfy (Speer), which LAION-5B and RedCaps mend such texts with",
        needs=("alt_text",),
        measure=mojibake,
        on_request=True,
        params={"ftfy": _version},
        missing=missing,
    ),
)
