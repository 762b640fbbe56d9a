"""Finding the input files: paths, folders, globs and fsspec URLs."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any, Literal
from urllib.parse import unquote

import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from align_data.common.errors import InputError, encodable, nearest
from align_data.common.secrets import mask
from align_data.sources.lists.decompression import Unpacked
from align_data.sources.lists.fs_errors import reaching
from align_data.sources.lists.patterns import expand, plain

Format = Literal["parquet", "csv", "tsv", "jsonl"]

FORMATS: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
CODECS = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_SAMPLE = 65_536
_NONE = "__HIVE_DEFAULT_PARTITION__"


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
        with reaching(self.path, "read"), self.fs.open(self.path, "rb") as file:
            ends = hashlib.sha256(file.read(_SAMPLE))
            file.seek(max(0, self.size - _SAMPLE))
            ends.update(file.read(_SAMPLE))
        said = {"folders": dict(self.folders)} if self.folders else {}
        return {"name": self.name, "size": self.size, "ends": ends.hexdigest(), **said}

    @property
    def modified(self) -> str:
        """When the file was last written to, or its ETag, as far as the file system says."""
        with reaching(self.path, "look at"):
            info = self.fs.info(self.path)
        return str(next((info[key] for key in ("mtime", "LastModified", "ETag", "etag") if info.get(key)), ""))

    def content(self) -> str:
        """Return the hash of all of the file."""
        with self.fs.open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def folders(self) -> tuple[tuple[str, str | None], ...]:
        """What the folders above the file say of its rows, as language=de does: names and values, None for null."""
        parts = [part.partition("=") for part in plain(self.path).split("/")[:-1] if "=" in part]
        return tuple((unquote(name), None if value == _NONE else unquote(value)) for name, _, value in parts if name)

    @property
    def remote(self) -> bool:
        """Whether each look at another place of the file costs a request."""
        return not isinstance(self.fs, LocalFileSystem)

    def open(self) -> Any:
        """Open the file for pyarrow, as stored."""
        if not self.remote:
            return pa.OSFile(self.path, "rb")
        with reaching(self.path, "open"):
            return pa.PythonFile(self.fs.open(self.path, "rb"), mode="r")

    def stream(self) -> Any:
        """Open the file for pyarrow as a stream of its content, decompressed."""
        if self.codec is None:
            return self.open()
        return pa.PythonFile(Unpacked(self.open(), self.codec, self.path, self.size), mode="r")


def find(patterns: Iterable[str], but: str | None = None) -> list[Source]:
    """Return the files that paths, folders, globs and URLs name, each once, sorted by name; none below `but`.

    Raises InputError for a pattern that matches nothing, a file of an unknown format, and an empty file.
    """
    found: dict[str, tuple[Any, str]] = {}
    for pattern in patterns:
        here = {fs.unstrip_protocol(path): (fs, path) for fs, path in expand(pattern, _listed)}
        found |= {name: file for name, file in here.items() if but is None or not name.startswith(but)}
        if not any(name in found for name in here):
            raise InputError(f"{pattern} is inside the dataset that it should go into")
    names = sorted(found)
    for name in names:
        if not encodable(name):
            raise InputError(f"a file's name is not UTF-8: {name.encode('utf-8', 'backslashreplace').decode()}")
    shown = [plain(name) for name in names]  # what signs a URL is not its name
    parents = [name.split("/")[:-1] for name in shown]
    shared = sum(1 for _ in takewhile(lambda folders: len(set(folders)) == 1, zip(*parents, strict=False)))
    return [_source(*found[name], "/".join(said.split("/")[shared:])) for name, said in zip(names, shown, strict=True)]


def _suffixes(path: str) -> tuple[str, str | None]:
    """Return a path's format suffix and the codec of the suffix behind it."""
    stem, last = posixpath.splitext(plain(path).lower())
    if last in CODECS:
        return posixpath.splitext(stem)[1], CODECS[last]
    return last, None


def _listed(path: str) -> bool:
    """Tell whether a file of a folder is a list, by its name; .json is what tools call all that lies beside lists."""
    suffix, _ = _suffixes(path)
    return suffix in FORMATS and suffix != ".json"


def _source(fs: Any, path: str, name: str) -> Source:
    suffix, codec = _suffixes(path)
    form = FORMATS.get(suffix)
    if form is None or (form == "parquet" and codec):
        allowed = f"{', '.join(FORMATS)}, all but Parquet also with {', '.join(CODECS)} behind"
        raise InputError(f"{path} is of no format that is known here{nearest(suffix, FORMATS)}; known are {allowed}")
    with reaching(path, "look at"):
        size = fs.size(path)
    if size is None:
        raise InputError(f"{plain(path)}: its server does not say how long it is; download it first")
    if not size:
        raise InputError(f"{path} is empty, not even a header: leave it out")
    # It goes into the dataset, and is how rows are named.
    told = name if isinstance(fs, LocalFileSystem) else mask(name)
    return Source(fs, path, told, form, codec, int(size))
