"""Prepared images as PyTorch models take them, in shapes that do not depend on which images are together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from align_data.decoding.inputs.preparation import Pixels
from align_data.models.pytorch.image_processors import ImageInput
from align_data.models.vectors import check_pixels


def trial_image() -> Image.Image:
    """Return an image in which nothing is like anything else."""
    return Image.merge("RGB", [Image.linear_gradient("L").rotate(angle) for angle in (0, 90, 180)])


class PixelInputs:
    """What becomes of the pixels of a preparation."""

    def __init__(self, images: ImageInput) -> None:
        self._preparation, self._normalise = images

    def trial(self) -> Pixels:
        """Return the pixels of an image to try a model with."""
        return self._preparation.apply(trial_image())

    def tensors(self, pixels: Sequence[Pixels]) -> dict[str, Tensor]:
        """Return all that a model takes of images, a row each; where sizes differ there is one row more, of padding."""
        check_pixels(pixels, self._preparation)
        if self._preparation.resize == "patches":
            return self._patches(pixels)
        if self._preparation.resize == "bounded":
            return self._bounded(pixels)
        return {"pixel_values": torch.from_numpy(self._normalise(pixels))}

    def _patches(self, pixels: Sequence[Pixels]) -> dict[str, Tensor]:
        """Cut each image into its patches, row by row, and fill them up with zeros, which the mask leaves out."""
        size, most = self._preparation.multiple, self._preparation.patches
        values = np.zeros((len(pixels), most, size * size * 3), np.float32)
        mask, shapes = np.zeros((len(pixels), most), np.int64), np.empty((len(pixels), 2), np.int64)
        for row, image in enumerate(pixels):
            high, wide = (side // size for side in image.shape[:2])
            grid = self._normalise([image])[0].reshape(3, high, size, wide, size)
            values[row, : high * wide] = grid.transpose(1, 3, 2, 4, 0).reshape(high * wide, -1)
            mask[row, : high * wide] = 1
            shapes[row] = high, wide
        arrays = {"pixel_values": values, "pixel_attention_mask": mask, "spatial_shapes": shapes}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _bounded(self, pixels: Sequence[Pixels]) -> dict[str, Tensor]:
        """Put each image into the corner of a canvas that holds all there can be, and mask the rest.

        ViLT keeps as many patches of each image as the largest of the batch has, in an order by chance where there are
        no more. So the last row is larger than any image can be, and what is kept of the others is always the same.
        """
        preparation = self._preparation
        multiple = preparation.multiple
        shorter, longer = (side // multiple * multiple for side in (preparation.width, preparation.height))
        canvas = max(longer, shorter + multiple)
        values = np.zeros((len(pixels) + 1, 3, canvas, canvas), np.float32)
        mask = np.zeros((len(pixels) + 1, canvas, canvas), np.int64)
        for row, image in enumerate(pixels):
            height, width = image.shape[:2]
            values[row, :, :height, :width] = self._normalise([image])[0]
            mask[row, :height, :width] = 1
        mask[-1, : shorter + multiple, :canvas] = 1
        return {"pixel_values": torch.from_numpy(values), "pixel_mask": torch.from_numpy(mask)}
