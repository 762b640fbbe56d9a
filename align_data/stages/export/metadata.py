"""Export of what is known of the kept pairs, without images: Parquet, or uids as DataComp takes them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from align_data.common.errors import DatasetError
from align_data.common.progress import Progress, Tick
from align_data.data.columns import columns
from align_data.data.layout import Dataset, measured_schema
from align_data.engines.base import Engine
from align_data.exports.manifest import FileInfo
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
    uids: bool
    source_uid: bool
    """For uids: the input's own instead of ours."""
    strip_credentials: bool = False

    folders = ()

    @property
    def exported(self) -> Exported:
        """Return what is written."""
        kept, pending = self.selection.counts()
        parts = range(len(self.selection.ledger.manifest.parts))
        return Exported(kept, pending, [UIDS] if self.uids else [_name(part) for part in parts])

    def write(self, engine: Engine, progress: Progress) -> dict[str, Any]:
        """Write the files; return what the manifest says of them."""
        rows = [part.rows for part in self.selection.ledger.manifest.parts]
        if self.uids:
            files = [_uids(self)]
        else:
            files = engine.map_parts("export", lambda part, tick: _part(self, part, tick), rows, progress)
        return {"exported": self.exported.pairs, "shards": [asdict(file) for file in files]}


def _name(part: int) -> str:
    return f"part-{part:05d}.parquet"


def _file(name: str, pairs: int, path: str) -> FileInfo:
    with Path(path).open("rb") as file:
        return FileInfo(name, pairs, Path(path).stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _part(files: Files, part: int, tick: Tick) -> FileInfo:
    """Write the kept pairs of one part with all that is known of them."""
    dataset, selection = files.dataset, files.selection
    names = contract("pairs").arrow().names
    schema = pa.unify_schemas([contract("pairs").arrow(), measured_schema(files.signals)])
    rows = 0
    with files.out.create(_name(part)) as path:
        with pq.ParquetWriter(path, schema, compression="zstd", store_schema=False) as writer:
            masks = dataset.ledger(selection.ledger.name).pieces(part, ["failed", "unknown"])
            for piece, mask in zip(columns(dataset, part, names, files.signals), masks, strict=True):
                kept = piece.filter(mask.select(selection.kept).to_series())
                kept = stripped(kept) if files.strip_credentials else kept
                if len(kept):
                    table = kept.select(schema.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)
                    writer.write_table(table.combine_chunks(), row_group_size=len(kept))
                    rows += len(kept)
                tick(len(piece))
        return _file(_name(part), rows, path)


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
                halves = _halves(piece.filter(mask.select(selection.kept).to_series())[name])
                array[at : at + len(halves)] = halves
                at += len(halves)
        if files.source_uid:  # our own are in order already: parts are ranges of them
            array.sort()
        array.flush()
        return _file(UIDS, number, path)


def _halves(uids: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    good = uids.str.contains("^[0-9a-fA-F]{32}$").fill_null(False)
    if not good.all():
        example = uids.filter(~good)[0]
        raise DatasetError(
            f"a source_uid is not 32 hexadecimal digits, but {example!r}: DataComp's format cannot hold it"
        )
    raw = b"".join(uids.str.decode("hex").to_list())
    return np.frombuffer(raw, ">u8").astype("u8").view(np.dtype("u8,u8"))
