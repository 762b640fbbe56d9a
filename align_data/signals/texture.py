"""How sharp, how varied and how framed an image is, all seen on one small picture of it in grey."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 256
"""Pixels of the small picture's longer side, at most."""
FLAT = 8
"""Grey levels that a pixel of a flat row may be away from the median of the outermost row."""
SHARE = 0.98
"""The share of a flat row's pixels that are so near, at least: where two borders meet, a pixel is of both."""


def texture(image: Image) -> dict[str, float | None]:
    """Return blur, entropy and border."""
    grey = small_grey(image)
    return {"blur": blur(grey), "entropy": entropy(grey), "border": border(grey)}


def small_grey(image: Image) -> NDArray[np.int16]:
    """Return the image in grey, made smaller by averaging if a side is longer than SIDE."""
    from PIL import Image as Pillow  # noqa: PLC0415 - in the processes that decode images alone

    grey, scale = image.convert("L"), SIDE / max(image.size)
    if scale < 1:
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        grey = grey.resize(size, Pillow.Resampling.BOX, reducing_gap=1.0)
    return np.asarray(grey).astype(np.int16)


def blur(grey: NDArray[np.int16]) -> float | None:
    """Return the variance of the Laplacian over the inner pixels; None where there is no inner pixel."""
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1]
    laplacian += grey[1:-1, :-2]
    laplacian += grey[1:-1, 2:]
    laplacian -= 4 * grey[1:-1, 1:-1]
    if not laplacian.size:
        return None
    values = laplacian.ravel().astype(np.int64)
    count, total, squares = values.size, int(values.sum()), int(values @ values)
    return (count * squares - total * total) / count**2  # in whole numbers, so that it is the same everywhere


def entropy(grey: NDArray[np.int16]) -> float:
    """Return the entropy of the histogram of grey levels, in bits."""
    counts = np.bincount(grey.ravel(), minlength=256)
    shares = counts[counts > 0] / grey.size
    return round(abs(float((shares * np.log2(shares)).sum())), 6)


def border(grey: NDArray[np.int16]) -> float:
    """Return the share of the picture that flat rows, and then flat columns, at its sides are."""
    top, bottom = _flat_rows(grey), _flat_rows(grey[::-1])
    height = grey.shape[0] - top - bottom
    if height <= 0:
        return 1.0
    rows = grey[top : grey.shape[0] - bottom]
    left, right = _flat_rows(rows.T), _flat_rows(rows.T[::-1])
    width = grey.shape[1] - left - right
    inner: int = height * max(0, width)
    return round(1 - inner / grey.size, 6)


def _flat_rows(grey: NDArray[np.int16]) -> int:
    """Return how many of the first rows are as flat as the first, and of its grey."""
    level = np.sort(grey[0])[grey.shape[1] // 2]
    if _flat(grey[:1], level).any():
        flat = _flat(grey, level)
        return len(flat) if flat.all() else int(flat.argmin())
    return 0


def _flat(rows: NDArray[np.int16], level: int) -> NDArray[np.bool_]:
    """Tell which rows are flat, about this grey."""
    flat: NDArray[np.bool_] = (np.abs(rows - level) <= FLAT).mean(axis=1) >= SHARE
    return flat
