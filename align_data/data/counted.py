"""What was counted before batches were added: kept aside while it is brought up to date, for both are needed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from align_data.data.batches import added_since
from align_data.data.layout import Dataset
from align_data.data.meta import CountsMeta, PairsMeta
from align_data.engines.base import Block
from align_data.engines.exchange import SortedRun
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
    parts: Sequence[tuple[str, int]] = ()
    """The parts of the tables of totals, each by its kind and number."""
    rows: Sequence[int] = ()
    """Keys of each of these."""

    def block(self, number: int) -> Iterator[Block]:
        """Yield the totals of one of the parts: of keys that are counted, and that nobody asks for."""
        kind, part = self.parts[number]
        for piece in aside(self.dataset, kind).pieces(part, ["key", "count"]):
            yield (SortedRun(kind, piece["key"].to_numpy(), piece["count"].to_numpy()),)


def aside(dataset: Dataset, kind: str) -> Table[CountsMeta]:
    """Return the table of the totals of before, there only while new ones are made of them."""
    return Table(dataset.store, f"{FOLDER}/{kind}", contract("counts"), CountsMeta)


def counted_before(dataset: Dataset, pairs: Manifest[PairsMeta], kinds: Sequence[str]) -> CountedBefore:
    """Put the totals of kinds aside that only batches are missing from; of any other kind all pairs are counted."""
    since: dict[str, Sequence[str]] = {}
    parts: list[tuple[str, int]] = []
    rows: list[int] = []
    for kind in KINDS:
        if kind not in kinds:
            continue
        kept = aside(dataset, kind)
        if not kept.whole(kept.committed()):
            _put_aside(dataset, pairs, kind)
        manifest = kept.committed()
        new = None if manifest is None else added_since(pairs, manifest.meta.pairs)
        if manifest is not None and new and kept.whole(manifest):
            since[kind] = new
            parts += [(kind, part) for part in range(len(manifest.parts))]
            rows += [part.rows for part in manifest.parts]
    return CountedBefore(dataset, since, parts, rows)


def _put_aside(dataset: Dataset, pairs: Manifest[PairsMeta], kind: str) -> None:
    """Move a table of totals that batches are missing from; what is moved in part counts for nothing."""
    table, kept = dataset.counts(kind), aside(dataset, kind)
    manifest = table.committed()
    kept.remove()
    if (
        manifest is None
        or manifest.changing
        or not table.whole(manifest)
        or not added_since(pairs, manifest.meta.pairs)
    ):
        return
    table.change()
    for part in range(len(manifest.parts)):
        dataset.store.move(table.part_name(part), kept.part_name(part))
    kept.commit(list(manifest.parts), manifest.meta)


def forget(dataset: Dataset) -> None:
    """Remove what was put aside."""
    dataset.store.clear(FOLDER, re.compile(rf"(?:{'|'.join(KINDS)})/(?:{CHUNK.pattern})"))
