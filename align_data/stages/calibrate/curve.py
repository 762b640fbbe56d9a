"""From cosines to a threshold: how near random pairs are, how near copies, and where the one ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from align_data.data.calibration import CurvePoint, Quantiles

Doubles = NDArray[np.float64]
Halves = NDArray[np.float16]
Places = NDArray[np.intp]

STEP = 1000
"""Thresholds of a cosine of 1."""
PHASH_WITHIN = 10
"""Bits: pairs that are as near by pHash are likely to be copies, and no random pairs."""
_EDGES = 100_000
"""Random pairs whose cosines are kept, about at most: the curve begins where there are more."""
_LOWEST = 0.5
"""The curve begins here at the lowest."""
_ROWS = 1024
_Z = 1.959964
"""Of a normal distribution: what 95 % are within."""


@dataclass(frozen=True)
class RandomPairs:
    """The random pairs of some images: how many, how near, and the nearest of them."""

    images: int
    number: int
    left_out: int
    """Pairs of one group."""
    histogram: NDArray[np.int64]
    """Pairs by cosine, in bins of 1 / STEP from -1 on."""
    first: Places
    second: Places
    """The images of the nearest pairs, the nearest first."""
    cosines: Doubles
    """Of these, of six decimals."""
    floor: float
    """Every pair at least as near is among them."""

    def below(self, share: float) -> float:
        """Return the cosine that this share of the pairs are below, to a bin."""
        at = int(np.searchsorted(self.histogram.cumsum(), share * self.histogram.sum()))
        return min(1.0, (at + 1) / STEP - 1)


def copy_groups(phashes: NDArray[np.int64], known: NDArray[np.bool_]) -> Places:
    """Return the group of each image: what is near by pHash, or near to what is near, is in one.

    An image whose pHash is not known is in a group of its own.
    """
    hashes, inverse = np.unique(phashes[known], return_inverse=True)
    labels = np.arange(len(hashes))
    while True:
        before = labels
        labels = np.concatenate([labels[:0], *(_least_labels(hashes, labels, start) for start in _starts(len(hashes)))])
        labels = labels[labels]
        if (labels == before).all():
            break
    groups = np.arange(len(hashes), len(hashes) + len(known))
    groups[known] = labels[inverse]
    return groups


def _least_labels(hashes: NDArray[np.int64], labels: Places, start: int) -> Places:
    """Return for some hashes, from `start` on, the least label among those that are near."""
    near = np.bitwise_count(hashes[start : start + _ROWS, None] ^ hashes) <= PHASH_WITHIN
    return np.asarray(np.where(near, labels, len(labels)).min(axis=1))


def random_pairs(vectors: Halves, groups: Places) -> RandomPairs:
    """Compare all images with each other, but for pairs of one group, which are likely to be copies."""
    singles = vectors.astype(np.float32)
    singles /= np.maximum(np.linalg.norm(singles, axis=1, keepdims=True), 1e-6)
    histogram = np.zeros(2 * STEP + 1, np.int64)
    for start, cosines in _blocks(singles, groups):
        compared = cosines[np.triu(np.ones(cosines.shape, np.bool_), start + 1)]
        bins = np.floor((compared[~np.isnan(compared)] + 1) * STEP).astype(np.int64).clip(0, 2 * STEP)
        histogram += np.bincount(bins, minlength=len(histogram))
    floor = _floor(histogram)
    none = np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0)  # where there are no images
    edges = zip(none, *_edges(vectors, singles, groups, floor), strict=True)
    first, second, near = (np.concatenate(column) for column in edges)
    order = np.lexsort((second, first, -near))
    number, images = int(histogram.sum()), len(vectors)
    left_out = images * (images - 1) // 2 - number
    return RandomPairs(images, number, left_out, histogram, first[order], second[order], near[order], floor)


def _floor(histogram: NDArray[np.int64]) -> float:
    """Return the lowest cosine from which on there are not too many pairs, a whole number of steps."""
    from_here = histogram[::-1].cumsum()[::-1]
    few = np.flatnonzero(from_here <= _EDGES)
    return max(_LOWEST, (int(few[0]) - STEP) / STEP if len(few) else 1.0)


def _starts(images: int) -> range:
    return range(0, images, _ROWS)


def _blocks(singles: NDArray[np.float32], groups: Places) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the cosines of some images, from `start` on, with all; NaN for pairs of one group."""
    for start in _starts(len(singles)):
        rows = slice(start, start + _ROWS)
        cosines = singles[rows] @ singles.T
        cosines[groups[rows, None] == groups] = np.nan
        yield start, cosines


