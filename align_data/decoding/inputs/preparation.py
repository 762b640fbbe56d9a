"""How a model sees an image: plain values, which travel to the child process that decodes it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # images are decoded in processes of their own
    from PIL.Image import Image

Pixels = NDArray[np.uint8]
"""(height, width, 3), in RGB."""
Resize = Literal["squash", "crop", "shortest", "bounded", "patches"]
Resample = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
Offset = Literal["down", "even"]

_WHOLE = 2**24
"""Pixels of a resized image that are all made, to cut out the middle of them; of a larger one only the middle is."""
_PATCH_ERROR = 1e-5
"""How near the search for the scale of `patches` comes: a part of what decides sizes, as its library has it."""


@dataclass(frozen=True)
class Preparation:
    """How an upright image becomes the pixels of a model's input, before they are scaled and normalised.

    `resize` says how:
    - squash: to `resize_to`, whatever the proportions;
    - crop: as squash, of the largest box about the centre that has the proportions of `resize_to`;
    - shortest: the shorter side to resize_to[0], the longer in proportion, rounded down;
    - bounded: the shorter side to `width`, but the longer to at most `height`; both rounded down to multiples of
      `multiple`, so that what comes out has a size of its own;
    - patches: to as many whole squares of `multiple` pixels as fit into `patches`, in the image's own proportions.
    The first three then cut out `width` x `height` about the centre, black where there is no image.
    """

    width: int
    height: int
    resample: Resample = "bicubic"
    resize: Resize = "squash"
    resize_to: tuple[int, int] | None = None
    """Width and height that the centre is cut out of; without, all is the centre."""
    multiple: int = 1
    patches: int = 0
    offset: Offset = "down"
    """How half a pixel is rounded where the centre begins: down as transformers does, to even as torchvision."""

    @property
    def fixed(self) -> bool:
        """Whether all images come out in one size, `width` x `height`."""
        return self.resize not in ("bounded", "patches")

    @property
    def side(self) -> int:
        """The shorter side of what the model sees: an image that is stored smaller than that tells it less."""
        if self.resize == "patches":
            return math.isqrt(self.patches) * self.multiple
        return min(self.resize_to or (self.width, self.height))

    @property
    def most_pixels(self) -> int:
        """How many pixels an image comes out with, at most; for `bounded` those of a square that holds each."""
        if self.resize == "patches":
            return self.patches * self.multiple**2
        return max(self.width, self.height) ** 2 if self.resize == "bounded" else self.width * self.height

    def makes(self, width: int, height: int) -> bool:
        """Tell whether an image can come out in this size."""
        if self.fixed:
            return (width, height) == (self.width, self.height)
        columns, rows = width // self.multiple, height // self.multiple
        whole = min(columns, rows) > 0 and (columns * self.multiple, rows * self.multiple) == (width, height)
        if self.resize == "patches":
            return whole and columns * rows <= self.patches
        return whole and min(width, height) <= self.width and max(width, height) <= self.height

    def apply(self, image: Image) -> Pixels:
        """Return the pixels of an upright RGB image."""
        return np.array(self.centre(self.resized(image)))

    def resized(self, image: Image) -> Image:
        """Return an image resized; of one that is absurdly long only the middle, which `centre` needs."""
        from PIL import Image as Pillow  # noqa: PLC0415 - the CLI needs the class at every start

        resample, size, box = Pillow.Resampling[self.resample.upper()], self.size_of(image.size), None
        if self.resize == "crop":
            # Cut out before it is resized: the whole of a long image could be too large for any memory.
            box = _box(image.size, size)
        elif size[0] * size[1] > _WHOLE:
            size, box = self._middle(image.size, size)
        return image.resize(size, resample, box)

    def centre(self, image: Image) -> Image:
        """Cut the middle out of a resized image."""
        if not self.fixed or image.size == (self.width, self.height):
            return image
        left, top = (
            _begin(side, to, self.offset) for side, to in zip(image.size, (self.width, self.height), strict=True)
        )
        return image.crop((left, top, left + self.width, top + self.height))

    def size_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the width and height that an image of this width and height is resized to."""
        to = self.resize_to or (self.width, self.height)
        if self.resize == "shortest":
            short, long = min(size), max(size)
            longer = int(to[0] * long / short)
            return (to[0], longer) if size[0] <= size[1] else (longer, to[0])
        if self.resize == "bounded":
            return self._bounded(*size)
        return self._in_patches(*size) if self.resize == "patches" else to

    def _bounded(self, width: int, height: int) -> tuple[int, int]:
        scale = self.width / min(width, height)
        sides = [scale * width, float(self.width)] if height < width else [float(self.width), scale * height]
        if max(sides) > self.height:
            scale = self.height / max(sides)
            sides = [scale * side for side in sides]
        # At least one multiple: of an image that is longer still, the library makes nothing and fails.
        w, h = (max(self.multiple, int(side + 0.5) // self.multiple * self.multiple) for side in sides)
        return w, h

    def _in_patches(self, width: int, height: int) -> tuple[int, int]:
        """Search for the largest scale whose patches fit, step for step as its library does, so that ends are equal."""
        size = self.multiple

        def scaled(scale: float, side: int) -> int:
            return max(size, math.ceil(side * scale / size) * size)

        low, high = _PATCH_ERROR / 10, 100.0
        while high - low >= _PATCH_ERROR:
            scale = (low + high) / 2
            if (scaled(scale, height) / size) * (scaled(scale, width) / size) <= self.patches:
                low = scale
            else:
                high = scale
        return scaled(low, width), scaled(low, height)

    def _middle(
        self, whole: tuple[int, int], size: tuple[int, int]
    ) -> tuple[tuple[int, int], tuple[float, float, float, float]]:
        """Return the size of the middle of a resized image, and the box of the whole that becomes it."""
        cut = [
            (0, to) if to <= wanted else (_begin(to, wanted, self.offset), wanted)
            for to, wanted in zip(size, (self.width, self.height), strict=True)
        ]
        (left, width), (top, height) = cut
        x, y = (side / to for side, to in zip(whole, size, strict=True))
        box = (left * x, top * y, min(whole[0], (left + width) * x), min(whole[1], (top + height) * y))
        return (width, height), box


def _begin(side: int, wanted: int, offset: Offset) -> int:
    """Return where the middle `wanted` of `side` pixels begins; below 0 where there are fewer."""
    if side < wanted:
        # What is missing before: transformers has the odd pixel there, torchvision behind.
        missing = wanted - side
        return -((missing + 1) // 2) if offset == "down" else -(missing // 2)
    return (side - wanted) // 2 if offset == "down" else round((side - wanted) / 2)


def _box(whole: tuple[int, int], shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the largest box about the centre of `whole` with the proportions of `shape`."""
    scale = min(side / to for side, to in zip(whole, shape, strict=True))
    x, y = (max(0.0, (side - to * scale) / 2) for side, to in zip(whole, shape, strict=True))
    return x, y, whole[0] - x, whole[1] - y
