"""What comes as a body: counted, unpacked if it is packed, and looked at whether it begins like an image.

Whether a body is packed its own bytes say: many servers name an encoding and send the picture as it is, and browsers
show it. An encoding that nobody knows ('aws-chunked', 'utf-8', 'none') says nothing.
"""

from __future__ import annotations

import re
import tempfile
import zlib
from collections.abc import Container
from typing import BinaryIO, Protocol

import pyarrow as pa

from align_data.fetching.outcome import Outcome
from align_data.storage.image_formats import HEAD, sniff
from align_data.storage.store import writing

_ZLIB = frozenset({"gzip", "x-gzip", "deflate"})
_ARROW = {"br": "brotli", "zstd": "zstd"}
"""What pyarrow unpacks, by the name that it has there."""
_LAYERS = 5
"""Encodings one over the other, at most; the others stay."""
_CHECKED = re.compile("incorrect (?:data|length) check")
_GZIP = b"\x1f\x8b"
_STEP = 2**16
"""Bytes that are unpacked at once."""
_IN_MEMORY = 2**18
"""Bytes of a packed body that are held in memory, where it can be unpacked only as a whole."""


class _OverError(Exception):
    """A body that is not read any further, and its outcome."""

    def __init__(self, status: str, reason: str, retry: bool | None = None) -> None:
        super().__init__(reason)
        self.outcome = Outcome(status, reason, retry=retry)


class _Unpacker(Protocol):
    def take(self, piece: bytes) -> bytes: ...

    def end(self) -> bytes: ...

    def close(self) -> None: ...


class _Zlib:
    """Unpacks zlib, gzip or raw deflate, piece by piece."""

    def __init__(self, coding: str, start: bytes, max_bytes: int) -> None:
        in_zlib = start[0] & 15 == 8 and int.from_bytes(start[:2]) % 31 == 0
        raw = coding == "deflate" and not in_zlib and not start.startswith(_GZIP)
        self._coding, self._remaining = coding, max_bytes + 1
        self._decoder = zlib.decompressobj(wbits=-15 if raw else 47)  # 47: gzip or zlib, by its header

    def take(self, piece: bytes) -> bytes:
        """Return what a piece is unpacked; what follows the end is passed over, as browsers do."""
        if self._decoder.eof or not self._remaining:
            return b""
        try:
            # Never more than one byte too much: a bomb goes off in here.
            unpacked = self._decoder.decompress(piece, self._remaining)
        except zlib.error as error:
            # What fails its checksum alone, browsers show; it may have been damaged on its way, and is asked for again.
            again = _CHECKED.search(str(error)) is not None or None
            raise _OverError("bad_response", f"Content-Encoding: {self._coding}, but {error}", again) from error
        self._remaining -= len(unpacked)
        return unpacked

    def end(self) -> bytes:
        """Return nothing: all has been handed on; _OverError if the end is missing."""
        if not self._decoder.eof:
            raise _OverError("truncated", "the packed body ends early")
        return b""

    def close(self) -> None:
        """Do nothing: nothing is open."""


class _Arrow:
    """Unpacks Brotli and Zstandard once all has come."""

    def __init__(self, coding: str, max_bytes: int) -> None:
        self._coding, self._max_bytes = coding, max_bytes
        self._come: BinaryIO = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # type: ignore[assignment] # noqa: SIM115

    def take(self, piece: bytes) -> bytes:
        """Keep a piece."""
        with writing(tempfile.gettempdir()):
            self._come.write(piece)
        return b""

    def end(self) -> bytes:
        """Return what all of it is unpacked, and at most one byte too much."""
        self._come.seek(0)
        content, piece = bytearray(), bytearray(_STEP)
        try:
            with (
                self._come,
                pa.CompressedInputStream(pa.PythonFile(self._come, mode="r"), _ARROW[self._coding]) as all_,
            ):
                # Not `read`: where it fails, its memory is lost for as long as the process lives.
                while len(content) <= self._max_bytes and (size := all_.readinto(piece)):
                    content += memoryview(piece)[:size]
        except OSError as error:
            status = "truncated" if "Truncated" in str(error) else "bad_response"
            raise _OverError(status, f"Content-Encoding: {self._coding}, but {error}") from error
        return bytes(content[: self._max_bytes + 1])

    def close(self) -> None:
        """Forget what has come."""
        self._come.close()


