"""A body's content encodings undone, by what its bytes are: archives keep headers that no longer tell."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from isal import isal_zlib

from align_data.sources.crawl.warc.members import GZIP, InflateError

LARGEST_PAGE = 16 * 2**20
"""Bytes of a page, at most."""
_ZSTD = b"\x28\xb5\x2f\xfd"
_MOST_ENCODINGS = 3
"""Encodings of one body that are undone."""
_MOST_MEMBERS = 16
"""Members of gzip in a body that are read."""
_SAMPLE = 512
"""Bytes of a body that show whether it is text."""
_BINARY = frozenset(range(32)) - frozenset(b"\t\n\f\r\x1b")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def decoded(body: bytes, headers: Mapping[str, Sequence[str]]) -> bytes | str:
    """Return a body without its content encodings, or why it cannot be had: `encoding` or `page_too_large`.

    gzip and zstd are known by how they begin, brotli and deflate by the header and by whether they can be decoded. What
    cannot be is taken for plain if it looks like text. What is cut off is a body as far as it goes.
    """
    said = [word.strip().lower() for word in ",".join(headers.get("content-encoding", ())).split(",")]
    for _ in range(_MOST_ENCODINGS):
        codec = _codec(body, said)
        if codec is None:
            break
        content = _undone(body, codec)
        if content is None:
            return body if _is_text(body) else "encoding"
        if len(content) > LARGEST_PAGE:
            return "page_too_large"
        said = said[:-1] if said else said
        body = content
    return body if len(body) <= LARGEST_PAGE else "page_too_large"


def _codec(body: bytes, said: Sequence[str]) -> str | None:
    """Return what a body is encoded as, given the encodings it is said to have, the outermost last."""
    if body.startswith(GZIP):
        return "gzip"
    if body.startswith(_ZSTD):
        return "zstd"
    outermost = said[-1] if said else ""
    plain = not body or (body.lstrip().startswith(b"<") and _is_text(body))
    return outermost if outermost in ("br", "deflate") and not plain else None


def _undone(body: bytes, codec: str) -> bytes | None:
    """Return the content of an encoded body, cut off behind the limit; None if it is not so encoded."""
    if codec == "gzip":
        return _gathered(_inflated(body, 31))
    if codec == "deflate":
        content = _gathered(_inflated(body, zlib.MAX_WBITS))
        return _gathered(_inflated(body, -zlib.MAX_WBITS)) if content is None else content
    return _by_arrow(body, "brotli" if codec == "br" else codec)


def _gathered(pieces: Iterator[bytes]) -> bytes | None:
    """Return all pieces up to the limit; None if what they come from is damaged."""
    gathered: list[bytes] = []
    size = 0
    try:
        for piece in pieces:
            gathered.append(piece)
            size += len(piece)
            if size > LARGEST_PAGE:
                break
    except InflateError:
        return None
    return b"".join(gathered)


def _inflated(body: bytes, form: int) -> Iterator[bytes]:
    """Yield the content of gzip's members, or of a stream of deflate."""
    for _ in range(_MOST_MEMBERS):
        stream = isal_zlib.decompressobj(form)
        yield stream.decompress(body, LARGEST_PAGE + 1)
        body = stream.unused_data
        if form != 31 or not body.startswith(GZIP):
            break


def _by_arrow(body: bytes, codec: str) -> bytes | None:
    for step in (2**16, 2**10):  # what is cut off is lost with the step that it ends in
        stream: Any = pa.CompressedInputStream(pa.BufferReader(body), codec)
        content, piece = bytearray(), bytearray(step)
        try:
            # Not `read`: where it fails, its memory is lost for as long as the process lives.
            while len(content) <= LARGEST_PAGE and (size := stream.readinto(piece)):
                content += memoryview(piece)[:size]
        except (OSError, pa.ArrowException) as error:
            if "Truncated" not in str(error):
                return None
            if step > 2**10:
                continue
        return bytes(content) if content else None
    return None


def _is_text(body: bytes) -> bool:
    """Tell whether bytes can be those of a page in some charset: they have no control characters."""
    return body.startswith(_UTF_16) or not _BINARY & set(body[:_SAMPLE])
