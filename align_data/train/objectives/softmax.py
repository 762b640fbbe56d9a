"""The normalised softmax, both ways: each image against all texts of the batch, and each text against all images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from align_data.train.objectives.chunks import mean_of_rows
from align_data.train.objectives.gathering import gathered, own_rows
from align_data.train.objectives.objective import EmbeddedPairs, Objective


class SoftmaxObjective(Objective):
    """Equations 1 and 2 of the ALIGN paper (arXiv 2102.05918): half of their sum, so that it begins near log(batch)."""

    name: ClassVar[str] = "softmax"
    has_temperature: ClassVar[bool] = True

    def __init__(self, smoothing: float) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(self, pairs: EmbeddedPairs, temperature: Tensor) -> Tensor:
        """Return the loss of this process's pairs."""
        images, texts, _ = pairs
        targets = own_rows(len(images), images.device)
        to_texts = mean_of_rows(self._towards(gathered(texts), temperature), images, targets)
        to_images = mean_of_rows(self._towards(gathered(images), temperature), texts, targets)
        return (to_texts + to_images) / 2

    def _towards(self, gallery: Tensor, temperature: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        def loss(queries: Tensor, targets: Tensor) -> Tensor:
            scores = queries @ gallery.T / temperature
            return functional.cross_entropy(scores, targets, label_smoothing=self.smoothing)

        return loss

    def at_first(self, batch: int) -> str:
        """Say what the logarithm of the batch is."""
        return f"the logarithm of the batch is {math.log(batch):.3f}"
