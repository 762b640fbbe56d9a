"""One archive: where it lies, what rows call it, and what tells it from what lay there before."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import fsspec

from align_data.sources.crawl.settings import Kind
from align_data.sources.files.fs_errors import reaching

TABLES = "data"
"""The folder of the archives' tables in that of a crawl; nothing else is in it."""
_CHANGES = ("mtime", "LastModified", "ETag", "etag", "mtime_ns", "md5", "version")


@dataclass(frozen=True)
class Archive:
    """One archive; `name` is its path below the folder that all inputs share, without what signs a URL."""

    path: str
    name: str
    crawl_file: str
    """What the rows of a WARC file call it."""
    stem: str
    """What its table and its account are called."""
    kind: Kind | None = None
    """What it is read as; None where its records say it."""
    size: int | None = None
    """Its bytes, as far as finding it has told."""
    fs: Any = None
    """Where `path` is; None where `path` is a URL that is not looked at yet."""

    @property
    def table(self) -> str:
        """The name of its table."""
        return f"{TABLES}/{self.stem}.parquet"

    @cached_property
    def located(self) -> tuple[Any, str]:
        """Its file system, and its path there."""
        if self.fs is not None:
            return self.fs, self.path
        with reaching(self.name, "reach"):
            fs, path = fsspec.core.url_to_fs(self.path)
        return fs, str(path)

    @property
    def listed(self) -> bool:
        """Whether a list of paths names it, so that each look at it would be a request of its own."""
        return self.fs is None

    def version(self) -> ArchiveVersion:
        """Look at the file; InputError where it cannot be reached."""
        fs, path = self.located
        with reaching(self.name, "look at"):
            info = fs.info(path)
        size = info.get("size")
        modified = str(next((info[key] for key in _CHANGES if info.get(key)), ""))
        return ArchiveVersion(self.name, None if size is None else int(size), modified)


@dataclass(frozen=True)
class ArchiveVersion:
    """What tells an archive from another one of its name."""

    name: str
    size: int | None
    """None where its server does not say."""
    modified: str
    """When it was last written to, or its ETag, as far as the file system says."""
