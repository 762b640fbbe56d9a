"""Tars of bytes: written in order, each at most a gigabyte, and read by position without looking at any header."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

from align_data.common.errors import DatasetError
from align_data.storage import names
from align_data.storage.ahead import SPAN, FileRange, ReadAhead
from align_data.storage.store import Store

MAX_TAR = 10**9
"""Bytes of a tar, at most; but one member always fits."""
TAR = re.compile(names.TAR_STEM)
"""What the tars of fetched images are called, in the folder of their part."""
BLOCK = tarfile.BLOCKSIZE
"""What headers and content begin at multiples of."""
_COPY = 2**20
DAMAGED = "the dataset is damaged: put the file back, or remove its folders images, content and bytes and fetch again"


class TarMember(NamedTuple):
    """A member of a tar: where its headers begin, where its bytes lie, and where the next member may begin."""

    name: str
    start: int
    data: int
    size: int
    end: int


@dataclass(frozen=True)
class Place:
    """Where a member's bytes lie."""

    tar: str
    """The tar's name in the store."""
    offset: int
    size: int
    sha256: str | None = None
    """Of the bytes, where they have been measured: what is read must still be them."""


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
        block = source.read(min(size, _COPY))
        if not block:
            raise DatasetError("what a tar's member is copied from ends before it does; it is damaged")
        target.write(block)
        size -= len(block)


_EMPTY = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)
_SIZE, _SUM = slice(124, 136), slice(148, 156)
_BLANK_SUM = sum(_EMPTY) - sum(_EMPTY[_SIZE]) - sum(_EMPTY[_SUM]) + 8 * ord(" ")


def _header(name: str, size: int) -> bytes:
    """Return a member's header: what tarfile would write, in a tenth of the time.

    The name is ASCII, of at most 100 characters.
    """
    encoded, digits = name.encode("ascii"), b"%011o\0" % size
    total = b"%06o\0 " % (_BLANK_SUM + sum(encoded) + sum(digits))
    return b"".join((encoded.ljust(100, b"\0"), _EMPTY[100:124], digits, _EMPTY[136:148], total, _EMPTY[156:]))


def member(name: str, content: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a member's header, content and padding."""
    return _header(name, len(content)), content, bytes(-len(content) % tarfile.BLOCKSIZE)


def regular(member: tarfile.TarInfo) -> bool:
    """Tell whether a member is a file whose bytes lie in the tar as they are: no link, no device, nothing sparse."""
    return member.isreg() and not member.issparse() and member.size >= 0


class TarReader:
    """Reads members by place; keeps the last tar open, as places mostly come in its order.

    Of an object store, the places that are foretold are read ahead, in large ranges, and each other one by itself.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tar, self._end = "", 0
        self._file: BinaryIO | None = None
        self._ahead: ReadAhead | None = None

    def foretell(self, places: Iterable[Place]) -> None:
        """Say which places are going to be read, in their order: of an object store they are read ahead from now on."""
        if not self._store.local:
            self._forget()
            spans = (_span(place) for place in places if place.offset >= 0 and 0 <= place.size <= SPAN)
            self._ahead = ReadAhead(self._store, spans)

    def read(self, place: Place) -> bytes:
        """Return the bytes at a place.

        Raises OSError for a tar that cannot be read, and DatasetError where no member's bytes lie there, or others than
        were measured.
        """
        self._open(place.tar)
        header = place.offset - _span(place).start
        if place.offset + place.size > self._end:  # looked at first: what cannot be there could fill the memory
            where = f"{place.tar}, at {place.offset:,}: the tar" if header else place.tar
            raise DatasetError(f"{where} ends before byte {place.offset + place.size:,}; {DAMAGED}")
        block = self._bytes(_span(place))
        content = block[header:]
        if len(content) < place.size:
            fault = "the tar was cut short while it was read"
        elif header and not _is_header(block[:header], place.size):
            fault = f"no image of {place.size:,} bytes begins there"
        elif place.sha256 is not None and hashlib.sha256(content).hexdigest() != place.sha256:
            fault = f"the bytes are not those that were measured, whose SHA-256 is {place.sha256}"
        else:
            return content
        raise DatasetError(f"{place.tar}, at {place.offset:,}: {fault}; {DAMAGED}")

    def _open(self, tar: str) -> None:
        if self._tar == tar:
            return
        self._close_file()
        if self._store.local:
            self._file = self._store.read(tar)
            self._end = self._file.seek(0, 2)
        else:
            self._end = self._store.size(tar)
        self._tar = tar

    def _bytes(self, span: FileRange) -> bytes:
        if self._file is not None:
            self._file.seek(span.start)
            return self._file.read(span.stop - span.start)
        ahead = self._ahead.read(span) if self._ahead is not None else None
        return self._store.range(*span) if ahead is None else ahead

    def _forget(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._tar = None, ""

    def close(self) -> None:
        """Close the tar that is open."""
        self._forget()
        self._close_file()


def _span(place: Place) -> FileRange:
    """Return where a member's header and bytes lie; a file that is an image itself has no header."""
    return FileRange(place.tar, max(0, place.offset - BLOCK), place.offset + place.size)


def _is_header(block: bytes, size: int) -> bool:
    name = block[:100].rstrip(b"\0")
    if name.isascii() and block == _header(name.decode(), size):  # as we write it: a fifth of tarfile's time
        return True
    try:
        member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return regular(member) and member.size == size


def members(store: Store, tar: str, form: names.NamePattern) -> list[TarMember]:
    """Return the members of a tar; DatasetError if it is broken, or holds what we never write."""
    try:
        with store.read(tar) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            listed = []
            for m in archive:
                form.check(m.name, store.path(tar))
                if not regular(m) or m.offset_data != m.offset + BLOCK:
                    raise tarfile.ReadError(f"{m.name} is not a plain file")
                listed.append(TarMember(m.name, m.offset, m.offset_data, m.size, m.offset_data + whole(m.size)))
            if not ended(file, archive.offset):
                raise tarfile.ReadError(f"there is no end at byte {archive.offset:,}")
            return listed
    except (tarfile.TarError, OSError) as error:
        raise DatasetError(f"cannot read {store.path(tar)}: {error}; it is damaged") from error


def copy_members(store: Store, tar: str, kept: Sequence[TarMember], path: str) -> None:
    """Write some members of a tar, byte for byte, into a file as a tar of their own."""
    with store.read(tar) as source, Path(path).open("wb") as target:
        for member in kept:
            source.seek(member.start)
            copy(source, target, member.end - member.start)
        target.write(ending(target.tell()))
