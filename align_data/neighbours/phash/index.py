"""Of each distinct pHash: how many images are within a distance, and how far the nearest is that has an earlier image.

The declared order of images: the larger (width times height) first, then the one with the smaller SHA-256 (of which 64
bits decide), then the one whose URL has the smaller key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from align_data.common.bits import spread
from align_data.common.hashing import Hashes, Keys
from align_data.common.near_pairs import Pairs, near_pairs
from align_data.common.nearest_hash import FAR

Distances = NDArray[np.int32]


@dataclass(frozen=True)
class DistinctHashes:
    """Distinct pHashes, and of each its images and the first of them."""

    phash: Hashes
    images: Keys
    """How many images have it."""
    area: Keys
    """Of the first image that has it: width times height."""
    sha: Hashes
    """And the first 64 bits of its SHA-256."""

    def __len__(self) -> int:
        return len(self.phash)


@dataclass(frozen=True)
class NearHashes:
    """What is near each of some distinct pHashes."""

    near: Keys
    """Images of other pHashes within the distance."""
    earlier: Distances
    """The distance to the nearest other pHash that has an earlier image; FAR where none is within."""


def nearness(distinct: DistinctHashes, within: int, shared: int = 0, earlier_masks: Sequence[int] = ()) -> NearHashes:
    """Compare all distinct pHashes with all.

    Once their bits are spread, only those that agree in all bits of `shared` and in those of no earlier mask.
    """
    hashes = spread(distinct.phash)
    order = np.argsort(hashes)
    hashes = hashes[order]
    near, earlier = np.zeros(len(hashes), np.int64), np.full(len(hashes), FAR, np.int32)
    groups = len(np.unique(hashes & np.uint64(shared))) if shared else 1
    for values in near_pairs(hashes, within, shared, groups):
        for mask in earlier_masks:
            values = _disagreeing(values, mask)  # noqa: PLW2901 - fewer of them
        place, partner = (order[np.searchsorted(hashes, side)] for side in values)
        distance = np.bitwise_count(values[0] ^ values[1]).astype(np.int32)
        np.add.at(near, place, distinct.images[partner])
        np.add.at(near, partner, distinct.images[place])
        np.minimum.at(earlier, np.where(_precedes(distinct, place, partner), partner, place), distance)
    return NearHashes(near, earlier)


def _disagreeing(pairs: Pairs, mask: int) -> Pairs:
    """Return the pairs that differ in some bit of a mask."""
    lower, upper = pairs
    differ = (lower ^ upper) & np.uint64(mask) != 0
    return lower[differ], upper[differ]


def _precedes(distinct: DistinctHashes, place: NDArray[np.intp], partner: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Tell of pairs whether the first image at a place comes before the first image of its partner."""
    area, than = distinct.area[place], distinct.area[partner]
    sha, than_sha = distinct.sha[place], distinct.sha[partner]
    # Where 64 bits of two SHA-256 are the same, the pHashes themselves keep the order total.
    smaller = distinct.phash[place] < distinct.phash[partner]
    alike = np.where(sha == than_sha, smaller, sha < than_sha)
    return np.where(area == than, alike, area > than)
