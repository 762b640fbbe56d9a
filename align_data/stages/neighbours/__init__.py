"""Neighbours: how near each image's nearest other and nearest earlier one are, by stored embeddings.

Images are compared within cells of a codebook; every cosine is exact, and how many pairs the cells miss is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from align_data.common.errors import DatasetError, InputError
from align_data.common.progress import Progress, Tick
from align_data.data.calibration import read_calibration
from align_data.data.columns import compared_by
from align_data.data.embeddings import Halves, column_of, committed_embeddings
from align_data.data.image_table import with_images
from align_data.data.layout import Dataset
from align_data.data.meta import CodebookMeta, EmbeddedMeta, NeighboursMeta, PairsMeta, SignalsMeta
from align_data.data.model_inputs import current_embeddings
from align_data.engines.base import Engine
from align_data.neighbours.embedding.answers import answers
from align_data.neighbours.embedding.cell import Nearness
from align_data.neighbours.embedding.codebook import ONE_CELL, POINTS, Codebook, cells_for, train
from align_data.neighbours.embedding.cosines import MILLION
from align_data.neighbours.embedding.images import PREFIX, EmbeddedImages, bound_of
from align_data.neighbours.embedding.joining import LEARNT_CONTRACT, Joining
from align_data.neighbours.embedding.recall import Counted, SampledImages, gather, measure_recall
from align_data.neighbours.scratch import LEARNT as SCRATCH
from align_data.neighbours.scratch import clear_scratch
from align_data.signals import family_signals
from align_data.signals.near import NONE
from align_data.storage.tables import Manifest, Meta, Table, cut

ALIGN = 0.975
"""The threshold of ALIGN's appendix A, which belongs to its own network."""
_COARSE = 4
"""How many times as many images as a codebook was trained on make it too coarse."""
_MANY = 1000
"""Pairs an image within the floor from which it is worth a word."""


@dataclass(frozen=True)
class Comparing:
    """How images are compared."""

    threshold: float = ALIGN
    """The cosine from which two images are near-duplicates, which near_duplicates_NAME counts."""
    floor: float | None = None
    """The least cosine that is stored; None for 0.9, or a little less than a lower threshold."""
    margin: float = 2.0
    """How near the border of another cell an image is a guest there, in units of r/√dimension, where r is the
    distance of two images at the threshold."""
    cells: int | None = None
    """Of a new codebook; None for what suits the number of images."""
    sample: int = 1000
    """Images that the recall is measured with."""
    new_codebook: bool = False
    """Whether a codebook that is there is trained anew."""

    @property
    def nearness(self) -> Nearness:
        """The threshold and the floor in millionths; InputError where the floor is above the threshold."""
        floor = max(-1.0, min(0.9, self.threshold - 0.05)) if self.floor is None else self.floor
        nearness = Nearness(round(self.threshold * MILLION), round(floor * MILLION))
        if nearness.floor > nearness.threshold:
            raise InputError(f"the floor {floor:g} is above the threshold {self.threshold:g}")
        return nearness


def threshold_of(dataset: Dataset, name: str) -> float:
    """Return the threshold that align-data calibrate proposes for the embeddings `name`; ALIGN's where it has not."""
    embedded = committed_embeddings(dataset, name)
    calibration = read_calibration(dataset, name, embedded.meta.model)
    return ALIGN if calibration is None or calibration.threshold is None else calibration.threshold


