"""The pHash of imagehash, to the bit, in a third of its time.

What takes imagehash's time is Pillow's LANCZOS resampling to 32 x 32. That is two passes of sums of pixels times whole
weights, each sum rounded and cut to 0 to 255; in float64 such sums are exact in whatever order they are added, so that
products of matrices give the same pixels. imagehash itself decides wherever that is not certain.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float64]

_SIDE, _LOW = 32, 8
"""Pixels of a side that imagehash transforms, and how many frequencies of it become bits."""
_LOBES = 3
_FRACTION = 22
"""Bits behind the point in Pillow's weights."""
_LONGEST = 4096
"""Pixels of a side, at most, whose weights are kept."""
_TOGETHER = 8
"""Columns of a product: as many as have most of their pixels in common."""
_BLOCK = 2**18
"""Pixels that are made floats at a time, which then stay in the processor's cache."""
_TIE, _TOO_NEAR = 1e-7, 1e-6
"""How near a weight is to a half, and a coefficient to the median, where rounding could decide."""


def phash(image: Image.Image) -> int:
    """Return imagehash's 64-bit pHash of an upright image of 8 bits, as a signed integer."""
    bits = quick_bits(image.convert("L"))
    if bits is None:
        bits = imagehash.phash(image).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big", signed=True)


def quick_bits(grey: Image.Image) -> NDArray[np.bool_] | None:
    """Return the bits of a grey image's pHash, None where they are not certain to be imagehash's."""
    if not _is_known(grey.size) or not _is_pillows():
        return None
    small = shrunk(grey)
    if small is None:
        return None
    coefficients = (_COSINES @ small @ _COSINES.T).ravel()
    middle = np.sort(coefficients)[[31, 32]].mean()
    distances = coefficients - middle
    return distances > 0 if np.abs(distances).min() > _TOO_NEAR else None


def _is_known(size: tuple[int, int]) -> bool:
    """Tell whether Pillow surely shrinks both ways, and the width first: of high images some versions do the height."""
    width, height = size
    return min(size) > _SIDE and max(size) <= _LONGEST and height <= 2 * width - _SIDE


@cache
def _is_pillows() -> bool:
    """Tell whether the Pillow that is installed shrinks noise to the same pixels."""
    chance = np.random.default_rng(1)
    for height, width in ((33, 33), (134, 83), (97, 260)):
        grey = Image.fromarray(chance.integers(0, 256, (height, width), np.uint8))
        small = shrunk(grey)
        plain = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS))
        if small is not None and not np.array_equal(small, plain):
            return False
    return True


_COSINES: Floats = 2 * np.cos(np.outer(np.arange(_LOW), np.arange(1, 2 * _SIDE, 2)) * np.pi / (2 * _SIDE))
"""The lowest frequencies of the discrete cosine transform, type II."""


def shrunk(grey: Image.Image) -> Floats | None:
    """Return the 32 x 32 pixels that Pillow makes of a larger grey image; None where a weight's rounding is unsure."""
    across, down = _weights(grey.width), _weights(grey.height)
    if across is None or down is None:
        return None
    pixels = np.asarray(grey)
    height, width = pixels.shape
    narrow = np.empty((height, _SIDE))
    rows = max(1, _BLOCK // width)
    floats = np.empty((min(rows, height), width))
    for start in range(0, height, rows):
        block = floats[: min(rows, height - start)]
        np.copyto(block, pixels[start : start + rows])
        for first, begin, end, weights in across:
            into = narrow[start : start + rows, first : first + _TOGETHER]
            np.matmul(block[:, begin:end], weights, out=into)
    _round(narrow)
    small = np.empty((_SIDE, _SIDE))
    for first, begin, end, weights in down:
        np.matmul(weights.T, narrow[begin:end], out=small[first : first + _TOGETHER])
    return _round(small)


def _round(sums: Floats) -> Floats:
    """Make pixels of sums, in place: round, a half up, and cut off what is no grey."""
    sums += 2.0 ** (_FRACTION - 1)
    sums *= 2.0**-_FRACTION
    np.floor(sums, out=sums)
    return np.clip(sums, 0, 255, out=sums)


class _Columns(NamedTuple):
    """The weights of some neighbouring pixels of the 32: of which the first is, and of which pixels of the image."""

    first: int
    begin: int
    end: int
    weights: Floats
    """Whole numbers; a column for each of the 32."""


@lru_cache(maxsize=256)
def _weights(length: int) -> list[_Columns] | None:
    """Return Pillow's weights to shrink a side to 32 pixels; None where one is too near a half to be sure."""
    half = _SIDE // 2  # the others are these in a mirror
    scale = length / _SIDE
    centres = (np.arange(half) + 0.5) * scale
    begins = np.maximum((centres - _LOBES * scale + 0.5).astype(np.int64), 0)
    ends = np.minimum((centres + _LOBES * scale + 0.5).astype(np.int64), length)
    at = begins[:, None] + np.arange((ends - begins).max())
    exact = np.where(at < ends[:, None], _lanczos((at - centres[:, None] + 0.5) / scale), 0.0)
    exact *= 2.0**_FRACTION / exact.sum(axis=1, keepdims=True)
    whole = np.rint(exact)
    if 0.5 - np.abs(exact - whole).max() < _TIE:
        return None
    dense = np.zeros((at.max() + 1, half))
    dense[at, np.arange(half)[:, None]] = whole
    columns = []
    for first in range(0, half, _TOGETHER):
        begin, end = int(begins[first]), int(ends[first + _TOGETHER - 1])
        weights = dense[begin:end, first : first + _TOGETHER].copy()
        columns.append(_Columns(first, begin, end, weights))
        mirrored = _SIDE - _TOGETHER - first, length - end, length - begin
        columns.append(_Columns(*mirrored, weights[::-1, ::-1].copy()))
    return columns


def _lanczos(x: Floats) -> Floats:
    """Return sinc(x) sinc(x / 3), by one sine: that of three times an angle follows from that of the angle."""
    angle = x * (np.pi / _LOBES)
    sine = np.sin(angle)
    with np.errstate(invalid="ignore"):
        values = sine * sine * (3 - 4 * sine * sine) / (_LOBES * angle * angle)
    return np.where(np.abs(x) < _LOBES, np.where(angle == 0, 1.0, values), 0.0)
