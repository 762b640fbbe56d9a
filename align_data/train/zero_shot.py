"""Classification by prompts: how often the class whose prompts are nearest is right, and as often as the model says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from align_data.train.descriptions import Described, described
from align_data.train.embed import TwoTowers, sound
from align_data.train.labels import TEMPLATES, numbers
from align_data.train.metrics import BootstrapEstimate, Values, Vectors, ensemble, estimates, ranks, scores
from align_data.train.reliability import Reliability, reliability

_TOGETHER = 1024
"""Images whose probabilities are held at once."""


@dataclass(frozen=True)
class Classes:
    """Labels, and the classes and prompts for them."""

    labels: Mapping[str, str]
    """uid or URL → label."""
    names: tuple[str, ...] = ()
    """The classes of zero-shot classification; empty to skip it."""
    templates: tuple[str, ...] = TEMPLATES
    descriptions: tuple[str, ...] = ()
    """Without the names of classes; empty to skip classification by them."""


@dataclass(frozen=True)
class ZeroShot:
    """Classification by prompts."""

    images: int
    classes: int
    templates: int
    top_1: BootstrapEstimate
    top_5: BootstrapEstimate
    chance: float
    reliability: Reliability
    """Of the most likely class, by the softmax of scores over the model's temperature."""
    described: Described | None


def zero_shot(model: TwoTowers, images: Vectors, labels: Sequence[str], classification: Classes, seed: int) -> ZeroShot:
    """Classify images (n, d) with a label each; InputError for a label that is not one of the classes.

    A class is the mean of its prompts' embeddings, each of unit length, as CLIP has it.
    """
    answers = np.array(numbers(labels, classification.names), np.int64)
    prompts = [
        sound(model.texts([template.replace("{}", name) for template in classification.templates]))
        for name in classification.names
    ]
    classes = ensemble(np.stack(prompts))
    ranking = ranks(images, classes, np.arange(len(images)), answers, space=model.space)
    top_1, top_5 = estimates([(ranking.hits(k), np.mean) for k in (1, 5)], seed)
    descriptions = classification.descriptions
    return ZeroShot(
        len(images),
        len(classification.names),
        len(classification.templates),
        top_1,
        top_5,
        1 / len(classification.names),
        reliability(_confidence(model, images, classes), ranking.hits(1), seed),
        described(model, images, answers, classification.names, classes, descriptions, seed) if descriptions else None,
    )


def _confidence(model: TwoTowers, images: Vectors, classes: Vectors) -> Values:
    """Return the probability (n,) of each image's most likely class."""
    parts = []
    for at in range(0, len(images), _TOGETHER):
        logits = scores(images[at : at + _TOGETHER], classes, model.space) / model.temperature
        parts.append(1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1))
    return np.concatenate(parts)
