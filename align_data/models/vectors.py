"""What every encoder does with what its model gives: batches of one length, vectors of unit length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from align_data.common.errors import SignalError
from align_data.decoding.inputs.preparation import Pixels, Preparation
from align_data.models.encoder import BATCH, Vectors

Row = TypeVar("Row")
Raw = NDArray[np.float32]
MAX_DIM = 65_536
"""Numbers of an embedding, at most."""
MAX_PIXELS = 2**21
"""Pixels of an image as a model sees it, at most: a batch of them as floats is 1.6 GB."""
_UNIT = 1e-3
"""How far from 1 the length of a vector may be that is of unit length already."""


def in_batches(rows: Sequence[Row], run: Callable[[list[Row]], Raw], size: int = BATCH) -> list[Raw]:
    """Run rows in batches of exactly `size`; what fills the last one up is its last row, and is left out again.

    So the value of a row does not depend on how many others there are, nor on which.
    """
    outputs = []
    for at in range(0, len(rows), size):
        batch = list(rows[at : at + size])
        outputs.append(run(batch + batch[-1:] * (size - len(batch)))[: len(batch)])
    return outputs


def stacked(parts: Sequence[Raw], dim: int) -> Raw:
    """Return the rows of all parts, of which there may be none."""
    return np.concatenate([np.empty((0, dim), np.float32), *parts])


def unit(vectors: Raw, model: str, *, normalise: bool = True) -> Vectors:
    """Return vectors of unit length; SignalError where they are none.

    One of nothing but zeros stays so: it is like nothing.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        wrong = int((~np.isfinite(lengths)).sum())
        raise SignalError(
            f"{model} gives {wrong:,} of {len(vectors):,} embeddings that are not numbers (NaN or infinite)"
        )
    if not normalise and (np.abs(lengths - 1) > _UNIT).any():
        raise SignalError(
            f"{model} gives embeddings of a length of {lengths.max():.4g}, and not 1: its card must say normalise: true"
        )
    return (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)


def check_pixels(pixels: Sequence[Pixels], preparation: Preparation) -> None:
    """Raise SignalError for pixels that a preparation cannot make: a fault of the caller."""
    for image in pixels:
        if image.dtype != np.uint8 or image.shape[2:] != (3,) or not preparation.makes(image.shape[1], image.shape[0]):
            raise SignalError(f"pixels of the shape {list(image.shape)} are not what the model's preparation makes")
