"""Classes: the values of columns that have few, as fields offer them; and what is said of one that no pair has."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from align_data.common.progress import Progress
from align_data.data.layout import Dataset
from align_data.data.ledger import Ledger
from align_data.selection.scan import frames
from align_data.selection.selection import PairSelection

CLASSES = ("language", "script", "status")
"""Columns of few values, whose names people spell otherwise than a dataset does."""
_NAMED = 6


def frequent(dataset: Dataset, ledger: Ledger, column: str, progress: Progress) -> list[tuple[str, int]]:
    """Return the values that a column has in the pool and how many pairs have each, the most frequent first."""
    pieces = frames(dataset, ledger, ledger.plan, PairSelection(), [column], progress)
    number = pl.len().alias("pairs")
    counts = [piece.group_by(column).agg(number) for piece in pieces]
    if not counts:
        return []
    together = pl.concat(counts).drop_nulls().group_by(column).agg(pl.col("pairs").sum())
    return list(together.sort("pairs", column, descending=[True, False]).iter_rows())


def unheard_of(dataset: Dataset, ledger: Ledger, selection: PairSelection, progress: Progress) -> Iterator[str]:
    """Yield a sentence for each class that a selection asks for and no pair of the pool has."""
    for condition in selection.where:
        if condition.column not in CLASSES or condition.op != "=" or None in condition.values:
            continue
        values = [value for value, _ in frequent(dataset, ledger, condition.column, progress)]
        if not set(condition.values) & set(values):
            verb = "the most frequent are" if len(values) > _NAMED else "there are"
            instead = f"; {verb} {', '.join(values[:_NAMED])}" if values else ""
            yield f"no pair has {str(condition)[:200]}{instead}"
