"""What a pair is like: other texts of its image, other images with its text, and images that are near its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import polars as pl

from align_data.data.columns import within_of
from align_data.data.image_pairs import image_pairs
from align_data.data.layout import Dataset
from align_data.explorer.pictures import ImageOfPair
from align_data.selection.askable import OF_PAIRS
from align_data.signals import find
from align_data.signals.families import split
from align_data.stages.why import Why, with_same_text

NEIGHBOURS = 8
"""Pairs of each kind that are shown."""
_PHASH, _NEAR = "phash", "near_phash"
_DUPLICATE = "nearest_duplicate"
_NSFW = "nsfw"


@dataclass(frozen=True)
class Neighbour:
    """A pair beside another one, and how it is like it."""

    image: ImageOfPair
    how: str = ""


def same_image(dataset: Dataset, image: ImageOfPair) -> list[Neighbour]:
    """Return pairs that give the same URL other texts."""
    pairs = image_pairs(dataset, image.uid).filter(pl.col("url") == image.url, pl.col("uid") != image.uid)
    columns = ("part", "uid", "url", "alt_text")
    return [Neighbour(ImageOfPair(*row)) for row in pairs.select(columns).head(NEIGHBOURS).iter_rows()]


def same_text(dataset: Dataset, image: ImageOfPair, explained: Why) -> list[Neighbour]:
    """Return pairs of other images with the same text."""
    row = {"url": image.url, "alt_text": image.alt_text, **explained.values}
    pairs = islice(with_same_text(dataset, row), NEIGHBOURS)
    return [Neighbour(ImageOfPair(part, uid, url, image.alt_text)) for part, uid, url in pairs]


def near_images(dataset: Dataset, image: ImageOfPair, values: Mapping[str, Any]) -> list[Neighbour]:
    """Return other images that are near by pHash, and the nearest by each embedding, the nearest first."""
    found = sorted(_by_phash(dataset, image, values), key=lambda of: of[0])
    near = [Neighbour(of, f"pHash: {bits} of 64 bits differ") for bits, of in found]
    return [*near[:NEIGHBOURS], *_by_embedding(dataset, values)]


def _by_phash(dataset: Dataset, image: ImageOfPair, values: Mapping[str, Any]) -> Iterator[tuple[int, ImageOfPair]]:
    """Yield the images within the distance that near-duplicates are counted to, each by its first pair."""
    if not values.get(_NEAR) or values.get(_PHASH) is None:
        return
    counts = dataset.measured(find(_NEAR).group).committed()
    assert counts is not None
    within, phash, last = within_of(counts.meta.signals)[_NEAR], np.int64(values[_PHASH]), image.url
    for part in range(len(dataset.ingested().parts)):
        for number, piece in enumerate(dataset.measured(find(_PHASH).group).pieces(part, [_PHASH])):
            known = piece.with_row_index("row").drop_nulls()
            bits = np.bitwise_count((known[_PHASH].to_numpy() ^ phash).view(np.uint64))
            rows = known["row"].to_numpy()[bits <= within]
            if len(rows):
                pairs = dataset.pairs.piece(part, number, list(OF_PAIRS))[rows]
                for distance, row in zip(bits[bits <= within], pairs.iter_rows(), strict=True):
                    if row[1] not in ("", image.url, last):
                        last = row[1]
                        yield int(distance), ImageOfPair(part, *row)


def _by_embedding(dataset: Dataset, values: Mapping[str, Any]) -> Iterator[Neighbour]:
    for name, value in values.items():
        prefix, model = split(name) or ("", "")
        if prefix == _DUPLICATE and value is not None:
            pairs = image_pairs(dataset, value).filter(uid=value).select("part", *OF_PAIRS)
            cosine = values.get(f"nearest_similarity_{model}")
            how = f"nearest by {model}" + (f", at a cosine of {cosine:g}" if isinstance(cosine, float) else "")
            yield from (Neighbour(ImageOfPair(*row), how) for row in pairs.iter_rows())


def scored(dataset: Dataset, neighbours: list[Neighbour]) -> list[Neighbour]:
    """Return neighbours with the scores by which their pictures are blurred; nsfw is measured."""
    table = dataset.measured(find(_NSFW).group)
    scores: list[Neighbour] = []
    for neighbour in neighbours:
        ((part, piece, row),) = image_pairs(dataset, neighbour.image.uid).filter(uid=neighbour.image.uid).select(
            "part", "piece", "row"
        ).rows()  # fmt: skip
        nsfw = table.piece(part, piece, [_NSFW])[_NSFW][row]
        scores.append(replace(neighbour, image=neighbour.image._replace(nsfw=nsfw)))
    return scores
