"""One shard: a WebDataset tar, or a Parquet file with images as Hugging Face has them, and what is known of it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from align_data.common.errors import DatasetError
from align_data.common.progress import Tick
from align_data.data.layout import measured_schema
from align_data.decoding.render import How, Rendered, UnrenderableError, render
from align_data.exports.manifest import FileInfo, stats, stats_name
from align_data.storage.contracts import contract
from align_data.storage.store import Store
from align_data.storage.tables import frame
from align_data.storage.tars import DAMAGED, Place, TarReader, ending, member

INDEX = "index.parquet"
DIGEST = "digest"
"""The column, while shards are made, with the SHA-256 of the image's bytes as it was measured."""
_PLACE = {"tar": pa.string(), "offset": pa.int64(), "size": pa.int64(), DIGEST: pa.string()}
_FACTS = b"align_data"
_GROUP_BYTES = 64 * 2**20
"""Bytes of images in a row group of a Parquet shard."""
_TOGETHER = 2**20
"""Bytes that are written and hashed at a time: few calls, and what is hashed is still in the processor's cache."""
_TICK = 32
"""Pairs that are said to be done at a time: a child says it by a message."""
_JSON = json.JSONEncoder(ensure_ascii=False).encode
_PLAIN: dict[str, pa.DataType] = {"uid": pa.string(), "url": pa.string(), "alt_text": pa.string()}
_SIZES = {name: pa.int32() for name in ("original_width", "original_height", "width", "height")}


@dataclass(frozen=True)
class ShardJob:
    """How shards are made."""

    store: Store
    """Where the images are."""
    parquet: bool
    how: How
    signals: tuple[str, ...]
    ledger: str
    strip_credentials: bool = False


@dataclass(frozen=True)
class Shard:
    """One shard to be made."""

    name: str
    split: int
    pairs: int
    groups: tuple[tuple[int, int], ...]
    """Part, and row group of its kept rows, of which it is made."""


class Sample(NamedTuple):
    """A pair as it goes into a shard."""

    row: Mapping[str, Any]
    image: Rendered


def rows_name(split: int, part: int) -> str:
    """Return the file of the kept rows of one part and split, a row group a shard."""
    return f"_rows/{split}/part-{part:05d}.parquet"


def rows_schema(signals: Sequence[str]) -> pa.Schema:
    """Return what is kept of a row until its shard is made."""
    return pa.unify_schemas([pa.schema(_PLAIN), measured_schema(signals), pa.schema(_PLACE)])