@dataclass(frozen=True)
class NeighboursReport:
    """What a run of `neighbours` did."""

    name: str
    meta: NeighboursMeta
    computed: bool = True
    """False where it was all there."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        facts = self.meta.dump()
        del facts["run"], facts["pairs"]
        return {"name": self.name, "computed": self.computed, **facts}


def neighbours(
    dataset: Dataset,
    name: str,
    engine: Engine,
    progress: Progress,
    comparing: Comparing = Comparing(),
) -> NeighboursReport:
    """Compare all images that have embeddings `name`, and write the signals of near.NAME and the table neighbours/NAME.

    Raises DatasetError where there are no such embeddings, or older ones than the images.
    """
    nearness, pairs = comparing.nearness, dataset.ingested()
    embedded = current_embeddings(dataset, name)
    images, total = EmbeddedImages(dataset, name, embedded.meta.dim), embedded.rows
    kept = None if comparing.new_codebook else _stored_codebook(dataset, name, embedded.meta, progress, total)
    if kept is not None and (before := _before(dataset, name, comparing, pairs)) is not None:
        _clear(dataset)
        return before
    cells = comparing.cells or cells_for(total)
    points = 0 if kept is not None else cells * POINTS
    sample = gather(
        engine.map_parts(
            "neighbours: sample",
            lambda part, tick: _sampled(images, part, max(comparing.sample, points), total, tick),
            [part.rows for part in embedded.parts],
            progress,
            "embeddings",
        ),
        total,
    )
    # Until all is written no manifest may speak for what other cells have told.
    for table in (dataset.measured(f"near.{name}"), dataset.neighbours(name)):
        table.retract()
    codebook = kept or _new_codebook(dataset, name, embedded, sample, cells)
    run = _run(dataset, name, comparing)
    writing = _NearWriting(images, pairs, nearness, _identities(dataset, name, run), bound_of(comparing.sample, total))
    learnt = Table(dataset.store, f"{SCRATCH}/{name}", LEARNT_CONTRACT, Meta)
    margin = comparing.margin * (2 - 2 * comparing.threshold) ** 0.5 / embedded.meta.dim**0.5
    rows = [part.rows for part in embedded.parts]
    cost, written = Joining(images, pairs, codebook, margin, nearness, learnt).run(rows, writing.part, engine, progress)
    compared = {sha256: counts for _, _, of_part in written for sha256, counts in of_part.items()}
    chosen = sample.up_to(bound_of(comparing.sample, total))
    recall = (
        measure_recall(images, chosen, compared, nearness, rows, engine, progress)
        if comparing.sample and chosen.hashes
        else None
    )
    number = sum(of_part for of_part, _, _ in written)
    if cost.pairs > _MANY * max(1, number):
        progress.say(
            f"{cost.pairs:,} pairs of {number:,} images are within the floor {nearness.floor / MILLION:g}: a higher "
            "--floor is faster, and says as much"
        )
    meta = NeighboursMeta(
        run=run,
        pairs=pairs.fingerprint,
        threshold=comparing.threshold,
        floor=nearness.floor / MILLION,
        images=number,
        late=sum(late for _, late, _ in written),
        cells=len(codebook),
        copies=cost.rows / max(1, total),
        cosines=cost.cosines,
        recall=recall,
    )
    writing.commit(meta)
    _clear(dataset)
    return NeighboursReport(name, meta)


def _clear(dataset: Dataset) -> None:
    """Remove what is only needed while images are compared, also what a run has left that was killed at its end."""
    clear_scratch(dataset)
    dataset.store.clear_work()


def _run(dataset: Dataset, name: str, comparing: Comparing) -> dict[str, Any]:
    """Return what decides the values beside the embeddings."""
    manifest = dataset.codebook(name).committed()
    assert manifest is not None
    nearness = {"threshold": comparing.nearness.threshold, "floor": comparing.nearness.floor}
    return {**nearness, "margin": comparing.margin, "sample": comparing.sample, "codebook": manifest.fingerprint}


def _identities(dataset: Dataset, name: str, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    compared = compared_by(dataset, f"near.{name}", run)
    return {signal.name: {**signal.identity(), **compared} for signal in family_signals("near", name).values()}


def _before(dataset: Dataset, name: str, comparing: Comparing, pairs: Manifest[PairsMeta]) -> NeighboursReport | None:
    """Return what an earlier run did if this one would do the same."""
    signals, edges = dataset.measured(f"near.{name}"), dataset.neighbours(name)
    values, kept = signals.committed(), edges.committed()
    if values is None or kept is None or not (signals.whole(values) and edges.whole(kept)):
        return None
    run = _run(dataset, name, comparing)
    if values.meta.pairs != pairs.fingerprint or kept.meta.pairs != pairs.fingerprint or kept.meta.run != run:
        return None
    same = values.meta.signals == _identities(dataset, name, run)
    return NeighboursReport(name, kept.meta, computed=False) if same else None


def _stored_codebook(
    dataset: Dataset, name: str, embedded: EmbeddedMeta, progress: Progress, images: int
) -> Codebook | None:
    """Return the codebook that there is; None where there is none of this model."""
    table = dataset.codebook(name)
    manifest = table.committed()
    if manifest is None or not table.whole(manifest):
        return None
    if (manifest.meta.model, manifest.meta.dim) != (embedded.model, embedded.dim):
        return None
    if images > _COARSE * max(manifest.meta.images, ONE_CELL):
        progress.say(
            f"the codebook of {name} was trained on {manifest.meta.images:,} images, and there are {images:,} now: its "
            "cells are large, and comparing is slow; --new-codebook trains it anew"
        )
    content = b"".join(pl.concat(list(table.pieces(0, ["centroid"])))["centroid"])
    if len(content) != manifest.rows * embedded.dim * 2 or not content:
        raise DatasetError(
            f"{table.store.path(table.part_name(0))} has a centroid that is not of {embedded.dim} numbers; it is "
            "damaged: compare again with --new-codebook"
        )
    return Codebook(np.frombuffer(content, "<f2").reshape(-1, embedded.dim))


def _new_codebook(
    dataset: Dataset, name: str, embedded: Manifest[EmbeddedMeta], sample: SampledImages, cells: int
) -> Codebook:
    codebook = train(sample.halves[: cells * POINTS], cells)
    table = dataset.codebook(name)
    table.retract()
    with table.writer(0, {}) as writer:
        writer.write(pl.DataFrame({"centroid": pl.Series(column_of(codebook.centroids))}))
    assert writer.info is not None
    facts = embedded.meta
    table.commit([writer.info], CodebookMeta(model=facts.model, dim=facts.dim, images=embedded.rows))
    return codebook


def _sampled(images: EmbeddedImages, part: int, number: int, total: int, tick: Tick) -> tuple[pl.Series, Halves]:
    sampled = images.sampled(part, number, total)
    tick(len(sampled[0]))
    return sampled


@dataclass(frozen=True)
class _NearWriting:
    """What all parts share as their values are written. It travels to other machines."""

    images: EmbeddedImages
    pairs: Manifest[PairsMeta]
    nearness: Nearness
    identities: dict[str, dict[str, Any]]
    bound: str
    """Beginning of the greatest SHA-256 that is in the sample."""

    @property
    def signals(self) -> Table[SignalsMeta]:
        """Where the signals go."""
        return self.images.dataset.measured(f"near.{self.images.name}")

    @property
    def edges(self) -> Table[NeighboursMeta]:
        """Where it goes which earlier image each is nearest to."""
        return self.images.dataset.neighbours(self.images.name)

    def part(self, number: int, learnt: pl.DataFrame, tick: Tick) -> tuple[int, int, Counted]:
        """Write the values of a part; return its images, how many have an earlier one, and what the sample has."""
        images = answers(self.images.images(number), learnt)
        facts = {"signals": self.identities, "pairs": self.pairs.parts[number].identity}
        with self.edges.writer(number, facts) as writer:
            for piece in cut([_edges(images)]):
                writer.write(piece)
        signals = family_signals("near", self.images.name)
        columns = images.select(
            "url",
            *(
                _cosine(images[column].fill_null(NONE * MILLION)).alias(signals[f"{column}_similarity"].name)
                for column in ("earlier", "nearest")
            ),
            pl.col("nearest_uid").bin.encode("hex").alias(signals["nearest_duplicate"].name),
            pl.col("near").alias(signals["near_duplicates"].name),
        )
        with self.signals.writer(number, facts, [signal.name for signal in signals.values()]) as writer:
            for piece in self.images.dataset.pairs.pieces(number, ["url"]):
                writer.write(with_images(piece, columns).drop("url"))
                tick(len(piece))
        late = images.filter(pl.col("earlier") >= self.nearness.threshold)
        hashed = images.select(pl.col("sha256").bin.encode("hex"), "rows", "floor_rows").unique("sha256")
        sampled = hashed.filter(pl.col("sha256").str.head(PREFIX) <= self.bound)
        return len(images), len(late), {sha256: (rows, floor) for sha256, rows, floor in sampled.iter_rows()}

    def commit(self, meta: NeighboursMeta) -> None:
        """Write the manifests over the parts."""
        parts = range(len(self.pairs.parts))
        self.edges.commit([self.edges.info(part) for part in parts], meta)
        signals = SignalsMeta(signals=self.identities, pairs=self.pairs.fingerprint)
        self.signals.commit([self.signals.info(part) for part in parts], signals)


def _edges(images: pl.DataFrame) -> pl.DataFrame:
    """Return the table `neighbours` of a part."""
    late = images.filter(pl.col("earlier").is_not_null()).sort("uid")
    return late.select(
        pl.col("uid").bin.encode("hex"),
        pl.col("earlier_uid").bin.encode("hex").alias("earlier"),
        _cosine(late["earlier"]).alias("similarity"),
    )


def _cosine(millionths: pl.Series) -> pl.Series:
    """Return cosines: divided by numpy, for Polars multiplies with a reciprocal, which is another float."""
    return pl.Series(millionths.to_numpy().astype(np.float64) / MILLION)
