"""What is looked for in an image, and what is seen: plain values, known to both sides of a child process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple

from align_data.decoding.nsfw import Choice

MAX_PIXELS = 89_478_485
"""What Pillow warns of, and LAION-5B dropped: 256 MB of pixels of three bytes."""


STATUSES: Mapping[str, str] = {
    "ok": "an image; all of its pixels could be decoded, where that was asked",
    "not_an_image": "begins like no image format that is known here",
    "broken": "a decoder refused it",
    "too_many_pixels": "larger than --max-pixels by its header; not decoded",
    "memory": "decoding it took more memory than a child process has",
    "hung": "decoding it took longer than --image-seconds, twice; a longer time tries these three again",
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


def identities(nsfw: Choice | None) -> dict[str, Mapping[str, Any] | None]:
    """Return for each kind of look what decides its values."""
    pillow = version("pillow")
    return {
        "header": {"version": "1", "pillow": pillow},
        "pixels": {"version": "1", "pillow": pillow, "imagehash": version("imagehash")},
        "nsfw": None if nsfw is None else {"version": "1", **nsfw.identity()},
    }
