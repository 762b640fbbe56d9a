"""How a model sees an image: plain values, which travel to the child process that decodes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # images are decoded in processes of their own
    from PIL.Image import Image

Pixels = NDArray[np.uint8]
"""(height, width, 3), in RGB."""


@dataclass(frozen=True)
class Preparation:
    """How an upright image becomes the pixels of a model's input, before they are scaled and normalised."""

    width: int
    height: int
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"

    @property
    def side(self) -> int:
        """The shorter side of what the model sees: an image that is stored smaller than that tells it less."""
        return min(self.width, self.height)

    def apply(self, image: Image) -> Pixels:
        """Return the pixels of an upright RGB image."""
        from PIL import Image as Pillow  # noqa: PLC0415 - the CLI needs the class at every start

        return np.asarray(image.resize((self.width, self.height), Pillow.Resampling[self.resample.upper()]))
