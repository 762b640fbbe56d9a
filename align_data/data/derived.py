"""All columns that a plan's rules read, side by side: those that are stored, and those that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl

from align_data.common.errors import RecipeError
from align_data.data.columns import by_group, columns, with_computed
from align_data.data.labels import marks_of
from align_data.data.layout import Dataset
from align_data.data.meta import RanksMeta
from align_data.recipes.plan import Plan
from align_data.recipes.scores import RANK
from align_data.signals import find, is_signal
from align_data.storage.tables import Table


def planned_columns(
    dataset: Dataset, plan: Plan, part: int, pairs: Sequence[str], names: Iterable[str]
) -> Iterator[pl.DataFrame]:
    """Yield the pieces of one part: columns of `pairs`, and signals, scores and ranks of a plan, row for row.

    The signals behind them are measured, and the scales of the scores and the ranks are resolved.
    """
    wanted = list(dict.fromkeys(names))
    scores, ranks = plan.scores(wanted), _ranks(dataset, plan, wanted)
    stored = [name for name in plan.behind(wanted) if is_signal(name)]
    beside = [] if stored or pairs else ["copies"]  # a column of pairs keeps the number of rows
    streams = [table.pieces(part, ["rank"]) for table in ranks.values()]
    for piece, *ranked in zip(columns(dataset, part, [*pairs, *beside], stored), *streams, strict=True):
        frame = piece.with_columns(of["rank"].alias(name) for name, of in zip(ranks, ranked, strict=True))
        yield _with_scores(frame, plan, scores).select(*pairs, *wanted) if scores or beside else frame


def _ranks(dataset: Dataset, plan: Plan, names: Sequence[str]) -> dict[str, Table[RanksMeta]]:
    """Return the tables of those of these columns that are ranks."""
    tables = {f"{RANK}{rule}": dataset.ranks(of.ranks) for rule, of in plan.firsts.items()}
    return {name: tables[name] for name in names if name in tables}


def _with_scores(frame: pl.DataFrame, plan: Plan, scores: Iterable[str]) -> pl.DataFrame:
    for score in scores:  # one by one: a score can be made of those before it
        frame = frame.with_columns(plan.score(score))
        finite = frame[score].is_finite()
        if not finite.all():
            value = frame[score].filter(~finite)[0]
            raise RecipeError(
                f"the score {score} is beyond what a float holds ({value}) for a pair: give its terms smaller weights"
            )
    return frame


def planned_rows(
    dataset: Dataset, plan: Plan, piece: tuple[int, int], rows: Sequence[int], names: Iterable[str]
) -> pl.DataFrame:
    """Return some rows of one piece of a part: uid, url and alt_text, and signals, scores and ranks of a plan."""
    wanted = list(dict.fromkeys(names))
    stored = by_group(name for name in plan.behind(wanted) if is_signal(name))
    tables: list[tuple[Table[Any], list[str]]] = [(dataset.pairs, ["uid", "url", "alt_text"])]
    tables += [(dataset.measured(group), of_group) for group, of_group in sorted(stored.items())]
    frame = pl.concat([table.piece(*piece, columns)[list(rows)] for table, columns in tables], how="horizontal")
    for name, table in _ranks(dataset, plan, wanted).items():
        frame = frame.with_columns(table.piece(*piece, ["rank"])["rank"][list(rows)].alias(name))
    signals = [find(name) for name in plan.behind(wanted) if is_signal(name)]
    frame = with_computed(frame, signals, marks_of(dataset, piece[0], signals))
    return _with_scores(frame, plan, plan.scores(wanted)).select("uid", "url", "alt_text", *wanted)
