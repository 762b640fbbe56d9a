"""Pixels as the image tower takes them, made where it is: cut, mirrored, normalised."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from align_data.train.preprocessing import Pixels


def crops(images: Tensor, side: int, corners: Tensor, mirrored: Tensor) -> Tensor:
    """Cut a square out of each image (images, height, width, 3) at its corner (row, column), and mirror some."""
    along = torch.arange(side, device=images.device)
    rows = corners[:, :1] + along
    columns = corners[:, 1:] + torch.where(mirrored[:, None], along.flip(0), along)
    each = torch.arange(len(images), device=images.device)
    return images[each[:, None, None], rows[:, :, None], columns[:, None, :]]


def normalised(pixels: Tensor) -> Tensor:
    """Return pixels (images, side, side, 3) as the image tower takes them: (images, 3, side, side), from -1 to 1.

    They lie as they lay, the channels of a place together: channels_last, in which convolutions are fastest.
    """
    return pixels.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def to_input(pixels: Pixels, device: torch.device) -> Tensor:
    """Return pixels (images, side, side, 3) as the image tower takes them, on a device."""
    return normalised(torch.from_numpy(np.ascontiguousarray(pixels)).to(device))
