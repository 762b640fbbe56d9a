"""The recall of a comparison, measured: some images are compared with all, without cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.progress import Progress, Tick
from align_data.data.meta import RecallMeta
from align_data.engines.base import Engine
from align_data.neighbours.embedding.cell import Nearness
from align_data.neighbours.embedding.cosines import MILLION, Halves, Vectors, pairs_within
from align_data.neighbours.embedding.images import PREFIX, EmbeddedImages

_BLOCK_ROWS = 1024
Counted = dict[str, tuple[int, int]]
"""SHA-256 of a sampled image → how many rows of embeddings a comparison has within threshold and floor of it."""


@dataclass(frozen=True)
class SampledImages:
    """Images sampled by their SHA-256, in its order."""

    hashes: tuple[str, ...]
    halves: Halves

    def up_to(self, bound: str) -> SampledImages:
        """Return those whose SHA-256 begins with `bound` at most."""
        number = sum(sha256[:PREFIX] <= bound for sha256 in self.hashes)
        return SampledImages(self.hashes[:number], self.halves[:number])


def gather(parts: Sequence[tuple[pl.Series, Halves]], images: int) -> SampledImages:
    """Put the samples of all parts together, each image once, at most so many."""
    places: dict[str, tuple[int, int]] = {}
    for number, (hashes, _) in enumerate(parts):
        for row, sha256 in enumerate(hashes):
            places.setdefault(sha256, (number, row))
    chosen = sorted(places)[:images]
    dim = parts[0][1].shape[1]
    halves = np.array([parts[n][1][row] for n, row in map(places.__getitem__, chosen)], np.float16)
    return SampledImages(tuple(chosen), halves.reshape(-1, dim))


def measure_recall(
    images: EmbeddedImages,
    sample: SampledImages,
    compared: Counted,
    nearness: Nearness,
    rows: Sequence[int],
    engine: Engine,
    progress: Progress,
) -> RecallMeta:
    """Compare the sample with all images, and the counts with those of the comparison."""

    def count(part: int, tick: Tick) -> NDArray[np.int64]:
        counts = _within(images, part, sample.halves, nearness)
        tick(rows[part])
        return counts

    counted = engine.map_parts("neighbours: recall", count, rows, progress, "embeddings")
    near, within = sum(counted, np.zeros((2, len(sample.hashes)), np.int64)).sum(axis=1).tolist()
    among = np.array([compared.get(sha256, (0, 0)) for sha256 in sample.hashes], np.int64).reshape(-1, 2).sum(axis=0)
    return RecallMeta(
        images=len(sample.hashes), pairs=near, among=int(among[0]), floor_pairs=within, floor_among=int(among[1])
    )


def _within(images: EmbeddedImages, part: int, sample: Halves, nearness: Nearness) -> NDArray[np.int64]:
    """Count for each sampled image the embeddings of a part that are within threshold and floor, and are not equal."""
    counts = np.zeros((2, len(sample)), np.int64)
    columns = Vectors(sample)
    for _, halves in images.vectors(part, images.hashes(part)):
        prepared = Vectors(halves)
        for start in range(0, len(halves), _BLOCK_ROWS):
            block = prepared[start : start + _BLOCK_ROWS]
            i, j, cosines = pairs_within(block, columns, nearness.floor)
            same = np.flatnonzero(cosines == MILLION)
            same = same[(block.halves[i[same]] == sample[j[same]]).all(axis=1)]
            j, cosines = np.delete(j, same), np.delete(cosines, same)
            counts[1] += np.bincount(j, minlength=len(sample))
            counts[0] += np.bincount(j[cosines >= nearness.threshold], minlength=len(sample))
    return counts
