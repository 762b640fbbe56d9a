"""The image's size: measured where it has been fetched, else as the input declares it."""

from __future__ import annotations

import polars as pl

from align_data.signals.base import Piece, Signal

_WIDTH, _HEIGHT = pl.col("declared_width"), pl.col("declared_height")

_UNDECLARED = "the input declares no width and height for them, and their images are not measured"


def min_side(piece: Piece) -> pl.Series:
    """Take the shorter side; null unless both are known."""
    # min_horizontal passes over nulls: one side alone says nothing.
    both = pl.when(_WIDTH.is_not_null() & _HEIGHT.is_not_null()).then(pl.min_horizontal(_WIDTH, _HEIGHT))
    return piece.frame.select(min_side=both).to_series()


def aspect(piece: Piece) -> pl.Series:
    """Divide the longer side by the shorter; null unless both are known."""
    ratio = pl.max_horizontal(_WIDTH, _HEIGHT) / pl.min_horizontal(_WIDTH, _HEIGHT)
    both = pl.when(_WIDTH.is_not_null() & _HEIGHT.is_not_null()).then(ratio)
    return piece.frame.select(aspect=both).to_series()


SIGNALS = (
    Signal(
        name="min_side",
        kind="row",
        group="image",
        type="int32",
        unit="pixels",
        about="The shorter side of the image, as declared by the input.",
        source="ALIGN section 3",
        needs=("declared_width", "declared_height"),
        measure=min_side,
        null=_UNDECLARED,
    ),
    Signal(
        name="aspect",
        kind="row",
        group="image",
        type="float64",
        unit="ratio",
        about="The longer side over the shorter, at least 1, as declared by the input.",
        source="ALIGN section 3",
        needs=("declared_width", "declared_height"),
        measure=aspect,
        null=_UNDECLARED,
    ),
)
