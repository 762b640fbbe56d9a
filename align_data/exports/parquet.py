"""Parquet exports: shards with images as Hugging Face reads them, and what is known of pairs without images."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from align_data.common.errors import DatasetError
from align_data.exports.hashing_files import HashedWriter, created
from align_data.exports.shard_format import (
    PLACE,
    CorruptShardError,
    ExportFormat,
    ImagePlace,
    RenderedPair,
    Sample,
    ShardFacts,
    ShardJob,
    WrittenShard,
    hashed,
    rows_schema,
    sizes_of,
)
from align_data.storage import names
from align_data.storage.frames import frame
from align_data.storage.store import Store

_GROUP_BYTES = 64 * 2**20
"""Bytes of images in a row group."""
_SIZES = {name: pa.int32() for name in ("original_width", "original_height", "width", "height")}


def _write(store: Store, name: str, pairs: Iterator[RenderedPair], job: ShardJob) -> WrittenShard:
    with created(store, name) as out:
        places = list(_rows(out, pairs, job))
        size, sha256 = out.at, out.finish()
    return WrittenShard(ShardFacts(size, sha256), places)


def _rows(out: HashedWriter, pairs: Iterator[RenderedPair], job: ShardJob) -> Iterator[ImagePlace]:
    image_type = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    fields = [pa.field("image", image_type), *known(job.signals)]
    features = {field.name: _feature(field) for field in fields}
    schema = pa.schema(fields, {"huggingface": json.dumps({"info": {"features": features}})})
    at = 0
    with pq.ParquetWriter(pa.PythonFile(_Sink(out), mode="w"), schema, compression="none") as writer:
        for group in _grouped(pairs):
            yield from (ImagePlace(row["uid"], at + n, len(image.content)) for n, (row, image) in enumerate(group))
            at += len(group)
            writer.write_table(pa.Table.from_pylist([_record(pair, schema) for pair in group], schema))


def known(signals: Iterable[str]) -> list[pa.Field]:
    """Return the columns of what is known of an exported pair, but for its image."""
    plain = [field for field in rows_schema(signals) if field.name not in {*_SIZES, *PLACE}]
    return [*plain, *(pa.field(name, type_) for name, type_ in _SIZES.items())]


def _record(pair: RenderedPair, schema: pa.Schema) -> dict[str, Any]:
    row, image = pair
    record = {name: row.get(name) for name in schema.names}
    path = f"{row['uid']}.{image.extension}"
    return {**record, **sizes_of(image), "image": {"bytes": image.content, "path": path}}


def _feature(field: pa.Field) -> dict[str, str]:
    if field.name == "image":
        return {"_type": "Image"}
    types = {"double": "float64", "large_string": "string"}
    return {"dtype": types.get(str(field.type), str(field.type)), "_type": "Value"}


def _grouped(pairs: Iterator[RenderedPair]) -> Iterator[list[RenderedPair]]:
    group: list[RenderedPair] = []
    size = 0
    for pair in pairs:
        group.append(pair)
        size += len(pair.image.content)
        if size > _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


class _Sink:
    """A file as pyarrow writes to one."""

    def __init__(self, out: HashedWriter) -> None:
        self._out = out
        self.closed = False

    def write(self, data: Any) -> int:
        """Append bytes."""
        self._out.write(bytes(data))
        return len(data)

    def tell(self) -> int:
        """Return how many bytes are written."""
        return self._out.at

    def flush(self) -> None:
        """Do nothing: nothing is kept here."""

    def close(self) -> None:
        """Do nothing: who opened the file closes it."""

    def writable(self) -> bool:
        """Say that it is written to."""
        return True

    def seekable(self) -> bool:
        """Say that it cannot be gone back in."""
        return False


def _read(store: Store, name: str, sha256: str | None) -> Iterator[Sample]:
    path = store.path(name)
    return hashed(store, name, sha256, lambda file: _samples(file, path))


def _samples(file: Any, path: str) -> Iterator[Sample]:
    table = pq.ParquetFile(io.BytesIO(file.read()))
    if "image" not in table.schema_arrow.names:
        raise CorruptShardError(f"{path} has no column image: it was exported without images")
    for batch in table.iter_batches(batch_size=64, columns=["uid", "url", "alt_text", "image"]):
        for row in batch.to_pylist():
            yield Sample(row["uid"], row["url"], row["alt_text"], row["image"]["bytes"])


def scrub(store: Store, name: str, uids: set[str]) -> list[tuple[str, int]]:
    """Rewrite a Parquet file without some uids; return uid and row of each of the others."""
    file, dead = opened(store, name), pl.Series(sorted(uids), dtype=pl.String).implode()
    stored = frame(file.read(columns=["uid"]))["uid"]
    remaining = stored.filter(~stored.is_in(dead))
    if len(remaining) < len(stored):
        codec = file.metadata.row_group(0).column(0).compression
        with (
            store.create(name) as path,
            pq.ParquetWriter(
                path,
                file.schema_arrow,
                compression="none" if codec == "UNCOMPRESSED" else codec.lower(),
                store_schema=b"ARROW:schema" in (file.metadata.metadata or {}),
            ) as writer,
        ):
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                stays = ~frame(table.select(["uid"]))["uid"].is_in(dead)
                if stays.any():
                    rows = table.filter(stays.to_arrow()).combine_chunks()
                    writer.write_table(rows, row_group_size=rows.num_rows)
    return list(zip(remaining, range(len(remaining)), strict=True))


def opened(store: Store, name: str) -> pq.ParquetFile:
    """Open a Parquet file of an export; DatasetError for a damaged one."""
    with _readable(store, name):
        return pq.ParquetFile(store.open(name))


def texts(store: Store, name: str, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Yield columns of text of a Parquet file, group by group; DatasetError for a damaged one."""
    file = opened(store, name)
    with _readable(store, name):
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=columns)
            if table.column_names != columns:
                raise ValueError(f"it has no column {', '.join(sorted(set(columns) - set(table.column_names)))}")
            table = table.cast(pa.schema([(column, pa.large_string()) for column in columns]))
            table.validate(full=True)
            yield frame(table)


@contextmanager
def _readable(store: Store, name: str) -> Iterator[None]:
    """Turn what pyarrow says of a damaged file into a sentence."""
    try:
        yield
    except (OSError, ValueError, TypeError, NotImplementedError) as error:  # pyarrow's own are children of these
        reason = " ".join(str(error).split())
        raise DatasetError(f"cannot read {store.path(name)}: {reason}; see align-data verify") from error


FORMAT = ExportFormat(
    "parquet",
    "with images, as Hugging Face reads them",
    names.PARQUET_SHARD,
    _write,
    _read,
    scrub,
    ".parquet",
    loader="parquet",
)
METADATA = ExportFormat(
    "metadata", "Parquet without images", names.PARQUET_SHARD, scrub=scrub, ending=".parquet", loader="parquet"
)
