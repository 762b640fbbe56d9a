"""The sigmoid of each image with each text of the batch: a yes or no a pair, without a normalisation over the batch."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from align_data.train.objectives.chunks import mean_of_rows
from align_data.train.objectives.gathering import gathered, own_rows
from align_data.train.objectives.objective import EmbeddedPairs, Objective, scalar


class SigmoidObjective(Objective):
    """The loss of SigLIP (arXiv 2303.15343, algorithm 1): -1/B sum_ij log sigmoid(z_ij (cos_ij / temperature + bias)).

    z is 1 for a pair and -1 for all other images and texts. The paper's exp(t') is one over the temperature here, and
    begins at 10 as there. Its bias begins at -10, for batches of 32,768; minus log(batch) says the same of any batch:
    that one text in a batch is the image's.
    """

    name: ClassVar[str] = "sigmoid"
    has_temperature: ClassVar[bool] = True

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.bias = scalar(bias)

    def forward(self, pairs: EmbeddedPairs, temperature: Tensor) -> Tensor:
        """Return the loss of this process's images with all texts; the mean over processes has every image once."""
        images, texts, _ = pairs
        every_text = gathered(texts)

        def loss(queries: Tensor, own: Tensor) -> Tensor:
            logits = queries @ every_text.T / temperature + self.bias
            signs = torch.full_like(logits, -1).scatter_(1, own[:, None], 1)
            return -functional.logsigmoid(signs * logits).sum() / len(queries)

        return mean_of_rows(loss, images, own_rows(len(images), images.device))

    def at_first(self, batch: int) -> str:
        """Say what the loss is where every cosine is 0."""
        bias = float(self.bias.detach())
        return f"with every cosine at 0 it is {_softplus(-bias) + (batch - 1) * _softplus(bias):.3f}"


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))
