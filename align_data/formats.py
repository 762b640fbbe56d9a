"""Which image format bytes begin like: by their first bytes, never by a name or by what a server says."""

from __future__ import annotations

HEAD = 64
"""Bytes that are looked at."""

_MAGIC = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"BM", "bmp"),
)
_AVIF = (b"avif", b"avis")

EXTENSIONS = {"jpeg": "jpg", "png": "png", "gif": "gif", "webp": "webp", "tiff": "tif", "bmp": "bmp", "avif": "avif"}
"""Format → what a file of it is called."""


def sniff(head: bytes) -> str | None:
    """Return the format that bytes begin like, by the name that the signal `format` has; None for any other."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp" and any(brand in head[8:HEAD] for brand in _AVIF):
        return "avif"
    return None
