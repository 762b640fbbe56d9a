"""The codebook: k-means of a sample, which says in which cells an image is compared.

Centroids are of float16 numbers as embeddings are, so distances are exact and every machine says the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from align_data.neighbours.embedding.cosines import Doubles, Halves, Places, Singles

Cells = NDArray[np.int32]
"""(rows, MOST_CELLS): the home cell of each, then those that it is a guest of, and -1 where there are no more."""

MOST_CELLS = 12
"""Cells that an image can be in."""
ONE_CELL = 4096
"""Images up to which there is one cell: all are compared with all."""
MOST = 2**14
"""Cells at most."""
POINTS = 32
"""Sampled images for each cell."""
_FEWEST = 5
"""Points that a centroid is the mean of, at least."""
_ROUNDS = 6
_SPLITS = 3
_FULL = 8
"""How many times the mean a cell may hold of the sample before it is divided."""
_BLOCK = 2**21
"""Distances that are held at once."""


def cells_for(images: int) -> int:
    """Return how many cells serve so many images best: finding an image's cells then costs as much as comparing."""
    return 1 if images <= ONE_CELL else min(MOST, round(2 * images**0.5))


@dataclass(frozen=True)
class Codebook:
    """The centroids of all cells (cells, dimension)."""

    centroids: Halves

    def __len__(self) -> int:
        return len(self.centroids)

    @cached_property
    def doubles(self) -> Doubles:
        """The centroids, for exact distances."""
        return self.centroids.astype(np.float64)

    @cached_property
    def squares(self) -> Doubles:
        """The squared length of each centroid."""
        squares: Doubles = np.einsum("ij,ij->i", self.doubles, self.doubles)
        return squares

    def cells(self, halves: Halves, margin: float) -> Cells:
        """Return the home cell of each embedding, the nearest, and the cells whose border is within `margin` of it.

        Those are the nearest borders where there are more than MOST_CELLS.
        """
        cells = np.full((len(halves), MOST_CELLS), -1, np.int32)
        rows = max(1, _BLOCK // len(self))
        error = (halves.shape[1] + 8) * 2.0**-24
        for start in range(0, len(halves), rows):
            block = halves[start : start + rows]
            rough = np.append(block.astype(np.float32), np.ones((len(block), 1), np.float32), axis=1) @ self._scoring
            cells[start : start + rows], doubtful = self._decided(rough, margin, error)
            for at in _pieces(np.flatnonzero(doubtful), rows):
                exact = block[at].astype(np.float64) @ self.doubles.T - self.squares / 2
                cells[start + at], _ = self._decided(exact, margin, 0.0)
        return cells

    def borders(self, halves: Halves, places: Places, home: int, cells: NDArray[np.integer]) -> Doubles:
        """Return how far the embeddings at `places` of one home are from its borders to `cells`: (places, cells)."""
        away = np.empty((len(places), len(cells)))
        apart = self._apart(np.full(len(cells), home), cells.astype(np.intp))
        both = np.append(home, cells)
        for at in _pieces(np.arange(len(places)), max(1, _BLOCK // self.centroids.shape[1])):
            scores = halves[places[at]].astype(np.float64) @ self.doubles[both].T - self.squares[both] / 2
            away[at] = (scores[:, :1] - scores[:, 1:]) / apart
        return away

    def _decided(self, scores: NDArray[np.floating], margin: float, error: float) -> tuple[Cells, NDArray[np.bool_]]:
        """Return cells by x·c - |c|²/2, which is highest for the nearest, and which rows such an error could change."""
        rows = np.arange(len(scores))
        home = scores.argmax(axis=1)
        best = scores[rows, home]
        scores[rows, home] = -np.inf
        row, cell = np.nonzero(scores >= (best - (margin * self._diameter + 2 * error))[:, None])
        behind = best[row].astype(np.float64) - scores[row, cell]
        apart = self._apart(home[row], cell)
        border = behind / apart
        within = border <= margin
        doubtful = np.zeros(len(scores), np.bool_)
        doubtful[row[(behind <= 2 * error) | (np.abs(border - margin) <= 2 * error / apart)]] = True
        row, cell, border = row[within], cell[within], border[within]
        order = np.lexsort((cell, border, row))
        row, cell = row[order], cell[order]
        place = np.arange(len(row)) - np.searchsorted(row, row)
        doubtful[row[place >= MOST_CELLS - 1]] = True
        cells = np.full((len(scores), MOST_CELLS), -1, np.int32)
        cells[:, 0] = home
        fits = place < MOST_CELLS - 1
        cells[row[fits], place[fits] + 1] = cell[fits]
        return cells, doubtful & (error > 0)

    @cached_property
    def _scoring(self) -> Singles:
        """What an embedding and a 1 behind it are multiplied with for the rough scores: (dimension + 1, cells)."""
        return np.ascontiguousarray(np.append(self.doubles, -self.squares[:, None] / 2, axis=1).T, np.float32)

    @cached_property
    def _diameter(self) -> float:
        """No two centroids are further apart."""
        from_middle = self.doubles - self.doubles.mean(axis=0)
        return float(2 * np.sqrt(np.einsum("ij,ij->i", from_middle, from_middle).max())) + 1e-9

    def _apart(self, a: Places, b: Places) -> Doubles:
        """Return the distance of some pairs of centroids."""
        apart = np.empty(len(a))
        for at in _pieces(np.arange(len(a)), max(1, _BLOCK // self.centroids.shape[1])):
            difference = self.doubles[a[at]] - self.doubles[b[at]]
            apart[at] = np.einsum("ij,ij->i", difference, difference)
        return np.maximum(np.sqrt(apart), 1e-9)


def train(sample: Halves, cells: int) -> Codebook:
    """Return a codebook of about so many cells from a sample (points, dimension), whose order is its seed.

    A cell of few points is left out, for its mean would tell of them; where that is all, there is one cell.
    """
    points = _distinct(sample)
    single_cell = Codebook(np.zeros((1, sample.shape[1]), np.float16))
    if cells == 1 or not len(points):
        return single_cell
    centroids = _means(points, points[:cells], _ROUNDS)
    for _ in range(_SPLITS):
        split = _divided(points, centroids, len(points) / cells)
        if len(split) == len(centroids):
            break
        centroids = split
    centroids, counts = _moved(points, centroids)
    centroids = _distinct(centroids[counts >= _FEWEST])
    return Codebook(centroids) if len(centroids) else single_cell


def _distinct(points: Halves) -> Halves:
    """Return the points that differ, in their order."""
    keys = np.ascontiguousarray(points).view(np.dtype((np.void, points.shape[1] * 2))).ravel()
    return points[np.sort(np.unique(keys, return_index=True)[1])]


def _means(points: Halves, centroids: Halves, rounds: int) -> Halves:
    """Return centroids after so many rounds of k-means; one that loses all its points stays where it is."""
    for _ in range(rounds):
        before, (centroids, _) = centroids, _moved(points, centroids)
        if (before == centroids).all():
            break
    return _distinct(centroids)


def _moved(points: Halves, centroids: Halves) -> tuple[Halves, NDArray[np.int64]]:
    """Return centroids as the means of the points that are nearest to each, and how many those are."""
    home = Codebook(centroids).cells(points, 0.0)[:, 0]
    order = np.argsort(home, kind="stable")
    filled, starts = np.unique(home[order], return_index=True)
    counts = np.bincount(home, minlength=len(centroids))
    moved = centroids.copy()
    moved[filled] = np.add.reduceat(points[order].astype(np.float64), starts) / counts[filled, None]
    return moved, counts


def _divided(points: Halves, centroids: Halves, mean: float) -> Halves:
    """Return centroids with several for each cell that holds far more points than the mean."""
    home = Codebook(centroids).cells(points, 0.0)[:, 0]
    counts = np.bincount(home, minlength=len(centroids))
    split = [centroids[counts <= _FULL * mean]]
    for cell in np.flatnonzero(counts > _FULL * mean):
        members = points[home == cell]
        split.append(_means(members, members[: round(len(members) / mean)], _ROUNDS // 2))
    return _distinct(np.concatenate(split))


def _pieces(places: Places, size: int) -> Iterator[Places]:
    for start in range(0, len(places), size):
        yield places[start : start + size]
