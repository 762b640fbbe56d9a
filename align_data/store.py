"""One folder, on a disk or on any file system that fsspec knows, and how a file appears in it: whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from align_data.errors import DatasetError, OutputError

UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
"""What `create` calls a file before it is whole."""
TABLES = (
    *("", "pairs", "rejected", "_rejected", "_log", "measured/*", "counts/*", "verdicts/*"),
    *("images", "_images/*", "bytes/*", "content", "_content/*", "evaluation", "blocklist"),
    *("tombstones", "banned", "takedowns", "_takedown"),
)
"""Where files of a dataset can be."""
HIDDEN = ("_", ".")
"""Names that begin so are not data: readers of Parquet folders pass them over."""


class Store:
    """A folder given by a local path or an fsspec URL; names in it are relative, with '/'."""

    def __init__(self, url: str | os.PathLike[str], work: str | os.PathLike[str] | None = None) -> None:
        if not os.fspath(url):
            raise DatasetError("the name of the folder is empty")
        self.url = os.fspath(url).rstrip("/") or "/"
        try:
            self.fs, root = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise DatasetError(f"cannot use {self.url}: {error}") from error
        self.root = str(root).rstrip("/")
        self.local = isinstance(self.fs, LocalFileSystem)
        self._work = Path(work) if work is not None else None

    def plain(self) -> list[str | None]:
        """Return what `of_plain` makes the same store of, in another process."""
        return [self.url, None if self._work is None else str(self._work)]

    @staticmethod
    def of_plain(plain: Sequence[str | None]) -> Store:
        """Return the store that `plain` told of."""
        url, work = plain
        return Store(url or "", work)

    def path(self, name: str) -> str:
        """Return the full path of `name` on this store's file system."""
        return f"{self.root}/{name}" if name else self.root

    @property
    def work(self) -> Path:
        """The local folder for what is only needed while a stage runs."""
        if self.local and self._work is None:
            return Path(self.path("_work"))
        # By the whole path, however it was typed: two datasets never share a folder.
        key = hashlib.sha256(self.fs.unstrip_protocol(self.root).encode()).hexdigest()[:12]
        return (self._work or Path(tempfile.gettempdir())) / f"align-data-{key}"

    def exists(self, name: str) -> bool:
        """Tell whether a file or folder of this name is there."""
        return bool(self.fs.exists(self.path(name)))

    def names(self, folder: str = "") -> list[str]:
        """Return the sorted names in a folder, hidden ones too; none if there is no such folder."""
        try:
            found = self.fs.ls(self.path(folder), detail=False, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)

    def read_bytes(self, name: str) -> bytes | None:
        """Return the whole file, or None if it is not there."""
        try:
            return bytes(self.fs.cat_file(self.path(name)))
        except FileNotFoundError:
            return None

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a small file in one step."""
        with self.create(name) as path:
            Path(path).write_bytes(content)

    def open(self, name: str) -> Any:
        """Open a file for pyarrow to read at any position."""
        path = self.path(name)
        return pa.OSFile(path, "rb") if self.local else pa.PythonFile(self.fs.open(path, "rb"), mode="r")

    @contextmanager
    def create(self, name: str) -> Iterator[str]:
        """Give a local path to write to; the file appears as `name` by one rename or one upload, if no error came."""
        target = self.path(name)
        folder, _, stem = target.rpartition("/")
        with writing(target):
            if self.local:
                Path(folder).mkdir(parents=True, exist_ok=True)
                beside = folder
            else:
                self.work.mkdir(parents=True, exist_ok=True)
                beside = str(self.work)
            path = Path(beside) / f".{stem}.{uuid4().hex[:8]}.tmp"
            try:
                yield str(path)
                if self.local:
                    path.replace(target)
                else:
                    self.fs.makedirs(folder, exist_ok=True)
                    self.fs.put_file(str(path), target)
            finally:
                path.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all in it, if it is there."""
        with suppress(FileNotFoundError):
            self.fs.rm(self.path(name), recursive=True)

    def clear_work(self) -> None:
        """Remove the work folder."""
        shutil.rmtree(self.work, ignore_errors=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from working on this folder; it is free again however this one ends.

        Raises DatasetError if another process holds it. Only local folders can be locked.
        """
        if not self.local:
            yield
            return
        import fcntl  # noqa: PLC0415 - POSIX only, as are the local folders that are locked

        with writing(self.root):
            Path(self.root).mkdir(parents=True, exist_ok=True)
            handle = (Path(self.root) / ".lock").open("a")
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DatasetError(f"another align-data process is at work in {self.url}; wait for it to end") from None
            self.sweep()
            yield

    def sweep(self, folders: Iterable[str] = TABLES) -> None:
        """Remove what a killed process was writing, in the folders that are ours."""
        if not self.local:
            return
        for folder in folders:
            for left in Path(self.root).glob(f"{folder}/.*.tmp".lstrip("/")):
                if UNFINISHED.fullmatch(left.name):
                    left.unlink(missing_ok=True)


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an operating system's refusal to write into an OutputError that names the place and what to do."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        never = error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EROFS, errno.ENOENT)
        advice = "choose another place" if never else "what was finished stays, run again to go on"
        raise OutputError(f"cannot write {os.fspath(path)}: {why}; {advice}") from error
