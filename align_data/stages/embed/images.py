"""The table embedded/NAME: the images of a part that can be decoded, each content once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from align_data.common.progress import NONE, Progress, Tick
from align_data.data.embeddings import (
    Halves,
    PartEmbeddings,
    change_embeddings,
    column_of,
    commit_embeddings,
    halves,
    part_embeddings,
    same_part,
)
from align_data.data.image_table import PLACE, image_urls
from align_data.data.layout import Dataset
from align_data.data.meta import EmbeddedMeta, ImagesMeta
from align_data.data.model_inputs import embedded_by, image_rows, limits_of, meta_of, source_of
from align_data.decoding.preparing.pool import PreparationPool
from align_data.engines.base import Engine
from align_data.models.encoder import BATCH
from align_data.models.sharing import SharedModel
from align_data.storage.manifests import digest
from align_data.storage.tables import CHUNK, CHUNKED, Manifest, Meta, PartInfo, Table, cut
from align_data.storage.tars import Place

WORKING = "_embedded"
"""The folder of what is finished of a part that is not."""
ROWS = 4096
"""Images that are finished together: a killed run loses no more."""


class ImageCounts(NamedTuple):
    """How many images of a part, or of all, have an embedding, were embedded now, and cannot be decoded after all."""

    images: int
    embedded: int
    left_out: int


@dataclass(frozen=True)
class ImagesRun:
    """What all parts share. It travels to other machines."""

    dataset: Dataset
    name: str
    shared: SharedModel
    dim: int
    images: Manifest[ImagesMeta]
    ledger: str | None
    opened: str | None
    """What tells the ledger from another that images were chosen by; None for all images."""
    children: int

    @property
    def table(self) -> Table[EmbeddedMeta]:
        """Where the embeddings go."""
        return self.dataset.embedded(self.name)

    @property
    def source(self) -> dict[str, Any]:
        """What the rows follow from."""
        return {**source_of(self.dataset), "open": self.opened}

    def facts(self, part: int) -> dict[str, Any]:
        """Say what a part is made from: of images its own, so that others may come and go."""
        source = {**self.source, "images": self.images.parts[part].identity}
        return {"model": self.shared.digest, "dim": self.dim, "source": source}

    def part(self, number: int, tick: Tick) -> tuple[ImageCounts, PartInfo]:
        """Embed one part, if it is not there."""
        ticks, left_out = (
            _PartTicks(tick, self.images.parts[number].rows),
            _left_out(self.table, number, self.facts(number)),
        )
        if left_out is not None:
            info = same_part(self.table, number)
            counts = ImageCounts(info.rows, 0, left_out)
        else:
            counts, info = self._embed(number, ticks)
        ticks.end()
        return counts, info

    def _embed(self, number: int, ticks: _PartTicks) -> tuple[ImageCounts, PartInfo]:
        images, old = self._images(number)
        working = Table(self.dataset.store, f"{WORKING}/{number:05d}", self.table.contract, Meta)
        chunks = list(enumerate(images.iter_slices(ROWS))) if len(images) else []
        limits = limits_of(self.dataset)
        with PreparationPool(self.dataset.store, self.shared.encoder.preparation, limits, self.children) as pool:
            counts = _sum([self._chunk(_Chunk(working, chunk, rows, old), pool, ticks) for chunk, rows in chunks])
        names = list(self.table.contract.polars())
        with self.table.writer(number, {**self.facts(number), "left_out": counts.left_out}) as writer:
            for piece in cut(piece for chunk, _ in chunks for piece in working.pieces(chunk, names)):
                writer.write(piece)
        self.dataset.store.clear(working.name, CHUNK)
        assert writer.info is not None
        return counts, writer.info

    def _images(self, part: int) -> tuple[pl.DataFrame, PartEmbeddings]:
        """Return the distinct images of a part that are wanted, in their order, and what is there of embeddings."""
        facts = self.table.facts(part) or {}
        same = (facts.get("model"), facts.get("dim")) == (self.shared.digest, self.dim)
        old = part_embeddings(self.table, part, self.dim) if same else PartEmbeddings.empty(self.dim)
        rows = image_rows(self.dataset, part)
        if self.ledger is not None:
            opened = image_urls(self.dataset, part, self.ledger).select("url", "open")
            embedded = pl.col("original_sha256").is_in(old.sha256.implode())  # which stays
            rows = rows.join(opened, on="url", how="left", maintain_order="left").filter(pl.col("open") | embedded)
        return rows.unique("original_sha256", keep="first", maintain_order=True), old

    def _chunk(self, chunk: _Chunk, pool: PreparationPool, ticks: _PartTicks) -> ImageCounts:
        """Embed some images of a part, if that has not been done."""
        keys, last = chunk.images["original_sha256"], chunk.images["row"][-1] + 1
        facts = {"model": self.shared.digest, "dim": self.dim, "images": digest(keys.to_list())}
        if (left_out := _left_out(chunk.working, chunk.number, facts)) is not None:
            ticks.to(last)
            return ImageCounts(len(keys) - left_out, 0, left_out)
        vectors, usable = chunk.known()
        fresh = np.flatnonzero(~usable)
        for at, new in self._embedded(chunk.images, fresh, pool):
            vectors[at], usable[at] = new, True
            ticks.to(chunk.images["row"][int(at[-1])] + 1 if len(at) else 0)
        left_out = int(len(keys) - usable.sum())
        columns = {"sha256": keys.filter(pl.Series(usable)).to_arrow(), "embedding": column_of(vectors[usable])}
        with chunk.working.writer(chunk.number, {**facts, "left_out": left_out}) as writer:
            writer.write(pa.table(columns))
        ticks.to(last, left_out)
        return ImageCounts(len(keys) - left_out, len(fresh) - left_out, left_out)

    def _embedded(
        self, images: pl.DataFrame, fresh: NDArray[np.intp], pool: PreparationPool
    ) -> Iterator[tuple[NDArray[np.intp], Halves]]:
        """Yield batches of images that have pixels, where they are among all, with their embeddings."""
        encoder = self.shared.encoder
        batches = [fresh[at : at + BATCH] for at in range(0, len(fresh), BATCH)]
        places = ([Place(*place) for place in images[at].select(PLACE).iter_rows()] for at in batches)
        for at, prepared in zip(batches, pool.each(places), strict=True):
            pixels = [image for image in prepared if image is not None]
            usable = at[[image is not None for image in prepared]]
            yield usable, halves(embedded_by(encoder, encoder.images, pixels))


def embed_images(run: ImagesRun, engine: Engine, progress: Progress) -> ImageCounts:
    """Embed all images."""
    change_embeddings(run.table, run.source)
    parts = engine.map_parts("embed", run.part, [part.rows for part in run.images.parts], progress, "images")
    total = _sum([counts for counts, _ in parts])
    commit_embeddings(run.table, [info for _, info in parts], meta_of(run.shared, run.source, total.left_out))
    run.dataset.store.clear(WORKING, CHUNKED)
    return total


def _sum(counts: Sequence[ImageCounts]) -> ImageCounts:
    return ImageCounts(*(sum(column) for column in zip(ImageCounts(0, 0, 0), *counts, strict=True)))


@dataclass(frozen=True)
class _Chunk:
    """Images of a part that are finished together."""

    working: Table[Meta]
    number: int
    images: pl.DataFrame
    old: PartEmbeddings

    def known(self) -> tuple[Halves, NDArray[np.bool_]]:
        """Return a row for each image, and which of them are there already."""
        rows = self.old.rows_of(self.images["original_sha256"])
        known = rows >= 0
        vectors = np.zeros((len(rows), self.old.vectors.shape[1]), np.float16)
        vectors[known] = self.old.vectors[rows[known]]
        return vectors, known


class _PartTicks:
    """Ticks for the images of a part as far as they are passed, those without an embedding too."""

    def __init__(self, tick: Tick, rows: int) -> None:
        self._tick, self._rows, self._passed = tick, rows, 0

    def to(self, row: int, left_out: int = 0) -> None:
        """Tick for all before a row."""
        units, self._passed = max(0, row - self._passed), max(row, self._passed)
        if units or left_out:
            self._tick(units, NONE, {"left out": left_out} if left_out else NONE)

    def end(self) -> None:
        """Tick for all that are left."""
        self.to(self._rows)


def _left_out(table: Table[Any], part: int, facts: dict[str, Any]) -> int | None:
    """Return how many images a part that was made from these facts leaves out; None for any other part."""
    stored = table.facts(part) or {}
    left_out = stored.pop("left_out", 0)
    return int(left_out) if stored == facts else None
