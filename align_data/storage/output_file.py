"""One file that a user wants written, on a disk or wherever fsspec writes: it appears whole, or not at all."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from align_data.common.errors import OutputError
from align_data.common.secrets import mask
from align_data.storage import confined
from align_data.storage.store import writing


class OutputFile:
    """A file by its path or fsspec URL."""

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.url = os.fspath(url)
        self._fs: Any = None
        self._path, self.local = self.url, True
        if "://" in self.url:
            with self._reaching():
                from fsspec.core import url_to_fs  # noqa: PLC0415 - for those who need it
                from fsspec.implementations.local import LocalFileSystem  # noqa: PLC0415

                self._fs, path = url_to_fs(self.url)
                self._path = str(path)
                self.local = isinstance(self._fs, LocalFileSystem)

    def check(self, *, make: bool = False) -> None:
        """Raise OutputError, before any work is done, if the file cannot be written; `make` makes its local folder."""
        if not self.local:
            with self._reaching():
                if self._fs.isdir(self._path):
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            return
        path = Path(self._path)
        with writing(path):
            if make:
                path.absolute().parent.mkdir(parents=True, exist_ok=True)
            os.stat(os.path.join(path.parent, ""))  # noqa: PTH116, PTH118 - pathlib drops the slash, which asks for a folder
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "")
            if not os.access(path if path.exists() else path.parent, os.W_OK):
                raise PermissionError(errno.EACCES, "")

    @contextmanager
    def create(self) -> Iterator[str]:
        """Give a local path to write to; the file appears by one rename or one upload, if no error came."""
        if not self.local:
            with tempfile.TemporaryDirectory() as folder:
                path = str(Path(folder) / "file")
                yield path
                with self._reaching():
                    self._fs.put_file(path, self._path)
            return
        folder, name = os.path.split(os.path.realpath(self._path))
        with writing(self._path):
            if _in_place(folder, name):
                yield self._path
                return
            for each in confined.names(folder, ""):  # what a killed run was writing
                if each.startswith(f".{name}.") and confined.UNFINISHED.fullmatch(each):
                    confined.remove(folder, each)
            with confined.create(folder, name) as path:
                yield path

    def write(self, content: bytes) -> None:
        """Write the whole file."""
        with self.create() as path:
            Path(path).write_bytes(content)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn whatever a file system says into a sentence without its credentials: each has errors of its own."""
        try:
            yield
        except Exception as error:
            why = " ".join(str(error).split())[:300] or type(error).__name__
            raise OutputError(mask(f"cannot write {self.url}: {why}; choose another place")) from error


def _in_place(folder: str, name: str) -> bool:
    """Tell whether a file is written where it is: a device or a pipe, or in a folder where none can be made."""
    try:
        mode = os.stat(os.path.join(folder, name)).st_mode  # noqa: PTH116, PTH118 - as all here, by name
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(mode) or not os.access(folder, os.W_OK)
