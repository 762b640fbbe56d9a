"""Searching shards with texts and images, added and subtracted as vectors (the ALIGN paper's figure 5)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from align_data.common.errors import DatasetError, InputError
from align_data.common.progress import Progress
from align_data.common.secrets import mask_url
from align_data.decoding.render import How, UnrenderableError, render
from align_data.exports.shard_format import CorruptShardError
from align_data.models.spaces import Space
from align_data.train.embed import TwoTowers, nothing, sound
from align_data.train.metrics import Vectors, scores, unit
from align_data.train.preprocessing import centre
from align_data.train.shards import Shards
from align_data.train.stored_index import Kind, PairVectors, StoredIndex, pair_vectors

_KEYS = {"images": pl.when(pl.col("url") != "").then("url").otherwise("uid"), "texts": pl.col("alt_text")}
"""What pairs of one image, as `image_key` has it, and of one text have in common."""
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
    """Cosine of its embedding and the query's, or what the model's space has for it."""
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
    embedded: int
    """Pairs that this search had to embed."""
    undecodable: dict[str, str]
    skipped: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return what `align-data search --json` prints."""
        return {
            "query": [part.to_json() for part in self.query],
            "found": self.kind,
            "hits": [{"rank": rank, **asdict(hit)} for rank, hit in enumerate(self.hits, 1)],
            "pairs": self.pairs,
            "embedded": self.embedded,
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
    vector = combine(np.concatenate([_embedded(model, part) for part in parts]), [part.weight for part in parts])
    if not model.space.holds(vector):
        raise InputError(
            "the parts of the query, added and subtracted, come to no point of the model's hyperbolic space: subtract "
            "less, by a smaller weight or one part fewer"
        )
    return vector


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
    index: str | None = None,
    pictures: bool = True,
) -> SearchResults:
    """Return the images, or the texts, of shards that are nearest to a query; DatasetError where there is no pair.

    Exact: every pair is compared. Without a folder `index` in which their embeddings are stored every pair is embedded,
    with it those of shards that are new to it. No more than the best so far is held. `pictures` says whether the image
    files of the hits are read.
    """
    ranking = _Ranking(query(model, parts), model.space, kind, top)
    if index is None:
        undecodable: dict[str, str] = {}
        pieces = _embedded_now(model, shards, kind, undecodable, progress)
    else:
        stored = StoredIndex(index, model, shards, kind)
        stored.update(progress)
        undecodable, pieces = stored.undecodable, iter(stored)
    for piece in pieces:
        ranking.add(piece)
    if not ranking.pairs:
        raise DatasetError(nothing(shards.skipped, undecodable))
    hits = [hit for hit, _ in ranking.best.values()]
    images = _pictures(shards, ranking.best.values()) if pictures else [b""] * len(hits)
    embedded = ranking.pairs + len(undecodable) if index is None else stored.embedded
    masked = tuple(replace(hit, url=mask_url(hit.url)) for hit in hits)
    return SearchResults(
        tuple(parts), kind, masked, tuple(images), ranking.pairs, embedded, undecodable, dict(shards.skipped)
    )


def _embedded_now(
    model: TwoTowers, shards: Shards, kind: Kind, undecodable: dict[str, str], progress: Progress
) -> Iterator[PairVectors]:
    with progress.step("embed", shards.pairs, "pairs") as tick:
        for shard in shards.names:
            for piece in pair_vectors(model, shards, shard, kind, undecodable):
                yield piece
                tick(len(piece.rows))


class _Ranking:
    """The best hits so far by their keys, best first, with the shard of each."""

    def __init__(self, vector: Vectors, space: Space, kind: Kind, top: int) -> None:
        self.best: dict[str, tuple[Hit, str]] = {}
        self.pairs = 0
        self._vector, self._space, self._kind, self._top = vector, space, kind, top
        self._factor = space.columns(vector[None])
        error = (len(vector) + 2 * math.sqrt(len(vector)) + 8) * 2.0**-24
        self._error = error * space.lengths(self._factor)
        """More than what a sum of float32 can be off, and rounding to 2^-24 can change, of a factor of length 1."""

    def add(self, piece: PairVectors) -> None:
        """Take up the pairs that are better than the worst; duplicates of hits are counted, not added."""
        self.pairs += len(piece.rows)
        worst = [hit.score for hit, _ in self.best.values()][self._top - 1 :]
        keys = piece.rows.select(_KEYS[self._kind]).to_series()
        factors = self._space.rows(piece.vectors)
        most = factors @ self._factor[0] + self._error * self._space.lengths(factors)
        near = self._space.scores(most) >= (worst[0] if worst else -np.inf)
        rows = keys.is_in([*self.best, *keys.filter(near)]).arg_true().to_numpy()
        similarities = scores(piece.vectors[rows], self._vector[None], self._space)[:, 0].tolist()
        for row, score in zip(rows.tolist(), similarities, strict=True):
            uid, url, alt_text = piece.rows.row(row)
            new = Hit(score, uid, url, alt_text, 0), piece.shard
            hit, shard = self.best.get(keys[row], new)
            self.best[keys[row]] = replace(hit, pairs=hit.pairs + 1), shard
        ordered = sorted(self.best.items(), key=lambda item: -item[1][0].score)  # stable: the first of equals stays
        self.best = dict(ordered[: self._top])


def _pictures(shards: Shards, hits: Iterable[tuple[Hit, str]]) -> list[bytes]:
    """Read the image of each hit; empty where its shard is corrupt, which is then named in `shards.skipped`."""
    images = {(hit.uid, hit.url, hit.alt_text): b"" for hit, _ in hits}
    for name in sorted({shard for _, shard in hits}):
        missing = {(hit.uid, hit.url, hit.alt_text) for hit, shard in hits if shard == name}
        try:
            for sample in shards.read(name):
                if sample[:3] in missing:
                    images[sample[:3]] = sample.image
                    missing.remove(sample[:3])
                if not missing:
                    break
        except CorruptShardError as error:
            shards.skipped[name] = str(error)
    return list(images.values())
