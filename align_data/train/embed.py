"""Embedding the pairs of shards, a batch at a time; images are decoded in threads while the model works."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np

from align_data.common.errors import AlignDataError, DatasetError, InputError
from align_data.common.progress import Progress
from align_data.models.spaces import Space
from align_data.train.metrics import Vectors
from align_data.train.preprocessing import Pixels, centre
from align_data.train.shards import Sample, Shards

BATCH = 64
"""Pairs that are embedded at once."""
_AHEAD = 2
"""Batches that are decoded while one is embedded."""
_THREADS = 4


class TwoTowers(Protocol):
    """The methods that embedding needs of a model."""

    @property
    def side(self) -> int:
        """Pixels of its images."""

    @property
    def dim(self) -> int:
        """Length of its vectors."""

    @property
    def temperature(self) -> float:
        """What it has learnt that cosines are divided by, for a softmax."""

    @property
    def space(self) -> Space:
        """Where its vectors lie, and so how they are compared."""

    @property
    def digest(self) -> str:
        """Of its weights and its tokenizer."""

    def images(self, pixels: Pixels, /) -> Vectors:
        """Embed images (n, side, side, 3): (n, dim), of unit length."""

    def texts(self, texts: Sequence[str], /) -> Vectors:
        """Embed texts: (n, dim), of unit length."""


@dataclass(frozen=True)
class EmbeddedBatch:
    """Pairs in the order of the shards, with the requested embeddings."""

    samples: list[Sample]
    images: Vectors
    texts: Vectors
    undecodable: dict[str, str]
    """Of pairs that are left out because their image cannot be decoded, uid and reason."""


@dataclass(frozen=True)
class Embedded:
    """All pairs of shards with their embeddings (n, dim), in the order of the shards."""

    uids: list[str]
    urls: list[str]
    alt_texts: list[str]
    images: Vectors
    texts: Vectors
    undecodable: dict[str, str]
    skipped: dict[str, str]
    """Damaged shards, and what is wrong with them."""


def embed(model: TwoTowers, shards: Shards, progress: Progress, *, size: int = BATCH) -> Embedded:
    """Embed all pairs; DatasetError if there are none."""
    identities: list[tuple[str, str, str]] = []
    images, texts = [], []
    undecodable: dict[str, str] = {}
    for batch in batches(model, shards, progress, size=size):
        identities += [(sample.uid, sample.url, sample.alt_text) for sample in batch.samples]
        images.append(batch.images)
        texts.append(batch.texts)
        undecodable |= batch.undecodable
    if not identities:
        raise DatasetError(nothing(shards.skipped, undecodable))
    uids, urls, alt_texts = (list(column) for column in zip(*identities, strict=True))
    pairs = np.concatenate(images), np.concatenate(texts)
    return Embedded(uids, urls, alt_texts, *pairs, undecodable, dict(shards.skipped))


def image_key(url: str, uid: str) -> str:
    """Return what two pairs of one image have in common: an image is its URL; without one, the pair."""
    return url or uid


def nothing(skipped: Mapping[str, str], undecodable: Mapping[str, str]) -> str:
    """Say why no pair of shards could be embedded."""
    lost = ((skipped, "damaged shards"), (undecodable, "images that cannot be decoded"))
    why = [f"{len(reasons):,} {label}, the first: {next(iter(reasons.values()))}" for reasons, label in lost if reasons]
    return "the shards have no pair that can be embedded" + (f" ({'; '.join(why)})" if why else "")


def batches(
    model: TwoTowers,
    shards: Shards,
    progress: Progress,
    *,
    images: bool = True,
    texts: bool = True,
    size: int = BATCH,
) -> Iterator[EmbeddedBatch]:
    """Yield the pairs of shards in batches, embedded; what is not asked for costs nothing, and is an empty array.

    Damaged shards are passed over, and are in `shards.skipped` at the end.
    """
    with progress.step("embed", shards.pairs, "pairs") as tick:
        for batch in embedded_batches(model, shards, images=images, texts=texts, size=size):
            yield batch
            tick(len(batch.samples) + len(batch.undecodable))


def embedded_batches(
    model: TwoTowers, samples: Iterable[Sample], *, images: bool = True, texts: bool = True, size: int = BATCH
) -> Iterator[EmbeddedBatch]:
    """Yield pairs in batches, embedded, as `batches` does."""
    waiting: deque[list[tuple[Sample, Future[Pixels | str]]]] = deque()
    threads = min(_THREADS, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(threads) as pool:
        pairs = iter(samples)
        while chunk := list(islice(pairs, size)):
            side = model.side if images else None
            waiting.append([(sample, pool.submit(_pixels, sample.image, side)) for sample in chunk])
            if len(waiting) > _AHEAD:
                yield _embedded(model, waiting.popleft(), images, texts)
        while waiting:
            yield _embedded(model, waiting.popleft(), images, texts)


def _embedded(
    model: TwoTowers, pairs: list[tuple[Sample, Future[Pixels | str]]], images: bool, texts: bool
) -> EmbeddedBatch:
    decoded = [(sample, future.result()) for sample, future in pairs]
    samples = [sample for sample, pixels in decoded if not isinstance(pixels, str)]
    arrays = [pixels for _, pixels in decoded if not isinstance(pixels, str)]
    none = np.zeros((0, model.dim), np.float32)
    return EmbeddedBatch(
        samples,
        sound(model.images(np.stack(arrays))) if images and arrays else none,
        sound(model.texts([sample.alt_text for sample in samples])) if texts and samples else none,
        {sample.uid: pixels for sample, pixels in decoded if isinstance(pixels, str)},
    )


def _pixels(content: bytes, side: int | None) -> Pixels | str:
    """Return an image as the model's input, or why it cannot be decoded."""
    try:
        return np.zeros((0, 0, 3), np.uint8) if side is None else centre(content, side)
    except InputError as error:
        return str(error)


def sound(vectors: Vectors) -> Vectors:
    """Return embeddings as they are; AlignDataError where some are no numbers."""
    if not np.isfinite(vectors).all():
        raise AlignDataError("the model's embeddings are not numbers (NaN): its training has diverged; train it again")
    return vectors
