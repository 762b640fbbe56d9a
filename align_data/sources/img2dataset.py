"""What img2dataset leaves behind: shards of metadata, and of bytes in a tar, in a folder or in the metadata itself.

A shard NNNNN is NNNNN.parquet, a row a URL, and NNNNN.tar (format webdataset), the folder NNNNN (files) or a column of
bytes (parquet). It is finished when NNNNN_stats.json lies beside it.
"""

from __future__ import annotations

import os
import posixpath
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from align_data.common.errors import InputError
from align_data.sources.lists.column_names import Choice
from align_data.sources.lists.source import Source
from align_data.storage.image_formats import HEAD
from align_data.storage.tars import regular

CAPTION = "caption"
"""The column that the texts are in, whatever they were called before."""
_ENDINGS = ("jpg", "png", "webp")
"""What img2dataset can call bytes, whatever they are."""
_COLUMNS = {"key": pl.String, "status": pl.String, "error_message": pl.String}
_SIZES = ("width", "height", "original_width", "original_height")
_FEW = 32
"""Rows of bytes that are decoded at once."""
_AT_ONCE = 8 * 2**20
"""Bytes after which rows are handed on."""
_NAMED = 10
"""Shards that a sentence names, at most."""


@dataclass(frozen=True)
class StoredImage:
    """Where the bytes of an image lie, and what they begin like."""

    path: str
    offset: int
    size: int
    head: bytes


