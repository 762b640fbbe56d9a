"""Removing metadata from an image's bytes, without decoding or changing any pixel."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Header(NamedTuple):
    """What an image's structure says of its pixels, as they are stored."""

    width: int
    height: int
    plain: bool
    """One picture, of RGB, grey or a palette, of at most 8 bits, opaque, and of a make that every reader knows."""
    scalable: bool = False
    """Made of DCT blocks, so that a decoder can give it smaller: asked that of a lossless JPEG, Pillow breaks."""


class _MalformedError(Exception):
    """Not made as its format asks: nothing is certain about it."""


def header(content: bytes, format: str | None) -> Header | None:
    """Return what the bytes' structure says, None where that is not certain; a JPEG's, PNG's or WebP's."""
    readers = {"jpeg": _jpeg_header, "png": _png_header, "webp": _webp_header}
    try:
        return readers[format](content) if format in readers else None
    except (_MalformedError, IndexError, struct.error):
        return None


def strip(content: bytes, format: str | None) -> bytes | None:
    """Return bytes of the same pixels without metadata: the same object where there was none, None if not certain."""
    strippers = {"jpeg": _jpeg, "png": _png, "webp": _webp}
    try:
        return strippers[format](content) if format in strippers else None
    except (_MalformedError, IndexError, struct.error):
        return None


_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_DCT = _HUFFMAN_FRAMES | {0xC9, 0xCA}
_EOI, _SOS, _COM, _APP0, _APP14 = 0xD9, 0xDA, 0xFE, 0xE0, 0xEE
_APP = frozenset(range(0xE0, 0xF0))
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})
_SEGMENTS = _SOF | _TABLES | _APP | {_SOS, _COM}
"""What a JPEG that anybody writes is made of. Others, and any marker without a length, make it uncertain."""
_SCAN = 0
"""Pseudo-marker for the coded pixels that follow a SOS."""
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_IS_AFTER = np.array([_AFTER_SCAN.match(bytes((0xFF, value))) is not None for value in range(256)])
_NEAR, _WINDOW = 2**13, 2**18
"""Bytes of a scan that are searched first, so that many short ones cost no more than a long one; and at a time then."""


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield a JPEG's segments and scans behind its SOI, to the EOI of the first picture."""
    at = 2
    while True:
        if content[at] != 0xFF:
            raise _MalformedError
        while content[at] == 0xFF:  # any number of them may stand before a marker
            at += 1
        marker, start = content[at], at - 1
        if marker == _EOI:
            yield marker, start, at + 1
            return
        if marker not in _SEGMENTS:
            raise _MalformedError
        (size,) = struct.unpack_from(">H", content, at + 1)
        at += 1 + size
        if size < 2 or at > len(content):
            raise _MalformedError
        yield marker, start, at
        if marker == _SOS:
            start, at = at, _scan_end(content, at)
            while content[at - 1] == 0xFF:
                at -= 1
            yield _SCAN, start, at


def _scan_end(content: bytes, at: int) -> int:
    """Return where the first marker is that no scan has inside."""
    near = _AFTER_SCAN.search(content, at, at + _NEAR)
    if near is not None:
        return near.start()
    values = np.frombuffer(content, np.uint8)  # which finds a byte at twice the speed of re
    for start in range(at + _NEAR - 1, len(content) - 1, _WINDOW):
        window = values[start : start + _WINDOW + 1]
        marks = np.flatnonzero(window[:-1] == 0xFF)
        ends = marks[_IS_AFTER[window[marks + 1]]]
        if len(ends):
            return start + int(ends[0])
    raise _MalformedError


def _jpeg_header(content: bytes) -> Header:
    frames = []
    for marker, start, _ in _segments(content):
        if marker in _SOF:
            frames.append((marker, *struct.unpack_from(">BHHB", content, start + 4)))
        if marker == _SOS:
            break
    else:
        raise _MalformedError
    if len(frames) != 1 or 0 in frames[0]:
        raise _MalformedError
    marker, bits, height, width, components = frames[0]
    return Header(width, height, bits == 8 and components in (1, 3) and marker in _HUFFMAN_FRAMES, marker in _DCT)


def _jpeg(content: bytes) -> bytes:
    """Drop the metadata in APPn and COM, between scans too, and everything after the first picture."""
    view = memoryview(content)
    pieces: list[bytes | memoryview] = [view[:2]]
    same, frames, end = True, 0, 0
    for marker, start, end in _segments(content):
        piece: bytes | memoryview = view[start:end]
        if marker in _APP or marker == _COM:
            piece = _lean(marker, content[start:end])
            same = same and piece == view[start:end]
        pieces.append(piece)
        frames += marker in _SOF
    if frames != 1:
        raise _MalformedError
    return content if same and end == len(content) else b"".join(pieces)


def _lean(marker: int, segment: bytes) -> bytes:
    """Return what a decoder goes by in an APPn, empty for most: JFIF and Adobe say which colours the components are."""
    body = segment[4:]
    if marker == _APP0 and body.startswith(b"JFIF\0") and len(body) >= 14:
        return b"\xff\xe0\0\x10" + body[:12] + b"\0\0"  # without its thumbnail
    if marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
        return b"\xff\xee\0\x0e" + body[:12]
    return b""


