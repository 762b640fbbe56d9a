"""Triplets of the hardest negatives: the nearest wrong text of each image, and the nearest wrong image of each text."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from align_data.train.objectives.chunks import mean_of_rows
from align_data.train.objectives.gathering import gathered
from align_data.train.objectives.objective import EmbeddedPairs, Objective
from align_data.train.objectives.softmax import SoftmaxObjective


class TripletObjective(Objective):
    """VSE++ (arXiv 1707.05612, section 3.2), the mean over pairs: max(0, margin - s(i, t) + max s(i, t')), both ways.

    s is the cosine. What has the image or the text of the pair itself is no negative of it, however it is captioned.
    The hardest negatives push all embeddings of a model that knows nothing together: the first steps have the softmax.
    """

    name: ClassVar[str] = "triplet"
    has_temperature: ClassVar[bool] = False

    def __init__(self, margin: float, softmax_share: float) -> None:
        super().__init__()
        self.margin, self.softmax_share = margin, softmax_share
        self._softmax = SoftmaxObjective(smoothing=0.0)
        self._mines = softmax_share == 0

    def begin(self, share: float) -> None:
        """Take the softmax for its share of the steps, at the temperature that the model begins with."""
        self._mines = share >= self.softmax_share

    def forward(self, pairs: EmbeddedPairs, temperature: Tensor) -> Tensor:
        """Return the loss of this process's images and texts against those of all."""
        if not self._mines:
            softmax_loss: Tensor = self._softmax(pairs, temperature)
            return softmax_loss
        images, texts, keys = pairs
        true = (images * texts).sum(dim=1)
        with torch.no_grad():
            every_key = gathered(keys)
        to_texts = mean_of_rows(self._towards(gathered(texts), every_key), images, true, keys)
        to_images = mean_of_rows(self._towards(gathered(images), every_key), texts, true, keys)
        return to_texts + to_images

    def _towards(self, gallery: Tensor, every_key: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        def loss(queries: Tensor, true: Tensor, keys: Tensor) -> Tensor:
            same = (keys[:, None] == every_key).any(dim=2)
            hardest = (queries @ gallery.T).masked_fill(same, -torch.inf).amax(dim=1)
            return functional.relu(self.margin - true + hardest).mean()

        return loss

    def at_first(self, batch: int) -> str:
        """Say what the softmax is near, and the triplets where all cosines are equal."""
        triplets = f"with all cosines equal, that of triplets is {2 * self.margin:.3f}"
        return triplets if self._mines else f"{self._softmax.at_first(batch)}; {triplets}"

    def given(self) -> dict[str, float]:
        """Return the margin, and the share of the steps that had the softmax."""
        return {"margin": self.margin, "softmax_share": self.softmax_share}
