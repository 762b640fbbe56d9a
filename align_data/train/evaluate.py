"""What a model is worth on the pairs of some shards: retrieval, and with labels nearest neighbours and classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from align_data.common.progress import Progress
from align_data.storage.names import display
from align_data.train.attributes import Kinds, OneWrong, one_wrong
from align_data.train.by_language import OfLanguage, by_language
from align_data.train.embed import BATCH, Embedded, TwoTowers, embed, image_key
from align_data.train.labels import of_images
from align_data.train.metrics import (
    BootstrapEstimate,
    Direction,
    Retrieval,
    Rows,
    Vectors,
    direction,
    distinct,
    estimates,
    neighbours,
    retrieval,
)
from align_data.train.shards import Shards
from align_data.train.zero_shot import Classes, ZeroShot, zero_shot

_CONSTANT = 1e-5
"""Coordinates that differ by less are equal: a model's batches differ by more than nothing."""


@dataclass(frozen=True)
class Neighbours:
    """Whether the nearest other image is of the same class."""

    images: int
    classes: int
    r_at_1: BootstrapEstimate
    chance: float


@dataclass(frozen=True)
class ModelEvaluation:
    """All figures; shares are from 0 to 1, intervals are 95 % over the queries."""

    model: str
    """The digest of its weights and its tokenizer."""
    pairs: int
    retrieval: Retrieval
    shuffled: Direction
    """Image to text with the captions shuffled among the pairs: at chance, or the evaluation itself is wrong."""
    neighbours: Neighbours | None
    zero_shot: ZeroShot | None
    languages: dict[str, OfLanguage] | None
    attributes: OneWrong | None
    undecodable: dict[str, str]
    """uid → reason, of pairs left out because their image cannot be decoded."""
    skipped: dict[str, str]
    """Shard → reason, of shards left out because they are damaged."""
    seed: int
    notes: tuple[str, ...]
    """What a reader must know: figures that are no better than chance, and why."""

    def to_json(self) -> dict[str, Any]:
        """Return what `align-data evaluate --json` prints."""
        return asdict(self)


def evaluate(
    model: TwoTowers,
    shards: Shards,
    progress: Progress,
    *,
    classes: Classes | None = None,
    languages: Mapping[str, str] | None = None,
    attributes: Kinds | None = None,
    seed: int = 0,
    batch: int = BATCH,
) -> ModelEvaluation:
    """Embed the pairs of shards and return what the embeddings are worth.

    `languages` has uid or URL → language, `attributes` the words of each kind. `seed` is of the bootstrap's draws, of
    the shuffled captions and of wrong attributes. Raises DatasetError where the shards have no pair, and InputError
    where labels or languages do not fit.
    """
    embedded = embed(model, shards, progress, size=batch)
    image_rows, image_of = distinct(map(image_key, embedded.urls, embedded.uids))
    text_rows, text_of = distinct(embedded.alt_texts)
    images, texts = embedded.images[image_rows], embedded.texts[text_rows]
    shuffled = np.random.default_rng(seed).permutation(text_of)
    retrieved = retrieval(images, texts, image_of, text_of, seed=seed, space=model.space)
    near, shot = _with_labels(model, embedded, images, image_of, classes, seed) if classes else (None, None)
    spoken = by_language(embedded, languages, seed, model.space) if languages is not None else None
    captions = [embedded.alt_texts[row] for row in text_rows]
    wrong = one_wrong(model, attributes, captions, images, texts, image_of, text_of, seed) if attributes else None
    return ModelEvaluation(
        model.digest,
        len(embedded.uids),
        retrieved,
        direction(images, texts, image_of, shuffled, seed=seed, space=model.space),
        near,
        shot,
        spoken,
        wrong,
        embedded.undecodable,
        embedded.skipped,
        seed,
        tuple(_notes(retrieved, near, shot, spoken, wrong, images, texts)),
    )


def _with_labels(
    model: TwoTowers, embedded: Embedded, images: Vectors, image_of: Rows, classification: Classes, seed: int
) -> tuple[Neighbours | None, ZeroShot | None]:
    labels = of_images(classification.labels, embedded.uids, embedded.urls, image_of.tolist())
    labelled = images[sorted(labels)]
    names = [labels[image] for image in sorted(labels)]
    shot = zero_shot(model, labelled, names, classification, seed) if classification.names else None
    if len(labelled) < 2:
        return None, shot
    of_class = distinct(names)[1]
    same = np.bincount(of_class)
    chance = float((same * (same - 1)).sum() / (len(names) * (len(names) - 1)))
    (share,) = estimates([(neighbours(labelled, of_class, space=model.space), np.mean)], seed)
    return Neighbours(len(names), len(same), share, chance), shot


def _notes(
    retrieval: Retrieval,
    near: Neighbours | None,
    shot: ZeroShot | None,
    languages: Mapping[str, OfLanguage] | None,
    wrong: OneWrong | None,
    images: Vectors,
    texts: Vectors,
) -> list[str]:
    notes = [
        f"all {len(vectors):,} {modality}s have the same embedding: the {modality} tower is constant"
        for vectors, modality in ((images, "image"), (texts, "text"))
        if len(vectors) > 1 and np.ptp(vectors, axis=0).max() < _CONSTANT
    ]
    figures: list[tuple[str, BootstrapEstimate, float]] = [
        ("image to text R@1", retrieval.image_to_text.r_at_1, retrieval.image_to_text.chance),
        ("text to image R@1", retrieval.text_to_image.r_at_1, retrieval.text_to_image.chance),
    ]
    figures += [("nearest neighbour R@1", near.r_at_1, near.chance)] if near else []
    figures += [("zero-shot top-1", shot.top_1, shot.chance)] if shot else []
    for language, own in (languages or {}).items():
        found = own.retrieval.text_to_image
        figures.append((f"text to image R@1 of the language {display(language)}", found.r_at_1, found.chance))
    if wrong is not None and wrong.replaced is not None:
        figures.append(("with one attribute replaced", wrong.replaced.right, wrong.replaced.chance))
    if wrong is not None and wrong.counterparts is not None:
        figures.append(("the group score", wrong.counterparts.group, wrong.counterparts.group_chance))
    return notes + [
        f"{name} is not beyond chance: {figure.value:.2%}, from {figure.low:.2%} to {figure.high:.2%}, where chance is "
        f"{chance:.2%}"
        for name, figure, chance in figures
        if chance < 1 and figure.low <= chance + 1e-12
    ]
