"""One shard to be made: from which rows, in which format, and what is known of it once it is there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from align_data.common.errors import DatasetError
from align_data.common.progress import Tick
from align_data.decoding.render import How, Rendered, UnrenderableError, render
from align_data.exports.formats import format_called
from align_data.exports.manifest import FileInfo
from align_data.exports.shard_format import ORIGINAL_SIZE, PLACE, RenderedPair, ShardJob
from align_data.storage.contracts import contract
from align_data.storage.frames import frame
from align_data.storage.store import Store
from align_data.storage.tars import DAMAGED, Place, TarReader

INDEX = "index.pq"
"""Parquet, but not called so: DuckDB, Polars and others take every *.parquet below a folder for data."""
_FACTS = b"align_data"
_TICK = 32
"""Pairs that are said to be done at a time: a child says it by a message."""


@dataclass(frozen=True)
class Shard:
    """One shard to be made."""

    name: str
    split: int
    pairs: int
    groups: tuple[tuple[int, int], ...]
    """Part, and row group of its kept rows, of which it is made."""


def rows_name(split: int, part: int) -> str:
    """Return the file of the kept rows of one part and split, a row group a shard."""
    return f"_rows/{split}/part-{part:05d}.parquet"


class Groups:
    """A Parquet file whose first row group has `room` rows, and every other but the last `size`."""

    def __init__(self, path: str, schema: pa.Schema, room: int, size: int) -> None:
        self._schema, self._room, self._size = schema, room, size
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", compression_level=1)
        self._waiting: pl.DataFrame | None = None

    def add(self, rows: pl.DataFrame) -> None:
        """Append rows."""
        waiting = rows if self._waiting is None else pl.concat([self._waiting, rows])
        while len(waiting) >= self._room:
            self._write(waiting[: self._room])
            waiting, self._room = waiting[self._room :], self._size
        self._waiting = waiting

    def _write(self, rows: pl.DataFrame) -> None:
        table = rows.select(self._schema.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(self._schema)
        self._writer.write_table(table, row_group_size=max(1, len(rows)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None and self._waiting is not None and len(self._waiting):
            self._write(self._waiting)
        self._writer.close()


def write_shard(out: Store, job: ShardJob, shard: Shard, export: str, tick: Tick) -> None:
    """Make a shard, and then write down where in it each pair is."""
    Image.MAX_IMAGE_PIXELS = None  # measure has judged how many are too many
    format_ = format_called(job.format)
    assert format_.write is not None
    types: set[str] = set()
    written = format_.write(out, shard.name, _noting(_pairs(out, job, shard, tick), types), job)
    rows = [(place.uid, shard.name, place.offset, place.size) for place in written.places]
    facts = {"export": export, "pairs": len(rows), "types": sorted(types), **written.facts._asdict()}
    table = pl.DataFrame(rows, contract("index").polars(), orient="row").to_arrow(compat_level=pl.CompatLevel.oldest())
    table = contract("index").check(table).replace_schema_metadata({_FACTS: json.dumps(facts).encode()})
    with out.create(_index_name(shard)) as path:
        pq.write_table(table, path, compression="zstd")


def _noting(pairs: Iterator[RenderedPair], types: set[str]) -> Iterator[RenderedPair]:
    """Yield pairs, and note what their images' names end in."""
    for pair in pairs:
        types.add(pair.image.extension)
        yield pair


def _index_name(shard: Shard) -> str:
    return f"_index/{shard.name}.parquet"


def stored(out: Store, shard: Shard, export: str) -> FileInfo | None:
    """Return what is known of a shard that a run of the same export has finished; None if there is none."""
    if not out.exists(_index_name(shard)) or not out.exists(shard.name):
        return None
    try:
        facts = json.loads(pq.read_schema(out.open(_index_name(shard))).metadata[_FACTS])
        if facts["export"] != export:
            return None
        types = tuple(facts["types"])
        return FileInfo(shard.name, facts["pairs"], facts["bytes"], facts["sha256"], types=types)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # it is damaged: the shard is made again
        return None


def write_index(out: Store, plan: Sequence[Shard]) -> dict[str, Any]:
    """Write the index of all pairs, in the order of the shards; return its name, rows and hash."""
    schema, rows = contract("index").arrow(), 0
    with out.create(INDEX) as path:
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for shard in plan:
                # Not pq.read_table: it loads pyarrow.dataset, and with that pandas where there is one.
                table = pq.ParquetFile(out.open(_index_name(shard))).read().replace_schema_metadata(None).cast(schema)
                writer.write_table(table)
                rows += table.num_rows
        with Path(path).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": INDEX, "rows": rows, "sha256": sha256}


def _pairs(out: Store, job: ShardJob, shard: Shard, tick: Tick) -> Iterator[RenderedPair]:
    """Yield the pairs of a shard with their images as they are to be written."""
    with closing(TarReader(job.store)) as reader:
        for part, group in shard.groups:
            table = pq.ParquetFile(out.open(rows_name(shard.split, part))).read_row_group(group)
            kept = frame(table)
            reader.foretell(Place(*row) for row in kept.select(list(PLACE)).iter_rows())
            rows = kept.iter_rows(named=True)
            while batch := list(islice(rows, _TICK)):
                for row in batch:
                    yield RenderedPair(row, _image(reader, row, job.how))
                tick(len(batch))


def _image(reader: TarReader, row: Mapping[str, Any], how: How) -> Rendered:
    place = Place(*(row[name] for name in PLACE))
    try:
        image = render(reader.read(place), how)
    except (OSError, UnrenderableError) as error:
        raise DatasetError(f"{place.tar}, at {place.offset:,}: {error}; {DAMAGED}") from error
    fetched = {name: row[name] for name in ORIGINAL_SIZE if row[name] is not None}
    return image._replace(**fetched)
