"""Which image format bytes begin like: by their first bytes, never by a name or by what a server says."""

from __future__ import annotations

from collections.abc import Container

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
_OPTIONAL_MAGIC = (
    (b"\0\0\1\0", "ico"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
    *((b"P%d%c" % (kind, blank), "ppm") for kind in range(1, 7) for blank in b" \t\r\n"),
    (b"8BPS", "psd"),
    (b"qoif", "qoi"),
)
_AVIF = (b"avif", b"avis")

EXTENSIONS = {"jpeg": "jpg", "png": "png", "gif": "gif", "webp": "webp", "tiff": "tif", "bmp": "bmp", "avif": "avif"}
"""Format → what a file of it is called."""
OPTIONAL = {"ico": "ico", "jpeg2000": "jp2", "ppm": "ppm", "psd": "psd", "qoi": "qoi"}
"""The same of formats that are images only where they are asked for: few browsers show them, or few have them."""
ALL = {**EXTENSIONS, **OPTIONAL}


def optional(names: object) -> tuple[str, ...]:
    """Return those of some names, as a manifest may have them, that are optional formats."""
    return tuple(name for name in OPTIONAL if isinstance(names, list) and name in names)


def sniff(head: bytes, formats: Container[str] = ()) -> str | None:
    """Return the format that bytes begin like, by the name that the signal `format` has; None for any other.

    `formats` are the optional formats that count.
    """
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp" and any(brand in head[8:HEAD] for brand in _AVIF):
        return "avif"
    return next((name for magic, name in _OPTIONAL_MAGIC if name in formats and head.startswith(magic)), None)
