"""The image's size: measured where it has been fetched, else as the input declares it."""

from __future__ import annotations

import polars as pl

from align_data.signals.base import Piece, Signal

_UNKNOWN = "the input declares no width and height for them, and their images are not measured"


def _sides(piece: Piece) -> tuple[pl.Expr, pl.Expr]:
    """Return width and height, both measured or both declared: one of each would be no size."""
    declared = pl.col("declared_width"), pl.col("declared_height")
    if "width" not in piece.frame.columns:  # nothing has been fetched here
        return declared
    measured = pl.col("width").is_not_null() & pl.col("height").is_not_null()
    width = pl.when(measured).then(pl.col("width")).otherwise(declared[0])
    return width, pl.when(measured).then(pl.col("height")).otherwise(declared[1])


def min_side(piece: Piece) -> pl.Series:
    """Take the shorter side; null unless both are known."""
    width, height = _sides(piece)
    # min_horizontal passes over nulls: one side alone says nothing.
    known_sides = pl.when(width.is_not_null() & height.is_not_null()).then(pl.min_horizontal(width, height))
    return piece.frame.select(min_side=known_sides).to_series()


def aspect(piece: Piece) -> pl.Series:
    """Divide the longer side by the shorter; null unless both are known."""
    width, height = _sides(piece)
    ratio = pl.max_horizontal(width, height) / pl.min_horizontal(width, height)
    known_sides = pl.when(width.is_not_null() & height.is_not_null()).then(ratio)
    return piece.frame.select(aspect=known_sides).to_series()


SIGNALS = (
    Signal(
        name="min_side",
        kind="row",
        group="image",
        type="int32",
        unit="pixels",
        about="The shorter side of the image: measured where it has been fetched, else as the input declares it.",
        source="ALIGN section 3",
        needs=("declared_width", "declared_height"),
        nullable=True,
        content=("width", "height"),
        check="header",
        without_images=True,
        measure=min_side,
        version=2,
        null=_UNKNOWN,
    ),
    Signal(
        name="aspect",
        kind="row",
        group="image",
        type="float64",
        unit="ratio",
        repeats=False,
        about="The longer side over the shorter, at least 1: measured where fetched, else as the input declares it.",
        source="ALIGN section 3",
        needs=("declared_width", "declared_height"),
        nullable=True,
        content=("width", "height"),
        check="header",
        without_images=True,
        measure=aspect,
        version=2,
        null=_UNKNOWN,
    ),
)
