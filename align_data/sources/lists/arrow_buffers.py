"""The buffers of an Arrow record batch, read from beginning to end: bytes, numbers and bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from align_data.sources.files.damage import DamagedError
from align_data.sources.lists.arrow_messages import StoredBuffer

_SKIP = 2**20
_LIMIT = 2**62
"""Bytes that a buffer may claim: below it no sum here overflows."""


class BufferReader:
    """The bytes of a buffer, decompressed, from its beginning to its end, or at any place."""

    def __init__(self, file: Any, stored: StoredBuffer) -> None:
        self._file, self._offset, self.size, self._codec = file, stored.offset, stored.size, stored.codec
        if stored.codec is not None:
            file.seek(stored.offset)
            size = int.from_bytes(file.read(8), "little", signed=True)
            self._offset, self.size = stored.offset + 8, size
            if stored.size < 8 or not -1 <= size < _LIMIT:
                raise DamagedError(f"a compressed buffer claims {size:,} bytes")
            if size == -1:  # it would not have become smaller
                self.size, self._codec = stored.size - 8, None
        stream = file.get_stream(self._offset, stored.size - (self._offset - stored.offset))
        self._stream = stream if self._codec is None else pa.CompressedInputStream(stream, self._codec)
        self._remaining = self.size
        self._whole: Any = None

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        self._remaining -= size
        data = bytes(self._stream.read(size)) if self._remaining >= 0 else b""
        if len(data) < size:
            raise DamagedError("the values of a column extend past the end of their buffer")
        return data

    def skip(self, size: int) -> None:
        """Pass over the next bytes."""
        while size > 0:
            size -= len(self.take(min(size, _SKIP)))

    def between(self, start: int, stop: int) -> bytes:
        """Return the bytes at a place; what is compressed is held whole from then on."""
        self.check(start, stop)
        if self._codec is not None:
            if self._whole is None:
                self._whole = self.take(self.size)
            return bytes(self._whole[start:stop])
        self._file.seek(self._offset + start)
        return bytes(self._file.read(stop - start))

    def check(self, start: int, stop: int) -> None:
        """Raise DamagedError for a place that is not in the buffer."""
        if not 0 <= start <= stop <= self.size:
            raise DamagedError("a value lies outside of its buffer")

    @property
    def compressed(self) -> bool:
        """Whether only all of it can be read."""
        return self._codec is not None


class NumbersAhead:
    """Numbers of a buffer, of which the next are looked at before they are taken."""

    def __init__(self, buffer: BufferReader, dtype: str) -> None:
        self._buffer, self._dtype = buffer, np.dtype(dtype)
        self._numbers: Any = np.empty(0, self._dtype)

    def peek(self, count: int) -> Any:
        """Return the next numbers."""
        missing = count - len(self._numbers)
        if missing > 0:
            data = self._buffer.take(missing * self._dtype.itemsize)
            self._numbers = np.concatenate([self._numbers, np.frombuffer(data, self._dtype)])
        return self._numbers[:count]

    def drop(self, count: int) -> None:
        """Go on behind the next numbers."""
        self._numbers = self._numbers[count:]


class BitsAhead:
    """The bits of a buffer; where it is empty all are set."""

    def __init__(self, buffer: BufferReader) -> None:
        self._buffer = buffer
        self._bits: Any = np.empty(0, np.uint8)

    def peek(self, count: int) -> Any:
        """Return the next bits as an array of bool, or None where all are set."""
        if not self._buffer.size:
            return None
        missing = count - len(self._bits)
        if missing > 0:
            data = np.frombuffer(self._buffer.take((missing + 7) // 8), np.uint8)
            self._bits = np.concatenate([self._bits, np.unpackbits(data, bitorder="little")])
        return self._bits[:count].astype(bool)

    def take(self, count: int) -> Any:
        """Return the next bits, and go on behind them."""
        bits = self.peek(count)
        self._bits = self._bits[count:]
        return bits
