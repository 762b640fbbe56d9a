"""How what a trained model's towers give becomes embeddings: by what its config.json says of its objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from align_data.common.errors import InputError
from align_data.models.spaces import SPHERE, Hyperboloid, Space

Features = NDArray[np.float32]
"""(rows, width), of any length, as a tower gives them."""

HYPERBOLIC = "hyperbolic"
_SCALES = ("curvature", "image_scale", "text_scale")
_GREATEST = 1e6


@dataclass(frozen=True)
class Lift:
    """From features to embeddings."""

    space: Space = SPHERE
    image_scale: float = 1.0
    text_scale: float = 1.0

    def dim(self, width: int) -> int:
        """Return the length of embeddings of features of a width."""
        return width + isinstance(self.space, Hyperboloid)

    def images(self, features: Features) -> Features:
        """Return images' embeddings; those of a sphere may still have any length."""
        return self._lifted(features, self.image_scale)

    def texts(self, features: Features) -> Features:
        """Return texts' embeddings."""
        return self._lifted(features, self.text_scale)

    def _lifted(self, features: Features, scale: float) -> Features:
        return self.space.lifted(features * scale) if isinstance(self.space, Hyperboloid) else features


def lift_of(objective: Any, where: str) -> Lift:
    """Return the lift of a model whose config.json, which is at `where`, has this under `objective`.

    Models of other objectives, of before or from elsewhere have the sphere. Raises InputError for numbers that a
    hyperbolic model cannot have.
    """
    if not isinstance(objective, Mapping) or objective.get("name") != HYPERBOLIC:
        return Lift()
    learnt = objective.get("learnt")
    numbers: Mapping[str, Any] = learnt if isinstance(learnt, Mapping) else {}
    for name in _SCALES:
        number = numbers.get(name)
        if type(number) is not float or not 0 < number < _GREATEST:
            raise InputError(
                f"{where}: a hyperbolic model needs the {name} that it has learnt, a number above 0; here it has "
                f"{str(number)[:100]}: train it again, or take a copy that is whole"
            )
    curvature, image_scale, text_scale = (float(numbers[name]) for name in _SCALES)
    return Lift(Hyperboloid(curvature), image_scale, text_scale)
