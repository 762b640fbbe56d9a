"""Export of what is known of the kept pairs, without images: Parquet, or uids as DataComp takes them."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from align_data.common.errors import DatasetError
from align_data.common.progress import Progress, Tick
from align_data.data.columns import columns
from align_data.data.layout import Dataset, measured_schema
from align_data.data.pairs import table_columns
from align_data.engines.base import Engine
from align_data.exports import parquet, uids
from align_data.exports.manifest import FileInfo
from align_data.exports.shard_names import TRAIN, ShardNames
from align_data.stages.export.selection import Exported, Selection
from align_data.stages.export.urls import stripped
from align_data.storage.contracts import contract
from align_data.storage.store import Store, writing

UIDS = "uids.npy"


@dataclass(frozen=True)
class Files:
    """An export without images: what is known of the kept pairs, a Parquet file a part; or their uids."""

    dataset: Dataset
    selection: Selection
    out: Store
    signals: tuple[str, ...]
    format: str
    source_uid: bool
    """For uids: the input's own instead of ours."""
    strip_credentials: bool = False
    names: ShardNames | None = None
    """Of the files; None for uids."""

    @property
    def folders(self) -> list[str]:
        """Where in the export files are."""
        return sorted({posixpath.dirname(name) for name in _WRITERS[self.format].names(self)})

    @property
    def exported(self) -> Exported:
        """Return what is written."""
        pairs, pending = self.selection.counts()
        return Exported(pairs, pending, _WRITERS[self.format].names(self))

    def write(self, engine: Engine, progress: Progress) -> dict[str, Any]:
        """Write the files; return what the manifest says of them."""
        files = _WRITERS[self.format].write(self, engine, progress)
        return {"exported": self.exported.pairs, "shards": [file.entry() for file in files]}


def _name(files: Files, part: int) -> str:
    assert files.names is not None
    return f"{files.names.name(TRAIN, part, len(files.selection.ledger.manifest.parts))}.parquet"


def _file(name: str, pairs: int, path: str) -> FileInfo:
    with Path(path).open("rb") as file:
        return FileInfo(name, pairs, Path(path).stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def schema_of(dataset: Dataset, signals: Iterable[str]) -> pa.Schema:
    """Return the columns of what is known of a pair: those of `pairs`, and signals."""
    return pa.unify_schemas([contract("pairs").arrow(_pair_columns(dataset)), measured_schema(signals)])


def _pair_columns(dataset: Dataset) -> list[str]:
    return table_columns(dataset.ingested().meta.provenance)


def _part(files: Files, part: int, tick: Tick) -> FileInfo:
    """Write the kept pairs of one part with all that is known of them."""
    dataset, selection = files.dataset, files.selection
    names = _pair_columns(dataset)
    schema, rows = schema_of(dataset, files.signals), 0
    name = _name(files, part)
    with files.out.create(name) as path:
        with pq.ParquetWriter(path, schema, compression="zstd", store_schema=False) as writer:
            masks = dataset.ledger(selection.ledger.name).pieces(part, ["failed", "unknown"])
            for piece, mask in zip(columns(dataset, part, names, files.signals), masks, strict=True):
                selected = piece.filter(mask.select(selection.passes).to_series())
                selected = stripped(selected) if files.strip_credentials else selected
                if len(selected):
                    table = selected.select(schema.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)
                    writer.write_table(table.combine_chunks(), row_group_size=len(selected))
                    rows += len(selected)
                tick(len(piece))
        return _file(name, rows, path)


def _uids(files: Files) -> FileInfo:
    """Write the kept uids as DataComp does: a sorted numpy array of two unsigned 64-bit halves, 'u8,u8'."""
    dataset, selection = files.dataset, files.selection
    name = "source_uid" if files.source_uid else "uid"
    number, _ = selection.counts()
    with files.out.create(UIDS) as path, writing(path):
        array = np.lib.format.open_memmap(path, "w+", np.dtype("u8,u8"), (number,))
        with Path(path).open("r+b") as file:  # a full disk is found here, and not as a fault of a mapped page
            os.posix_fallocate(file.fileno(), 0, Path(path).stat().st_size)
        at = 0
        for part in range(len(dataset.ingested().parts)):
            masks = dataset.ledger(selection.ledger.name).pieces(part, ["failed", "unknown"])
            for piece, mask in zip(dataset.pairs.pieces(part, [name]), masks, strict=True):
                halves = _halves(piece.filter(mask.select(selection.passes).to_series())[name])
                array[at : at + len(halves)] = halves
                at += len(halves)
        if files.source_uid:  # our own are in order already: parts are ranges of them
            array.sort()
        array.flush()
        return _file(UIDS, number, path)


def _halves(uids: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    valid = uids.str.contains("^[0-9a-fA-F]{32}$").fill_null(False)
    if not valid.all():
        example = uids.filter(~valid)[0]
        raise DatasetError(
            f"a source_uid is not 32 hexadecimal digits, but {example!r}: DataComp's format cannot hold it"
        )
    raw = b"".join(uids.str.decode("hex").to_list())
    return np.frombuffer(raw, ">u8").astype("u8").view(np.dtype("u8,u8"))


def _parts(files: Files, engine: Engine, progress: Progress) -> list[FileInfo]:
    rows = [part.rows for part in files.selection.ledger.manifest.parts]
    return engine.map_parts("export", lambda part, tick: _part(files, part, tick), rows, progress)


class _Writer(NamedTuple):
    """How a format without images is written."""

    names: Callable[[Files], list[str]]
    write: Callable[[Files, Engine, Progress], list[FileInfo]]


_WRITERS: Mapping[str, _Writer] = {
    parquet.METADATA.name: _Writer(
        lambda files: [_name(files, n) for n in range(len(files.selection.ledger.manifest.parts))], _parts
    ),
    uids.FORMAT.name: _Writer(lambda _: [UIDS], lambda files, *_: [_uids(files)]),
}
