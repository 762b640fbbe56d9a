"""The two sides of a comparison, and the ranges of the URL's key in which each has one part."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from itertools import pairwise

from align_data.common.errors import DatasetError
from align_data.data.batches import batches_of, check_batch
from align_data.data.layout import Dataset
from align_data.data.meta import BatchMeta

SLICE = 100_000
"""Rows of a side that are joined at once, about."""


@dataclass(frozen=True)
class ComparedSide:
    """A dataset, or the pairs that were first in one batch of it. It travels to other machines."""

    dataset: Dataset
    batch: str | None = None
    """None for all of its pairs."""
    ledger: str | None = None
    """The ledger whose verdicts are compared."""

    @property
    def url(self) -> str:
        """Where the dataset is."""
        return self.dataset.store.url


@dataclass(frozen=True)
class KeyRange:
    """A range of the URL's key, which lies in one part of each side."""

    begin: str
    """16 hex characters; uids from here on, up to and without those from `end` on."""
    end: str | None
    part_a: int
    part_b: int
    rows: int
    """About as many as A has here, for the progress."""
    cuts: tuple[str, ...] = ()
    """Keys inside the range at which its rows are parted, so that few are in memory at once."""


def side_of_batch(dataset: Dataset, batch: str, ledger: str | None = None) -> ComparedSide:
    """Return a batch of a dataset as a side; DatasetError names the batches that there are."""
    check_batch(dataset, batch)
    if len(batches_of(dataset, dataset.ingested())) == 1:
        raise DatasetError(
            f"{dataset.store.url} has one batch; add another: align-data add {shlex.quote(dataset.store.url)} LIST"
        )
    return ComparedSide(dataset, batch, ledger)


def batch_meta(side: ComparedSide) -> BatchMeta | None:
    """Return what the dataset says of a side's batch; None for a side that is a whole dataset."""
    batches = batches_of(side.dataset, side.dataset.ingested())
    return next((each for each in batches if each.name == side.batch), None)


def check_sides(a: ComparedSide, b: ComparedSide) -> None:
    """Raise DatasetError where both sides are the same."""
    if (_place(a.dataset), a.batch) != (_place(b.dataset), b.batch):
        return
    if a.batch is not None:
        raise DatasetError(f"both are the batch {a.batch}: name two batches")
    raise DatasetError(
        f"both are {a.url}: name two datasets, two batches of one by --batches, or compare two of its ledgers: "
        f"align-data diff {shlex.quote(a.url)} LEDGER LEDGER"
    )


def of_one_dataset(a: ComparedSide, b: ComparedSide) -> bool:
    """Tell whether both sides are batches of one dataset: then a URL's image is the same in both."""
    return _place(a.dataset) == _place(b.dataset)


def _place(dataset: Dataset) -> str:
    store = dataset.store
    return os.path.realpath(store.root) if store.local else store.url.rstrip("/")


def key_ranges(a: Dataset, b: Dataset) -> list[KeyRange]:
    """Return the ranges between all keys at which a part of either dataset begins."""
    pairs_a, pairs_b = a.ingested(), b.ingested()
    splits_a, splits_b = pairs_a.meta.splits, pairs_b.meta.splits
    begins = ["0" * 16, *sorted({*splits_a, *splits_b} - {"0" * 16})]
    ranges = []
    for begin, end in pairwise([*begins, None]):
        assert begin is not None
        part_a, part_b = _part_of(splits_a, begin), _part_of(splits_b, begin)
        width = (2**64 if end is None else int(end, 16)) - int(begin, 16)
        rows = [
            round(pairs.parts[part].rows * width / _width(pairs.meta.splits, part))
            for pairs, part in ((pairs_a, part_a), (pairs_b, part_b))
        ]
        slices = max(1, -(-max(rows) // SLICE))
        cuts = tuple(f"{int(begin, 16) + width * number // slices:016x}" for number in range(1, slices))
        ranges.append(KeyRange(begin, end, part_a, part_b, rows[0], cuts))
    return ranges


def _width(splits: list[str], part: int) -> int:
    """Return how many keys a part has room for."""
    edges = [0, *(int(split, 16) for split in splits), 2**64]
    return max(1, edges[part + 1] - edges[part])


def _part_of(splits: list[str], key: str) -> int:
    """Return the part that has a key: parts begin at the keys in `splits`, after the first part."""
    return sum(split <= key for split in splits)
