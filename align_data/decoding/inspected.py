"""The checks of an image and their values: plain values that both sides of a child process know."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, Literal, NamedTuple

from align_data.common.workers.values import WrongValueError, of
from align_data.decoding.detectors.nsfw import NsfwModel
from align_data.storage.image_formats import ALL, HEAD, sniff

MAX_PIXELS = 89_478_485
"""What Pillow warns of, and LAION-5B dropped: 256 MB of pixels of three bytes."""

SECONDS = 30.0
MEMORY = 2 * 2**30
MEMORY_REASON = "takes more memory than an image may have"


MAX_SMALLER = 2**25
"""Bytes of an image made smaller, at most: one that would have more is stored as it was fetched."""


STATUSES: Mapping[str, str] = {
    "ok": "an image; all of its pixels could be decoded, where that was asked",
    "not_an_image": "does not begin like any image format that is known here",
    "broken": "a decoder refused it",
    "too_many_pixels": "larger than --max-pixels by its header; not decoded",
    "memory": "decoding it took more memory than a child process has",
    "hung": "decoding it took longer than --image-seconds; a longer time tries these three again",
    "crashed": "decoding it ended the process, twice",
    "unscored": "an image, but the detector could not score it, or another check failed",
}
"""Every status of the table `content` that is not one of fetching, and what it means."""


@dataclass(frozen=True)
class ImageChecks:
    """What to look at."""

    header: bool = True
    """Size, format and hashes of the bytes: no pixel is decoded for them."""
    pixels: bool = True
    """Whether the image can be decoded, and its pHash."""
    nsfw: bool = False
    checks: tuple[str, ...] = ()
    """Further checks, by name."""

    def of_any(self, further: Iterable[Check]) -> ImageChecks:
        """Return those that are taken of every image, not of open ones alone; `further` says which checks there are."""
        costly = {check.name for check in further if check.costly}
        return replace(self, nsfw=False, checks=tuple(name for name in self.checks if name not in costly))

    @property
    def decodes(self) -> bool:
        """Whether all pixels are needed."""
        return self.pixels or self.nsfw or bool(self.checks)


@dataclass(frozen=True)
class Check:
    """A further check, and where the function that computes its values is."""

    name: str
    function: str
    """'module:function'; empty for a detector, which brings its own."""
    columns: Mapping[str, str]
    """The columns that it measures, and the type of each as in a contract."""
    costly: bool = False
    """Whether it may be taken of open images alone."""


@dataclass(frozen=True)
class ImageLimits:
    """What one image may cost in the process that decodes it."""

    max_pixels: int = MAX_PIXELS
    seconds: float = SECONDS
    memory: int = MEMORY
    """Bytes."""
    formats: tuple[str, ...] = ()
    """Optional ones that count as images."""


@dataclass(frozen=True)
class Smaller:
    """What is stored in place of an image whose shorter side is longer."""

    size: int
    """Pixels of its shorter side."""
    format: Literal["jpeg", "webp"] = "jpeg"
    quality: int = 95
    resampling: Literal["bicubic", "area"] = "bicubic"

    def replaces(self, inspected: Inspected) -> bool:
        """Tell whether an image is larger, and can be decoded."""
        width, height = inspected.width, inspected.height
        return bool(inspected.decodable and width and height and min(width, height) > self.size)


class SmallerImage(NamedTuple):
    """An image made smaller."""

    content: bytes
    format: str
    width: int
    height: int


class StoredFacts(NamedTuple):
    """What the table `content` has of what is stored in place of an image."""

    format: str
    width: int
    height: int
    sha256: str

    @property
    def columns(self) -> dict[str, Any]:
        """All values by column."""
        return {f"stored_{name}": value for name, value in self._asdict().items()}

    @property
    def plausible(self) -> bool:
        """Whether an image can be so."""
        sides = (self.width, self.height)
        return self.format in ALL and all(0 < side < 2**31 for side in sides) and _is_digest(self.sha256, 64)


class Inspected(NamedTuple):
    """What the table `content` has of an image that was looked at."""

    status: str
    reason: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    format: str | None = None
    sha256: str | None = None
    md5: str | None = None
    decodable: bool | None = None
    phash: int | None = None
    nsfw: float | None = None
    further: Mapping[str, int | float | str | bool | None] = {}
    """Column of a further check → its value."""

    @property
    def columns(self) -> dict[str, Any]:
        """All values by column, but for those of checks that were not taken."""
        values = self._asdict()
        return {**values, **values.pop("further")}


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "bool": lambda value: type(value) is bool,
    "int32": lambda value: type(value) is int and -(2**31) <= value < 2**31,
    "int64": lambda value: type(value) is int,
    "float64": lambda value: type(value) is float and math.isfinite(value),
    "string": lambda value: type(value) is str and value.isprintable() and len(value) <= MAX_TEXT,
}
"""What a value of a further check can be, by its type."""
_HEX = re.compile(r"[0-9a-f]*")
MAX_TEXT = 4000
"""Characters of a text that a further check gives, at most."""
_REASON = 300
"""Characters of a reason, at most."""


def fits(value: Any, type_: str) -> bool:
    """Tell whether a value is one of a further check of this type."""
    return value is None or _TYPES[type_](value)


def columns_of(checks: Iterable[Check], names: Container[str] | None = None) -> dict[str, str]:
    """Return the columns of checks, of those of these names alone if any are named, and their types."""
    return {
        column: type_
        for check in checks
        if names is None or check.name in names
        for column, type_ in check.columns.items()
    }


def answered(value: Any, size: int, types: Mapping[str, str] = {}) -> Inspected:
    """Return what a child says of an image of `size` bytes, whose further checks are of these types.

    Raises WrongValueError where no image can be so.
    """
    inspected = of(Inspected, value)
    if not is_plausible(inspected, size, types):
        raise WrongValueError("not what can be seen of an image")
    return inspected


def is_plausible(inspected: Inspected, size: int | None, types: Mapping[str, str]) -> bool:
    """Tell whether an image of `size` bytes can be so; further checks are of these types."""
    sides = [side for side in (inspected.width, inspected.height) if side is not None]
    texts = (inspected.reason or "", inspected.format or "")
    return (
        inspected.status in STATUSES
        and (inspected.reason is None) == (inspected.status == "ok")
        and all(text.isprintable() and len(text) <= _REASON for text in texts)
        and inspected.format in (None, *ALL)
        and inspected.bytes == size
        and len(sides) != 1
        and all(0 < side < 2**31 for side in sides)
        and _is_digest(inspected.sha256, 64)
        and _is_digest(inspected.md5, 32)
        and (inspected.nsfw is None or 0 <= inspected.nsfw <= 1)
        and inspected.further.keys() <= types.keys()
        and all(fits(value, types[name]) for name, value in inspected.further.items())
    )


def made_smaller(value: Any, smaller: Smaller, original: Inspected) -> SmallerImage | None:
    """Return what a child has made of an image, None where it could not; WrongValueError where it is nothing such."""
    if value is None:
        return None
    image = of(SmallerImage, value)
    original_sides = (original.width or 0, original.height or 0)
    plausible = (
        image.format == smaller.format == sniff(image.content[:HEAD])
        and min(image.width, image.height) == smaller.size
        and all(side <= whole for side, whole in zip((image.width, image.height), original_sides, strict=True))
        and len(image.content) <= MAX_SMALLER
    )
    if not plausible:
        raise WrongValueError("not the image made smaller")
    return image


def _is_digest(text: str | None, length: int) -> bool:
    return text is None or (len(text) == length and _HEX.fullmatch(text) is not None)


def identities(
    nsfw: NsfwModel | None,
    further: Mapping[str, Mapping[str, Any]],
    detectors: Mapping[str, Mapping[str, Any] | None] = {},
) -> dict[str, Mapping[str, Any] | None]:
    """Return for each check what decides its values; of `further` ones beside what each says of itself.

    None for a detector that nobody chose.
    """
    pillow = version("pillow")
    return {
        "header": {"version": "1", "pillow": pillow},
        "pixels": {"version": "2", "pillow": pillow, "imagehash": version("imagehash")},
        "nsfw": None if nsfw is None else {"version": "1", **nsfw.identity()},
        **{name: {**identity, "pillow": pillow} for name, identity in further.items()},
        **{name: None if of is None else {**of, "pillow": pillow} for name, of in detectors.items()},
    }
