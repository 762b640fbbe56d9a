"""Measuring an image's bytes. Runs in a child process, as the bytes may be hostile."""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from align_data.decoding.detectors.nsfw import Scorer
from align_data.decoding.inspected import MAX_PIXELS, MEMORY_REASON, ImageChecks, Inspected
from align_data.decoding.opening import PARSERS, TURNS, eight_bits, error_text, loaded, orientation, upright_size
from align_data.decoding.phash import phash
from align_data.decoding.repair import repaired
from align_data.storage.image_formats import HEAD, sniff

_LONGEST = 2**31 - 1
"""Maximum pixels of a side: the table holds no more, and no format needs more."""
Further = Callable[[Image.Image], Mapping[str, Any]]
"""A further check: an image, upright and in RGB, to the values of its columns."""

Decoded = Callable[[Image.Image, int], None]
"""Takes a JPEG once its pixels are decoded, and how it has to be turned, and raises nothing."""


@dataclass(frozen=True)
class _Tools:
    """What images are inspected with."""

    looks: ImageChecks
    max_pixels: int
    scorer: Scorer | None
    further: Mapping[str, Further]
    decoded: Decoded | None = None


def inspect(
    content: bytes,
    looks: ImageChecks,
    max_pixels: int,
    scorer: Scorer | None = None,
    formats: Container[str] = (),
    further: Mapping[str, Further] = {},
    decoded: Decoded | None = None,
) -> Inspected:
    """Measure an image; missing values are None, and `status` says why. Raises nothing."""
    tools = _Tools(looks, max_pixels, scorer, further, decoded)
    inspected = Inspected("ok", bytes=len(content), format=sniff(content[:HEAD], formats))
    if looks.header:
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        inspected = inspected._replace(sha256=hashlib.sha256(content).hexdigest(), md5=md5)
    if inspected.format is None:
        return _unusable(inspected, "not_an_image", "does not begin like any image format")
    partial, error = _opened(inspected, content, tools)
    if error is None:
        return partial
    better = repaired(content, inspected.format)
    if better is not None:
        again, still = _opened(inspected, better, replace(tools, decoded=None))
        if still is None:
            return again
    memory = isinstance(error, MemoryError) or "out of memory" in str(error).lower()
    return _unusable(partial, "memory", MEMORY_REASON) if memory else _unusable(partial, "broken", error_text(error))


def _opened(inspected: Inspected, content: bytes, tools: _Tools) -> tuple[Inspected, Exception | None]:
    """Put in what Pillow tells of an image; and return the error that came on the way, if one did."""
    assert inspected.format is not None
    canvas = _canvas(content) if inspected.format == "webp" else (0, 0)
    if math.prod(canvas) > max(tools.max_pixels, MAX_PIXELS):
        return _sized(inspected, canvas, tools.max_pixels), None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata that is odd
            with Image.open(io.BytesIO(content), formats=[PARSERS[inspected.format]]) as image:
                turn = orientation(image, content)
                inspected = _sized(inspected, upright_size(image, turn), tools.max_pixels)
                if inspected.decodable is None and tools.looks.decodes:
                    inspected = _decoded(inspected, image, turn, tools)
    except Exception as error:
        return inspected, error
    return inspected, None


def _unusable(inspected: Inspected, status: str, reason: str) -> Inspected:
    return inspected._replace(status=status, reason=reason, decodable=False)


def _sized(inspected: Inspected, size: tuple[int, int], max_pixels: int) -> Inspected:
    """Put in the upright image's width and height."""
    width, height = size
    if not 0 < min(size) <= max(size) <= _LONGEST:
        return _unusable(inspected, "broken", f"{width:,} x {height:,} pixels is not a valid size")
    inspected = inspected._replace(width=width, height=height)
    if width * height > max_pixels:
        return _unusable(inspected, "too_many_pixels", f"{width:,} x {height:,} pixels")
    return inspected


def _decoded(inspected: Inspected, image: Image.Image, turn: int, tools: _Tools) -> Inspected:
    """Put in what needs all pixels."""
    looks = tools.looks
    turns = turn in TURNS and not isinstance(image, TiffImageFile)  # Pillow turns these as they are loaded
    picture = loaded(image)
    if tools.decoded is not None and inspected.format == "jpeg":
        tools.decoded(image, turn)
    upright = eight_bits(picture.transpose(TURNS[turn]) if turns else picture)
    inspected = inspected._replace(decodable=True, phash=phash(upright) if looks.pixels else None)
    if tools.scorer is not None and looks.nsfw:
        try:
            inspected = inspected._replace(nsfw=tools.scorer.score(upright.convert("RGB")))
        except Exception as error:
            inspected = unscored(inspected, error_text(error))
    return _further(inspected, upright, tools) if looks.checks else inspected


def _further(inspected: Inspected, upright: Image.Image, tools: _Tools) -> Inspected:
    """Put in the values of further checks."""
    rgb = upright if upright.mode == "RGB" else upright.convert("RGB")
    for name in tools.looks.checks:
        try:
            values = tools.further[name](rgb)
        except Exception as error:
            inspected = unscored(inspected, error_text(error), name)
        else:
            inspected = inspected._replace(further={**inspected.further, **values})
    return inspected


def unscored(inspected: Inspected, why: str, check: str = "score") -> Inspected:
    """Return the values of a sound image that a detector or another check could not score."""
    return inspected._replace(status="unscored", reason=f"no {check}: {why}")


def _canvas(content: bytes) -> tuple[int, int]:
    """Return the size of a WebP as its header says it, nothing being turned; 0 x 0 where it says none.

    Only to open one, Pillow takes the memory for all of its pixels twice.
    """
    kind, body = content[12:16], content[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return 0, 0
