"""What a comparison tells, as values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from align_data.common.secrets import mask_url


@dataclass(frozen=True)
class SideTotals:
    """What one side has by itself."""

    dataset: str
    batch: str | None
    pairs: int
    taken_down: int
    """Pairs that were taken down: they are in no other count."""
    urls: int
    asked: int
    """URLs that a fetch has asked for."""
    alive: int
    """Of them those that gave an image."""
    outcomes: dict[str, int] | None
    """Pairs by what the ledger makes of them; None without one."""
    fetched: list[str]
    """When the log says that images were fetched: the first and the last time, in UTC; none where it does not."""
    merged: int | None
    """Rows of the batch that repeat each other or pairs that were there already; None of a whole dataset."""

    @property
    def name(self) -> str:
        """What a reader calls it."""
        return mask_url(self.dataset) if self.batch is None else f"batch {self.batch}"

    @property
    def sentence(self) -> str:
        """What it has, as a sentence."""
        words = [f"{self.name}: {self.pairs:,} pairs, {self.urls:,} URLs"]
        if self.asked:
            day = f", last on {self.fetched[-1][:10]}" if self.fetched else ""
            words.append(f"{self.asked:,} URLs asked for{day}, {self.alive:,} alive")
        if self.merged is not None:
            words.append(f"{self.merged:,} rows of the batch merged, with pairs that were there or with each other")
        if self.taken_down:
            words.append(f"{self.taken_down:,} pairs taken down")
        if self.outcomes is not None:
            words.append(", ".join(f"{number:,} {name}" for name, number in self.outcomes.items()))
        return "; ".join(words)


@dataclass(frozen=True)
class ValueCounts:
    """The pairs of one value of a signal, such as one host."""

    value: str | None
    """None where it is not measured."""
    both: int
    only_a: int
    only_b: int
    same: int
    """Pairs in both whose image has the same bytes."""
    other: int
    """Pairs in both whose image has other bytes."""
    gone: int
    """Pairs in both whose image was alive in A, and is not in B."""
    changed: int
    """Pairs in both that the two ledgers decide otherwise."""


@dataclass(frozen=True)
class ByValue:
    """The values of a signal, those with the most pairs first."""

    values: list[ValueCounts]
    further: int
    """How many values are not listed, of those that were counted by themselves."""
    further_pairs: int
    """Pairs of all that are not listed."""
    error: int = 0
    """By how many pairs a listed value can have more than it says, at most."""


@dataclass(frozen=True)
class StillAlive:
    """URLs that were alive in A and that B has asked for, and how many of them still gave an image."""

    of: str | None
    """A host, or a batch of A."""
    urls: int
    still: int
    added: str | None = None
    """When the batch was added, in UTC."""


@dataclass(frozen=True)
class LinkRot:
    """What of A's URLs is still alive in B."""

    urls: int
    still: int
    days: float | None
    """Between the last fetch of A and the last of B, where both logs tell."""
    by_host: list[StillAlive]
    by_batch: list[StillAlive]
    """By the batch of A that the URL came with first; none where A has one batch."""


@dataclass(frozen=True)
class ListedUids:
    """Where the uids of the pairs in both were written."""

    folder: str
    uids: int
    same_images: bool


@dataclass(frozen=True)
class DatasetComparison:
    """What two sides have in common; counts are exact but where `error` says otherwise."""

    a: SideTotals
    b: SideTotals
    pairs: dict[str, int]
    """both, only_a, only_b."""
    urls: dict[str, int]
    """both, only_a, only_b, and other_texts: those in both whose texts are not the same."""
    images: dict[str, int] | None
    """URLs in both that both have asked for, by what became of the image; None where none can be compared."""
    gone: dict[str, int]
    """B's status → URLs that were alive in A and are not in B."""
    came: dict[str, int]
    """A's status → URLs that were not alive in A and are in B."""
    verdicts: list[list[int]] | None
    """Pairs in both by what A's ledger makes of them, a row each of kept, pending and dropped, and B's."""
    by: dict[str, ByValue]
    rot: LinkRot | None
    exported: ListedUids | None = None
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        data = asdict(self)
        for side in (data["a"], data["b"]):
            side["dataset"] = mask_url(side["dataset"])
        return data