_LONGEST = {b"IHDR": 13, b"PLTE": 768, b"tRNS": 256, b"IDAT": 2**31 - 1, b"IEND": 0}
"""The chunks that pixels are decoded from, and how long each can be."""
_ANIMATED = frozenset({b"acTL", b"fcTL", b"fdAT"})
_IN_ORDER = re.compile(rb"IHDR(----)*(PLTE(----)*)?(tRNS(----)*)?(IDAT)+(----)*IEND")


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield a PNG's chunks, to its IEND."""
    at, kind = 8, b""
    while kind != b"IEND":
        size, kind = struct.unpack_from(">I4s", content, at)
        start, at = at, at + size + 12
        if not kind.isalpha() or at > len(content) or size > _LONGEST.get(kind, size):
            raise _MalformedError
        if kind not in _LONGEST and kind[:1].isupper():  # which says that there is no picture without it
            raise _MalformedError
        yield kind, start, at


def _png_header(content: bytes) -> Header:
    kinds = set()
    for kind, _, _ in _chunks(content):
        if kind == b"IDAT":
            break
        kinds.add(kind)
    size, chunk, width, height, bits, colours = struct.unpack_from(">I4sIIBB", content, 8)
    if (size, chunk) != (13, b"IHDR") or 0 in (width, height) or (colours == 3 and b"PLTE" not in kinds):
        raise _MalformedError
    opaque = colours in (0, 2, 3) and b"tRNS" not in kinds
    return Header(width, height, opaque and bits <= 8 and kinds.isdisjoint(_ANIMATED))


def _png(content: bytes) -> bytes:
    """Drop every chunk that no pixel needs but sRGB, which says what is so, and what follows the last.

    No reader that trains heeds gAMA and cHRM: without them every viewer shows what is trained on.
    """
    view = memoryview(content)
    pieces, order = [view[:8]], []
    for kind, start, end in _chunks(content):
        if kind in _ANIMATED:  # Pillow heeds some even where nothing is animated
            raise _MalformedError
        if kind in _LONGEST or (kind == b"sRGB" and end - start == 13 and _is_whole(view[start:end])):
            pieces.append(view[start:end])
        order.append(kind if kind in _LONGEST else b"----")
    if _IN_ORDER.fullmatch(b"".join(order)) is None:
        raise _MalformedError
    return content if sum(map(len, pieces)) == len(content) else b"".join(pieces)


def _is_whole(chunk: memoryview) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


_STILL = frozenset({b"VP8 ", b"VP8L"})
_MOVING = frozenset({b"ANIM", b"ANMF"})
_NEEDED = _STILL | _MOVING | {b"VP8X", b"ALPH"}
_PICTURE = re.compile(rb"(VP8X)?(ALPH)?VP8[ L]")
_ANIMATION, _ALPHA, _METADATA_FLAGS = 0x02, 0x10, 0x2C
"""Flags of VP8X; those of ICC, EXIF and XMP are the last."""


def _riff(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield a WebP's chunks, each with the byte that makes its size even."""
    at, end = 12, 8 + int.from_bytes(content[4:8], "little")
    if end > len(content):
        raise _MalformedError
    while at < end:
        kind, size = struct.unpack_from("<4sI", content, at)
        start, at = at, at + 8 + size + size % 2
        if at > end:
            raise _MalformedError
        yield kind, start, at


def _webp_header(content: bytes) -> Header:
    chunks = list(_riff(content))
    kinds = [kind for kind, _, _ in chunks]
    frames = [start + 8 for kind, start, _ in chunks if kind in _STILL]
    if len(frames) != 1 or kinds[0] not in (*_STILL, b"VP8X"):
        raise _MalformedError
    size, opaque = (_lossy if b"VP8 " in kinds else _lossless)(content, frames[0])
    if kinds[0] == b"VP8X":
        flags, width, height = struct.unpack_from("<B3x3s3s", content, chunks[0][1] + 8)
        canvas = (1 + int.from_bytes(width, "little"), 1 + int.from_bytes(height, "little"))
        if canvas != size:
            raise _MalformedError
        opaque = opaque and not flags & (_ANIMATION | _ALPHA)
    return Header(*size, opaque and b"ALPH" not in kinds)


def _lossy(content: bytes, at: int) -> tuple[tuple[int, int], bool]:
    start, width, height = struct.unpack_from("<3x3sHH", content, at)
    if start != b"\x9d\x01\x2a":
        raise _MalformedError
    return (width & 0x3FFF, height & 0x3FFF), True


def _lossless(content: bytes, at: int) -> tuple[tuple[int, int], bool]:
    start, bits = struct.unpack_from("<BI", content, at)
    if start != 0x2F:
        raise _MalformedError
    return (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)), not bits >> 28 & 1


def _webp(content: bytes) -> bytes:
    """Drop every chunk that no pixel needs, and what follows the last."""
    chunks = [(kind, content[start:end]) for kind, start, end in _riff(content) if kind in _NEEDED]
    if _PICTURE.fullmatch(b"".join(kind for kind, _ in chunks)) is None:
        raise _MalformedError
    body = b"".join(chunk for _, chunk in chunks)
    if len(body) + 12 == len(content):
        return content
    if body[:4] == b"VP8X":
        body = body[:8] + bytes([body[8] & ~_METADATA_FLAGS]) + body[9:]
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
