"""Near-duplicates as people look at them: the largest groups, and pairs by how near they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

LISTED = 500
"""Images of a group whose uids are kept: an address has room for as many."""
GROUPS, MEMBERS, PAIRS = 8, 7, 3
"""Groups that are shown, images of each beside its centre, and pairs of each kind."""
CANDIDATES = 4096
"""Images of all parts together, about, that may be the centre of a group which is shown."""
_LEAST = 64
"""And of each part at least."""


def candidates_of_part(parts: int) -> int:
    """Return how many images of each of so many parts may be a centre."""
    return max(_LEAST, CANDIDATES // max(1, parts))


@dataclass(frozen=True, order=True)
class NearImage:
    """An image that is shown, by its first pair."""

    part: int
    url: str
    uid: str
    alt_text: str
    width: int | None = None
    height: int | None = None
    nsfw: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {"uid": self.uid, "url": self.url, "width": self.width, "height": self.height}


@dataclass(frozen=True)
class NearGroup:
    """An image and what is near it, or near to what is: two of its images need not be near each other."""

    images: int
    """The centre, and all that is near it."""
    centre: NearImage
    members: Sequence[tuple[float, NearImage]]
    """The farthest of them, each with its distance or cosine: of embeddings to its nearest earlier image."""
    others: Sequence[str]
    """The uids of all of them, or of LISTED where there are more."""

    @property
    def uids(self) -> list[str]:
        """The first pairs of all its images; none where there are more than are listed."""
        return [self.centre.uid, *self.others] if len(self.others) + 1 == self.images else []

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        members = [{"value": value, **image.to_json()} for value, image in self.members]
        return {"images": self.images, "centre": self.centre.to_json(), "members": members}


@dataclass(frozen=True)
class NearPair:
    """Two images, and how near they are."""

    value: float
    """Their distance or cosine."""
    first: NearImage
    second: NearImage

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {"value": self.value, "images": [self.first.to_json(), self.second.to_json()]}


@dataclass(frozen=True)
class KeepOne:
    """What keeping the first of near-duplicates drops at a threshold."""

    threshold: float
    images: int


@dataclass(frozen=True)
class NearMethod:
    """Near-duplicates as one method sees them."""

    title: str
    signal: str
    """Of how near the nearest earlier image is."""
    unit: str
    threshold: float
    images: int
    """That it can compare."""
    keep_one: Sequence[KeepOne]
    """From the strictest threshold to the loosest."""
    groups: Sequence[NearGroup]
    pairs: Sequence[tuple[str, Sequence[NearPair]]]
    """By what they have in common, such as their distance."""
    notes: Sequence[str] = field(default_factory=tuple)
    """Recall and calibration, as sentences."""

    @property
    def dropped(self) -> int:
        """Images that keep-one drops at the threshold."""
        return next((entry.images for entry in self.keep_one if entry.threshold == self.threshold), 0)

    def pictured(self) -> Iterator[NearImage]:
        """Yield the images that are shown."""
        for group in self.groups:
            yield group.centre
            yield from (image for _, image in group.members)
        for _, pairs in self.pairs:
            for pair in pairs:
                yield from (pair.first, pair.second)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "method": self.title,
            "signal": self.signal,
            "threshold": self.threshold,
            "images": self.images,
            "dropped": self.dropped,
            "keep_one": [{"threshold": entry.threshold, "dropped": entry.images} for entry in self.keep_one],
            "groups": [group.to_json() for group in self.groups],
            "pairs": {kind: [pair.to_json() for pair in pairs] for kind, pairs in self.pairs},
            "notes": list(self.notes),
        }
