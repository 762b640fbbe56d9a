"""Finding the input files: paths, folders, globs and fsspec URLs."""

from __future__ import annotations

import hashlib
import os
import posixpath
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any, Literal

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from align_data.errors import InputError, encodable, nearest
from align_data.secrets import mask

Format = Literal["parquet", "csv", "tsv", "jsonl"]

FORMATS: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
CODECS = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_SAMPLE = 65_536


@dataclass(frozen=True)
class Source:
    """One input file; `name` is its path relative to the folder that all inputs share, without what signs a URL."""

    fs: Any
    path: str
    name: str
    format: Format
    codec: str | None
    size: int
    encoding: str | None = None
    """What its text is written in; None for UTF-8."""

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What tells this file from another without reading all of it: its name, size and the hash of its two ends."""
        with self.fs.open(self.path, "rb") as file:
            ends = hashlib.sha256(file.read(_SAMPLE))
            file.seek(max(0, self.size - _SAMPLE))
            ends.update(file.read(_SAMPLE))
        return {"name": self.name, "size": self.size, "ends": ends.hexdigest()}

    @property
    def modified(self) -> str:
        """When the file was last written to, or its ETag, as far as the file system says."""
        info = self.fs.info(self.path)
        return str(next((info[key] for key in ("mtime", "LastModified", "ETag", "etag") if info.get(key)), ""))

    def open(self) -> Any:
        """Open the file for pyarrow, as stored."""
        if isinstance(self.fs, LocalFileSystem):
            return pa.OSFile(self.path, "rb")
        return pa.PythonFile(self.fs.open(self.path, "rb"), mode="r")

    def stream(self) -> Any:
        """Open the file for pyarrow as a stream of its content, decompressed."""
        return pa.CompressedInputStream(self.open(), self.codec) if self.codec else self.open()


def find(patterns: Iterable[str], but: str | None = None) -> list[Source]:
    """Return the files that paths, folders, globs and URLs name, each once, sorted by name; none below `but`.

    Raises InputError for a pattern that matches nothing, a file of an unknown format, and an empty file.
    """
    found: dict[str, tuple[Any, str]] = {}
    for pattern in patterns:
        here = {fs.unstrip_protocol(path): (fs, path) for fs, path in _expand(pattern)}
        found |= {name: file for name, file in here.items() if but is None or not name.startswith(but)}
        if not any(name in found for name in here):
            raise InputError(f"{pattern} is inside the dataset that it should go into")
    names = sorted(found)
    for name in names:
        if not encodable(name):
            raise InputError(f"a file's name is not UTF-8: {name.encode('utf-8', 'backslashreplace').decode()}")
    parents = [name.split("/")[:-1] for name in names]
    shared = sum(1 for _ in takewhile(lambda folders: len(set(folders)) == 1, zip(*parents, strict=False)))
    return [_source(*found[name], "/".join(name.split("/")[shared:])) for name in names]


def _expand(pattern: str) -> list[tuple[Any, str]]:
    if not pattern:
        raise InputError("the name of an input is empty")
    try:
        fs, path = fsspec.core.url_to_fs(pattern)
        # A folder may really be called so.
        if any(mark in pattern for mark in "*?[") and not fs.isdir(path):
            dots = posixpath.basename(pattern).startswith(".")  # as in a shell, * does not stand for them
            paths = [
                p for p in fs.glob(path) if not fs.isdir(p) and (dots or not posixpath.basename(p).startswith("."))
            ]
            # A file may really be called so.
            paths = paths or ([path] if fs.isfile(path) else [])
        elif fs.isdir(path):
            found = _all(path) if isinstance(fs, LocalFileSystem) else fs.find(path)
            paths = [p for p in found if _format(p) and not _hidden(p[len(path) :])]
        else:
            paths = [path] if fs.exists(path) else []
    except (OSError, ValueError, ImportError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot look for {pattern}: {error}") from error
    if not paths:
        raise InputError(f"nothing matches {pattern}; give files, a folder or a pattern such as 'lists/*.parquet'")
    return [(fs, p) for p in paths]


def _all(folder: str) -> list[str]:
    """Return all files below a folder of this machine; a folder that may not be read is an error, not no files."""

    def stop(error: OSError) -> None:
        raise error

    return [f"{at}/{name}" for at, _, names in os.walk(folder, onerror=stop, followlinks=True) for name in names]


def _hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) for part in path.split("/"))


def _suffixes(path: str) -> tuple[str, str | None]:
    """Return a path's format suffix and the codec of the suffix behind it."""
    stem, last = posixpath.splitext(path.lower())
    if last in CODECS:
        return posixpath.splitext(stem)[1], CODECS[last]
    return last, None


def _format(path: str) -> Format | None:
    return FORMATS.get(_suffixes(path)[0])


def _source(fs: Any, path: str, name: str) -> Source:
    suffix, codec = _suffixes(path)
    form = FORMATS.get(suffix)
    if form is None or (form == "parquet" and codec):
        allowed = f"{', '.join(FORMATS)}, all but Parquet also with {', '.join(CODECS)} behind"
        raise InputError(f"{path} is of no format that is known here{nearest(suffix, FORMATS)}; known are {allowed}")
    size = fs.size(path)
    if not size:
        raise InputError(f"{path} is empty, not even a header: leave it out")
    told = (
        name if isinstance(fs, LocalFileSystem) else mask(name)
    )  # it goes into the dataset, and is how rows are named
    return Source(fs, path, told, form, codec, int(size))
