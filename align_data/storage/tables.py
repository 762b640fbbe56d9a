"""Tables: Parquet parts under a contract, committed by a manifest that is written last.

A part is a Parquet file whose row groups are *pieces*, the unit of all work: at most PIECE_ROWS rows and about
PIECE_BYTES bytes, so that a piece's working memory is reused instead of asked from the system again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Generic

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from align_data.common.errors import DatasetError
from align_data.common.hashing import xxh3_of
from align_data.storage import footers
from align_data.storage.contracts import Contract, same_type
from align_data.storage.footers import PartFooter
from align_data.storage.frames import frame
from align_data.storage.manifests import M, Manifest, Meta, PartInfo, digest, dump, load
from align_data.storage.part_writer import PartWriter
from align_data.storage.store import UNFINISHED, Store

__all__ = ["CHUNK", "CHUNKED", "PART", "Manifest", "Meta", "PartInfo", "PartWriter", "Table", "digest"]

PIECE_ROWS = 100_000
PIECE_BYTES = 32 * 2**20
MANIFESTS = "_manifests"
"""The folder of the manifests of all tables: beside parts they would be data to whoever opens a table's folder."""
BESIDE = "_manifest.json"
"""What a manifest is called in the folder of its table, where earlier versions wrote it."""
PART = r"part-\d{5,}"
"""What a part is called, without the ending."""
CHUNK = re.compile(rf"{PART}\.parquet|{re.escape(BESIDE)}")
"""What is in the folder of a table."""
CHUNKED = re.compile(rf"\d{{5,}}/(?:{CHUNK.pattern})")
"""What is in a folder of tables, one a part."""

_REDO = {
    "measured/score": "score again: align-data score",
    "measured": "measure again: align-data measure",
    "counts": "measure again: align-data measure",
    "content": "measure again: align-data measure",
    "embedded": "embed again: align-data embed",
    "embedded_texts": "embed again: align-data embed --texts",
    "neighbours": "compare again: align-data neighbours",
    "codebooks": "compare again: align-data neighbours --new-codebook",
    "measured/near": "compare again: align-data neighbours",
    "measured/eval": "compare again: align-data neighbours --eval-index",
    "images": "fetch again: align-data fetch",
    "verdicts": "decide again: align-data filter",
    "ranks": "decide again: align-data filter",
    "search": "search again: align-data search --index",
}
"""What makes a table anew once it is removed."""


