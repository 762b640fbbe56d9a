"""What was counted before batches were added: kept aside while it is brought up to date, for both are needed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from align_data.common.hashing import Keys
from align_data.data.batches import added_since
from align_data.data.layout import Dataset
from align_data.data.meta import CountsMeta, PairsMeta
from align_data.engines.base import Before
from align_data.engines.exchange import Counts, bounds
from align_data.storage.contracts import contract
from align_data.storage.tables import CHUNK, Manifest, Table

FOLDER = "_counted"
KINDS = ("ngrams", "texts")
"""The kinds of keys whose totals are kept."""


@dataclass(frozen=True)
class CountedBefore:
    """The totals of some kinds of keys, and the batches that are not in them. It travels to other machines."""

    dataset: Dataset
    since: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Kind → the batches that are still to be counted."""
    most: Mapping[str, int] = field(default_factory=dict)
    """Kind → the greatest total."""
    parts: Mapping[str, int] = field(default_factory=dict)
    """Kind → the parts of its table: equal ranges of the key."""

    @property
    def totals(self) -> Before | None:
        """The totals, as an exchange takes them; None where all is counted anew."""
        return Before(self.most, self._range) if self.since else None

    def _range(self, kind: str, number: int, ranges: int) -> Iterator[tuple[Keys, Counts]]:
        edges = bounds(ranges)
        low = edges[number - 1] if number else None
        high = edges[number] if number < ranges - 1 else None
        parts, table = self.parts[kind], aside(self.dataset, kind)
        for part in range(number * parts // ranges, -(-(number + 1) * parts // ranges)):
            for piece in table.pieces(part, ["key", "count"]):
                keys, counts = piece["key"].to_numpy(), piece["count"].to_numpy()
                start = 0 if low is None else int(np.searchsorted(keys, low))
                stop = len(keys) if high is None else int(np.searchsorted(keys, high))
                if start < stop:
                    yield keys[start:stop], counts[start:stop]


def aside(dataset: Dataset, kind: str) -> Table[CountsMeta]:
    """Return the table of the totals of before, there only while new ones are made of them."""
    return Table(dataset.store, f"{FOLDER}/{kind}", contract("counts"), CountsMeta)


def counted_before(dataset: Dataset, pairs: Manifest[PairsMeta], kinds: Sequence[str]) -> CountedBefore:
    """Put the totals of kinds aside that only batches are missing from; of any other kind all pairs are counted."""
    since: dict[str, Sequence[str]] = {}
    most: dict[str, int] = {}
    parts: dict[str, int] = {}
    for kind in KINDS:
        if kind not in kinds:
            continue
        stored = aside(dataset, kind)
        if not stored.whole(stored.committed()):
            _put_aside(dataset, pairs, kind)
        manifest = stored.committed()
        new = None if manifest is None else added_since(pairs, manifest.meta.pairs)
        if manifest is not None and new and stored.whole(manifest):
            since[kind], parts[kind] = new, len(manifest.parts)
            most[kind] = _greatest(stored, parts[kind])
    return CountedBefore(dataset, since, most, parts)


def _greatest(table: Table[CountsMeta], parts: int) -> int:
    pieces = (piece for part in range(parts) for piece in table.pieces(part, ["count"]))
    return max((int(piece["count"].to_numpy().max(initial=0)) for piece in pieces), default=0)


def _put_aside(dataset: Dataset, pairs: Manifest[PairsMeta], kind: str) -> None:
    """Move a table of totals that batches are missing from; what is moved in part counts for nothing."""
    table, stored = dataset.counts(kind), aside(dataset, kind)
    manifest = table.committed()
    stored.remove()
    if manifest is None or manifest.changing or not table.whole(manifest):
        return
    if not added_since(pairs, manifest.meta.pairs):
        return
    table.change()
    for part in range(len(manifest.parts)):
        dataset.store.move(table.part_name(part), stored.part_name(part))
    stored.commit(list(manifest.parts), manifest.meta)


def forget(dataset: Dataset) -> None:
    """Remove what was put aside."""
    dataset.store.clear(FOLDER, re.compile(rf"(?:{'|'.join(KINDS)})/(?:{CHUNK.pattern})"))
