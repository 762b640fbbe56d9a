"""A body in chunks, read as browsers and curl read it, and written down as any parser takes it.

Servers end lines without a carriage return, and send extensions and trailers that no standard allows. Only the sizes
count here; the parser behind this sees plain chunks.
"""

from __future__ import annotations

import re

MAX_TRAILERS = 2**18
"""Bytes of all trailers together, at most."""
_SIZE = re.compile(rb"0*([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)
_END = b"0\r\n\r\n"


class NoChunkError(Exception):
    """The received bytes are not a chunk. Not a ValueError: http.client takes those for a body that was cut short."""


class ChunkedBody:
    """Takes a body piece by piece."""

    def __init__(self) -> None:
        self._remaining = 0
        """Bytes of a chunk that are still to come."""
        self._line = b""
        """What has come of a line between chunks."""
        self._read = self._size
        """Takes the next such line."""
        self._trailers = 0
        self._over = False

    def take(self, data: bytes) -> bytes:
        """Return a piece as plain chunks, and what follows the body unchanged; NoChunkError if it is not chunked."""
        if self._over:
            return data
        pieces, at = [], 0
        while at < len(data) and not self._over:
            if self._remaining:
                pieces.append(data[at : at + self._remaining])
                at += len(pieces[-1])
                self._remaining -= len(pieces[-1])
                continue
            end = data.find(b"\n", at) + 1
            self._line += data[at : end or None]
            at = end or len(data)
            if not end and b";" in self._line:  # the rest of an extension, however long, is not kept
                self._line = self._line[: self._line.index(b";") + 1]
            if len(self._line) + self._trailers > MAX_TRAILERS:
                raise NoChunkError(f"more than {MAX_TRAILERS:,} bytes between chunks")
            if end:
                line, self._line = self._line[:-1].removesuffix(b"\r"), b""
                self._read(line)
        body = b"".join(pieces)
        plain = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
        return plain + _END + data[at:] if self._over else plain

    def _size(self, line: bytes) -> None:
        size = _SIZE.fullmatch(line)
        if size is None:
            raise NoChunkError(f"no chunk's size, but {line[:40]!r}")
        self._remaining = int(size[1], 16)
        self._read = self._behind if self._remaining else self._trailer

    def _behind(self, line: bytes) -> None:
        if line:
            raise NoChunkError(f"no chunk's end, but {line[:40]!r}")
        self._read = self._size

    def _trailer(self, line: bytes) -> None:
        self._trailers += len(line) + 1
        self._over = not line
