"""One folder, on a disk or on any file system that fsspec knows, and how a file appears in it: whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pyarrow as pa

from align_data.common.errors import DatasetError, OutputError
from align_data.storage import confined
from align_data.storage.confined import UNFINISHED

__all__ = ["HIDDEN", "TABLES", "UNFINISHED", "Store", "make_shared", "make_work", "sha256_of", "writing"]

TABLES = (
    *("", "pairs", "rejected", "_rejected", "_log", "measured/*", "counts/*", "verdicts/*", "_counted/*"),
    *("images", "_images/*", "bytes/*", "content", "_content/*", "_seen/*", "_copies/*", "evaluation", "blocklist"),
    *("lists/*", "labels/*"),
    *("embedded/*", "embedded_texts/*", "neighbours/*", "_neighbours/*", "codebooks/*", "evaluations/*"),
    *("tombstones", "banned", "takedowns", "_takedown", "_add/*", "_work", "_manifests", "_manifests/*"),
)
"""Where files of a dataset can be."""
HIDDEN = ("_", ".")
"""Names that begin so are not data: readers of Parquet folders pass them over."""
SHARED = "ALIGN_DATA_SHARED"
"""The environment's variable that names the folder in which a user's runs share what they know of hosts."""
_PATH = re.compile(r"[/\w][^:]*", re.DOTALL)
"""A path of which nothing but the current folder has to be known: no URL, and no ~."""
_WORK = re.compile(
    r"(?:exchange|shuffle|fetcher)-[a-z0-9_]{8}/.+|tmp[a-z0-9_]{8}|connections|(?:hosts|names)(?:-[0-9a-f]{32})?\.log"
)
"""What is in a work folder."""


_NOTHING = re.compile(r"(?!)")


class Store:
    """A folder given by a local path or an fsspec URL; names in it are relative, with '/'.

    What is in it is ours: names are of the form that we write, no link in it is followed, and only what is named is
    removed. `own` is False for somebody's folder that is only read, or that one file is put into.
    """

    def __init__(
        self, url: str | os.PathLike[str], work: str | os.PathLike[str] | None = None, *, own: bool = True
    ) -> None:
        if not os.fspath(url):
            raise DatasetError("the name of the folder is empty")
        self.url = os.fspath(url).rstrip("/") or "/"
        if _PATH.fullmatch(self.url):  # fsspec is not asked: to load it takes as long as to load numpy
            absolute = self.url if self.url.startswith("/") else f"{Path.cwd()}/{self.url}"
            self.root, self.local = absolute.rstrip("/"), True
        else:
            self.root, self.local = self._resolved()
        self.own = own
        self.committed: dict[str, tuple[int, int]] = {}
        """Rows and bytes of each table that was committed through this store."""
        self._work = Path(work) if work is not None else None

    def _resolved(self) -> tuple[str, bool]:
        """Return the root, and whether it is on a disk of this machine, as fsspec says."""
        from fsspec.core import url_to_fs  # noqa: PLC0415 - for those who need it
        from fsspec.implementations.local import LocalFileSystem  # noqa: PLC0415

        try:
            self.fs, root = url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise DatasetError(f"cannot use {self.url}: {error}") from error
        return str(root).rstrip("/"), isinstance(self.fs, LocalFileSystem)

    @cached_property
    def fs(self) -> Any:
        """The file system, as fsspec has it."""
        from fsspec.core import url_to_fs  # noqa: PLC0415 - for those who need it

        return url_to_fs(self.url)[0]

    def plain(self) -> list[Any]:
        """Return what `of_plain` makes the same store of, in another process."""
        return [self.url, None if self._work is None else str(self._work), self.own]

    @staticmethod
    def of_plain(plain: Sequence[Any]) -> Store:
        """Return the store that `plain` told of."""
        url, work, own = plain
        return Store(url, work, own=own)

    def path(self, name: str) -> str:
        """Return the full path of `name` on this store's file system; DatasetError for a name that leads out of it."""
        if self.own and name and (set(name) & {"\0", "\\"} or {"", ".", ".."} & set(name.split("/"))):
            raise DatasetError(f"{name!r} is not a name of a file in {self.url}; the dataset is damaged")
        return f"{self.root}/{name}" if name else self.root

    @property
    def _confined(self) -> bool:
        """Whether files are reached by `confined`."""
        return self.local and self.own

    @property
    def work(self) -> Path:
        """The local folder for what is only needed while a stage runs; `make_work` makes it."""
        if self.local and self._work is None:
            return Path(self.path("_work"))
        # By the whole path, however it was typed: two datasets never share a folder.
        key = hashlib.sha256(self.fs.unstrip_protocol(self.root).encode()).hexdigest()[:12]
        return (self._work or Path(tempfile.gettempdir())) / _private() / key

    def exists(self, name: str) -> bool:
        """Tell whether a file or folder of this name is there."""
        path = self.path(name)
        return confined.exists(self.root, name) if self._confined else bool(self.fs.exists(path))

    def names(self, folder: str = "") -> list[str]:
        """Return the sorted names in a folder, hidden ones too; none if there is no such folder."""
        path = self.path(folder)
        try:
            if self._confined:
                return confined.names(self.root, folder)
            paths = self.fs.ls(path, detail=False, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in paths)

    def read(self, name: str) -> BufferedReader:
        """Open a file to read its bytes."""
        path = self.path(name)
        if self._confined:
            return os.fdopen(confined.open_file(self.root, name), "rb")
        return cast("BufferedReader", self.fs.open(path, "rb"))

    def range(self, name: str, start: int, stop: int) -> bytes:
        """Return the bytes of a file from `start` to `stop`, fewer where it ends before; one request."""
        if self.local:
            with self.read(name) as file:
                file.seek(start)
                return file.read(stop - start)
        return bytes(self.fs.cat_file(self.path(name), start=start, end=stop))

    def size(self, name: str) -> int:
        """Return the bytes of a file."""
        path = self.path(name)
        if not self._confined:
            return int(self.fs.size(path))
        with self.read(name) as file:
            return os.fstat(file.fileno()).st_size

    def read_bytes(self, name: str) -> bytes | None:
        """Return the whole file, or None if it is not there."""
        try:
            with self.read(name) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a small file in one step."""
        with self.create(name) as path:
            Path(path).write_bytes(content)

    def open(self, name: str) -> Any:
        """Open a file for pyarrow to read at any position."""
        path = self.path(name)
        if not self._confined:
            return pa.OSFile(path, "rb") if self.local else pa.PythonFile(self.fs.open(path, "rb"), mode="r")
        handle = confined.open_file(self.root, name)
        try:
            return pa.OSFile(confined.path_of(handle, path), "rb")
        finally:
            os.close(handle)

    @contextmanager
    def create(self, name: str) -> Iterator[str]:
        """Give a local path to write to; the file appears as `name` by one rename or one upload, if no error came."""
        target = self.path(name)
        folder, _, stem = target.rpartition("/")
        with writing(target):
            if self.local:
                root, inside = (self.root, name) if self.own else (folder, stem)
                with confined.create(root, inside) as path:
                    yield path
                return
            unfinished = make_work(self.work) / f".{stem}.{uuid4().hex[:8]}.tmp"
            try:
                yield str(unfinished)
                self.fs.makedirs(folder, exist_ok=True)
                self.fs.put_file(str(unfinished), target)
            finally:
                unfinished.unlink(missing_ok=True)

    def move(self, name: str, to: str) -> None:
        """Give a file another name in the folder, in place of what has it; in an object store it is copied."""
        path, target = self.path(name), self.path(to)
        with writing(target):
            if self._confined:
                confined.move(self.root, name, to)
                return
            self.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            self.fs.mv(path, target)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        path = self.path(name)
        if self._confined:
            with writing(path):
                confined.remove(self.root, name)
            return
        with suppress(FileNotFoundError):
            self.fs.rm_file(path)

    def clear(self, folder: str, form: re.Pattern[str]) -> None:
        """Remove what we make in a folder, and the folder if nothing else is in it; what is foreign stays.

        `form` is of the paths inside the folder.
        """
        path = self.path(folder)
        if self._confined:
            with writing(path):
                confined.clear(self.root, folder, form)
            return
        for file in self.fs.find(path):
            inside = str(file).removeprefix(f"{path}/")
            if form.fullmatch(inside) or UNFINISHED.fullmatch(inside.rpartition("/")[2]):
                self.fs.rm_file(file)
        for below, *_ in sorted(self.fs.walk(path), reverse=True):
            with suppress(OSError, NotImplementedError):  # it is not empty, or there are no folders here
                self.fs.rmdir(below)

    def clear_work(self) -> None:
        """Remove what is ours in the work folder, and the folder if nothing else is in it."""
        if self._confined and self._work is None:
            self.clear("_work", _WORK)
        elif self.work.is_dir():
            confined.clear(str(make_work(self.work).parent), self.work.name, _WORK)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from working on this folder; it is free again however this one ends.

        Folders that an error leaves empty are removed, and this one too if it was made for the lock. Raises
        DatasetError if another process holds it. Only local folders can be locked.
        """
        if not self.local:
            yield
            return
        import fcntl  # noqa: PLC0415 - POSIX only, as are the local folders that are locked

        new = not Path(self.root).exists()
        with writing(self.root):
            Path(self.root).mkdir(parents=True, exist_ok=True)
            handle = confined.open_file(self.root, ".lock", os.O_RDWR | os.O_CREAT)
        with os.fdopen(handle, "rb+"):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not os.fstat(handle).st_nlink:  # who held it has removed it, and perhaps another is in its place
                    raise BlockingIOError
            except BlockingIOError:
                raise DatasetError(f"another align-data process is working in {self.url}; wait for it to end") from None
            self.sweep()
            try:
                yield
            except BaseException:
                self._tidy()
                if new and self.names() == [".lock"]:
                    self.remove(".lock")
                    with suppress(OSError):  # something was put there meanwhile
                        Path(self.root).rmdir()
                raise

    def _tidy(self, folders: Iterable[str] = TABLES) -> None:
        """Remove folders of tables in which nothing is."""
        for above in {pattern.partition("/")[0] for pattern in folders} - {""}:
            with suppress(OSError, DatasetError):  # what went wrong is told already
                confined.clear(self.root, above, _NOTHING)

    def sweep(self, folders: Iterable[str] = TABLES) -> None:
        """Remove what a killed process was writing, in the folders that are ours; DatasetError if one is a link."""
        if not self.local:
            return
        for pattern in folders:
            above, star, _ = pattern.strip("/").partition("*")
            above = above.rstrip("/")
            for folder in [f"{above}/{name}" for name in self.names(above)] if star else [above]:
                for name in self.names(folder):
                    if UNFINISHED.fullmatch(name):
                        self.remove(f"{folder}/{name}".lstrip("/"))


