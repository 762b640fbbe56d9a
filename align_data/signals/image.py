"""Signals of the fetched bytes: known by name, so that a recipe can hold their rules; not yet measured."""

from __future__ import annotations

from align_data.signals.base import Signal


def _missing() -> str:
    return "need the images, which this version of align-data does not fetch yet"


SIGNALS = (
    Signal(
        name="decodable",
        kind="image",
        group="image",
        type="bool",
        unit="true or false",
        about="Whether the image could be had and decoded.",
        source="ours: what cannot be decoded cannot be trained on",
        needs=("url",),
        missing=_missing,
    ),
    Signal(
        name="nsfw",
        kind="image",
        group="image",
        type="float64",
        unit="0 to 1",
        about="A detector's score that the image is not safe for work.",
        source="ALIGN section 3 names neither detector nor threshold",
        needs=("url",),
        missing=_missing,
    ),
    Signal(
        name="eval_distance",
        kind="image",
        group="image",
        type="int32",
        unit="bits of 64",
        about="Hamming distance of the image's pHash to the nearest evaluation image.",
        source="ours; ALIGN appendix A compares embeddings of a private network",
        needs=("url",),
        missing=_missing,
    ),
)
