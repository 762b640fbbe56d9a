"""What became of the images: failures of fetching by reason and host, and declared sizes against measured ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from align_data.data.layout import Dataset
from align_data.fetching.outcome import NOT_KEPT
from align_data.signals.text import HOST

TOP = 20
HELD = 20_000
"""Hosts with failures that a part hands on."""
_NO_FAILURE = ("ok", NOT_KEPT, "untried")
SIDES = ("declared_width", "declared_height", "width", "height")


@dataclass(frozen=True)
class PartStatuses:
    """What one part's URLs came to."""

    statuses: Mapping[str, int] = field(default_factory=dict)
    hosts: Mapping[str, Counter[str]] = field(default_factory=dict)
    """Host → its failures by status."""
    error: int = 0
    """Failures that a host may have beyond its count, at most."""


def statuses(dataset: Dataset, part: int) -> PartStatuses:
    """Count one part of `images`."""
    total: Counter[str] = Counter()
    hosts: dict[str, Counter[str]] = {}
    for piece in dataset.images.pieces(part, ["url", "status"]):
        total.update(dict(piece.group_by("status").len().iter_rows()))
        failed = piece.filter(~pl.col("status").is_in(_NO_FAILURE))
        host = pl.col("url").str.extract(HOST, 1).str.to_lowercase().fill_null("")
        for name, status, number in failed.group_by(host.alias("host"), "status").len().iter_rows():
            hosts.setdefault(name, Counter())[status] += number
    ranked = sorted(hosts, key=lambda name: (-hosts[name].total(), name)) if len(hosts) > HELD else list(hosts)
    error = hosts[ranked[HELD]].total() if len(hosts) > HELD else 0
    return PartStatuses(total, {name: hosts[name] for name in ranked[:HELD]}, error)


@dataclass(frozen=True)
class FailingHost:
    """A host, and how often fetching from it failed."""

    host: str
    failures: int
    reasons: dict[str, int]


@dataclass(frozen=True)
class FetchOutcomes:
    """What the URLs came to."""

    urls: int
    statuses: dict[str, int]
    """Most frequent first."""
    hosts: list[FailingHost]
    error: int

    @property
    def failures(self) -> int:
        """URLs that were requested without success."""
        return self.urls - sum(self.statuses.get(status, 0) for status in _NO_FAILURE)


def fetch_outcomes(parts: Sequence[PartStatuses]) -> FetchOutcomes:
    """Add up the parts."""
    total: Counter[str] = Counter()
    reasons: dict[str, Counter[str]] = {}
    for part in parts:
        total.update(part.statuses)
        for host, failures in part.hosts.items():
            reasons.setdefault(host, Counter()).update(failures)
    worst = sorted(reasons.items(), key=lambda entry: (-entry[1].total(), entry[0]))[:TOP]
    hosts = [FailingHost(host, failures.total(), dict(_ranked(failures))) for host, failures in worst]
    return FetchOutcomes(total.total(), dict(_ranked(total)), hosts, sum(part.error for part in parts))


def _ranked(counts: Counter[str]) -> Iterable[tuple[str, int]]:
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))


AGREEMENT = {
    "equal": "declared as measured",
    "turned": "declared with width and height swapped",
    "smaller": "the image is smaller than declared",
    "larger": "the image is larger than declared",
    "other": "one side is smaller, the other larger",
    "declared": "only declared: the image is not measured",
    "measured": "only measured: the list declares no size",
    "neither": "neither declared nor measured",
}


def agreement(sides: Mapping[str, pl.Series], number: int) -> dict[str, int]:
    """Count how declared and measured sizes of `number` pairs agree; a side that is absent is nobody's."""
    absent = pl.Series([None], dtype=pl.Int32).new_from_index(0, number)
    dw, dh, w, h = (sides.get(name, absent) for name in SIDES)
    declared, measured = dw.is_not_null() & dh.is_not_null(), w.is_not_null() & h.is_not_null()
    comparable = declared & measured
    both, any_declared, any_measured = (int(which.sum()) for which in (comparable, declared, measured))
    counts = {
        "declared": any_declared - both,
        "measured": any_measured - both,
        "neither": number - any_declared - any_measured + both,
    }
    if not both:
        return counts
    dw, dh, w, h = (side.filter(comparable) for side in (dw, dh, w, h))
    remaining = pl.Series([True]).new_from_index(0, both)
    for kind, agrees in (
        ("equal", (dw == w) & (dh == h)),
        ("turned", (dw == h) & (dh == w)),
        ("smaller", (w <= dw) & (h <= dh)),
        ("larger", (w >= dw) & (h >= dh)),
    ):
        counts[kind] = int((remaining & agrees).sum())
        remaining &= ~agrees
    return {**counts, "other": int(remaining.sum())}
