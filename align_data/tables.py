"""Tables: Parquet parts under a contract, committed by a manifest that is written last.

A part is a Parquet file whose row groups are *pieces*, the unit of all work: at most PIECE_ROWS rows and about
PIECE_BYTES bytes, so that a piece's working memory is reused instead of asked from the system again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from align_data import __version__
from align_data.errors import DatasetError
from align_data.schema import Contract
from align_data.store import Store

FORMAT = 1
"""The version of the folder layout; a reader refuses any other."""
PIECE_ROWS = 100_000
PIECE_BYTES = 32 * 2**20
MANIFEST = "_manifest.json"
FACTS = b"align_data"

# A dictionary of values that hardly repeat would only cost time.
_NO_DICTIONARY = frozenset(
    {"uid", "url", "alt_text", "page_url", "source_uid", "detail", "key", "aspect", "language_score"}
    | {"digest", "sha256", "md5", "phash", "offset", "bytes", "nsfw", "size", "similarity"}
)
_STATISTICS = frozenset({"uid", "key", "digest"})


@dataclass(frozen=True)
class PartInfo:
    """A finished part."""

    rows: int
    bytes: int
    sha256: str | None
    """Of the file, as it was first written: it is what tells the part from another, and what was derived from the part
    goes by it. A takedown takes rows' content out of the file and leaves this. None for a table that nothing is derived
    from by content, so that deciding need not hash."""


@dataclass(frozen=True)
class Manifest:
    """What a committed table holds: its parts in order and what its stage has to say of them."""

    table: str
    parts: tuple[PartInfo, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self.parts)

    @cached_property
    def fingerprint(self) -> str:
        """Return a hash over the content of all parts."""
        return digest([part.sha256 for part in self.parts])


def digest(value: Any) -> str:
    """Return the sha256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class PartWriter:
    """Writes the pieces of one part; `info` is there once the part is."""

    def __init__(self, contract: Contract, columns: list[str] | None, path: str, hashed: bool) -> None:
        self._hashed = hashed
        self._contract = contract
        self._path = path
        self._rows = 0
        self.info: PartInfo | None = None
        schema = contract.arrow(columns)
        plain = {column.name for column in contract.columns if column.plain}
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression={name: "none" if name in plain else "zstd" for name in schema.names},
            compression_level={name: 1 for name in schema.names if name not in plain},
            use_dictionary=[name for name in schema.names if name.partition(".")[0] not in _NO_DICTIONARY],
            write_statistics=[name for name in schema.names if name in _STATISTICS],
            store_schema=False,
        )

    def write(self, piece: pl.DataFrame | pa.Table) -> None:
        """Append one piece as one row group."""
        table = piece.to_arrow(compat_level=pl.CompatLevel.oldest()) if isinstance(piece, pl.DataFrame) else piece
        table = self._contract.check(table).combine_chunks()
        self._rows += table.num_rows
        if table.num_rows:
            self._writer.write_table(table, row_group_size=table.num_rows)

    def close(self, facts: Mapping[str, Any]) -> None:
        """Write the footer with `facts`, and take the file's size and hash."""
        self._writer.add_key_value_metadata({FACTS: json.dumps(facts, sort_keys=True).encode()})
        self._writer.close()
        with Path(self._path).open("rb") as file:
            self.info = PartInfo(self._rows, Path(self._path).stat().st_size, _sha256(file) if self._hashed else None)

    def abandon(self) -> None:
        """Close the file without caring what is in it."""
        self._writer.close()


