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
from align_data.decoding.detectors.detector import Detector
from align_data.decoding.detectors.nsfw import NsfwModel
from align_data.decoding.inspected import MAX_PIXELS, MEMORY, SECONDS, Check, ImageChecks, ImageLimits, Inspected
from align_data.signals import SIGNALS, checks
from align_data.signals.base import CHOSEN, DETECTORS
from align_data.signals.contracts import STORED

CHUNK = 512
"""Images that are finished together."""
_SOME = "scored before"
"""Which images are scored where others have come since, or have been forgotten, and no detector was given for them."""


@dataclass(frozen=True)
class Sight:
    """How images are checked."""

    nsfw: NsfwModel | None = None
    detectors: tuple[Detector, ...] = ()
    """Models of further checks."""
    texture: bool = False
    """Whether blur, entropy and border are measured."""
    only_open: str | None = None
    """A ledger: what costs much is measured only on images that it keeps open."""
    max_pixels: int = MAX_PIXELS
    seconds: float = SECONDS
    memory: int = MEMORY
    chunk: int = field(default=CHUNK, repr=False)
    within: Mapping[str, int] = field(default_factory=dict)
    """Signal → up to which distance it looks; of any other as it did before."""

    @property
    def chosen(self) -> frozenset[str]:
        """The checks that are taken only where the user chooses them, and that this sight has."""
        chosen = {"nsfw": self.nsfw is not None, "texture": self.texture}
        return frozenset({*(name for name, has in chosen.items() if has), *(model.name for model in self.detectors)})


@dataclass(frozen=True)
class ContentRun:
    """What is the same for all parts. It travels to other machines."""

    dataset: Dataset
    sight: Sight
    looks: Mapping[str, Mapping[str, Any] | None]
    """Each check's identity; None for one that is not taken."""
    further: tuple[Check, ...]
    """The further checks that are taken."""
    nsfw: NsfwModel | None
    """The detector, if scores are to be measured."""
    open: str | None
    """What says which images are open, for nsfw; None for all."""
    opens: Mapping[str, str]
    """The same for each further detector whose values are stored or to be measured; without one, for all."""
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
        looks = {name: None if of is None else dict(of) for name, of in self.looks.items() if not self._unchosen(name)}
        origin = {
            "images": images,
            "looks": looks,
            "open": self.open,
            "max_pixels": self.sight.max_pixels,
            "seconds": self.sight.seconds,
            **({"opens": dict(self.opens)} if self.opens else {}),
        }
        return {**origin, "reduced": True} if self.reduced else origin

    @property
    def columns(self) -> list[str]:
        """The columns of the table: those of what is stored only where it can be something else than was fetched.

        Those of checks that are taken where the user chooses them only where that was so.
        """
        left_out = {signal.name for name, of in checks().items() if self._unchosen(name) for signal in of}
        left_out |= set() if self.reduced else set(STORED)
        names = [column.name for column in self.dataset.content.contract.columns]
        return [name for name in names if name not in left_out]

    @property
    def further_columns(self) -> list[str]:
        """The columns of further checks that the table has, whoever took them."""
        others = {signal.name for name in ("header", "pixels", "nsfw") for signal in checks()[name]}
        further = {signal.name for signals in checks().values() for signal in signals} - others
        return [name for name in self.columns if name in further]

    def _unchosen(self, check: str) -> bool:
        """Tell whether a check was never taken of this dataset, and is one that not every dataset has."""
        return check in CHOSEN and check != "nsfw" and self.looks.get(check) is None

    @property
    def decoding(self) -> Decoding:
        """How images are decoded."""
        sight = self.sight
        limits = ImageLimits(sight.max_pixels, sight.seconds, sight.memory, self.formats)
        taken = {check.name for check in self.further}
        detectors = tuple(detector for detector in sight.detectors if detector.name in taken)
        return Decoding(self.dataset.store, self.nsfw, limits, self.further, detectors)

    @property
    def only_open(self) -> bool:
        """Whether something is measured of open images alone."""
        costly = {check.name for check in self.further if check.costly}
        return self.sight.only_open is not None and (self.nsfw is not None or bool(costly))

    def checks(self, previous: Inspected, *, is_open: bool) -> ImageChecks:
        """Return the checks that are still to be taken of an image."""
        if previous.decodable is False:
            return ImageChecks(header=previous.sha256 is None, pixels=False)
        absent = [c for c in self.further if all(previous.further.get(column) is None for column in c.columns)]
        looks = ImageChecks(
            header=previous.sha256 is None,
            pixels=self.looks["pixels"] is not None and previous.decodable is None,
            nsfw=self.nsfw is not None and previous.nsfw is None,
            checks=tuple(check.name for check in absent),
        )
        return looks if is_open else looks.of_any(self.further)

    def written(self) -> ContentRun:
        """Return what the table says of itself where it is written anew: scores may be missing by then."""
        measured = {check.name for check in self.further}
        left = [name for name in DETECTORS if self.looks.get(name) is not None and name not in measured]
        run = replace(self, opens={**self.opens, **dict.fromkeys(left, _SOME)})
        return replace(run, open=_SOME) if self.nsfw is None and self.looks["nsfw"] is not None else run


def _further(name: str, sight: Sight) -> Check | None:
    """Return a further check as the processes that decode images need it; None for any other, or without its model."""
    signals = checks().get(name, [])
    function = signals[0].function if signals else None
    columns = {signal.name: str(signal.type) for signal in signals}
    if function is not None:
        return Check(name, f"{function.__module__}:{function.__qualname__}", columns)
    return Check(name, "", columns, costly=True) if any(model.name == name for model in sight.detectors) else None


def every_check(sight: Sight) -> set[str]:
    """Return the checks that `measure` takes where it is not told which."""
    able = {signal.check for signal in SIGNALS.values() if signal.check is not None and signal.missing() is None}
    return able - set(CHOSEN) | sight.chosen


def planned(
    dataset: Dataset, names: Iterable[str], sight: Sight, children: int, formats: Iterable[str], *, reduced: bool
) -> ContentRun:
    """Return how the wanted checks are taken; one that nobody asks for now stays as it was."""
    before = dataset.content.committed()
    # What nearly every image signal is compared or joined by: the header costs nothing beside the rest.
    requested = {"header", *names}
    ledger = open_ledger(dataset, sight.only_open).facts.ledger if sight.only_open else None
    today = check_identities(sight.nsfw, sight.detectors)
    stored = before.meta.looks if before is not None else {}
    looks = {name: today[name] if name in requested and today[name] is not None else stored.get(name) for name in today}
    nsfw = sight.nsfw if "nsfw" in requested else None
    opened = ledger if nsfw is not None else before.meta.open if before is not None else None
    further = [check for name, of in looks.items() if of is not None and (check := _further(name, sight)) is not None]
    opens = dict(before.meta.opens) if before is not None else {}
    for check in further:
        if check.costly:
            opens = {**opens, check.name: ledger} if ledger else {k: v for k, v in opens.items() if k != check.name}
    return ContentRun(dataset, sight, looks, tuple(further), nsfw, opened, opens, children, tuple(formats), reduced)
