"""All columns that a plan's rules read, side by side: those that are stored, and those that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from align_data.data.columns import columns
from align_data.data.layout import Dataset
from align_data.recipes.plan import Plan
from align_data.signals import is_signal


def planned_columns(
    dataset: Dataset, plan: Plan, part: int, pairs: Sequence[str], names: Iterable[str]
) -> Iterator[pl.DataFrame]:
    """Yield the pieces of one part: columns of `pairs`, and signals and scores of a plan, row for row.

    The signals behind them are measured, and the scales of the scores are resolved.
    """
    wanted = list(dict.fromkeys(names))
    scores = plan.scores(wanted)
    stored = [name for name in plan.behind(wanted) if is_signal(name)]
    for piece in columns(dataset, part, pairs, stored):
        frame = piece
        for score in scores:  # one by one: a score can be made of those before it
            frame = frame.with_columns(plan.score(score))
        yield frame.select(*pairs, *wanted) if scores else frame
