"""What descriptions without class names know: for each image those are chosen that tell its likely classes apart.

A few labelled images say how near each description is to each class. For an image the most likely classes are those of
zero-shot classification; each of these gets the descriptions that are nearer to it than to the others, and the classes
are ranked by the score of their prompts, times a weight, plus the mean score of their descriptions (Ma et al.,
Does VLM Classification Benefit from LLM Description Semantics?, AAAI 2025). A weight of 0 shows what the descriptions
alone know among the likely classes; descriptions drawn at random are the control.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from align_data.common.errors import InputError
from align_data.common.user_files import read_lines
from align_data.train.embed import TwoTowers, sound
from align_data.train.metrics import BootstrapEstimate, Rows, Values, Vectors, estimates, scores

WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Of a class's prompts, where each of its m descriptions weighs 1 / m."""
FEW = 5
"""Labelled images of a class that descriptions are chosen by, and which are not classified."""
LIKELY = 5
"""Classes that are told apart by descriptions."""
CHOSEN = 5
"""Descriptions of each of them."""


@dataclass(frozen=True)
class Weighted:
    """What comes of one weight of the prompts."""

    w_cls: float
    top_1: BootstrapEstimate
    random: BootstrapEstimate
    """With as many descriptions drawn at random for each image and class."""


@dataclass(frozen=True)
class Described:
    """Classification by descriptions without class names."""

    images: int
    """Classified, by descriptions that were chosen by others."""
    few: int
    """Images that these were chosen by."""
    pool: int
    likely: int
    chosen: int
    prompts_alone: BootstrapEstimate
    """Top-1 of zero-shot classification of the same images."""
    weights: tuple[Weighted, ...]


def read_descriptions(file: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return descriptions, one a line, each once; InputError where there are none, or one names a class."""
    lines = tuple(dict.fromkeys(line for _, line in read_lines(file, "the descriptions in")))
    if not lines:
        raise InputError(f"{file} has no descriptions: write one on each line, such as: with four straight sides")
    for line in lines:
        named = next((name for name in names if re.search(rf"\b{re.escape(name)}\b", line, re.IGNORECASE)), None)
        if named is not None:
            raise InputError(f"{file}: {line!r} names the class {named!r}: describe classes without their names")
    return lines


def described(
    model: TwoTowers,
    images: Vectors,
    answers: Rows,
    names: Sequence[str],
    classes: Vectors,
    descriptions: Sequence[str],
    seed: int,
) -> Described:
    """Classify images (n, d) of classes `answers` (n,) by the prompts (c, d) of these, and by descriptions.

    `seed` draws the few images and the descriptions of the control. InputError where a class has less than two images.
    """
    random = np.random.default_rng(seed)
    few = _few(answers, names, random)
    rest = np.setdiff1d(np.arange(len(answers)), few)
    texts = sound(model.texts(list(descriptions)))
    near = scores(images[few], texts, model.space)
    table = np.stack([near[answers[few] == place].mean(axis=0) for place in range(len(classes))])
    by_prompts, by_text = (scores(images[rest], vectors, model.space) for vectors in (classes, texts))
    likely = np.argsort(-by_prompts, axis=1, kind="stable")[:, :LIKELY]
    m = min(CHOSEN, len(descriptions))
    chosen, control = (np.empty((len(rest), likely.shape[1]), np.float64) for _ in range(2))
    for row, among in enumerate(likely):
        best = np.argsort(-_telling(table[among]), axis=1, kind="stable")[:, :m]
        drawn = random.permuted(np.tile(np.arange(len(descriptions)), (len(among), 1)), axis=1)[:, :m]
        chosen[row], control[row] = by_text[row][best].mean(axis=1), by_text[row][drawn].mean(axis=1)
    own = np.take_along_axis(by_prompts, likely, axis=1)
    right = likely == answers[rest][:, None]
    figures = [(_hits(own, right), np.mean)]
    figures += [(_hits(weight * own + by, right), np.mean) for weight in WEIGHTS for by in (chosen, control)]
    alone, *pairs = estimates(figures, seed)
    weighted = (Weighted(weight, *pairs[2 * place : 2 * place + 2]) for place, weight in enumerate(WEIGHTS))
    return Described(len(rest), len(few), len(descriptions), likely.shape[1], m, alone, tuple(weighted))


def _few(answers: Rows, names: Sequence[str], random: np.random.Generator) -> Rows:
    """Return the images that descriptions are chosen by: FEW of each class, or half of its own where it has less."""
    few = []
    for place, name in enumerate(names):
        own = np.flatnonzero(answers == place)
        if len(own) < 2:
            raise InputError(
                f"the class {name!r} has {len(own)} labelled images: descriptions are chosen by some and tried on "
                "others, so label two or more of each class"
            )
        few.append(random.permutation(own)[: min(FEW, len(own) // 2)])
    return np.sort(np.concatenate(few))


def _telling(table: Values) -> Values:
    """Return how much nearer (k, t) each description is to each of the classes of a table (k, t) than to the others.

    It is the mean, over the others, of by how much it is nearer; nothing where it is not nearer.
    """
    margins: Values = np.maximum(table[:, None] - table[None], 0).sum(axis=1) / max(len(table) - 1, 1)
    return margins


def _hits(values: Values, right: Rows) -> Values:
    """Return the share (n,) of the greatest values (n, k) that are right: 1 or 0 where only one is greatest."""
    greatest = values == values.max(axis=1, keepdims=True)
    share: Values = (greatest & right).sum(axis=1) / greatest.sum(axis=1)
    return share
