"""How good embeddings are: retrieval, nearest neighbours, classes by prompts, each with a bootstrap interval.

What orders them is the product of the model's space, the cosine for most, computed exactly: the coordinates of a vector
no longer than 2 are rounded to 2^-24, and of longer ones to as many bits, so every product and every sum in float64 is
without error, whatever the order of its terms. So equal vectors have equal scores, and no figure depends on the size of
a block, the number of threads or the machine.

Where scores are equal their order means nothing, so a figure is its expectation over all orders of the equal ones. A
tower that always says the same is then exactly at chance: not right because what is right happens to come first, and
not wrong because it comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from align_data.models.spaces import SPHERE, Space

Vectors = NDArray[np.float32]
"""A row each, of unit length."""
Rows = NDArray[np.int64]
Values = NDArray[np.float64]

DRAWS = 1000
"""Bootstrap samples."""
_LEVEL = (2.5, 97.5)
_STEP = 2.0**-24
_CELLS = 2**22
"""Numbers that a bootstrap holds at once."""


class BlockSize(NamedTuple):
    """How much of the matrix of scores is held at once."""

    queries: int = 1024
    gallery: int = 4096


BLOCK = BlockSize()
"""32 MiB of scores."""


@dataclass(frozen=True)
class BootstrapEstimate:
    """A figure and its 95 % interval over the queries."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Direction:
    """How well queries of one kind retrieve the correct items of the other kind."""

    queries: int
    gallery: int
    r_at_1: BootstrapEstimate
    """Of the queries the share whose best right answer is first; so also 5 and 10."""
    r_at_5: BootstrapEstimate
    r_at_10: BootstrapEstimate
    median_rank: BootstrapEstimate
    chance: float
    """R@1 of an order that knows nothing."""


@dataclass(frozen=True)
class Retrieval:
    """Both directions of retrieval."""

    image_to_text: Direction
    text_to_image: Direction


@dataclass(frozen=True)
class Ranks:
    """Rank of each query's best correct answer among the incorrect ones."""

    above: Rows
    """Wrong answers with a higher score."""
    level: Rows
    """Wrong answers with the same score."""
    answers: Rows
    """Right answers with that score, at least 1."""

    def expected(self) -> Values:
        """Return each query's rank from 1, the mean over all orders of equal scores."""
        mean: Values = 1 + self.above + self.level / (self.answers + 1)
        return mean

    def hits(self, k: int) -> Values:
        """Return for each query the share of orders of equal scores that have a right answer among the first k."""
        missed = np.ones(len(self.above))
        for drawn in range(k):  # one place more that falls to a wrong answer
            misses = np.maximum(self.level - drawn, 0)
            share = misses / np.maximum(misses + self.answers, 1)
            missed = np.where(self.above + drawn < k, missed * share, missed)
        return 1 - missed


def distinct(keys: Iterable[Hashable]) -> tuple[Rows, Rows]:
    """Return the row where each distinct key is first, and for every row the number of its key among these."""
    numbers: dict[Hashable, int] = {}
    number_of = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    return np.unique(number_of, return_index=True)[1].astype(np.int64), number_of


def retrieval(
    images: Vectors,
    texts: Vectors,
    image_of: Rows,
    text_of: Rows,
    *,
    seed: int = 0,
    block: BlockSize = BLOCK,
    space: Space = SPHERE,
) -> Retrieval:
    """Return how well distinct images (i, d) find their texts (t, d), and texts their images.

    `image_of` and `text_of` (n,) say which row of each is a pair; a row may be in several, and is in one at least.
    """
    return Retrieval(
        direction(images, texts, image_of, text_of, seed=seed, block=block, space=space),
        direction(texts, images, text_of, image_of, seed=seed, block=block, space=space),
    )


def direction(
    queries: Vectors,
    gallery: Vectors,
    query: Rows,
    answer: Rows,
    *,
    seed: int = 0,
    block: BlockSize = BLOCK,
    space: Space = SPHERE,
) -> Direction:
    """Return how well queries (q, d) retrieve correct items of a gallery (g, d); `query` and `answer` as in `ranks`."""
    ranking = ranks(queries, gallery, query, answer, block, space)
    hits = [(ranking.hits(k), np.mean) for k in (1, 5, 10)]
    at_1, at_5, at_10, median = estimates([*hits, (ranking.expected(), np.median)], seed)
    pairs = len(np.unique(query * len(gallery) + answer))
    return Direction(len(queries), len(gallery), at_1, at_5, at_10, median, pairs / (len(queries) * len(gallery)))