def finished(folders: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the metadata files of all finished shards, as inputs, and sentences on those that are not.

    Raises InputError for a folder that cannot be read or has no finished shard.
    """
    paths: list[str] = []
    notes: list[str] = []
    for folder in folders:
        complete, incomplete = _shards(folder)
        paths += [_as_input(f"{folder.rstrip('/')}/{name}.parquet") for name in complete]
        if incomplete:
            further = f" and {len(incomplete) - _NAMED:,} more" if len(incomplete) > _NAMED else ""
            notes.append(f"{folder}: not finished, so passed over: {', '.join(incomplete[:_NAMED])}{further}")
    return paths, notes


def _shards(folder: str) -> tuple[list[str], list[str]]:
    """Return the names of the finished shards of a folder, and of the others."""
    try:
        fs, path = fsspec.core.url_to_fs(folder)
        names = {str(entry).rstrip("/").rpartition("/")[2] for entry in fs.ls(path, detail=False)}
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"cannot look for img2dataset's shards in {folder or 'nothing'}: {error}") from error
    begun = {match[1] for match in map(re.compile(r"(\d+)(?:\.parquet|\.tar|)").fullmatch, names) if match}
    complete = {name for name in begun if f"{name}_stats.json" in names and f"{name}.parquet" in names}
    if not complete:
        raise InputError(
            f"{folder} has no finished shard of img2dataset: one is NNNNN.parquet with NNNNN_stats.json beside it"
        )
    strange = sorted(name for name in names if name.endswith(".tfrecord"))
    if strange:
        raise InputError(
            f"{folder} holds {strange[0]}: of img2dataset's formats webdataset, parquet and files are read"
        )
    if isinstance(fs, LocalFileSystem):
        for name in sorted(names):
            if name.partition(".")[0].removesuffix("_stats") in complete:
                _refuse_strange(Path(path), Path(path, name))
    return sorted(complete), sorted(begun - complete)


def _refuse_strange(folder: Path, file: Path) -> None:
    """Raise InputError for a link that leads out of a folder, and for a device or a pipe: no img2dataset made it."""
    real = Path(os.path.realpath(file))
    if not real.is_relative_to(os.path.realpath(folder)):
        raise InputError(f"{file} is a link that leads out of {folder}: replace it by its target, or leave it out")
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise InputError(f"{file} is neither a file nor a folder, but a device or a pipe: leave it out")


def _as_input(path: str) -> str:
    """Return a path as a pattern that matches only it."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def choice(source: Source, text: str | None) -> Choice:
    """Return which columns are what, by a shard's metadata: the caption is the text, unless the user names another."""
    with _readable(source.path), source.open() as opened:
        names = pq.read_schema(opened).names
    return Choice("url", text or (CAPTION if CAPTION in names else None))


def samples(source: Source) -> pl.DataFrame:
    """Return what a shard says of each of its rows: key, status and error_message, and whether it was resized.

    `decoded` says that img2dataset may have encoded it anew. Raises InputError for a file that is not one.
    """
    with _readable(source.path), source.open() as opened:
        file = pq.ParquetFile(opened)
        names = file.schema_arrow.names
        lacking = [name for name in _COLUMNS if name not in names]
        if lacking:
            raise InputError(f"{source.path} is not a shard of img2dataset: it has no column {lacking[0]}")
        table = file.read([name for name in (*_COLUMNS, *_SIZES) if name in names], use_threads=False)
        frame = pl.DataFrame({name: _texts(table.column(name)) for name in _COLUMNS}, _COLUMNS)
    sizes = {name: _numbers(table.column(name)) if name in names else [None] * len(frame) for name in _SIZES}
    frame = frame.with_columns(pl.Series(name, values, pl.Float64) for name, values in sizes.items())
    resized = (pl.col("width") != pl.col("original_width")) | (pl.col("height") != pl.col("original_height"))
    return frame.select(*_COLUMNS, resized=resized.fill_null(False), decoded=pl.col("width").is_not_null())


def _texts(column: Any) -> list[str | None]:
    raw = column.cast(pa.large_string() if pa.types.is_null(column.type) else pa.large_binary()).to_pylist()
    return [value if value is None else value.decode("utf-8", "replace") for value in raw]


def _numbers(column: Any) -> list[float | None]:
    kind = column.type
    return column.cast(pa.float64()).to_pylist() if _number(kind) else [None] * len(column)


def _number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def contents(source: Source) -> Iterator[list[bytes | None]] | None:
    """Return an iterator over the bytes of a shard that has them in its metadata, a few rows at a time; None if not."""
    with _readable(source.path), source.open() as opened:
        schema = pq.read_schema(opened)
    column = next((name for name in _ENDINGS if name in schema.names and _binary(schema.field(name).type)), None)
    return None if column is None else _contents(source, column)


def _binary(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _contents(source: Source, column: str) -> Iterator[list[bytes | None]]:
    with _readable(source.path), source.open() as opened:
        file = pq.ParquetFile(opened, buffer_size=2**20, pre_buffer=False)
        values: list[bytes | None] = []
        size = 0
        for batch in file.iter_batches(_FEW, columns=[column], use_threads=False):
            values += pc.cast(batch.column(0), pa.large_binary()).to_pylist()
            size += batch.nbytes
            if size > _AT_ONCE:
                yield values
                values, size = [], 0
        yield values


def images_beside(source: Source, keys: pl.Series) -> dict[str, StoredImage]:
    """Return the bytes that lie beside a shard's metadata, by key: what is whole in its tar, or its folder's files.

    Nothing of a key that several rows have (`keys` are those of all), or several images: whose they are nobody can say.
    """
    stem = source.path.removesuffix(".parquet")
    with _readable(stem):
        if source.fs.isdir(stem):
            images = list(_files(source.fs, stem))
        else:
            images = list(_members(source.fs, stem + ".tar")) if source.fs.exists(stem + ".tar") else []
    times = Counter(key for key, _ in images)
    several = {key for key, number in times.items() if number > 1} | set(keys.filter(keys.is_duplicated()))
    return {key: image for key, image in images if key not in several}


def _files(fs: Any, folder: str) -> Iterator[tuple[str, StoredImage]]:
    for entry in fs.ls(folder, detail=True):
        if isinstance(fs, LocalFileSystem):
            _refuse_strange(Path(folder), Path(entry["name"]))
        key, _, ending = posixpath.basename(entry["name"]).rpartition(".")
        if entry["type"] == "file" and ending in _ENDINGS:
            yield key, StoredImage(entry["name"], 0, int(entry["size"]), fs.cat_file(entry["name"], 0, HEAD))


def _members(fs: Any, path: str) -> Iterator[tuple[str, StoredImage]]:
    """Yield the images of a tar, up to where it is damaged."""
    end = int(fs.size(path))
    with fs.open(path, "rb") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # a tar of a million must not be remembered
                    if member.size < 0:  # or reading would go back, and never end
                        return
                    key, _, ending = member.name.rpartition(".")
                    if regular(member) and ending in _ENDINGS and member.offset_data + member.size <= end:
                        file.seek(member.offset_data)
                        yield key, StoredImage(path, member.offset_data, member.size, file.read(min(HEAD, member.size)))
        except tarfile.TarError:
            return


@contextmanager
def _readable(path: str) -> Iterator[None]:
    """Turn what a library says of a file into an InputError that names it."""
    try:
        yield
    except (OSError, pa.ArrowException, EOFError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cannot read {path} to its end: {reason}; repair the file or leave it out") from error