class Table(Generic[M]):
    """One table of a dataset; its manifest says of it what `meta` has fields for."""

    def __init__(
        self,
        store: Store,
        name: str,
        contract: Contract,
        meta: type[M],
        *,
        hashed: bool = False,
    ) -> None:
        self.hashed = hashed
        self.store = store
        self.name = name
        self.contract = contract
        self.meta = meta
        self._last: tuple[bytes, Manifest[M]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Travel to other machines without what is remembered."""
        return {**vars(self), "_last": None}

    def part_name(self, part: int) -> str:
        """Return the name of part number `part` in the store."""
        return f"{self.name}/part-{part:05d}.parquet"

    @property
    def manifest_names(self) -> tuple[str, ...]:
        """Where the manifest is written, and where earlier versions wrote it; a working table has it inside."""
        beside = f"{self.name}/{BESIDE}"
        return (beside,) if self.name.startswith("_") else (f"{MANIFESTS}/{self.name}.json", beside)

    def has(self, part: int) -> bool:
        """Tell whether a part is there."""
        return self.store.exists(self.part_name(part))

    @contextmanager
    def writer(self, part: int, facts: Mapping[str, Any], columns: list[str] | None = None) -> Iterator[PartWriter]:
        """Write one part piece by piece; it appears when the context ends without an error."""
        with self.store.create(self.part_name(part)) as path:
            writer = PartWriter(self.contract, columns, path, self.hashed)
            try:
                yield writer
            except BaseException:
                writer.abandon()
                raise
            writer.close(facts)

    def facts(self, part: int, *, strict: bool = False) -> dict[str, Any] | None:
        """Return what the footer of an existing part says, or None if there is no part that can be read.

        With `strict` a part that is there and cannot be read is a DatasetError.
        """
        if not self.has(part):
            return None
        try:
            return self._open(part)[0].facts
        except DatasetError:
            if strict:
                raise
            return None

    def info(self, part: int) -> PartInfo:
        """Return what an existing part is, by reading it."""
        now = self.now(part)
        if not self.hashed:
            return now
        with self.store.read(self.part_name(part)) as file:
            return replace(now, xxh3=xxh3_of(file))

    def now(self, part: int) -> PartInfo:
        """Return what an existing part is, without its hash."""
        footer, _ = self._open(part)
        return PartInfo(footer.metadata.num_rows, self.store.size(self.part_name(part)), None, footer.seal)

    def columns(self, part: int) -> list[str]:
        """Return the columns that an existing part has."""
        return list(self.contract.stored(self._open(part)[1].schema_arrow.names))

    def piece_rows(self, part: int) -> list[int]:
        """Return the rows of each piece of a part."""
        metadata = self._open(part)[0].metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def pieces(self, part: int, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the pieces of one part, only `columns` of them."""
        return map(frame, self.arrow_pieces(part, columns))

    def arrow_pieces(self, part: int, columns: Sequence[str], *, encoded: bool = False) -> Iterator[pa.Table]:
        """Yield the pieces of one part as Arrow tables; texts dictionary-encoded if `encoded`, each made only once."""
        _, file = self._open(part, columns, encoded=encoded)
        for group in range(file.num_row_groups):
            yield self._read(part, file, group, columns)

    def piece_statistics(self, part: int, column: str) -> list[tuple[Any, Any]]:
        """Return the least and greatest value of `column` in each piece of a part."""
        metadata = self._open(part)[0].metadata
        place = metadata.schema.names.index(column)
        stats = [metadata.row_group(g).column(place).statistics for g in range(metadata.num_row_groups)]
        with self._damage(part):
            if any(each is None for each in stats):
                raise ValueError(f"it has no statistics of the column {column}")
        return [(s.min, s.max) for s in stats]

    def piece(self, part: int, group: int, columns: Sequence[str]) -> pl.DataFrame:
        """Return one piece of one part."""
        return frame(self._read(part, self._open(part, columns)[1], group, columns))

    def _open(
        self, part: int, columns: Sequence[str] = (), *, encoded: bool = False
    ) -> tuple[PartFooter, pq.ParquetFile]:
        """Open a part that is whole, is the one that the manifest names, and has the columns."""
        with self._damage(part):
            source = self.store.open(self.part_name(part))
            footer = footers.read(source)
            self._belongs(part, footer)
            needed = self.contract.arrow(list(columns))
            schema = footer.metadata.schema.to_arrow_schema()
            stored = self.contract.stored(schema.names)
            for field in needed:
                name = stored.get(field.name)
                if name is None or not same_type(schema.field(name).type, field.type):
                    raise ValueError(f"it has no column {field.name} of the type {field.type}")
            texts = [stored[field.name] for field in needed if encoded and pa.types.is_large_string(field.type)]
            options = {"page_checksum_verification": True, "read_dictionary": texts}
            return footer, pq.ParquetFile(source, metadata=footer.metadata, **options)

    def _belongs(self, part: int, footer: PartFooter) -> None:
        """Raise ValueError if a part is another than the manifest names; what is remembered of that may be old."""
        manifest = self._last[1] if self._last is not None else self.committed()
        if manifest is not None and _differs(manifest, part, footer) is not None:
            manifest = self.committed()
        if manifest is not None and (why := _differs(manifest, part, footer)) is not None:
            raise ValueError(f"it is not the part that the manifest names{why}")

    def _read(self, part: int, file: pq.ParquetFile, group: int, columns: Sequence[str]) -> pa.Table:
        with self._damage(part):
            if self.contract.renamed.isdisjoint(columns):
                return file.read_row_group(group, columns=list(columns), use_threads=False)
            stored = self.contract.stored(file.schema_arrow.names)
            table = file.read_row_group(group, columns=[stored[name] for name in columns], use_threads=False)
            return table.rename_columns(list(self.contract.stored(table.column_names)))

    @contextmanager
    def _damage(self, part: int) -> Iterator[None]:
        """Turn what pyarrow says of a broken part into a DatasetError."""
        try:
            yield
        except (OSError, ValueError, TypeError, pa.ArrowException) as error:
            path = self.store.path(self.part_name(part))
            what = " ".join(str(error).split())[:300]
            redo = f"remove it and {self._redo}" if self._redo else "make it again"
            raise DatasetError(f"cannot read {path}: {what}; the dataset is damaged, {redo}") from error

    @property
    def _redo(self) -> str | None:
        """What makes the table anew; None for one that only a new dataset has anew."""
        family = self.name.partition(".")[0]
        return _REDO.get(family) or _REDO.get(family.partition("/")[0])

    def commit(self, parts: Sequence[PartInfo], meta: M) -> Manifest[M]:
        """Write the manifest: from now on the table is there, and files that it does not name are gone."""
        manifest = Manifest(self.name, tuple(parts), meta)
        named = {self.part_name(i).rpartition("/")[2] for i in range(len(parts))}
        for name in self.store.names(self.name):
            stray = UNFINISHED.fullmatch(name)  # of a task whose machine died
            if stray or (re.fullmatch(rf"{PART}\.parquet", name) and name not in named):
                self.store.remove(f"{self.name}/{name}")
        self._write_manifest(dump(self.name, parts, meta))
        self.store.committed[self.name] = (manifest.rows, sum(part.bytes for part in parts))
        return manifest

    def change(self) -> None:
        """Say in the manifest, if there is one, that parts are about to be replaced; `commit` takes it back."""
        manifest = self.committed()
        if manifest is None:
            self.retract()  # what speaks of parts that somebody removed
        elif not manifest.changing:
            self._write_manifest(dump(self.name, manifest.parts, manifest.meta, changing=True))

    def _write_manifest(self, content: bytes) -> None:
        name, *former = self.manifest_names
        self.store.write_bytes(name, content)
        for each in former:
            self.store.remove(each)

    def whole(self, manifest: Manifest[M] | None) -> bool:
        """Tell whether the table is committed, by its manifest, and all of its parts are there."""
        return manifest is not None and not self.absent(manifest)

    def absent(self, manifest: Manifest[M]) -> list[str]:
        """Return the paths of the parts that a manifest names and that are not there."""
        files = set(self.store.names(self.name))
        names = (f"part-{part:05d}.parquet" for part in range(len(manifest.parts)))
        return [self.store.path(f"{self.name}/{name}") for name in names if name not in files]

    @property
    def uncommitted(self) -> bool:
        """Whether parts are there without a manifest: it is lost, or what writes them was killed before its end."""
        return self.committed() is None and any(
            re.fullmatch(rf"{PART}\.parquet", n) for n in self.store.names(self.name)
        )

    def remove(self) -> None:
        """Remove all of the table that we have written."""
        self.retract()
        self.store.clear(self.name, CHUNK)
        self._last = None

    def retract(self) -> None:
        """Take the manifest away: until the next commit the table is not there."""
        for name in reversed(self.manifest_names):  # the one that is read first goes last
            self.store.remove(name)

    def committed(self) -> Manifest[M] | None:
        """Return the manifest, or None if the table is not committed, or somebody has removed its folder.

        Raises DatasetError if it is of another format version or cannot be understood.
        """
        where, content = self._stored_manifest()
        changed = self._last is None or self._last[0] != content
        look = changed or self.store.local  # elsewhere it is a request
        if content is None or (look and not self.store.exists(self.name)):
            self._last = None
        elif changed:
            redo = f"remove {self.store.path(self.name)} and {self._redo}" if self._redo else None
            self._last = (content, load(content, where, self.name, self.meta, redo or "ingest again into a new folder"))
        return None if self._last is None else self._last[1]

    def _stored_manifest(self) -> tuple[str, bytes | None]:
        """Return where the manifest lies, and what is in it."""
        for name in self.manifest_names:
            where = self.store.path(name)
            try:
                content = self.store.read_bytes(name)
            except OSError as error:
                raise DatasetError(f"cannot read {where}: {error.strerror or error}; the dataset is damaged") from error
            if content is not None:
                return where, content
        return where, None


def _differs(manifest: Manifest[Any], part: int, footer: PartFooter) -> str | None:
    """Say in what a part is another than its manifest names; None if it is not, or if parts are being replaced."""
    if manifest.changing or part >= len(manifest.parts):
        return None
    named, rows = manifest.parts[part], footer.metadata.num_rows
    if rows != named.rows:
        return f", which has {named.rows:,} rows and not {rows:,}"
    return "" if named.footer not in (None, footer.seal) else None


def recut(frames: Iterable[pl.DataFrame], end: Callable[[pl.DataFrame], int | None]) -> Iterator[pl.DataFrame]:
    """Yield the rows of all frames cut anew: `end` says where the first piece of some rows ends, None if it goes on.

    Where a piece ends depends on the rows alone, not on the frames that they came in.
    """
    pending: pl.DataFrame | None = None
    for rows in frames:
        pending = rows if pending is None or not len(pending) else pl.concat([pending, rows])
        while (at := end(pending)) is not None:
            yield pending[:at]
            pending = pending[at:]
    if pending is not None and len(pending):
        yield pending


def cut(frames: Iterable[pl.DataFrame], rows: int = PIECE_ROWS) -> Iterator[pl.DataFrame]:
    """Yield the rows of all frames in pieces of so many rows."""
    return recut(frames, lambda piece: rows if len(piece) >= rows else None)