def ranks(
    queries: Vectors, gallery: Vectors, query: Rows, answer: Rows, block: BlockSize = BLOCK, space: Space = SPHERE
) -> Ranks:
    """Return where each query's best right answer stands; `query` and `answer` (n,) are rows that are right together.

    Every query has a right answer.
    """
    query, answer = np.unique(np.stack([query, answer]), axis=1)  # sorted by query, each once
    scores = np.empty(len(query))
    for rows_slice in _slices(len(query), block.gallery):
        true_queries, true_answers = space.rows(queries[query[rows_slice]]), space.columns(gallery[answer[rows_slice]])
        scores[rows_slice] = np.einsum("nd,nd->n", _exact(true_queries), _exact(true_answers))
    best = np.maximum.reduceat(scores, np.searchsorted(query, np.arange(len(queries))))
    answers = np.bincount(query, weights=scores == best[query], minlength=len(queries)).astype(np.int64)
    above, level = np.zeros(len(queries), np.int64), -answers
    for rows, _, block_scores in _products(queries, gallery, block, space):
        above[rows] += (block_scores > best[rows, None]).sum(axis=1)
        level[rows] += (block_scores == best[rows, None]).sum(axis=1)
    return Ranks(above, level, answers)


def neighbours(images: Vectors, classes: Rows, block: BlockSize = BLOCK, space: Space = SPHERE) -> Values:
    """Return for each image which share of those nearest to it are of its class: 1 or 0 where only one is nearest.

    An image is not its own neighbour, so one that is alone in its class gets 0. There must be two images at least.
    """
    best = np.full(len(images), -np.inf)
    level, same = np.zeros((2, len(images)))
    for rows, columns, block_scores in _products(images, images, block, space):
        block_scores[np.arange(len(images))[rows, None] == np.arange(len(images))[columns]] = -np.inf
        top = np.maximum(best[rows], block_scores.max(axis=1))
        at = (block_scores == top[:, None]) & np.isfinite(top[:, None])
        stays = best[rows] == top
        level[rows] = level[rows] * stays + at.sum(axis=1)
        same[rows] = same[rows] * stays + (at & (classes[rows, None] == classes[columns])).sum(axis=1)
        best[rows] = top
    return same / level


def ensemble(prompts: Vectors) -> Vectors:
    """Return one vector a class of prompts (c, t, d): the mean of its unit vectors, of unit length again."""
    return unit(unit(prompts).mean(axis=1))


def unit(vectors: Vectors) -> Vectors:
    """Return vectors of unit length; one without length stays as it is."""
    length = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1)).astype(np.float32)


def estimates(
    figures: Sequence[tuple[Values, Callable[..., Any]]], seed: int = 0, draws: int = DRAWS
) -> list[BootstrapEstimate]:
    """Return figures with their percentile bootstrap intervals: values (n,) of the same queries, and what sums them up.

    What sums up takes `axis`, as numpy.mean does. All figures are of the same draws.
    """
    number = len(figures[0][0])
    random = np.random.default_rng(seed)
    drawn: list[list[Values]] = [[] for _ in figures]
    for draws_slice in _slices(draws, max(1, _CELLS // number)):
        picks = random.integers(0, number, (draws_slice.stop - draws_slice.start, number))
        for place, (values, statistic) in enumerate(figures):
            drawn[place].append(statistic(values[picks], axis=1))
    intervals = []
    for (values, statistic), parts in zip(figures, drawn, strict=True):
        low, high = np.percentile(np.concatenate(parts), _LEVEL)
        intervals.append(BootstrapEstimate(float(statistic(values, axis=0)), float(low), float(high)))
    return intervals


def scores(queries: Vectors, gallery: Vectors, space: Space = SPHERE) -> Values:
    """Return the scores (q, g) of unit vectors, from products without error but for the rounding of coordinates."""
    return space.scores(_exact(space.rows(queries)) @ _exact(space.columns(gallery)).T)


def _products(
    queries: Vectors, gallery: Vectors, block: BlockSize, space: Space
) -> Iterator[tuple[slice, slice, Values]]:
    """Yield rows, columns and the products that order them, a block at a time."""
    for rows in _slices(len(queries), block.queries):
        exact_queries = _exact(space.rows(queries[rows]))
        for columns in _slices(len(gallery), block.gallery):
            yield rows, columns, exact_queries @ _exact(space.columns(gallery[columns])).T


def _exact(vectors: NDArray[np.floating[Any]]) -> Values:
    """Return vectors of which all products and their sums are exact: of 25 bits, by the length of each."""
    exact: Values = vectors.astype(np.float64)
    halves = np.linalg.norm(exact, axis=1, keepdims=True) / 2
    steps = _STEP * 2.0 ** np.ceil(np.log2(halves.clip(1)))  # a vector's own, so that no block makes a difference
    rounded: Values = np.rint(exact / steps) * steps
    return rounded


def _slices(number: int, step: int) -> Iterator[slice]:
    for start in range(0, number, step):
        yield slice(start, min(start + step, number))
