"""One input file: where it lies, what it is, and how it is opened."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from align_data.common.hashing import xxh3_of
from align_data.sources.files.fs_errors import reaching
from align_data.sources.files.patterns import plain
from align_data.sources.lists.decompression import Unpacked

_SAMPLE = 65_536
_XXH3 = "xxh3:"
_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Source:
    """One input file; `name` is its path relative to the folder that all inputs share, without what signs a URL."""

    fs: Any
    path: str
    name: str
    format: str
    """The name of its format, which `registry.FORMATS` has."""
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
        partition = {"folders": dict(self.folders)} if self.folders else {}
        return {"name": self.name, "size": self.size, "ends": ends.hexdigest(), **partition}

    @property
    def modified(self) -> str:
        """When the file was last written to, or its ETag, as far as the file system says."""
        with reaching(self.path, "look at"):
            info = self.fs.info(self.path)
        return str(next((info[key] for key in ("mtime", "LastModified", "ETag", "etag") if info.get(key)), ""))

    def content(self, like: str = _XXH3) -> str:
        """Return the hash of all of the file, of the kind of another: the SHA-256 where that has no name before it."""
        with self.fs.open(self.path, "rb") as file:
            if like.startswith(_XXH3):
                return _XXH3 + xxh3_of(file)
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def folders(self) -> tuple[tuple[str, str | None], ...]:
        """What the folders above the file say of its rows, as language=de does: names and values, None for null."""
        parts = [part.partition("=") for part in plain(self.path).split("/")[:-1] if "=" in part]
        return tuple((unquote(name), None if value == _NULL else unquote(value)) for name, _, value in parts if name)

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
