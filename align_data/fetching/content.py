"""What comes as a body: counted, unpacked if it is packed, and looked at whether it begins like an image."""

from __future__ import annotations

import zlib

from align_data.fetching.outcome import Outcome
from align_data.formats import HEAD, sniff

_PLAIN = frozenset({"identity", ""})
_PACKED = frozenset({"gzip", "x-gzip", "deflate"})


class Content:
    """A body that comes piece by piece: `take` and `end` return what there is to write, or what it comes to."""

    def __init__(self, encoding: str, most: int) -> None:
        self._encoding, self._most = encoding, most
        self._unpack = None if encoding in _PLAIN else zlib.decompressobj(wbits=47)  # gzip or zlib, by its header
        self._sent = self._size = 0
        self._head = b""

    @staticmethod
    def of(encoding: str, most: int) -> Content | Outcome:
        """Return a body of a Content-Encoding, of which at most so many bytes are taken, packed or not."""
        encoding = encoding.strip().lower()
        if encoding in _PLAIN | _PACKED:
            return Content(encoding, most)
        return Outcome("bad_response", f"Content-Encoding: {encoding[:40]}")

    def take(self, chunk: bytes) -> bytes | Outcome:
        """Return what a piece is unpacked, or the outcome of a body that is not read on."""
        try:
            # Never more than one byte too much: a bomb goes off in here.
            some = self._unpack.decompress(chunk, self._most + 1 - self._size) if self._unpack else chunk
        except zlib.error as error:
            return Outcome("bad_response", f"Content-Encoding: {self._encoding}, but {error}")
        self._sent += len(chunk)
        self._size += len(some)
        if max(self._sent, self._size) > self._most:
            return Outcome("too_large", f"more than {self._most:,} bytes")
        if self._unpack and self._unpack.unused_data:
            return Outcome("bad_response", f"Content-Encoding: {self._encoding}, but something follows it")
        return self._looked_at(some)

    def _looked_at(self, some: bytes) -> bytes | Outcome:
        if len(self._head) < HEAD:
            self._head += some[:HEAD]
            if len(self._head) >= HEAD and sniff(self._head) is None:
                return self._no_image()
        return some

    def end(self) -> Outcome:
        """Return what a body comes to that is over."""
        if self._unpack and self._sent and not self._unpack.eof:
            return Outcome("truncated", "the packed body ends early")
        return Outcome("ok") if sniff(self._head) else self._no_image()

    def _no_image(self) -> Outcome:
        shown = self._head[:24].decode("ascii", "backslashreplace").replace("\n", " ").replace("\r", " ")
        return Outcome("not_an_image", f"begins with {shown!r}" if self._head else "the body is empty")
