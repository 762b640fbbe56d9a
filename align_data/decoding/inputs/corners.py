"""Resizing as TensorFlow.js does: bilinearly from corner to corner, without smoothing, and in floats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def corner_to_corner(pixels: NDArray[np.uint8], width: int, height: int) -> Floats:
    """Resize (h, w, channels) so that the outermost pixels keep their values: resizeBilinear with alignCorners."""
    left, right, across = _between(pixels.shape[1], width)
    upper, lower, down = _between(pixels.shape[0], height)
    x, y = across[:, np.newaxis], down[:, np.newaxis, np.newaxis]
    rows = (pixels[upper].astype(np.float32), pixels[lower].astype(np.float32))
    above, below = (row[:, left] * (1 - x) + row[:, right] * x for row in rows)
    return np.asarray(above * (1 - y) + below * y, np.float32)


def _between(length: int, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Return for each of `size` places the pixels before and behind it, and how far it is from the one before."""
    places: Floats = np.arange(size, dtype=np.float32) * np.float32((length - 1) / max(1, size - 1))
    before = np.minimum(places.astype(np.intp), length - 1)
    return before, np.minimum(before + 1, length - 1), places - before.astype(np.float32)
