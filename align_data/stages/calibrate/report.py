"""What a calibration came to, and how it reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from align_data.data.calibration import Calibration


@dataclass(frozen=True)
class DrawnImage:
    """An image of the sample."""

    part: int
    url: str
    nsfw: float | None
    """Its score; None where it is not measured."""


@dataclass(frozen=True)
class RandomPair:
    """Two different images of the sample, and how near they are."""

    cosine: float
    first: DrawnImage
    second: DrawnImage


@dataclass(frozen=True)
class CalibrationReport:
    """What a calibration came to."""

    calibration: Calibration
    nearest: Sequence[RandomPair]
    """The nearest random pairs, each image once: copies among them make the threshold higher than it needs to be."""
    undecodable: int
    """Images of the sample of which no copies could be made."""

    @property
    def verdict(self) -> str:
        """What it came to, as a sentence."""
        known = self.calibration
        point, allowed = known.at_threshold, known.promise
        if point is not None:
            counted, ends = f"{point.per_million:.3g}", f"{point.low:.3g} to {point.high:.3g}"
            return f"Threshold {point.threshold:.3f}: at most {allowed} (counted {counted}, 95 % interval {ends})."
        last = known.curve[-1]
        if last.false_pairs:
            return f"No threshold: even a cosine of 1 finds more than {allowed} (counted {last.per_million:,.6g})."
        needed = math.ceil((2 * last.high * known.pairs / known.allowed) ** 0.5) + 1
        return (
            f"No threshold: {known.pairs:,} random pairs are too few to show at most {allowed}. That needs {needed:,} "
            f"images (--compared); these show at most {last.high:,.3g} (--false-pairs)."
        )

    @property
    def notes(self) -> list[str]:
        """What it rests on, as sentences."""
        known, spread = self.calibration, (self.calibration.random_median, self.calibration.random_999)
        return [
            f"Rule: the lowest threshold from which on the upper end of the interval is at most {known.allowed:g}.",
            (
                f"Random pairs: {known.pairs:,} of {known.compared:,} images; median {spread[0]:.3f}, 99.9 % below "
                f"{spread[1]:.3f}."
            ),
            self._left_out,
            *self._in_the_pool,
            *(
                [f"{self.undecodable:,} images could not be decoded again, and have no copies."]
                * bool(self.undecodable)
            ),
        ]

    @property
    def _left_out(self) -> str:
        known = self.calibration
        if known.phash_within is None:
            return "No pHash is measured: copies that the pool has count as random pairs. Run align-data measure."
        if known.lone:
            return f"Left out: all images with a likely copy in the sample, within {known.phash_within} bits by pHash."
        return f"Left out as likely copies: {known.left_out:,} pairs within {known.phash_within} bits by pHash."

    @property
    def _in_the_pool(self) -> list[str]:
        known, point = self.calibration, self.calibration.at_threshold
        if point is None:
            return []
        counted, most = (rate * (known.pool - 1) / 1e6 for rate in (point.per_million, point.high))
        return [
            (
                f"In a pool of {known.pool:,} images each then has {counted:.3g} false near-duplicates on average, "
                f"{most:.3g} at most."
            )
        ]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        pairs = [{"cosine": pair.cosine, "urls": [pair.first.url, pair.second.url]} for pair in self.nearest]
        stored = self.calibration.model_dump(mode="json")
        return {**stored, "nearest_random_pairs": pairs, "undecodable": self.undecodable}
