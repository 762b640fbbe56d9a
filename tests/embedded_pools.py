"""Pools whose images have embeddings by decree: no image is fetched and no model runs. And the truth by brute force."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from conftest import write_list

from align_data.common.progress import Silent
from align_data.data.embeddings import column_of
from align_data.data.layout import Dataset
from align_data.data.meta import ContentMeta, EmbeddedMeta, ImagesMeta
from align_data.data.model_inputs import source_of
from align_data.engines.local import LocalEngine
from align_data.stages.ingest import Parts, ingest
from align_data.storage.store import Store

MODEL = hashlib.sha256(b"a model").hexdigest()


@dataclass(frozen=True)
class Picture:
    """An image of a pool: its bytes are told by `content`, what a model makes of them by `vector`."""

    url: str
    content: str
    vector: Sequence[float]
    side: int = 100
    texts: tuple[str, ...] = ("a text",)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content.encode()).hexdigest()

    @property
    def half(self) -> np.ndarray[Any, Any]:
        vector = np.asarray(self.vector, np.float64)
        return (vector / (np.linalg.norm(vector) or 1)).astype(np.float16)

    @cached_property
    def whole(self) -> list[int]:
        """Its numbers in units of 2^-24, of which every float16 is a multiple."""
        return [int(float(x) * 2**24) for x in self.half]


def pool(
    out: Path, pictures: Sequence[Picture | str], name: str = "eye", parts: int = 50, model: str = MODEL
) -> Dataset:
    """Make a dataset of pictures, and of URLs without one, with the table embedded/NAME."""
    rows = [
        {"url": each if isinstance(each, str) else each.url, "alt_text": text}
        for each in pictures
        for text in (("none",) if isinstance(each, str) else each.texts)
    ]
    dataset, engine = Dataset(Store(out)), LocalEngine(out / "_work", 2)
    ingest(write_list(out.parent / f"{out.name}-lists", rows), dataset, engine, Silent(), parts=Parts(rows=parts))
    embed(dataset, pictures, name, model)
    return dataset


def embed(dataset: Dataset, pictures: Sequence[Picture | str], name: str = "eye", model: str = MODEL) -> None:
    """Write images, content and embedded/NAME of a dataset's pairs."""
    pairs, by_url = dataset.ingested(), {each.url: each for each in pictures if isinstance(each, Picture)}
    dims = {len(each.vector) for each in by_url.values()} or {4}
    tables: dict[str, list[Any]] = {"images": [], "content": [], "embedded": []}
    table = dataset.embedded(name)
    for each in (table, dataset.images, dataset.content):
        each.retract()
    for part in range(len(pairs.parts)):
        urls = pl.concat(list(dataset.pairs.pieces(part, ["url"])))["url"].unique(maintain_order=True)
        shown = [(url, by_url.get(url)) for url in urls if url]
        schema = dataset.images.contract.polars()
        images = [(url, "not_kept" if each else "http_404", None, False, None, None, None) for url, each in shown]
        with dataset.images.writer(part, {}) as writer:
            writer.write(pl.DataFrame(images, schema, orient="row"))
        tables["images"].append(dataset.images.info(part))
        names = ["url", "status", "reason", "tar", "offset", "decodable", "width", "height", "sha256"]
        content = [
            (url, "ok" if each else "http_404", None, None, None, each is not None)
            + ((each.side, each.side, each.sha256) if each else (None, None, None))
            for url, each in shown
        ]
        with dataset.content.writer(part, {}, names) as writer:
            writer.write(pl.DataFrame(content, dataset.content.contract.polars(*names), orient="row"))
        tables["content"].append(dataset.content.info(part))
        distinct = {each.sha256: each.half for _, each in shown if each}
        vectors = np.array(list(distinct.values()), np.float16).reshape(-1, max(dims))
        column = pl.Series(column_of(vectors), dtype=pl.Binary)
        with table.writer(part, {}) as writer:
            writer.write(pl.DataFrame({"sha256": pl.Series(list(distinct), dtype=pl.String), "embedding": column}))
        tables["embedded"].append(table.info(part))
    run = ImagesMeta(run=1, pairs=pairs.fingerprint, asked="all", policy={}, statuses={})
    dataset.images.commit(tables["images"], run)
    images_now = dataset.images.committed()
    assert images_now is not None
    look = ContentMeta(images=images_now.fingerprint, looks={}, open=None, max_pixels=1, seconds=1.0)
    dataset.content.commit(tables["content"], look)
    meta = EmbeddedMeta(
        model=model, kind="onnx", versions={}, spec="eye", device="cpu", dim=max(dims), source=source_of(dataset)
    )
    table.commit(tables["embedded"], meta)


Near = tuple[float, float, str | None, int]
"""Of an image: earlier similarity, nearest similarity, nearest duplicate, near-duplicates."""


def cosine(a: Picture, b: Picture) -> float:
    """Return the cosine of two embeddings to six decimals, in exact sums."""
    left, right = a.whole, b.whole
    if left == right:
        return 1.0
    dot = sum(x * y for x, y in zip(left, right, strict=True)) / 2**48
    lengths = [(sum(x * x for x in each) / 2**48) ** 0.5 for each in (left, right)]
    return round(max(-1.0, min(1.0, dot / lengths[0] / lengths[1])) * 10**6) / 10**6


def brute_force(dataset: Dataset, pictures: Sequence[Picture], threshold: float, floor: float) -> dict[str, Near]:
    """Return the values of every image, by URL: all are compared with all, by the words of the docs alone."""
    first = {}
    for part in range(len(dataset.ingested().parts)):
        for piece in dataset.pairs.pieces(part, ["uid", "url"]):
            for uid, url in piece.iter_rows():
                first.setdefault(url, uid)
    order = sorted(pictures, key=lambda each: (-(each.side**2), each.sha256, first[each.url]))
    values = {}
    for place, each in enumerate(order):
        near = [(cosine(each, other), at) for at, other in enumerate(order) if at != place]
        near = [(-similarity, at) for similarity, at in near if similarity >= floor]
        earlier = min((pair for pair in near if pair[1] < place), default=(1.0, -1))
        nearest = min(near, default=(1.0, -1))
        uid = first[order[nearest[1]].url] if nearest[1] >= 0 else None
        count = sum(-similarity >= threshold for similarity, _ in near)
        values[each.url] = (-earlier[0], -nearest[0], uid, count)
    return values


def stored(dataset: Dataset, name: str = "eye") -> dict[str, Near | tuple[None, ...]]:
    """Return what is stored of every URL; all of its pairs must have the same."""
    prefixes = ("earlier_similarity", "nearest_similarity", "nearest_duplicate", "near_duplicates")
    columns = [f"{prefix}_{name}" for prefix in prefixes]
    values: dict[str, Any] = {}
    for part in range(len(dataset.ingested().parts)):
        pairs = dataset.pairs.pieces(part, ["url"])
        signals = dataset.measured(f"near.{name}").pieces(part, columns)
        for piece, of_piece in zip(pairs, signals, strict=True):
            for url, row in zip(piece["url"], of_piece.select(columns).iter_rows(), strict=True):
                assert values.setdefault(url, row) == row
    return values
