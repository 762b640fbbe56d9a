"""The normalised softmax, both ways: each image against all texts of the batch, and each text against all images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional


class _Gathered(torch.autograd.Function):
    """The embeddings of all ranks, with gradients to each: what `all_gather` alone does not give."""

    @staticmethod
    def forward(_: Any, own: Tensor) -> Tensor:
        """Return (world x rows, dimension), rank by rank."""
        parts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        """Return what all ranks' losses want of this rank's embeddings."""
        total = gradients[0].contiguous()
        distributed.all_reduce(total)
        rows = len(total) // distributed.get_world_size()
        start = distributed.get_rank() * rows
        return total[start : start + rows]


def _gathered(own: Tensor) -> Tensor:
    gathered: Tensor = _Gathered.apply(own)  # type: ignore[no-untyped-call]
    return gathered


def contrastive(images: Tensor, texts: Tensor, temperature: Tensor, smoothing: float) -> Tensor:
    """Return the loss of this process's pairs against those of all; the mean over processes is the loss of the batch.

    `images` and `texts` are (pairs, dimension), of unit length; row i of one belongs to row i of the other.
    Section 4.1 of the ALIGN paper; half the sum of both directions, so that it begins near log(batch).
    """
    spread = distributed.is_initialized() and distributed.get_world_size() > 1
    every_image, every_text = (_gathered(own) if spread else own for own in (images, texts))
    offset = distributed.get_rank() * len(images) if spread else 0
    targets = torch.arange(offset, offset + len(images), device=images.device)
    to_texts = functional.cross_entropy(images @ every_text.T / temperature, targets, label_smoothing=smoothing)
    to_images = functional.cross_entropy(texts @ every_image.T / temperature, targets, label_smoothing=smoothing)
    return (to_texts + to_images) / 2
