"""Whether a model is as often right as it says: expected calibration error, as Guo et al. have it.

On Calibration of Modern Neural Networks, ICML 2017, equation 3: predictions are grouped by confidence in bins of equal
width, and the error is the mean, over predictions, of how far the share that is right is from the mean confidence in
their bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from align_data.train.metrics import DRAWS, Values

BINS = 15
"""As Guo et al. have it."""


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions whose confidence is above `above`, and at most `up_to`."""

    above: float
    up_to: float
    predictions: int
    confidence: float | None
    """Their mean; None where there are none."""
    accuracy: float | None
    """The share that is right."""


@dataclass(frozen=True)
class Reliability:
    """Expected calibration error, and what it is made of; all from 0 to 1."""

    ece: float
    calibrated_low: float
    """With these confidences and so many predictions a model that is calibrated has 95 % of its errors from here ..."""
    calibrated_high: float
    """... to here: a greater one is the model's, and not of the sample."""
    bins: tuple[ReliabilityBin, ...]


def reliability(confidence: Values, correct: Values, seed: int = 0, bins: int = BINS) -> Reliability:
    """Return how well confidences (n,) agree with whether predictions are right (n,), from 0 to 1 where some are level.

    What a calibrated model gets is drawn: each prediction is right with the probability that it has.
    """
    edges = np.arange(bins + 1) / bins
    of_bin = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    random = np.random.default_rng(seed)
    drawn = [_error(of_bin, confidence, random.random(len(confidence)) < confidence, bins) for _ in range(DRAWS)]
    low, high = np.percentile(drawn, (2.5, 97.5))
    members = [of_bin == place for place in range(bins)]
    return Reliability(
        _error(of_bin, confidence, correct, bins),
        float(low),
        float(high),
        tuple(
            ReliabilityBin(
                float(edges[place]),
                float(edges[place + 1]),
                int(own.sum()),
                float(confidence[own].mean()) if own.any() else None,
                float(correct[own].mean()) if own.any() else None,
            )
            for place, own in enumerate(members)
        ),
    )


def _error(of_bin: NDArray[np.intp], confidence: Values, correct: NDArray[Any], bins: int) -> float:
    return float(np.abs(np.bincount(of_bin, weights=correct - confidence, minlength=bins)).sum() / len(confidence))
