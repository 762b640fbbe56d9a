"""Opening an image: by which parser, which way up, in eight bits; for what looks at images and what renders them."""

from __future__ import annotations

import re
import struct

import numpy as np
from PIL import ExifTags, Image, ImageChops
from PIL.TiffImagePlugin import TiffImageFile

PARSERS = {
    "jpeg": "JPEG",
    "png": "PNG",
    "gif": "GIF",
    "webp": "WEBP",
    "tiff": "TIFF",
    "bmp": "BMP",
    "avif": "AVIF",
    "ico": "ICO",
    "jpeg2000": "JPEG2000",
    "ppm": "PPM",
    "psd": "PSD",
    "qoi": "QOI",
}
"""Only these parsers are let near the bytes, each where they begin so."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what turns the image upright."""
LYING = frozenset({5, 6, 7, 8})


def orientation(image: Image.Image, content: bytes) -> int:
    """Return how an opened image has to be turned, by EXIF; 1, not at all, where that says nothing that makes sense."""
    try:
        if image.format == "PNG" and "exif" not in image.info and (exif := _exif_of_png(content)) is not None:
            image.info["exif"] = b"Exif\0\0" + exif
        # Not the PNG's own method: that decodes all pixels to see whether something follows them.
        turn = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
        return int(turn) if turn in TURNS else 1
    except Exception:
        return 1


def _exif_of_png(content: bytes) -> bytes | None:
    """Return a PNG's EXIF, wherever in the file it is."""
    at = 8
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        if kind == b"eXIf":
            return content[at + 8 : at + 8 + size]
        at += size + 12
    return None


def upright_size(image: Image.Image, turn: int) -> tuple[int, int]:
    """Return width and height of an opened image as they are once it is turned."""
    lies = turn in LYING
    if isinstance(image, TiffImageFile):  # Pillow has heeded the tag, though not yet what XMP says instead of it
        lies = lies != (image.tag_v2.get(ExifTags.Base.Orientation) in LYING)
    width, height = image.size
    return (height, width) if lies else (width, height)


def loaded(image: Image.Image) -> Image.Image:
    """Decode an opened image's first picture as viewers show it, where that is not how Pillow gives it."""
    frame = image.tile[0].extents if image.format == "GIF" and image.tile else None  # type: ignore[attr-defined]
    image.load()
    if getattr(image, "default_image", False) and getattr(image, "is_animated", False):
        return _first_of_animation(image)
    if frame is not None and frame != (0, 0, *image.size) and "transparency" not in image.info:
        return _on_canvas(image, frame)
    if isinstance(image, TiffImageFile) and (image.mode in ("I", "F") or image.mode.startswith("I;16")):
        return _grey(image)
    return image


def _first_of_animation(image: Image.Image) -> Image.Image:
    """Return the first picture of an animated PNG, where another one stands in for it for those that know no others."""
    default = image.copy()
    try:
        image.paste(0, (0, 0, *image.size))  # or Pillow draws it over the other
        image.seek(1)
        image.load()
    except Exception:
        return default  # as viewers do
    return image


def _on_canvas(image: Image.Image, frame: tuple[int, int, int, int]) -> Image.Image:
    """Return a GIF that is smaller than its canvas: transparent around, where Pillow puts the first colour."""
    canvas = Image.new("RGBA", image.size, (255, 255, 255, 0))
    canvas.paste(image.crop(frame).convert("RGBA"), frame[:2])
    return canvas


def _grey(image: TiffImageFile) -> Image.Image:
    """Return a TIFF of more than eight bits in grey: unsigned where it is, and white where its least value is."""
    tags = image.tag_v2
    if image.mode == "I" and tags.get(_SAMPLE_FORMAT, (1,))[0] == 1 and tags.get(_BITS, (0,))[0] == 32:
        values = np.asarray(image).view(np.uint32)
        if values.max() >= 2**31:  # which Pillow takes for negative
            image = Image.fromarray(values.astype(np.float32))  # type: ignore[assignment]
    grey = eight_bits(image)
    return ImageChops.invert(grey) if tags.get(_PHOTOMETRIC) == 0 else grey


_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_NO_NUMBER = 1e30
"""Beyond it a value stands for one that is missing."""


def eight_bits(image: Image.Image) -> Image.Image:
    """Return an image as it is, or in grey where Pillow would cut its values off at 255 or could not convert them."""
    if image.mode.startswith("I;16"):
        return image.convert("F").point(lambda value: value / 256.0).convert("L")
    if image.mode == "F":
        image = _finite(image)
    if image.mode in ("I", "F"):  # their values have no range that is agreed
        low, high = (float(value) for value in image.getextrema())  # type: ignore[arg-type]
        scale = 255 / (high - low) if high > low else 1.0
        return image.convert("F").point(lambda value: value * scale + -low * scale).convert("L")
    return image.getchannel(0) if image.mode == "LAB" else image


def _finite(image: Image.Image) -> Image.Image:
    """Return an image of floats, each that is missing being the least of the others."""
    low, high = (float(value) for value in image.getextrema())  # type: ignore[arg-type]
    values = np.asarray(image)
    if max(abs(low), abs(high)) < _NO_NUMBER and not np.isnan(values).any():
        return image
    present = np.isfinite(values) & (np.abs(values) < _NO_NUMBER)
    return Image.fromarray(np.where(present, values, values[present].min() if present.any() else np.float32(0)))


def error_text(error: Exception) -> str:
    """Return what an error says, the same in every run and as text that any table can hold."""
    text = re.sub(r" <[^<>]* at 0x[0-9a-fA-F]+>", "", f"{type(error).__name__}: {error}")
    return " ".join(text.encode("utf-8", "replace").decode().split())[:200]
