"""Tombstones: the uids of pairs that were taken down, which every stage leaves out from then on.

A pair's row stays where it was, so that tables stay row for row; its URL is the empty text, which no other pair has.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from align_data.common.hashing import image_key
from align_data.data.layout import Dataset
from align_data.data.meta import PairsMeta
from align_data.storage.tables import Manifest, Meta, Table, cut

_BEHIND = "g"
"""What is greater than every uid."""


def fingerprint(dataset: Dataset) -> str | None:
    """Return what tells these tombstones from any others; None where nothing was taken down."""
    manifest = dataset.tombstones.committed()
    return manifest.fingerprint if manifest is not None else None


def every(table: Table[Meta]) -> pl.Series:
    """Return all values of a table that has one sorted column, such as the tombstones."""
    return within(table, "", _BEHIND)


def of_part(dataset: Dataset, pairs: Manifest[PairsMeta], part: int) -> pl.Series:
    """Return the tombstones of one part of `pairs`."""
    return within(dataset.tombstones, *bounds(pairs, part))


def bounds(pairs: Manifest[PairsMeta], part: int) -> tuple[str, str]:
    """Return the least uid that a part can have, and the least that is behind it, or beginnings of them."""
    splits = ["", *pairs.meta.splits, _BEHIND]
    return splits[part], splits[part + 1]


def part_of(pairs: Manifest[PairsMeta], uid: str) -> int:
    """Return the part that a uid lies in."""
    return bisect_right(pairs.meta.splits, image_key(uid))


def within(table: Table[Meta], low: str, high: str) -> pl.Series:
    """Return the values of a table that has one sorted column, from `low` on and before `high`."""
    name = table.contract.columns[0].name
    return rows_within(table, low, high, [name])[name]


def rows_within(table: Table[Any], low: str, high: str, names: Sequence[str]) -> pl.DataFrame:
    """Return the rows of a table of one part, which is sorted by the first of some columns, in a range of it."""
    first = names[0]
    frames = [pl.DataFrame(schema=table.contract.polars(*names))]
    if table.committed() is not None:
        for group, (least, greatest) in enumerate(table.piece_statistics(0, first)):
            if greatest >= low and least < high:
                frames.append(table.piece(0, group, list(names)))
    return pl.concat(frames).filter((pl.col(first) >= low) & (pl.col(first) < high))


def write(table: Table[Meta], values: Iterable[str]) -> Manifest[Meta]:
    """Write a table of one sorted column."""
    name = table.contract.columns[0].name
    frame = pl.DataFrame({name: sorted(set(values))}, {name: pl.String})
    table.change()
    with table.writer(0, {}) as writer:
        for piece in cut([frame]):
            writer.write(piece)
    assert writer.info is not None
    return table.commit([writer.info], Meta())
