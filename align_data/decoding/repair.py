"""Bytes that viewers show and Pillow refuses, as Pillow takes them: nothing is added to any pixel."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

_OPTIONAL = 0x20
"""The bit of a chunk's first letter that says so: a small one."""
_EOI = b"\xff\xd9"
_PADDINGS = (bytes(64), b"\x55" * 64)
"""Two endings for a scan; where pixels are missing a decoder takes them for those."""


def repaired(content: bytes, format: str | None) -> bytes | None:
    """Return repaired bytes for an image that was refused; None if no known defect applies."""
    repairs = {"png": _png, "jpeg": _jpeg, "webp": _webp}
    try:
        fixed = repairs[format](content) if format in repairs else None
    except Exception:
        return None
    return None if fixed == content else fixed


def _png(content: bytes) -> bytes | None:
    """Drop optional chunks that have a wrong checksum; but pixels in two places stay so, as no viewer joins them."""
    pieces, pixels, dropped = [content[:8]], False, False
    for kind, chunk in _chunks(content):
        if kind[0] & _OPTIONAL and zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            dropped = True
            continue
        if kind == b"IDAT" and pixels and dropped:
            return None
        pieces.append(chunk)
        pixels, dropped = pixels or kind == b"IDAT", False
    return b"".join(pieces)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        yield kind, content[at : at + size + 12]
        at += size + 12


def _jpeg(content: bytes) -> bytes | None:
    """Add the end that is missing, if no pixel is: then it makes no difference what stands before it."""
    scans = content.removesuffix(_EOI[:1])
    if content.endswith(_EOI):
        return None
    pixels = set()
    for padding in _PADDINGS:
        with Image.open(io.BytesIO(scans + padding + _EOI), formats=["JPEG"]) as image:
            pixels.add(zlib.crc32(image.tobytes()))
    return scans + _EOI if len(pixels) == 1 else None


def _webp(content: bytes) -> bytes | None:
    """Add the final padding byte that makes the length even."""
    at = 12
    while at < len(content):
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return content + b"\0" if at == len(content) + 1 and size % 2 else None
