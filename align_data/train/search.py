"""Searching shards with texts and images, added and subtracted as vectors (the ALIGN paper's figure 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from align_data.common.errors import DatasetError, InputError
from align_data.common.progress import Progress
from align_data.common.secrets import mask_url
from align_data.decoding.render import How, UnrenderableError, render
from align_data.train.embed import TwoTowers, batches, image_key, nothing, sound
from align_data.train.metrics import Vectors, scores, unit
from align_data.train.preprocessing import centre
from align_data.train.shards import Sample, Shards

Kind = Literal["images", "texts"]
_NOTHING = 1e-6
"""A sum of unit vectors that is shorter has no direction."""


@dataclass(frozen=True)
class Part:
    """One part of a query."""

    kind: Literal["text", "image"]
    name: str
    """The text itself, or the image file's name."""
    weight: float
    """Negative where it is subtracted."""
    image: bytes | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` prints of it."""
        return {"kind": self.kind, "name": self.name, "weight": self.weight}


@dataclass(frozen=True)
class Hit:
    """An image or a text that was found, by the first pair that has it."""

    score: float
    """Cosine of its embedding and the query's."""
    uid: str
    url: str
    alt_text: str
    pairs: int
    """How many pairs have it."""


@dataclass(frozen=True)
class SearchResults:
    """What a search came to, best first; equal scores in the order of the shards."""

    query: tuple[Part, ...]
    kind: Kind
    hits: tuple[Hit, ...]
    images: tuple[bytes, ...]
    """The image file of each hit's pair."""
    pairs: int
    """That were searched."""
    undecodable: dict[str, str]
    skipped: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return what `align-data search --json` prints."""
        return {
            "query": [part.to_json() for part in self.query],
            "found": self.kind,
            "hits": [{"rank": rank, **asdict(hit)} for rank, hit in enumerate(self.hits, 1)],
            "pairs": self.pairs,
            "undecodable": self.undecodable,
            "skipped": self.skipped,
        }


def combine(vectors: Vectors, weights: Sequence[float]) -> Vectors:
    """Return the weighted sum (dim,) of unit vectors (parts, dim), of unit length; InputError where it is nothing."""
    total = (unit(vectors).astype(np.float64) * np.array(weights)[:, None]).sum(axis=0)
    if np.linalg.norm(total) < _NOTHING:
        raise InputError("the parts of the query cancel out: change one of them or its weight")
    combined: Vectors = unit(total[None])[0]
    return combined


def query(model: TwoTowers, parts: Sequence[Part]) -> Vectors:
    """Return the embedding (dim,) of a query; InputError for an image that cannot be decoded."""
    return combine(np.concatenate([_embedded(model, part) for part in parts]), [part.weight for part in parts])


def _embedded(model: TwoTowers, part: Part) -> Vectors:
    if part.image is None:
        return sound(model.texts([part.name]))
    try:
        # As an export would have it: what is searched has gone that way.
        return sound(model.images(centre(render(part.image, How()).content, model.side)[None]))
    except (InputError, UnrenderableError) as error:
        raise InputError(f"{part.name} is not an image that can be read: {error}") from error


def search(
    model: TwoTowers,
    shards: Shards,
    parts: Sequence[Part],
    progress: Progress,
    *,
    kind: Kind = "images",
    top: int = 20,
) -> SearchResults:
    """Return the images, or the texts, of shards that are nearest to a query; DatasetError where there is no pair.

    Exact: every pair is embedded and compared. No more than the best so far is held.
    """
    vector = query(model, parts)
    best: dict[str, tuple[Hit, Sample]] = {}
    pairs = 0
    undecodable: dict[str, str] = {}
    for batch in batches(model, shards, progress, images=kind == "images", texts=kind == "texts"):
        pairs += len(batch.samples)
        undecodable |= batch.undecodable
        if batch.samples:
            similarities = scores(batch.images if kind == "images" else batch.texts, vector[None])[:, 0]
            best = _better(best, batch.samples, similarities.tolist(), kind, top)
    if not pairs:
        raise DatasetError(nothing(shards.skipped, undecodable))
    hits, samples = zip(*best.values(), strict=True)
    images = tuple(sample.image for sample in samples)
    return SearchResults(tuple(parts), kind, hits, images, pairs, undecodable, dict(shards.skipped))


def _better(
    best: dict[str, tuple[Hit, Sample]], samples: Sequence[Sample], similarities: Sequence[float], kind: Kind, top: int
) -> dict[str, tuple[Hit, Sample]]:
    """Return the best hits so far, in order; duplicates are counted, not added."""
    for sample, score in zip(samples, similarities, strict=True):
        key = image_key(sample.url, sample.uid) if kind == "images" else sample.alt_text
        hit, original = best.get(key, (Hit(score, sample.uid, mask_url(sample.url), sample.alt_text, 0), sample))
        best[key] = replace(hit, pairs=hit.pairs + 1), original
    return dict(sorted(best.items(), key=lambda item: -item[1][0].score)[:top])  # stable: the first of equals stays
