"""How images are checked, and what tells values that are measured so from others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from align_data.data.columns import check_identities
from align_data.data.layout import Dataset
from align_data.data.ledger import open_ledger
from align_data.data.meta import ContentMeta
from align_data.decoding.decoder import Decoding
from align_data.decoding.inspected import MAX_PIXELS, MEMORY, SECONDS, Check, ImageChecks, ImageLimits, Inspected
from align_data.decoding.nsfw import NsfwModel
from align_data.signals import SIGNALS
from align_data.signals.contracts import STORED

CHUNK = 512
"""Images that are finished together."""
_SOME = "scored before"
"""Which images are scored where others have come since, or have been forgotten, and no detector was given for them."""


@dataclass(frozen=True)
class Sight:
    """How images are checked."""

    nsfw: NsfwModel | None = None
    only_open: str | None = None
    """A ledger: what costs much is measured only on images that it keeps open."""
    max_pixels: int = MAX_PIXELS
    seconds: float = SECONDS
    memory: int = MEMORY
    chunk: int = field(default=CHUNK, repr=False)
    within: Mapping[str, int] = field(default_factory=dict)
    """Signal → up to which distance it looks; of any other as it did before."""


@dataclass(frozen=True)
class ContentRun:
    """What is the same for all parts. It travels to other machines."""

    dataset: Dataset
    sight: Sight
    looks: Mapping[str, Mapping[str, Any] | None]
    """Each check's identity; None for one that is not taken."""
    further: tuple[Check, ...]
    """The checks of one signal each that are taken."""
    nsfw: NsfwModel | None
    """The detector, if scores are to be measured."""
    open: str | None
    """What says which images are open, for nsfw; None for all."""
    children: int
    formats: tuple[str, ...]
    """The optional formats that a fetch was asked to take for images; nothing else of them is there."""
    reduced: bool
    """Whether some images may be stored smaller than fetched, or not at all."""

    def meta(self, images: str) -> ContentMeta:
        """Return what the whole table is made from, by the fingerprint of `images`."""
        return ContentMeta.model_validate(self._origin(images))

    def facts(self, images: str | None) -> dict[str, Any]:
        """Say what a part, or a chunk of it, is made from, by the identity of its part of `images`."""
        return {**self._origin(images), "chunk": self.sight.chunk}

    def _origin(self, images: str | None) -> dict[str, Any]:
        looks = {name: None if identity is None else dict(identity) for name, identity in self.looks.items()}
        origin = {
            "images": images,
            "looks": looks,
            "open": self.open,
            "max_pixels": self.sight.max_pixels,
            "seconds": self.sight.seconds,
        }
        return {**origin, "reduced": True} if self.reduced else origin

    @property
    def columns(self) -> list[str]:
        """The columns of the table: those of what is stored only where it can be something else than was fetched."""
        names = [column.name for column in self.dataset.content.contract.columns]
        return names if self.reduced else [name for name in names if name not in STORED]

    @property
    def decoding(self) -> Decoding:
        """How images are decoded."""
        sight = self.sight
        limits = ImageLimits(sight.max_pixels, sight.seconds, sight.memory, self.formats)
        return Decoding(self.dataset.store, self.nsfw, limits, self.further)

    def checks(self, previous: Inspected, *, is_open: bool) -> ImageChecks:
        """Return the checks that are still to be taken of an image."""
        if previous.decodable is False:
            return ImageChecks(header=previous.sha256 is None, pixels=False)
        further = tuple(check.name for check in self.further if previous.further.get(check.name) is None)
        return ImageChecks(
            header=previous.sha256 is None,
            pixels=self.looks["pixels"] is not None and previous.decodable is None,
            nsfw=self.nsfw is not None and previous.nsfw is None and is_open,
            checks=further,
        )

    def written(self) -> ContentRun:
        """Return what the table says of itself where it is written anew: scores may be missing by then."""
        return replace(self, open=_SOME) if self.nsfw is None and self.looks["nsfw"] is not None else self


def _function(check: str) -> Check | None:
    """Return a check of one signal as the processes that decode images need it; None for any other check."""
    signal = SIGNALS.get(check)
    if signal is None or signal.function is None:
        return None
    function = signal.function
    return Check(signal.name, f"{function.__module__}:{function.__qualname__}", signal.type)


def every_check(sight: Sight) -> set[str]:
    """Return the checks that `measure` takes where it is not told which."""
    able = {signal.check for signal in SIGNALS.values() if signal.check is not None and signal.missing() is None}
    return able if sight.nsfw is not None else able - {"nsfw"}


def planned(
    dataset: Dataset, names: Iterable[str], sight: Sight, children: int, formats: Iterable[str], *, reduced: bool
) -> ContentRun:
    """Return how the wanted checks are taken; one that nobody asks for now stays as it was."""
    before = dataset.content.committed()
    # What nearly every image signal is compared or joined by: the header costs nothing beside the rest.
    requested = {"header", *names}
    ledger = open_ledger(dataset, sight.only_open).facts.ledger if sight.only_open else None
    today = check_identities(sight.nsfw)
    stored = before.meta.looks if before is not None else {}
    looks = {name: today[name] if name in requested and today[name] is not None else stored.get(name) for name in today}
    nsfw = sight.nsfw if "nsfw" in requested else None
    opened = ledger if nsfw is not None else before.meta.open if before is not None else None
    further = [check for name, of in looks.items() if of is not None and (check := _function(name)) is not None]
    return ContentRun(dataset, sight, looks, tuple(further), nsfw, opened, children, tuple(formats), reduced)
