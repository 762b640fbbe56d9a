"""A dataset with embeddings that no model has made: scenes in clusters of Zipf sizes, and planted near-copies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.progress import Silent
from align_data.data.embeddings import column_of
from align_data.data.layout import Dataset
from align_data.data.meta import ContentMeta, EmbeddedMeta, ImagesMeta
from align_data.data.model_inputs import source_of
from align_data.engines.local import LocalEngine
from align_data.stages.ingest import Parts, ingest
from align_data.storage.store import Store
from align_data.storage.tables import Table

Singles = NDArray[np.float32]
PIECE = 100_000
PART = 250_000
NAME = "bench"
_COLUMNS = ["url", "status", "reason", "tar", "offset", "decodable", "width", "height", "sha256"]


def unit(vectors: NDArray[Any]) -> Singles:
    """Return vectors of length 1."""
    singles = vectors.astype(np.float32)
    singles /= np.linalg.norm(singles, axis=1, keepdims=True)
    return singles


def vectors(number: int, dim: int, seed: int = 0) -> Iterator[tuple[NDArray[np.float16], NDArray[np.int64]]]:
    """Yield embeddings, a piece at a time, of which eight in a hundred are near-copies of others of their piece.

    With them goes the number of each one's original in its piece, its own number where it is no copy.

    A copy is at a cosine of 0.95 to 0.9999 from its original, away from it towards another image; a tenth of the copies
    are of a few images.
    """
    chance = np.random.default_rng(seed)
    scenes = max(1000, number // 100)
    middle = unit(chance.standard_normal((1, dim)))
    tops = unit(chance.standard_normal((1000, dim)))
    scene = unit(chance.standard_normal((scenes, dim)))
    sizes = chance.zipf(1.3, scenes * 3)
    top = np.resize(sizes[sizes < len(tops)][:scenes], scenes)
    for start in range(0, number, PIECE):
        rows = min(PIECE, number - start)
        copies = rows * 8 // 100
        of = chance.integers(0, scenes, rows - copies)
        own = unit(chance.standard_normal((rows - copies, dim)))
        originals = unit(0.6 * middle + 0.5 * tops[top[of]] + 0.4 * scene[of] + 0.5 * own)
        hot = copies // 10
        of = np.append(chance.integers(0, len(originals), copies - hot), chance.integers(0, 20, hot))
        base, away = originals[of], originals[(of + chance.integers(1, len(originals), copies)) % len(originals)]
        away = unit(away - (away * base).sum(axis=1, keepdims=True) * base)
        near = chance.uniform(0.95, 0.9999, (copies, 1)).astype(np.float32)
        both = np.concatenate([originals, near * base + np.sqrt(1 - near * near) * away])
        order = chance.permutation(rows)
        yield both[order].astype(np.float16), np.append(np.arange(len(originals)), of)[order]


def planted_pairs(number: int, dim: int, threshold: float) -> int:
    """Return how many pairs of an original and its copies, or of two copies of one, are within the threshold."""
    pairs = 0
    for piece, original in vectors(number, dim):
        every, order = unit(piece), np.argsort(original, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(original[order])) + 1):
            if len(members) > 1:
                near = every[members] @ every[members].T >= threshold
                pairs += int(np.triu(near, 1).sum())
    return pairs


def make(folder: Path, number: int, dim: int) -> Dataset:
    """Write a dataset whose images are there by decree, with embedded/NAME."""
    urls = pl.DataFrame({"place": np.arange(number)}).select(pl.format("http://h/{}", "place").alias("url"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    source = folder.parent / f"{folder.name}.parquet"
    urls.with_columns(alt_text=pl.lit("a text")).write_parquet(source)
    dataset = Dataset(Store(folder))
    ingest([str(source)], dataset, LocalEngine(folder / "_work", 2), Silent(), parts=Parts(rows=PART))
    source.unlink()
    stored = folder.parent / f"{folder.name}.npy"
    every = np.lib.format.open_memmap(stored, "w+", np.float16, (number, dim))
    at = 0
    for piece, _ in vectors(number, dim):
        every[at : at + len(piece)] = piece
        at += len(piece)
    tables: list[tuple[Table[Any], Any]] = [
        (dataset.images, ImagesMeta(run=1, pairs=dataset.ingested().fingerprint, asked="all", policy={}, statuses={})),
        (dataset.content, ContentMeta(images="0" * 64, looks={}, open=None, max_pixels=1, seconds=1.0)),
    ]
    parts = range(len(dataset.ingested().parts))
    for part in parts:
        _write(dataset, part, every)
    for table, meta in tables:
        table.commit([table.info(part) for part in parts], meta)
    table = dataset.embedded(NAME)
    meta = EmbeddedMeta(
        model="0" * 64, kind="none", versions={}, spec="none", device="cpu", dim=dim, source=source_of(dataset)
    )
    table.commit([table.info(part) for part in parts], meta)
    return dataset


def _write(dataset: Dataset, part: int, every: NDArray[np.float16]) -> None:
    nothing = {name: pl.lit(None, type_) for name, type_ in (("tar", pl.String), ("offset", pl.Int64))}
    with (
        dataset.images.writer(part, {}) as images,
        dataset.content.writer(part, {}, _COLUMNS) as content,
        dataset.embedded(NAME).writer(part, {}) as embedded,
    ):
        for piece in dataset.pairs.pieces(part, ["url"]):
            places = piece["url"].str.slice(9).cast(pl.Int64).to_numpy()
            hashes = pl.Series("sha256", [hashlib.sha256(b"%d" % place).hexdigest() for place in places])
            rows = piece.with_columns(status=pl.lit("ok"), reason=pl.lit(None, pl.String))
            images.write(
                rows.with_columns(retryable=pl.lit(False), size=pl.lit(None, pl.Int64), **nothing).select(
                    "url", "status", "reason", "retryable", "tar", "offset", "size"
                )
            )
            side = pl.Series(200 + places % 7, dtype=pl.Int32)
            content.write(
                rows.with_columns(hashes, decodable=pl.lit(True), width=side, height=side, **nothing).select(_COLUMNS)
            )
            column = pl.Series("embedding", column_of(every[places]), dtype=pl.Binary)
            embedded.write(pl.DataFrame([hashes, column]))
