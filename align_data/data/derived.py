"""All columns that a plan's rules read, side by side: those that are stored, and those that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl

from align_data.data.columns import by_group, columns, with_computed
from align_data.data.layout import Dataset
from align_data.recipes.plan import Plan
from align_data.signals import find, is_signal
from align_data.storage.tables import Table


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
        yield _with_scores(piece, plan, scores).select(*pairs, *wanted) if scores else piece


def _with_scores(frame: pl.DataFrame, plan: Plan, scores: Iterable[str]) -> pl.DataFrame:
    for score in scores:  # one by one: a score can be made of those before it
        frame = frame.with_columns(plan.score(score))
    return frame


def planned_rows(
    dataset: Dataset, plan: Plan, piece: tuple[int, int], rows: Sequence[int], names: Iterable[str]
) -> pl.DataFrame:
    """Return some rows of one piece of a part: uid, url and alt_text, and signals and scores of a plan."""
    wanted = list(dict.fromkeys(names))
    stored = by_group(name for name in plan.behind(wanted) if is_signal(name))
    tables: list[tuple[Table[Any], list[str]]] = [(dataset.pairs, ["uid", "url", "alt_text"])]
    tables += [(dataset.measured(group), of_group) for group, of_group in sorted(stored.items())]
    frame = pl.concat([table.piece(*piece, columns)[list(rows)] for table, columns in tables], how="horizontal")
    frame = with_computed(frame, map(find, filter(is_signal, plan.behind(wanted))))
    return _with_scores(frame, plan, plan.scores(wanted)).select("uid", "url", "alt_text", *wanted)
