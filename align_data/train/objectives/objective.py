"""What every objective is: a loss, the weights that it learns beside the towers', and what it says of itself."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn


class EmbeddedPairs(NamedTuple):
    """What one process has of a batch's pairs; row i of each is of pair i."""

    images: Tensor
    """(pairs, dimension), of unit length where the objective is on the sphere."""
    texts: Tensor
    """(pairs, dimension), of unit length where the objective is on the sphere."""
    keys: Tensor
    """(pairs, 2), whole numbers: equal ones in the first column are of one image, in the second of one text."""


class Objective(nn.Module):
    """A loss of a batch's embeddings.

    A call takes the process's own pairs and the model's temperature, and returns the loss of these against the pairs of
    all processes; its mean over processes is the loss of the batch.
    """

    name: ClassVar[str]
    """As `--objective` has it."""
    has_temperature: ClassVar[bool]
    """Whether the model's temperature is learnt: scores are divided by it."""
    is_on_sphere: ClassVar[bool] = True
    """Whether it takes embeddings of unit length; else it takes what the towers give."""

    def forward(self, pairs: EmbeddedPairs, temperature: Tensor) -> Tensor:
        """Return the loss of this process's pairs."""
        raise NotImplementedError

    def begin(self, share: float) -> None:
        """Be told, before each step, which share of a run's steps has been made."""

    def at_first(self, batch: int) -> str:
        """Say what the loss is near where a model knows nothing: what it is of, and the number."""
        raise NotImplementedError

    def learnt(self) -> dict[str, float]:
        """Return its own weights, by name."""
        return {name: float(weight.detach()) for name, weight in self.named_parameters()}

    def given(self) -> dict[str, float]:
        """Return what was chosen and is not learnt, by name."""
        return {}


def scalar(value: float) -> nn.Parameter:
    """Return a weight that is one number."""
    return nn.Parameter(torch.tensor(value))
