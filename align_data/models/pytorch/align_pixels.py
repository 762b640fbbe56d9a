"""How a model of ours sees an image: squeezed to a square and cropped, in the ratio that the paper has (346 to 289)."""

from __future__ import annotations

from align_data.decoding.inputs.preparation import Preparation

_RESIZED, _CROPPED = 346, 289
"""Section 5.1 of the ALIGN paper."""


def resized_side(side: int) -> int:
    """Return the side of the image that a crop of `side` pixels is taken from."""
    return round(side * _RESIZED / _CROPPED)


def align_preparation(side: int) -> Preparation:
    """Return how an image becomes `side` pixels square."""
    return Preparation(side, side, "bicubic", "squash", (resized_side(side), resized_side(side)))
