"""What is looked for in an image, and what is seen: plain values, known to both sides of a child process."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple

from align_data.common.workers.values import WrongValueError, of
from align_data.decoding.nsfw import Choice
from align_data.storage.image_formats import ALL

MAX_PIXELS = 89_478_485
"""What Pillow warns of, and LAION-5B dropped: 256 MB of pixels of three bytes."""

SECONDS = 30.0
MEMORY = 2 * 2**30
MEMORY_REASON = "takes more memory than an image may have"


STATUSES: Mapping[str, str] = {
    "ok": "an image; all of its pixels could be decoded, where that was asked",
    "not_an_image": "begins like no image format that is known here",
    "broken": "a decoder refused it",
    "too_many_pixels": "larger than --max-pixels by its header; not decoded",
    "memory": "decoding it took more memory than a child process has",
    "hung": "decoding it took longer than --image-seconds; a longer time tries these three again",
    "crashed": "decoding it ended the process, twice",
    "unscored": "an image, but the detector could not score it",
}
"""Every status of the table `content` that is not one of fetching, and what it means."""


@dataclass(frozen=True)
class Looks:
    """What to look at."""

    header: bool = True
    """Size, format and hashes of the bytes: no pixel is decoded for them."""
    pixels: bool = True
    """Whether the image can be decoded, and its pHash."""
    nsfw: bool = False


@dataclass(frozen=True)
class ImageLimits:
    """What one image may cost in the process that decodes it."""

    max_pixels: int = MAX_PIXELS
    seconds: float = SECONDS
    memory: int = MEMORY
    """Bytes."""
    formats: tuple[str, ...] = ()
    """Optional ones that count as images."""


class Seen(NamedTuple):
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


_HEX = re.compile(r"[0-9a-f]*")
_REASON = 300
"""Characters of a reason, at most."""


def answered(value: Any, size: int) -> Seen:
    """Return what a child says of an image of `size` bytes; WrongValueError where no image can be so."""
    seen = of(Seen, value)
    sides = [side for side in (seen.width, seen.height) if side is not None]
    texts = (seen.reason or "", seen.format or "")
    right = (
        seen.status in STATUSES
        and (seen.reason is None) == (seen.status == "ok")
        and all(text.isprintable() and len(text) <= _REASON for text in texts)
        and seen.format in (None, *ALL)
        and seen.bytes == size
        and len(sides) != 1
        and all(0 < side < 2**31 for side in sides)
        and _is_digest(seen.sha256, 64)
        and _is_digest(seen.md5, 32)
        and (seen.nsfw is None or 0 <= seen.nsfw <= 1)
    )
    if not right:
        raise WrongValueError("not what can be seen of an image")
    return seen


def _is_digest(text: str | None, length: int) -> bool:
    return text is None or (len(text) == length and _HEX.fullmatch(text) is not None)


def identities(nsfw: Choice | None) -> dict[str, Mapping[str, Any] | None]:
    """Return for each kind of look what decides its values."""
    pillow = version("pillow")
    return {
        "header": {"version": "1", "pillow": pillow},
        "pixels": {"version": "2", "pillow": pillow, "imagehash": version("imagehash")},
        "nsfw": None if nsfw is None else {"version": "1", **nsfw.identity()},
    }
