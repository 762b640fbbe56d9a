"""The table embedded/NAME: the images of a part that can be decoded, each content once."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from align_data.common.ahead import each_ahead
from align_data.common.progress import NONE, Progress, Tick
from align_data.data.embeddings import (
    Halves,
    PartEmbeddings,
    change_embeddings,
    column_of,
    commit_embeddings,
    halves,
    same_part,
)
from align_data.data.image_table import PLACE, image_urls
from align_data.data.layout import Dataset
from align_data.data.meta import EmbeddedMeta, ImagesMeta
from align_data.data.model_inputs import embedded_by, image_rows, limits_of, meta_of, source_of
from align_data.decoding.inputs.preparation import Pixels
from align_data.decoding.preparing.pool import PreparationPool
from align_data.engines.base import Engine
from align_data.models.encoder import BATCH
from align_data.models.sharing import SharedModel, batches_at_once
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
        ticks = _PartTicks(tick, self.images.parts[number].rows)
        left_out = _left_out(self.table, number, self.facts(number))
        if left_out is not None:
            info = same_part(self.table, number)
            counts = ImageCounts(info.rows, 0, left_out)
        else:
            counts, info = self._embed(number, ticks)
        ticks.end()
        return counts, info

    def _embed(self, number: int, ticks: _PartTicks) -> tuple[ImageCounts, PartInfo]:
        facts = self.table.facts(number) or {}
        same = (facts.get("model"), facts.get("dim")) == (self.shared.digest, self.dim)
        working = Table(self.dataset.store, f"{WORKING}/{number:05d}", self.table.contract, Meta)
        limits = limits_of(self.dataset)
        with (
            PartEmbeddings.read(self.table, number if same else None, self.dim) as old,
            PreparationPool(self.dataset.store, self.shared.encoder.preparation, limits, self.children) as pool,
        ):
            chunks = self._chunks(number, old, working)
            with closing(self._embedded(chunks, pool)) as embedded:
                counts = _sum([self._finish(chunk, old, embedded, ticks) for chunk in chunks])
            nothing_new = counts.embedded == 0 and counts.images == len(old)
        if nothing_new and _but_open(facts) == _but_open(self.facts(number)):
            info = same_part(self.table, number)
        else:
            info = self._write(number, working, len(chunks), counts)
        self.dataset.store.clear(working.name, CHUNK)
        return counts, info

    def _write(self, number: int, working: Table[Meta], chunks: int, counts: ImageCounts) -> PartInfo:
        """Put the chunks of a part together."""
        names = list(self.table.contract.polars())
        with self.table.writer(number, {**self.facts(number), "left_out": counts.left_out}) as writer:
            for piece in cut(piece for chunk in range(chunks) for piece in working.pieces(chunk, names)):
                writer.write(piece)
        assert writer.info is not None
        return writer.info

    def _chunks(self, part: int, old: PartEmbeddings, working: Table[Meta]) -> list[_Chunk]:
        """Return the distinct images of a part that are wanted, in their order; what is embedded stays wanted."""
        images = image_rows(self.dataset, part)
        if self.ledger is not None:
            opened = image_urls(self.dataset, part, self.ledger).select("url", "open")
            embedded = pl.col("original_sha256").is_in(old.sha256.implode())
            images = images.join(opened, on="url", how="left", maintain_order="left").filter(pl.col("open") | embedded)
        images = images.unique("original_sha256", keep="first", maintain_order=True)
        rows, made_by = old.rows_of(images["original_sha256"]), {"model": self.shared.digest, "dim": self.dim}
        slices = enumerate(images.iter_slices(ROWS)) if len(images) else ()
        return [_Chunk(working, n, few, rows[n * ROWS : (n + 1) * ROWS], made_by) for n, few in slices]

    def _embedded(
        self, chunks: Sequence[_Chunk], pool: PreparationPool
    ) -> Generator[tuple[NDArray[np.bool_], Halves], None, None]:
        """Yield for each batch of all chunks which images have pixels, with the embeddings of these."""
        encoder = self.shared.encoder

        def embed(prepared: Sequence[Pixels | None]) -> tuple[NDArray[np.bool_], Halves]:
            pixels = [image for image in prepared if image is not None]
            usable = np.array([image is not None for image in prepared])
            return usable, halves(embedded_by(encoder, encoder.images, pixels))

        places = ([Place(*place) for place in rows.iter_rows()] for chunk in chunks for rows in chunk.places())
        return each_ahead(embed, pool.each(places), batches_at_once(encoder))

    def _finish(
        self,
        chunk: _Chunk,
        old: PartEmbeddings,
        embedded: Iterator[tuple[NDArray[np.bool_], Halves]],
        ticks: _PartTicks,
    ) -> ImageCounts:
        """Write what is embedded of a chunk, if that has not been done."""
        keys, last = chunk.images["original_sha256"], chunk.images["row"][-1] + 1
        if chunk.left_out is not None:
            ticks.to(last)
            return ImageCounts(len(keys) - chunk.left_out, 0, chunk.left_out)
        usable = chunk.known >= 0
        vectors = np.zeros((len(keys), self.dim), np.float16)
        vectors[usable] = old.vectors(chunk.known[usable])
        for batch, (has, new) in zip(chunk.batches, embedded, strict=False):
            at = batch[has]
            vectors[at], usable[at] = new, True
            ticks.to(chunk.images["row"][int(at[-1])] + 1 if len(at) else 0)
        left_out = int(len(keys) - usable.sum())
        columns = {"sha256": keys.filter(pl.Series(usable)).to_arrow(), "embedding": column_of(vectors[usable])}
        with chunk.working.writer(chunk.number, {**chunk.facts, "left_out": left_out}) as writer:
            writer.write(pa.table(columns))
        ticks.to(last, left_out)
        return ImageCounts(len(keys) - left_out, sum(map(len, chunk.batches)) - left_out, left_out)


def embed_images(run: ImagesRun, engine: Engine, progress: Progress) -> ImageCounts:
    """Embed all images."""
    change_embeddings(run.table, run.source)
    parts = engine.map_parts("embed", run.part, [part.rows for part in run.images.parts], progress, "images")
    total, infos = _sum([counts for counts, _ in parts]), [info for _, info in parts]
    meta, before = meta_of(run.shared, run.source, total.left_out), run.table.committed()
    if before is not None and list(before.parts) == infos:  # nothing is new, whatever ledger asks for it
        same = _but_open(before.meta.model_dump()) == _but_open(meta.model_dump())
        meta = before.meta if same else meta
    commit_embeddings(run.table, infos, meta)
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
    known: NDArray[np.int64]
    """The row of each in what was embedded before; -1 for none."""
    made_by: Mapping[str, Any]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What it is made from."""
        return {**self.made_by, "images": digest(self.images["original_sha256"].to_list())}

    @cached_property
    def left_out(self) -> int | None:
        """How many images it leaves out, where a killed run has finished it; None where it is to be done."""
        return _left_out(self.working, self.number, self.facts)

    @cached_property
    def batches(self) -> list[NDArray[np.intp]]:
        """Where among the images those are that go through the model together; none of a chunk that is finished."""
        new = np.flatnonzero(self.known < 0)
        return [] if self.left_out is not None else [new[at : at + BATCH] for at in range(0, len(new), BATCH)]

    def places(self) -> Iterator[pl.DataFrame]:
        """Yield where the images of each batch lie."""
        return (self.images[batch].select(PLACE) for batch in self.batches)


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


def _but_open(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a part or the table says it is made from, but for the ledger by which its images were chosen."""
    source = {key: value for key, value in said.get("source", {}).items() if key != "open"}
    return {**said, "source": source, "left_out": None}