def sha256_of(store: Store, name: str) -> str | None:
    """Return the SHA-256 of a file, None if it is not there."""
    try:
        with store.read(name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _private() -> str:
    """Return what the folder is called, where everybody may have one, that a user's work folders are in."""
    return f"align-data-{os.geteuid()}"


def make_work(work: Path) -> Path:
    """Make a work folder, if it is not there, and return it; DatasetError where it is a link, or could be another's."""
    with writing(work):
        if work.parent.name == _private():
            work.parent.parent.mkdir(parents=True, exist_ok=True)
            confined.private(str(work.parent))
            confined.private(str(work))
        else:
            with confined.folder(str(work.parent), work.name, make=True):
                pass
    return work


def make_shared() -> Path:
    """Make the folder that all runs of a user on this machine share, whatever their datasets, and return it.

    It is the same for all of them: a TMPDIR of a job's own would part it from others. DatasetError where it is a link,
    or could be another's.
    """
    temporary = "/tmp" if os.access("/tmp", os.W_OK | os.X_OK) else tempfile.gettempdir()  # noqa: S108 - a folder in it is made ours
    above = Path(os.environ.get(SHARED) or temporary)
    with writing(above):
        above.mkdir(parents=True, exist_ok=True)
        for folder in (above / _private(), above / _private() / "shared"):
            confined.private(str(folder), f"the variable {SHARED}")
    return above / _private() / "shared"


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an operating system's refusal to write into an OutputError that names the place and what to do."""
    try:
        yield
    except OSError as error:
        # What is open has a path that leads to it and says nothing.
        place = os.path.realpath(path) if os.fspath(path).startswith("/proc/") else os.fspath(path)
        why = os.strerror(error.errno) if error.errno else str(error)
        never = error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EROFS, errno.ENOENT)
        advice = "choose another place" if never else "finished work is kept, run the command again to continue"
        raise OutputError(f"cannot write {place}: {why}; {advice}") from error