def _edges(
    vectors: Halves, singles: NDArray[np.float32], groups: Places, floor: float
) -> Iterator[tuple[Places, Places, Doubles]]:
    for start, cosines in _blocks(singles, groups):
        rows, columns = np.nonzero(cosines >= floor - 1e-4)
        rows += start
        once = columns > rows
        rows, columns = rows[once], columns[once]
        exact = cosines_of(vectors[rows], vectors[columns])
        near = exact >= floor
        yield rows[near], columns[near], exact[near]


def cosines_of(first: Halves, second: Halves) -> Doubles:
    """Return the cosine of each pair of embeddings, of six decimals: in any order of summing the same."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b))
    cosines = np.einsum("ij,ij->i", a, b) / np.where(lengths > 0, lengths, 1)
    return np.asarray(np.rint(cosines.clip(-1, 1) * 1e6) / 1e6)


def interval(pairs: int, images: int, shared: int) -> tuple[float, float]:
    """Return the interval of 95 % of how many pairs are to be expected where so many were counted among some images.

    `shared` is the sum over images of d (d - 1), d being how many of the pairs an image is in. Pairs that share an
    image tell less than others: it is Poisson's interval, by Byar's approximation, of as many pairs as tell as much.
    """
    spread = 1.0
    if pairs:
        spread = max(1.0, 1 + (shared - 4 * pairs**2 / images) / pairs)
    counted = pairs / spread
    low = 0.0 if not counted else counted * max(0.0, 1 - 1 / (9 * counted) - _Z / (3 * counted**0.5)) ** 3
    high = (counted + 1) * (1 - 1 / (9 * (counted + 1)) + _Z / (3 * (counted + 1) ** 0.5)) ** 3
    return spread * low, spread * high


def curve(random: RandomPairs, copies: Mapping[str, Doubles]) -> list[CurvePoint]:
    """Return what each threshold finds, from the floor of the random pairs to 1."""
    points = []
    kinds = {kind: np.sort(cosines[~np.isnan(cosines)]) for kind, cosines in copies.items()}
    for step in range(round(random.floor * STEP), STEP + 1):
        threshold = step / STEP
        number = int(np.searchsorted(-random.cosines, -threshold, side="right"))
        degrees = np.bincount(np.concatenate([random.first[:number], random.second[:number]]), minlength=random.images)
        low, high = interval(number, random.images, int((degrees * (degrees - 1)).sum()))
        low, per_million, high = (min(1e6, 1e6 * count / max(1, random.number)) for count in (low, number, high))
        shares = {
            kind: 1 - int(np.searchsorted(cosines, threshold)) / len(cosines)
            for kind, cosines in kinds.items()
            if len(cosines)
        }
        points.append(
            CurvePoint(
                threshold=threshold,
                copies=shares,
                false_pairs=number,
                per_million=per_million,
                low=low,
                high=high,
            )
        )
    return points


def proposed(points: list[CurvePoint], allowed: float) -> float | None:
    """Return the lowest threshold from which on the upper end of false pairs per million is at most `allowed`."""
    threshold = None
    for point in reversed(points):
        if point.high > allowed:
            break
        threshold = point.threshold
    return threshold


def quantiles(cosines: Doubles) -> Quantiles | None:
    """Return how near the copies of a kind are; None where there are none."""
    known = cosines[~np.isnan(cosines)]
    if not len(known):
        return None
    at = np.quantile(known, [0, 0.01, 0.1, 0.5], method="lower").tolist()
    return Quantiles(least=at[0], at_1=at[1], at_10=at[2], median=at[3], copies=len(known))
