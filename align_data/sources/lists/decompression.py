"""A compressed list as a stream of what is in it: gzip as gzip(1) takes it, zstd, and neither without end."""

from __future__ import annotations

import zlib
from typing import Any

import pyarrow as pa

from align_data.common.errors import InputError
from align_data.sources.files.damage import DamagedError

_BLOCK = 2**20
_ALWAYS = 2**28
_RATIO = 256
"""A list may unpack to 256 MB, and 256 times what is stored of it; texts do to ten times."""


class Unpacked:
    """A stream for pyarrow; `path` is what a sentence calls it."""

    closed = False

    def __init__(self, stored: Any, codec: str, path: str, size: int) -> None:
        self._stream = _Gzip(stored) if codec == "gzip" else pa.CompressedInputStream(stored, codec)
        self._stored, self._path, self._size = stored, path, size
        self._remaining = _ALWAYS + _RATIO * size

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer at the end; InputError for more of them than a list can have."""
        data = bytes(self._stream.read(size))
        self._remaining -= len(data)
        if self._remaining < 0:
            raise InputError(
                f"{self._path} is {self._size:,} bytes, and unpacks to more than {_ALWAYS + _RATIO * self._size:,}: "
                "it is not a list but a bomb; leave it out"
            )
        return data

    def close(self) -> None:
        """Close the file."""
        self.closed = True
        self._stored.close()


class _Gzip:
    """One gzip member behind another, and zeros behind the last, with which tapes and some tools fill a block."""

    def __init__(self, stored: Any) -> None:
        self._stored = stored
        self._member = zlib.decompressobj(31)
        self._unused = b""

    def read(self, size: int) -> bytes:
        pieces: list[bytes] = []
        while size:
            if self._member.eof and not self._next():
                break
            data = self._unused or bytes(self._stored.read(_BLOCK))
            if not data:
                raise DamagedError("Truncated gzip")
            try:
                piece = self._member.decompress(data, size)
            except zlib.error as error:
                raise DamagedError(f"not gzip: {error}") from None
            self._unused = self._member.unconsumed_tail
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _next(self) -> bool:
        """Go to the next member; False if there is none."""
        unused = self._member.unused_data
        while not (unused := unused.lstrip(b"\0")):
            unused = bytes(self._stored.read(_BLOCK))
            if not unused:
                return False
        if len(unused) < 2:
            unused += bytes(self._stored.read(_BLOCK))
        if not unused.startswith(b"\x1f\x8b"):
            raise DamagedError("data that is not gzip follows its end")
        self._member = zlib.decompressobj(31)
        self._unused = unused
        return True
