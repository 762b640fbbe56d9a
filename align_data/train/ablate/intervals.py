"""Means over seeds with their 95 % t-intervals: what differs between runs is the seed, never the example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
_AGREE = 1e-12
"""An interval that is no wider is of values that differ by rounding alone."""


@dataclass(frozen=True)
class SeedMean:
    """A mean over seeds, and the interval that it lies in; `low` and `high` are None where there is a single seed."""

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval; None of a single seed, and where all seeds agree: without width it would claim certainty."""
        if self.low is None or self.high is None or self.high - self.low <= _AGREE:
            return None
        return self.low, self.high

    @property
    def holds_zero(self) -> bool | None:
        """Whether the interval has 0 in it; None where there is none."""
        return None if self.interval is None else self.interval[0] <= 0 <= self.interval[1]


def estimate(values: Sequence[float]) -> SeedMean:
    """Return the mean of at least one value with its 95 % interval by Student's t, n - 1 degrees of freedom."""
    from scipy.special import stdtrit  # noqa: PLC0415 - a second, for a few numbers at the end

    array = np.asarray(values, dtype=np.float64)
    mean, number = float(array.mean()), len(array)
    if number < 2:
        return SeedMean(mean, None, None, number)
    half = float(stdtrit(number - 1, (1 + LEVEL) / 2) * array.std(ddof=1) / np.sqrt(number))
    return SeedMean(mean, mean - half, mean + half, number)


def difference(values: Mapping[int, float], baseline: Mapping[int, float]) -> SeedMean | None:
    """Return by how much the values exceed the others, paired by seed; None where no seed has both."""
    seeds = sorted(values.keys() & baseline.keys())
    return estimate([values[seed] - baseline[seed] for seed in seeds]) if seeds else None
