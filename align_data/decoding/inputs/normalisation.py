"""Pixels to a model's input: every value of every channel looked up, so that it is what the library itself computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from align_data.decoding.inputs.preparation import Pixels


@dataclass(frozen=True)
class Normalisation:
    """What each of the 256 values becomes in each channel: `table` is (256, 3), in the order of `channels`."""

    table: NDArray[np.float32]
    layout: Literal["nchw", "nhwc"] = "nchw"
    channels: Literal["rgb", "bgr"] = "rgb"

    def __call__(self, images: Sequence[Pixels] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return images of one size as a model takes them: (images, 3, height, width) or channels last."""
        height, width, _ = images[0].shape
        first = self.layout == "nchw"
        out = np.empty((len(images), 3, height, width) if first else (len(images), height, width, 3), np.float32)
        planes = out if first else out.transpose(0, 3, 1, 2)
        sources = (2, 1, 0) if self.channels == "bgr" else (0, 1, 2)
        for image, values in zip(images, planes, strict=True):
            for channel, source in enumerate(sources):
                values[channel] = self.table[:, channel][image[:, :, source]]
        return out