class Table:
    """One table of a dataset."""

    def __init__(self, store: Store, name: str, contract: Contract, hashed: bool = False) -> None:
        self.hashed = hashed
        self.store = store
        self.name = name
        self.contract = contract

    def part_name(self, part: int) -> str:
        """Return the name of part number `part` in the store."""
        return f"{self.name}/part-{part:05d}.parquet"

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

    def facts(self, part: int) -> dict[str, Any] | None:
        """Return what the footer of an existing part says, or None if there is no part that can be read."""
        if not self.has(part):
            return None
        try:
            return dict(json.loads((self._open(part).metadata.metadata or {})[FACTS]))
        except (KeyError, ValueError, DatasetError):
            return None

    def info(self, part: int) -> PartInfo:
        """Return the size and hash of an existing part, by reading it."""
        rows = self._open(part).metadata.num_rows
        with self.store.fs.open(self.store.path(self.part_name(part)), "rb") as file:
            return PartInfo(rows, file.size, _sha256(file) if self.hashed else None)

    def columns(self, part: int) -> list[str]:
        """Return the columns that an existing part has."""
        return list(self._open(part).schema_arrow.names)

    def piece_rows(self, part: int) -> list[int]:
        """Return the rows of each piece of a part."""
        metadata = self._open(part).metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def pieces(self, part: int, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the pieces of one part, only `columns` of them."""
        return map(frame, self.arrow_pieces(part, columns))

    def arrow_pieces(self, part: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the pieces of one part as Arrow tables."""
        file = self._open(part)
        for group in range(file.num_row_groups):
            yield self._read(part, file, group, columns)

    def piece_statistics(self, part: int, column: str) -> list[tuple[Any, Any]]:
        """Return the least and greatest value of `column` in each piece of a part."""
        metadata = self._open(part).metadata
        place = metadata.schema.names.index(column)
        stats = [metadata.row_group(g).column(place).statistics for g in range(metadata.num_row_groups)]
        return [(s.min, s.max) for s in stats]

    def piece(self, part: int, group: int, columns: Sequence[str]) -> pl.DataFrame:
        """Return one piece of one part."""
        return frame(self._read(part, self._open(part), group, columns))

    def _open(self, part: int) -> pq.ParquetFile:
        with self._damage(part):
            return pq.ParquetFile(self.store.open(self.part_name(part)))

    def _read(self, part: int, file: pq.ParquetFile, group: int, columns: Sequence[str]) -> pa.Table:
        with self._damage(part):
            return file.read_row_group(group, columns=list(columns), use_threads=False)

    @contextmanager
    def _damage(self, part: int) -> Iterator[None]:
        """Turn what pyarrow says of a broken part into a DatasetError."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            path = self.store.path(self.part_name(part))
            what = " ".join(str(error).split())
            raise DatasetError(f"cannot read {path}: {what}; the dataset is damaged, make it again") from error

    def commit(self, parts: Sequence[PartInfo], meta: Mapping[str, Any]) -> Manifest:
        """Write the manifest: from now on the table is there, and files that it does not name are gone."""
        manifest = Manifest(self.name, tuple(parts), meta)
        named = {self.part_name(i).rpartition("/")[2] for i in range(len(parts))}
        for name in self.store.names(self.name):
            stray = name.startswith(".") and name.endswith(".tmp")  # of a task whose machine died
            if stray or (name.startswith("part-") and name not in named):
                self.store.remove(f"{self.name}/{name}")
        content = {
            "align_data": __version__,
            "format": FORMAT,
            "table": self.name,
            "rows": manifest.rows,
            "meta": dict(meta),
            "parts": [asdict(part) for part in parts],
        }
        self.store.write_bytes(f"{self.name}/{MANIFEST}", (json.dumps(content, indent=1) + "\n").encode())
        return manifest

    def whole(self, manifest: Manifest | None) -> bool:
        """Tell whether the table is committed, by its manifest, and all of its parts are there."""
        there = set(self.store.names(self.name)) if manifest is not None else set()
        return manifest is not None and all(f"part-{i:05d}.parquet" in there for i in range(len(manifest.parts)))

    def retract(self) -> None:
        """Take the manifest away: until the next commit the table is not there."""
        self.store.remove(f"{self.name}/{MANIFEST}")

    def committed(self) -> Manifest | None:
        """Return the manifest, or None if the table is not committed.

        Raises DatasetError if it is of another format version or cannot be understood.
        """
        content = self.store.read_bytes(f"{self.name}/{MANIFEST}")
        if content is None:
            return None
        where = self.store.path(f"{self.name}/{MANIFEST}")
        try:
            data = json.loads(content)
            version = data["format"]
            if version == FORMAT:
                return Manifest(data["table"], tuple(PartInfo(**part) for part in data["parts"]), data["meta"])
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{where} cannot be understood: {error!r}; the dataset is damaged") from error
        raise DatasetError(
            f"{where} has format {version}; align-data {__version__} reads format {FORMAT}: "
            f"use the version that wrote it ({data.get('align_data', 'unknown')})"
        )


def _sha256(file: Any) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def recut(frames: Iterable[pl.DataFrame], end: Callable[[pl.DataFrame], int | None]) -> Iterator[pl.DataFrame]:
    """Yield the rows of all frames cut anew: `end` says where the first piece of some rows ends, None if it goes on.

    Where a piece ends depends on the rows alone, not on the frames that they came in.
    """
    rest: pl.DataFrame | None = None
    for some in frames:
        rest = some if rest is None or not len(rest) else pl.concat([rest, some])
        while (at := end(rest)) is not None:
            yield rest[:at]
            rest = rest[at:]
    if rest is not None and len(rest):
        yield rest


def cut(frames: Iterable[pl.DataFrame], rows: int = PIECE_ROWS) -> Iterator[pl.DataFrame]:
    """Yield the rows of all frames in pieces of so many rows."""
    return recut(frames, lambda some: rows if len(some) >= rows else None)


def frame(table: pa.Table) -> pl.DataFrame:
    """Return an Arrow table as a Polars frame."""
    result = pl.from_arrow(table)
    assert isinstance(result, pl.DataFrame)
    return result
