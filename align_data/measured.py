"""Reading measured columns: what is there, whether it is still right, and all columns of a pair side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from align_data.errors import DatasetError
from align_data.layout import GROUPS, Dataset
from align_data.signals import SIGNALS
from align_data.tables import Manifest


def fresh(dataset: Dataset, group: str, pairs: Manifest) -> list[str]:
    """Return the signals of a group that are measured from these pairs and by today's definitions."""
    manifest = dataset.measured(group).committed()
    if manifest is None or manifest.meta["pairs"] != pairs.fingerprint or not dataset.measured(group).whole(manifest):
        return []
    stored = manifest.meta["signals"]
    good = [name for name in stored if name in SIGNALS and SIGNALS[name].identity() == stored[name]]
    return [name for name in good if all(table.whole(table.committed()) for table in dataset.behind(name))]


def available(dataset: Dataset, pairs: Manifest) -> set[str]:
    """Return all signals that are measured.

    Raises DatasetError for a group that is stale: measured from other pairs, or by a definition that has changed.
    """
    found: set[str] = set()
    for group in GROUPS:
        manifest = dataset.measured(group).committed()
        if manifest is None:
            continue
        good = fresh(dataset, group, pairs)
        stale = [name for name in manifest.meta["signals"] if name not in good]
        if stale:
            raise DatasetError(
                f"{', '.join(stale)} of {dataset.store.url} were measured from other pairs or by another definition "
                f"than today's, or files of theirs are gone; measure them again: align-data measure {dataset.store.url}"
            )
        found.update(good)
    return found


def columns(dataset: Dataset, part: int, pairs: Sequence[str], signals: Iterable[str]) -> Iterator[pl.DataFrame]:
    """Yield the pieces of one part: columns of `pairs` and measured signals side by side, row for row."""
    wanted = list(signals)
    streams = [dataset.pairs.pieces(part, list(pairs))]
    for group in GROUPS:
        of_group = [name for name in wanted if SIGNALS[name].group == group]
        if of_group:
            streams.append(dataset.measured(group).pieces(part, of_group))
    for frames in zip(*streams, strict=True):
        yield pl.concat(frames, how="horizontal")
