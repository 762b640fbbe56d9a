"""Numbers of a forecast, each with what it is worth: counted, sampled with an interval, or assumed from a source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Basis = Literal["counted", "sampled", "probed", "assumed"]
_WEIGHT = ("counted", "sampled", "probed", "assumed")
"""The bases, that which says most first."""
_Z = 1.959964
"""Standard deviations of half a 95 % interval."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """One number. `error` is half of its 95 % interval, 0 for what is counted, None for what nobody knows so well."""

    value: float
    unit: str
    basis: Basis
    error: float | None = 0.0
    sources: tuple[str, ...] = ()
    """Where what is assumed is from."""

    def times(self, factor: Figure | float, unit: str | None = None) -> Figure:
        """Return the product, which is worth what the lesser of the two is; errors are taken as independent."""
        if not isinstance(factor, Figure):
            error = None if self.error is None else self.error * abs(factor)
            return replace(self, value=self.value * factor, error=error, unit=unit or self.unit)
        product = self.value * factor.value
        error = None
        if self.error is not None and factor.error is not None:
            error = math.hypot(self.error * factor.value, factor.error * self.value)
        return Figure(product, unit or self.unit, *_lesser(self, factor, error))

    def plus(self, addend: Figure) -> Figure:
        """Return the sum; errors are taken as independent."""
        both_told = self.error is not None and addend.error is not None
        error = math.hypot(self.error or 0, addend.error or 0) if both_told else None
        return Figure(self.value + addend.value, self.unit, *_lesser(self, addend, error))

    @property
    def worth(self) -> str:
        """What the number is worth, in words."""
        if self.basis == "counted":
            return "counted"
        interval = "" if self.error is None else f" ± {share_of(self.error, self.value)}"
        if self.basis == "assumed":
            return f"assumed ({'; '.join(self.sources)})"
        return f"{self.basis}{interval}"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        whole = self.value.is_integer() and self.unit not in ("seconds", "hours", "dollars")
        value = int(self.value) if whole else round(self.value, 6)
        data: dict[str, Any] = {"value": value, "unit": self.unit, "basis": self.basis}
        if self.basis != "counted":
            data["error"] = None if self.error is None else round(self.error, 6)
        return {**data, "sources": list(self.sources)} if self.sources else data


def share_of(error: float, value: float) -> str:
    """Return an error as a share of its value."""
    return f"{error / abs(value):.1%}" if value else "0"


def _lesser(a: Figure, b: Figure, error: float | None) -> tuple[Basis, float | None, tuple[str, ...]]:
    basis = max(a.basis, b.basis, key=_WEIGHT.index)
    return basis, error, tuple(dict.fromkeys((*a.sources, *b.sources)))


def counted(value: float, unit: str) -> Figure:
    """Return a number that is exact."""
    return Figure(float(value), unit, "counted")


def assumed(value: float, unit: str, *sources: str) -> Figure:
    """Return a number that somebody else found."""
    return Figure(value, unit, "assumed", None, sources)


@dataclass(frozen=True)
class Clusters:
    """A sample of a pool by hash: all rows of some URLs, or of some texts, each of which is a cluster.

    A pool's total is estimated as `rows`, which are counted, times a ratio of the sample: of what is asked to rows. Its
    variance is that of sampling each cluster with the probability `share`, linearised (Cochran, Sampling Techniques,
    section 6.3, with the correction for a finite pool).
    """

    rows_of: Floats
    """The rows of each cluster."""
    share: float
    rows: Figure
    """All rows of the pool."""

    def total(self, of: Sequence[float] | Floats, unit: str) -> Figure:
        """Return the pool's total of what each cluster has so many of."""
        values = np.asarray(of, np.float64)
        if self.share >= 1:
            return counted(float(values.sum()), unit)
        in_sample = float(self.rows_of.sum())
        if not in_sample:
            return Figure(0.0, unit, "sampled", None)
        ratio = float(values.sum()) / in_sample
        deviations = values - ratio * self.rows_of
        variance = (1 - self.share) * float(np.square(deviations).sum()) / self.share**2
        spread = math.hypot(_Z * math.sqrt(variance), ratio * (self.rows.error or 0))
        return Figure(self.rows.value * ratio, unit, "sampled", spread)


def binomial(hits: int, of: int, unit: str) -> Figure:
    """Return a share that was met with so many times of so many: the middle of Wilson's interval, and half of it."""
    square = _Z * _Z
    middle = (hits + square / 2) / (of + square)
    error = _Z / (of + square) * math.sqrt(hits * (of - hits) / of + square / 4)
    return Figure(middle, unit, "sampled", error)
