"""Export of what is known of the kept pairs, without images: Parquet, or uids as DataComp takes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from align_data.engines.base import Engine
from align_data.errors import DatasetError
from align_data.layout import Dataset, measured_schema
from align_data.measured import available, columns
from align_data.progress import Progress, Tick
from align_data.schema import contract
from align_data.signals import ordered
from align_data.stages.export.selection import Selection
from align_data.store import Store, writing

UIDS = "uids.npy"


def write_metadata(dataset: Dataset, selection: Selection, out: Store, engine: Engine, progress: Progress) -> list[str]:
    """Write a Parquet file a part, with all that is known of its kept pairs; return the files' names."""
    signals = ordered(available(dataset, dataset.ingested()))
    rows = [part.rows for part in selection.manifest.parts]
    return engine.map_parts(
        "export", lambda part, tick: _part(dataset, selection, signals, part, out, tick), rows, progress
    )


def _part(dataset: Dataset, selection: Selection, signals: Sequence[str], part: int, out: Store, tick: Tick) -> str:
    """Write the kept pairs of one part with all that is known of them; return the file's name."""
    names = contract("pairs").arrow().names
    name = f"part-{part:05d}.parquet"
    schema = pa.unify_schemas([contract("pairs").arrow(), measured_schema(signals)])
    with (
        out.create(name) as path,
        pq.ParquetWriter(path, schema, compression="zstd", store_schema=False) as writer,
    ):
        masks = dataset.ledger(selection.ledger).pieces(part, ["failed", "unknown"])
        for piece, mask in zip(columns(dataset, part, names, signals), masks, strict=True):
            kept = piece.filter(mask.select(selection.kept).to_series())
            if len(kept):
                table = kept.select(schema.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)
                writer.write_table(table.combine_chunks(), row_group_size=len(kept))
            tick(len(piece))
    return name


def write_uids(dataset: Dataset, selection: Selection, out: Store, source_uid: bool) -> list[str]:
    """Write the kept uids as DataComp does: a sorted numpy array of two unsigned 64-bit halves, 'u8,u8'."""
    name = "source_uid" if source_uid else "uid"
    number, _ = selection.counts()
    with out.create(UIDS) as path, writing(path):
        array = np.lib.format.open_memmap(path, "w+", np.dtype("u8,u8"), (number,))
        with Path(path).open("r+b") as file:  # a full disk is found here, and not as a fault of a mapped page
            os.posix_fallocate(file.fileno(), 0, Path(path).stat().st_size)
        at = 0
        for part in range(len(dataset.ingested().parts)):
            masks = dataset.ledger(selection.ledger).pieces(part, ["failed", "unknown"])
            for piece, mask in zip(dataset.pairs.pieces(part, [name]), masks, strict=True):
                halves = _halves(piece.filter(mask.select(selection.kept).to_series())[name])
                array[at : at + len(halves)] = halves
                at += len(halves)
        if source_uid:  # our own are in order already: parts are ranges of them
            array.sort()
        array.flush()
    return [UIDS]


def _halves(uids: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    good = uids.str.contains("^[0-9a-fA-F]{32}$").fill_null(False)
    if not good.all():
        example = uids.filter(~good)[0]
        raise DatasetError(
            f"a source_uid is no 32 hexadecimal digits, but {example!r}: DataComp's format cannot hold it"
        )
    raw = b"".join(uids.str.decode("hex").to_list())
    return np.frombuffer(raw, ">u8").astype("u8").view(np.dtype("u8,u8"))