class Groups:
    """A Parquet file whose first row group has `room` rows, and every other but the last `size`."""

    def __init__(self, path: str, schema: pa.Schema, room: int, size: int) -> None:
        self._schema, self._room, self._size = schema, room, size
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", compression_level=1)
        self._rest: pl.DataFrame | None = None

    def add(self, rows: pl.DataFrame) -> None:
        """Append rows."""
        rest = rows if self._rest is None else pl.concat([self._rest, rows])
        while len(rest) >= self._room:
            self._write(rest[: self._room])
            rest, self._room = rest[self._room :], self._size
        self._rest = rest

    def _write(self, rows: pl.DataFrame) -> None:
        table = rows.select(self._schema.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(self._schema)
        self._writer.write_table(table, row_group_size=max(1, len(rows)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None and self._rest is not None and len(self._rest):
            self._write(self._rest)
        self._writer.close()


def write_shard(out: Store, job: ShardJob, shard: Shard, export: str, tick: Tick) -> None:
    """Make a shard, and then write down where in it each pair is."""
    Image.MAX_IMAGE_PIXELS = None  # measure has judged how many are too many
    samples = _samples(out, job, shard, tick)
    with out.create(shard.name) as path, Path(path).open("wb", buffering=0) as file:
        hashing = _Hashing(file)
        places = _parquet(hashing, samples, job) if job.parquet else _tar(hashing, samples, job)
        rows = [(uid, shard.name, offset, size) for uid, offset, size in places]
        size, sha256 = hashing.at, hashing.finish()
    out.write_bytes(stats_name(shard.name), (json.dumps(stats(len(rows))) + "\n").encode())
    facts = {"export": export, "pairs": len(rows), "bytes": size, "sha256": sha256}
    table = pl.DataFrame(rows, contract("index").polars(), orient="row").to_arrow(compat_level=pl.CompatLevel.oldest())
    table = contract("index").check(table).replace_schema_metadata({_FACTS: json.dumps(facts).encode()})
    with out.create(_index_name(shard)) as path:
        pq.write_table(table, path, compression="zstd")


def _index_name(shard: Shard) -> str:
    return f"_index/{shard.name}.parquet"


def stored(out: Store, shard: Shard, export: str) -> FileInfo | None:
    """Return what is known of a shard that a run of the same export has finished; None if there is none."""
    if not out.exists(_index_name(shard)) or not out.exists(shard.name):
        return None
    try:
        facts = json.loads(pq.read_schema(out.open(_index_name(shard))).metadata[_FACTS])
        return (
            FileInfo(shard.name, facts["pairs"], facts["bytes"], facts["sha256"]) if facts["export"] == export else None
        )
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


class _Raw(io.RawIOBase):
    """A file that hashes what is written to it."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, some: Any) -> int:
        """Append bytes."""
        done = self._file.write(some)
        self.sha256.update(some[:done])
        return done

    def writable(self) -> bool:
        """Say that it is written to."""
        return True


class _Hashing:
    """A file that hashes what is written to it, in blocks of one buffer: each fresh one costs as much as a copy."""

    def __init__(self, file: io.FileIO) -> None:
        self._raw = _Raw(file)
        self._buffer = io.BufferedWriter(self._raw, _TOGETHER)
        self.at = 0

    def write(self, some: bytes) -> None:
        """Append bytes."""
        self._buffer.write(some)
        self.at += len(some)

    def finish(self) -> str:
        """Write what is held back; return the hash of all."""
        self._buffer.flush()
        return self._raw.sha256.hexdigest()


def _samples(out: Store, job: ShardJob, shard: Shard, tick: Tick) -> Iterator[Sample]:
    """Yield the pairs of a shard with their images as they are to be written."""
    with closing(TarReader(job.store)) as reader:
        for part, group in shard.groups:
            table = pq.ParquetFile(out.open(rows_name(shard.split, part))).read_row_group(group)
            rows = frame(table).iter_rows(named=True)
            while some := list(islice(rows, _TICK)):
                for row in some:
                    yield Sample(row, _image(reader, row, job.how))
                tick(len(some))


def _image(reader: TarReader, row: Mapping[str, Any], how: How) -> Rendered:
    place = Place(*(row[name] for name in _PLACE))
    try:
        return render(reader.read(place), how)
    except (OSError, UnrenderableError) as error:
        raise DatasetError(f"{place.tar}, at {place.offset:,}: {error}; {DAMAGED}") from error


def _sizes(image: Rendered) -> dict[str, int]:
    return {
        "original_width": image.original_width,
        "original_height": image.original_height,
        "width": image.width,
        "height": image.height,
    }


def _tar(out: _Hashing, samples: Iterator[Sample], job: ShardJob) -> Iterator[tuple[str, int, int]]:
    """Write a WebDataset tar: KEY.jpg, KEY.txt and KEY.json of each pair; yield uid, offset and size of each image."""
    for row, image in samples:
        key = row["uid"]
        known = {
            "uid": key,
            "url": row["url"],
            "alt_text": row["alt_text"],
            **_sizes(image),
            "sha256": row.get("sha256"),
            "signals": {name: row[name] for name in job.signals},
            "recipe": job.ledger,
        }
        yield key, out.at + tarfile.BLOCKSIZE, len(image.content)
        text, told = row["alt_text"].encode(), _JSON(known).encode()
        members = ((image.extension, image.content), ("txt", text), ("json", told))
        for extension, some in members:
            for piece in member(f"{key}.{extension}", some):
                out.write(piece)
    out.write(ending(out.at))


def _parquet(out: _Hashing, samples: Iterator[Sample], job: ShardJob) -> Iterator[tuple[str, int, int]]:
    """Write a Parquet file with images as Hugging Face reads them; yield uid, row and bytes of each image."""
    known = rows_schema(job.signals)
    plain = [field for field in known if field.name not in {*_SIZES, *_PLACE}]
    image_type = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    fields = [pa.field("image", image_type), *plain, *(pa.field(n, t) for n, t in _SIZES.items())]
    features = {field.name: _feature(field) for field in fields}
    schema = pa.schema(fields, {"huggingface": json.dumps({"info": {"features": features}})})
    at = 0
    with pq.ParquetWriter(pa.PythonFile(_Sink(out), mode="w"), schema, compression="none") as writer:
        for some in _grouped(samples):
            yield from ((row["uid"], at + n, len(image.content)) for n, (row, image) in enumerate(some))
            at += len(some)
            writer.write_table(pa.Table.from_pylist([_record(sample, schema) for sample in some], schema))


def _record(sample: Sample, schema: pa.Schema) -> dict[str, Any]:
    row, image = sample
    record = {name: row.get(name) for name in schema.names}
    path = f"{row['uid']}.{image.extension}"
    return {**record, **_sizes(image), "image": {"bytes": image.content, "path": path}}


def _feature(field: pa.Field) -> dict[str, str]:
    if field.name == "image":
        return {"_type": "Image"}
    names = {"double": "float64", "large_string": "string"}
    return {"dtype": names.get(str(field.type), str(field.type)), "_type": "Value"}


def _grouped(samples: Iterator[Sample]) -> Iterator[list[Sample]]:
    some: list[Sample] = []
    size = 0
    for sample in samples:
        some.append(sample)
        size += len(sample.image.content)
        if size > _GROUP_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


class _Sink:
    """A file as pyarrow writes to one."""

    def __init__(self, out: _Hashing) -> None:
        self._out = out
        self.closed = False

    def write(self, some: Any) -> int:
        """Append bytes."""
        self._out.write(bytes(some))
        return len(some)

    def tell(self) -> int:
        """Return how many bytes are written."""
        return self._out.at

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Do nothing: who opened the file closes it."""

    def writable(self) -> bool:
        """Say that it is written to."""
        return True

    def seekable(self) -> bool:
        """Say that it cannot be gone back in."""
        return False
