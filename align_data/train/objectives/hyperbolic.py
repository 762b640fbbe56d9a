"""Images and texts as points of a hyperbolic space, in which a text that says less is nearer the origin."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from align_data.models.lifts import HYPERBOLIC
from align_data.models.spaces import FARTHEST
from align_data.train.objectives.chunks import mean_of_rows
from align_data.train.objectives.gathering import gathered, own_rows
from align_data.train.objectives.objective import EmbeddedPairs, Objective, scalar

CURVATURES = (0.1, 10.0)
"""What the learnt curvature stays within, as in MERU's code."""
APERTURE = 0.1
"""K of the cones, as in the paper."""


class HyperbolicObjective(Objective):
    """MERU (arXiv 2304.09172, section 3): the softmax over minus Lorentzian distances, and a cone around each text.

    Features are scaled, by d^-1/2 at first and 1 at most, and lifted by the exponential map at the origin. An image
    costs what its exterior angle at its text exceeds the aperture of the text's cone by, times a weight.

    All points are held times sqrt(c), on the hyperboloid of curvature 1: c then is of scales and distances alone.
    """

    name: ClassVar[str] = HYPERBOLIC
    has_temperature: ClassVar[bool] = True
    is_on_sphere: ClassVar[bool] = False

    def __init__(self, curvature: float, image_scale: float, text_scale: float, entailment: float) -> None:
        super().__init__()
        self.entailment = entailment
        self.curvature = scalar(math.log(curvature))
        self.image_scale, self.text_scale = scalar(math.log(image_scale)), scalar(math.log(text_scale))

    def begin(self, _: float) -> None:
        """Take what is learnt back to its bounds."""
        with torch.no_grad():
            self.curvature.clamp_(*map(math.log, CURVATURES))
            for scale in (self.image_scale, self.text_scale):
                scale.clamp_(max=0.0)

    def forward(self, pairs: EmbeddedPairs, temperature: Tensor) -> Tensor:
        """Return the loss of this process's pairs."""
        curve = self.curvature.exp().sqrt()
        images = lifted(pairs.images * (self.image_scale.exp() * curve))
        texts = lifted(pairs.texts * (self.text_scale.exp() * curve))
        targets = own_rows(len(images), images.device)
        unit = temperature * curve
        to_texts = mean_of_rows(_towards(gathered(texts), unit), images, targets)
        to_images = mean_of_rows(_towards(gathered(images), unit), texts, targets)
        return (to_texts + to_images) / 2 + self.entailment * outside(texts, images).mean()

    def at_first(self, batch: int) -> str:
        """Say what the logarithm of the batch is."""
        return f"the logarithm of the batch is {math.log(batch):.3f}, to which the cones add"

    def learnt(self) -> dict[str, float]:
        """Return the curvature and the scales, of which the logarithms are learnt."""
        return {name: math.exp(value) for name, value in super().learnt().items()}

    def given(self) -> dict[str, float]:
        """Return the weight of the cones."""
        return {"entailment": self.entailment}


def lifted(tangents: Tensor) -> Tensor:
    """Return points (rows, d + 1), their time last, of the exponential map at the origin of tangents (rows, d)."""
    lengths = tangents.norm(dim=-1, keepdim=True)
    radii = lengths.clamp(max=FARTHEST)
    space = tangents * (radii.sinh() / lengths.clamp(min=torch.finfo(tangents.dtype).eps))
    return torch.cat([space, radii.cosh()], dim=-1)


def outside(texts: Tensor, images: Tensor) -> Tensor:
    """Return by how much each image is outside the cone of its text, in radians: 0 for one within."""
    inner = (texts[:, :-1] * images[:, :-1]).sum(dim=1) - texts[:, -1] * images[:, -1]
    sizes = _above_zero(texts[:, :-1].norm(dim=1))
    cosine = (images[:, -1] + texts[:, -1] * inner) / (sizes * _above_zero((inner**2 - 1).clamp(min=0)).sqrt())
    return functional.relu(_within_one(cosine).acos() - _within_one(2 * APERTURE / sizes).asin())


def _towards(gallery: Tensor, unit: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    flipped = torch.cat([gallery[:, :-1], -gallery[:, -1:]], dim=1).T

    def loss(queries: Tensor, targets: Tensor) -> Tensor:
        above = -(queries @ flipped)
        distances = above.clamp(min=1 + 8 * torch.finfo(above.dtype).eps).acosh()  # of 1 it has no gradient
        return functional.cross_entropy(-distances / unit, targets)

    return loss


def _above_zero(values: Tensor) -> Tensor:
    return values.clamp(min=8 * torch.finfo(values.dtype).eps)


def _within_one(values: Tensor) -> Tensor:
    most = 1 - 8 * torch.finfo(values.dtype).eps
    return values.clamp(-most, most)