class _Layer:
    """One encoding of a body, if it is there: by its first bytes."""

    def __init__(self, coding: str, max_bytes: int, formats: Container[str]) -> None:
        self._coding, self._max_bytes, self._formats = coding, max_bytes, formats
        self._start = b""
        self._unpacker: _Unpacker | None = None
        self._decided = False

    def take(self, piece: bytes) -> bytes:
        """Return what a piece is without the encoding."""
        if not self._decided:
            self._start += piece
            if len(self._start) < HEAD:
                return b""
            piece = self._look()
        return self._unpacker.take(piece) if self._unpacker else piece

    def _look(self) -> bytes:
        """Choose by the first bytes; return them."""
        self._decided = True
        start, coding = self._start, self._coding
        if sniff(start, self._formats) is None and start:
            gzip = coding == "deflate" or start.startswith(_GZIP) or start[0] & 15 == 8
            if coding in _ARROW:
                self._unpacker = _Arrow(coding, self._max_bytes)
            elif gzip:
                self._unpacker = _Zlib(coding, start, self._max_bytes)
        return start

    def end(self) -> bytes:
        """Return the remaining bytes."""
        remainder = b""
        if not self._decided:
            start = self._look()
            remainder = self._unpacker.take(start) if self._unpacker else start
        return remainder + self._unpacker.end() if self._unpacker else remainder

    def close(self) -> None:
        """Close open decoders."""
        if self._unpacker is not None:
            self._unpacker.close()


class ResponseBody:
    """A body that arrives piece by piece: `take` and `end` return bytes to write, or the outcome of the body."""

    def __init__(self, encodings: str, max_bytes: int, formats: Container[str] = ()) -> None:
        """Accept at most `max_bytes`, packed or not, of a body with this Content-Encoding; `formats` as in `sniff`."""
        codings = [word.strip().lower() for word in encodings.split(",")]
        able = [name for name in codings if name in _ZLIB or (name in _ARROW and pa.Codec.is_available(_ARROW[name]))]
        self._layers = [_Layer(coding, max_bytes, formats) for coding in reversed(able[:_LAYERS])]
        self._encodings, self._max_bytes, self._formats = encodings.strip(), max_bytes, formats
        self._sent = self._size = 0
        self._head = b""

    def take(self, chunk: bytes) -> bytes | Outcome:
        """Return what a piece is unpacked, or the outcome of a body that is not read on."""
        self._sent += len(chunk)
        if self._sent > self._max_bytes:
            return self._too_large()
        try:
            for layer in self._layers:
                chunk = layer.take(chunk)
        except _OverError as over:
            return over.outcome
        return self._looked_at(chunk)

    def end(self) -> tuple[bytes, Outcome]:
        """Return the remaining bytes to write, and the outcome of a complete body."""
        remainder = b""
        try:
            for layer in self._layers if self._sent else ():
                remainder = layer.take(remainder) + layer.end()
        except _OverError as over:
            return b"", over.outcome
        looked_at = self._looked_at(remainder)
        if isinstance(looked_at, Outcome):
            return b"", looked_at
        return remainder, self._judged()

    def close(self) -> None:
        """Close open decoders, however much has arrived."""
        for layer in self._layers:
            layer.close()

    def _looked_at(self, piece: bytes) -> bytes | Outcome:
        self._size += len(piece)
        if self._size > self._max_bytes:
            return self._too_large()
        if len(self._head) < HEAD:
            self._head += piece[:HEAD]
            if len(self._head) >= HEAD and sniff(self._head, self._formats) is None:
                return self._no_image()
        return piece

    def _judged(self) -> Outcome:
        """Return the outcome of a body that is whole."""
        return Outcome("ok") if sniff(self._head, self._formats) else self._no_image()

    def _too_large(self) -> Outcome:
        return Outcome("too_large", f"more than {self._max_bytes:,} bytes")

    def _no_image(self) -> Outcome:
        beginning = self._head[:24].decode("ascii", "backslashreplace").replace("\n", " ").replace("\r", " ")
        encoded = f", Content-Encoding: {self._encodings[:40]}" if self._encodings else ""
        return Outcome("not_an_image", f"begins with {beginning!r}{encoded}" if self._head else "the body is empty")
