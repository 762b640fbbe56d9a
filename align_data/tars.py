"""Tars of bytes: written in order, each at most a gigabyte, and read by position without looking at any header."""

from __future__ import annotations

import re
import tarfile
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO

from align_data.errors import DatasetError
from align_data.store import Store

MAX_TAR = 10**9
"""Bytes of a tar, at most; but one member always fits."""
TAR = re.compile(r"\d{3,}-\d{5,}(?:-\d+)?(?:-t\d{4,})?\.tar")
"""What the tars of fetched images are called, in the folder of their part."""
_COPY = 2**20


@dataclass(frozen=True)
class Place:
    """Where a member's bytes lie."""

    tar: str
    """The tar's name in the store."""
    offset: int
    size: int


class TarWriter:
    """Writes members one after another into as many tars as they need; each tar appears when it is full or at the end.

    Tars are called `name` + '.tar', then `name` + '-1.tar' and so on. Members are plain USTAR files without dates or
    owners, so that the same members make the same bytes.
    """

    def __init__(self, store: Store, name: str, limit: int = MAX_TAR) -> None:
        self._store, self._name, self._limit = store, name, limit
        self._number = 0
        self._open: ExitStack | None = None
        self._file: BinaryIO | None = None
        self._tar = ""

    def add(self, name: str, source: BinaryIO, size: int) -> Place:
        """Append a member of `size` bytes, read from `source`."""
        if self._file is not None:
            end = self._file.tell() + tarfile.BLOCKSIZE + whole(size)
            if end + len(ending(end)) > self._limit:
                self.close()
        if self._file is None:
            self._begin()
        assert self._file is not None
        self._file.write(_header(name, size))
        offset = self._file.tell()
        copy(source, self._file, size)
        self._file.write(bytes(whole(size) - size))
        return Place(self._tar, offset, size)

    def close(self) -> None:
        """Finish the tar that is open: it appears."""
        if self._file is not None and self._open is not None:
            self._file.write(ending(self._file.tell()))
            self._open.close()
            self._file = self._open = None

    def __enter__(self) -> TarWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the tar that is open, or leave nothing of it where something failed."""
        if kind is None:
            self.close()
        elif self._open is not None:
            self._open.__exit__(kind, error, trace)

    def _begin(self) -> None:
        self._tar = f"{self._name}-{self._number}.tar" if self._number else f"{self._name}.tar"
        self._number += 1
        self._open = ExitStack()
        path = self._open.enter_context(self._store.create(self._tar))
        self._file = self._open.enter_context(open(path, "wb"))  # noqa: PTH123, SIM115 - closed by the stack


def whole(size: int) -> int:
    """Return the bytes that content takes in a tar: whole blocks."""
    return size + -size % tarfile.BLOCKSIZE


def ended(file: BinaryIO, at: int, blocks: int = 2) -> bool:
    """Tell whether a tar's end is where tarfile stopped reading: it takes a header that it cannot read for the end."""
    file.seek(at)
    return file.read(blocks * tarfile.BLOCKSIZE) == bytes(blocks * tarfile.BLOCKSIZE)


def ending(at: int) -> bytes:
    """Return what ends a tar whose members take `at` bytes: two empty blocks, and others up to a whole record."""
    two = 2 * tarfile.BLOCKSIZE
    return bytes(two + -(at + two) % tarfile.RECORDSIZE)


def copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    """Copy so many bytes; DatasetError if there are fewer."""
    while size > 0:
        some = source.read(min(size, _COPY))
        if not some:
            raise DatasetError("what a tar's member is copied from ends before it does; it is damaged")
        target.write(some)
        size -= len(some)


_EMPTY = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)
_SIZE, _SUM = slice(124, 136), slice(148, 156)
_BLANK_SUM = sum(_EMPTY) - sum(_EMPTY[_SIZE]) - sum(_EMPTY[_SUM]) + 8 * ord(" ")


def _header(name: str, size: int) -> bytes:
    """Return a member's header: what tarfile would write, in a tenth of the time.

    The name is ASCII, of at most 100 characters.
    """
    called, digits = name.encode("ascii"), b"%011o\0" % size
    total = b"%06o\0 " % (_BLANK_SUM + sum(called) + sum(digits))
    return b"".join((called.ljust(100, b"\0"), _EMPTY[100:124], digits, _EMPTY[136:148], total, _EMPTY[156:]))


def member(name: str, content: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a member's header, content and padding."""
    return _header(name, len(content)), content, bytes(-len(content) % tarfile.BLOCKSIZE)


class TarReader:
    """Reads members by place; keeps the last tar open, as places mostly come in its order."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tar = ""
        self._file: BinaryIO | None = None

    def read(self, place: Place) -> bytes:
        """Return the bytes at a place; OSError where there are none."""
        if self._file is None or self._tar != place.tar:
            self.close()
            self._file = self._store.read(place.tar)
            self._tar = place.tar
        assert self._file is not None
        self._file.seek(place.offset)
        return self._file.read(place.size)

    def close(self) -> None:
        """Close the tar that is open."""
        if self._file is not None:
            self._file.close()
        self._file = None
