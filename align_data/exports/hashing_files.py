"""Files that are hashed as they are written, or read, from beginning to end."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from align_data.storage.store import Store

_TOGETHER = 2**20
"""Bytes that are written, read and hashed at a time: few calls, and they are still in the processor's cache."""


class _HashedFile(io.RawIOBase):
    """A file that hashes what is written to it."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: Any) -> int:
        """Append bytes."""
        written = self._file.write(data)
        self.sha256.update(data[:written])
        return written

    def writable(self) -> bool:
        """Say that it is written to."""
        return True


class HashedWriter:
    """A file that hashes what is written to it, in blocks of one buffer: each fresh one costs as much as a copy."""

    def __init__(self, file: io.FileIO) -> None:
        self._raw = _HashedFile(file)
        self._buffer = io.BufferedWriter(self._raw, _TOGETHER)
        self.at = 0

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._buffer.write(data)
        self.at += len(data)

    def finish(self) -> str:
        """Write what is in the buffer; return the hash of all."""
        self._buffer.flush()
        return self._raw.sha256.hexdigest()


@contextmanager
def created(store: Store, name: str) -> Iterator[HashedWriter]:
    """Give a file to write to, which appears under its name at the end."""
    with store.create(name) as path, Path(path).open("wb", buffering=0) as file:
        yield HashedWriter(file)


class HashedReader:
    """A file that is hashed as it is read from its beginning to its end."""

    def __init__(self, file: Any) -> None:
        self._file, self._sha256, self._whole = file, hashlib.sha256(), False

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        data: bytes = self._file.read(size)
        if not self._whole:
            self._sha256.update(data)
        return data

    def seek(self, at: int) -> int:
        """Go to a place; all is hashed before."""
        self.finish()
        return int(self._file.seek(at))

    def finish(self) -> str:
        """Read up to the end; return the SHA-256 of all."""
        while not self._whole:
            self._whole = not self.read(_TOGETHER)
        return self._sha256.hexdigest()
