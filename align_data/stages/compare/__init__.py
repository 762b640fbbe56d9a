"""Compare: what two datasets, or two batches of one, have in common, and what became of the images of both."""

from __future__ import annotations

from align_data.common.progress import Progress, Tick
from align_data.data.columns import fresh
from align_data.data.ledger import open_ledger
from align_data.engines.base import Engine
from align_data.signals import find
from align_data.stages.compare.comparison import DatasetComparison, ListedUids
from align_data.stages.compare.counting import RangeTally, count_range
from align_data.stages.compare.intersection import UidFolder
from align_data.stages.compare.sides import ComparedSide, check_sides, key_ranges, side_of_batch
from align_data.stages.compare.summing import summed

__all__ = ["BY", "ComparedSide", "DatasetComparison", "UidFolder", "compare", "side_of_batch"]

BY = ("host", "language", "script")
"""The signals that pairs are divided by."""
_COMPUTED = ("host", "script")
"""Those that are computed where nobody has measured them: they are quick."""


def compare(
    a: ComparedSide,
    b: ComparedSide,
    engine: Engine,
    progress: Progress,
    *,
    by: tuple[str, ...] = BY,
    folder: UidFolder | None = None,
) -> DatasetComparison:
    """Compare two sides range by range of the URL's key; in `folder` the uids of the pairs in both are written.

    Raises DatasetError for two sides that are the same, and for a ledger that one of them does not have.
    """
    check_sides(a, b)
    for side in (a, b):
        if side.ledger is not None:
            open_ledger(side.dataset, side.ledger)
    stored = [_measured(side, by) for side in (a, b)]
    divided = tuple(name for name in by if name in _COMPUTED or all(name in of_side for of_side in stored))
    ranges = key_ranges(a.dataset, b.dataset)
    if folder is not None:
        folder.begin()

    def count(number: int, tick: Tick) -> RangeTally:
        uids = None if folder is None else folder.writer(number)
        tally = count_range(a, b, ranges[number], divided, stored, uids)
        tick(ranges[number].rows)
        return tally

    tallies = engine.map_parts("compare", count, [each.rows for each in ranges], progress)
    listed = None
    if folder is not None:
        listed = ListedUids(folder.url, folder.finish(len(ranges)), folder.same_images)
    left_out = [f"{name} is not measured in both, so nothing is divided by it" for name in by if name not in divided]
    return summed(a, b, tallies, divided, left_out, listed)


def _measured(side: ComparedSide, names: tuple[str, ...]) -> frozenset[str]:
    """Return which of these signals are measured in a dataset."""
    pairs = side.dataset.ingested()
    groups = {find(name).group for name in names}
    return frozenset(name for group in groups for name in fresh(side.dataset, group, pairs) if name in names)
