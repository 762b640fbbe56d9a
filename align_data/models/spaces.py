"""Where a model's embeddings lie, and so how near an image and a text are: on a sphere, or on a hyperboloid."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Stored = NDArray[np.floating[Any]]
"""(rows, dimension), of unit length, as an encoder gives them and a table holds them."""
Values = NDArray[np.float64]

FARTHEST = 6.0
"""From the origin of a hyperboloid of curvature 1: beyond it float32 has too little left of a distance."""


class Space(ABC):
    """How unit vectors are compared: by a product of two, of which more is nearer, and by the score that it stands for.

    Products order as scores do, and can be summed exactly and in blocks.
    """

    @property
    @abstractmethod
    def curvature(self) -> float | None:
        """Of the hyperboloid; None for a sphere. It is what `space_of` needs to make the same space."""

    @abstractmethod
    def rows(self, vectors: Stored) -> Stored:
        """Return the first factors of products."""

    @abstractmethod
    def columns(self, vectors: Stored) -> Stored:
        """Return the second factors of products."""

    @abstractmethod
    def lengths(self, factors: Stored, /) -> float | Values:
        """Return how long each factor is."""

    @abstractmethod
    def scores(self, products: Values) -> Values:
        """Return the scores that products stand for."""

    @abstractmethod
    def holds(self, vectors: Stored, /) -> bool:
        """Tell whether unit vectors, such as sums of others, are points of the space."""

    def paired(self, images: Stored, texts: Stored) -> Values:
        """Return the score of each row's image and text."""
        products: Values = (self.rows(images).astype(np.float64) * self.columns(texts)).sum(axis=1)
        return self.scores(products)


@dataclass(frozen=True)
class Sphere(Space):
    """The score is the cosine."""

    @property
    def curvature(self) -> None:
        """None."""

    def rows(self, vectors: Stored) -> Stored:
        """Return the vectors."""
        return vectors

    def columns(self, vectors: Stored) -> Stored:
        """Return the vectors."""
        return vectors

    def lengths(self, _: Stored, /) -> float:
        """Return 1."""
        return 1.0

    def scores(self, products: Values) -> Values:
        """Return the cosines, which rounding takes no farther than 1."""
        return products.clip(-1, 1)

    def holds(self, _: Stored, /) -> bool:
        """Return True."""
        return True


@dataclass(frozen=True)
class Hyperboloid(Space):
    """The Lorentz model {x: <x, x>_L = -1/c, x_0 > 0} (MERU, arXiv 2304.09172): the score is minus the distance.

    A point is stored as (sqrt(c) x, 1) / (sqrt(c) x_0), the hemisphere model of the same space: of unit length, so that
    whatever takes unit vectors takes it; its last coordinate is 1 at the origin, and less the farther off.
    """

    c: float

    @property
    def curvature(self) -> float:
        """Minus the curvature, as MERU has it: c."""
        return self.c

    def rows(self, vectors: Stored) -> Stored:
        """Return (sqrt(c) x, sqrt(c) x_0)."""
        exact = vectors.astype(np.float64)
        height = exact[..., -1:].clip(1 / math.cosh(FARTHEST), 1)
        points: Values = np.concatenate([exact[..., :-1], np.ones_like(height)], axis=-1) / height
        return points

    def columns(self, vectors: Stored) -> Stored:
        """Return (sqrt(c) x, -sqrt(c) x_0): a product is c <x, y>_L."""
        points = self.rows(vectors)
        points[..., -1] *= -1
        return points

    def lengths(self, factors: Stored, /) -> Values:
        """Return how long each factor is."""
        lengths: Values = np.linalg.norm(factors.astype(np.float64), axis=-1)
        return lengths

    def scores(self, products: Values) -> Values:
        """Return minus the Lorentzian distance, sqrt(1/c) arccosh(-c <x, y>_L)."""
        distances: Values = np.arccosh((-products).clip(1)) / math.sqrt(self.c)
        return 0 - distances

    def holds(self, vectors: Stored, /) -> bool:
        """Tell whether all are of the upper half of the sphere."""
        return bool((vectors[..., -1] > 0).all())

    def lifted(self, tangents: Stored) -> NDArray[np.float32]:
        """Return the points, as they are stored, that the exponential map at the origin makes of tangents (rows, d)."""
        scaled = math.sqrt(self.c) * tangents.astype(np.float64)
        lengths = np.linalg.norm(scaled, axis=-1, keepdims=True)
        radii = lengths.clip(max=FARTHEST)
        spread = np.tanh(radii) / np.where(lengths > 0, lengths, 1)
        return np.concatenate([scaled * spread, 1 / np.cosh(radii)], axis=-1).astype(np.float32)


SPHERE = Sphere()


def space_of(curvature: float | None) -> Space:
    """Return the space of a curvature; the sphere for None."""
    return SPHERE if curvature is None else Hyperboloid(curvature)
