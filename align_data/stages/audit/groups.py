"""Who is removed: of each language, script, host, length, size and format, how many pairs there are and are left.

All of it follows from one count: how many pairs have a value and certain masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.recipes.plan import PlannedRule
from align_data.stages.audit.mask_codes import Codes, Populations

HELD = 8_000_000
"""Hosts with their masks that all parts may hand on together; beyond it the rarest are counted as 'others'."""
LEAST = 20_000
"""What a part may always hand on."""
MOVED = 12
"""Groups that are named as removed more, or less, than the pool."""


@dataclass(frozen=True)
class Dimension:
    """A way to divide the pool."""

    name: str
    """What a reader calls it."""
    signal: str
    """What divides the pool."""
    edges: tuple[int, ...] = ()
    """Of numbers: where classes begin, after the first."""
    unit: str = ""
    endless: bool = False
    """Whether there may be as many values as pairs."""
    named: int = 20
    """Values that are shown, the others together."""

    def label(self, value: str | int | None) -> str:
        """Return a class's name."""
        if value is None:
            return "not measured"
        if isinstance(value, str):
            return value or "(none)"
        low = self.edges[value - 1] if value else None
        high = self.edges[value] if value < len(self.edges) else None
        if low is None:
            return f"below {high}" if high != 1 else "0"
        if high is None:
            return f"{low} or more"
        return f"{low}" if high == low + 1 else f"{low} to {high - 1}"


DIMENSIONS = (
    Dimension("language", "language"),
    Dimension("script", "script"),
    Dimension("host", "host", endless=True, named=50),
    Dimension("text length", "n_words", (1, 2, 3, 4, 6, 11, 21, 51, 101), "words"),
    Dimension("image size", "min_side", (1, 64, 101, 201, 257, 385, 513, 1025), "pixels, shorter side"),
    Dimension("format", "format"),
)


class DimensionTally:
    """Counts one dimension in one part."""

    def __init__(self, dimension: Dimension, limit: int) -> None:
        self._dimension, self._limit = dimension, limit
        self._frames: list[pl.DataFrame] = []

    def add(self, piece: pl.DataFrame, codes: Codes) -> None:
        """Count one piece."""
        values = piece[self._dimension.signal].alias("value")
        if self._dimension.edges:
            classes = np.searchsorted(np.array(self._dimension.edges), values.fill_null(0).to_numpy(), side="right")
            numbered = pl.Series("value", classes.astype(np.int16))
            values = numbered.set(values.is_null(), None) if values.null_count() else numbered
        self._frames.append(pl.DataFrame([values, pl.Series("code", codes)]).group_by("value", "code").len("pairs"))

    def result(self) -> DimensionCounts:
        """Return the counts, of no more than `most` values."""
        if not self._frames:
            return DimensionCounts(pl.DataFrame(schema={"value": pl.Null, "code": pl.Int32, "pairs": pl.Int64}))
        rows = _sum(self._frames)
        if not self._dimension.endless or len(rows) <= self._limit:
            return DimensionCounts(rows)
        sizes = rows.group_by("value").agg(pl.col("pairs").sum()).sort("pairs", "value", descending=[True, False])
        named = sizes.head(max(1, self._limit // 4))
        if len(named) == len(sizes):  # few values, with many masks
            return DimensionCounts(rows)
        tail = rows.join(named, on="value", how="anti")
        return DimensionCounts(
            rows.join(named, on="value", how="semi"),
            tail.group_by("code").agg(pl.col("pairs").sum()),
            int(sizes["pairs"][len(named)]),
        )


@dataclass(frozen=True)
class DimensionCounts:
    """What was counted of a dimension."""

    rows: pl.DataFrame
    """value, code, pairs."""
    tail: pl.DataFrame | None = None
    """code, pairs of the values that are not named; None where all are."""
    error: int = 0
    """How many pairs of a named value can be among the others, at most."""


def _sum(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    typed = [frame.with_columns(pl.col("pairs").cast(pl.Int64)) for frame in frames]
    return pl.concat(typed, how="vertical_relaxed").group_by("value", "code").agg(pl.col("pairs").sum())


def merged(parts: Sequence[DimensionCounts]) -> DimensionCounts:
    """Add up what the parts counted. Exact, unless a part had to leave values unnamed."""
    tails = [part.tail for part in parts if part.tail is not None]
    summed = pl.concat(tails).group_by("code").agg(pl.col("pairs").sum()) if tails else None
    return DimensionCounts(_sum([part.rows for part in parts]), summed, sum(part.error for part in parts))


@dataclass(frozen=True)
class GroupCounts:
    """One value of a dimension, and what became of its pairs."""

    label: str
    pairs: int
    undropped: int
    """Pairs that no rule fails: kept or pending."""
    kept: int
    fails: tuple[int, ...]
    """Pairs that each rule fails."""


@dataclass(frozen=True)
class Division:
    """A dimension, counted."""

    name: str
    signal: str
    unit: str
    groups: list[GroupCounts]
    """The largest first; classes of numbers in their order."""
    tail: GroupCounts | None
    """All other values together."""
    values: int
    """The number of values; a lower bound where `error` is not 0."""
    error: int
    """How many pairs a group may have beyond its count, at most; 0 where all is exact."""


@dataclass(frozen=True)
class GroupShift:
    """A group that is removed more, or less, than the pool."""

    dimension: str
    group: GroupCounts
    excess: float
    """Pairs left beyond what the group would have if it were treated as the pool is; negative if fewer."""
    rule: str | None
    """The rule that does most of it; None if no rule fails any pair more, or less, than in the pool."""
    rule_share: float
    """Part of the group's pairs that this rule fails."""
    pool_share: float
    """Part of the pool's pairs that it fails."""


def division(dimension: Dimension, counted: DimensionCounts, populations: Populations, rules: int) -> Division:
    """Return the groups of a dimension; of one without end, the largest and the others together."""
    sizes = counted.rows.group_by("value").agg(pl.col("pairs").sum())
    order = ["value"] if dimension.edges else ["pairs", "value"]
    sizes = sizes.sort(order, descending=[not dimension.edges, False][: len(order)], nulls_last=True)
    named = sizes["value"].head(dimension.named)
    rows = counted.rows.filter(pl.col("value").is_in(named.implode(), nulls_equal=True))
    tail_values = counted.rows.join(rows.select("value").unique(), on="value", how="anti", nulls_equal=True)
    tail = [frame.select("code", "pairs") for frame in (tail_values, counted.tail) if frame is not None and len(frame)]
    groups = _groups(dimension, rows, named.to_list(), populations, rules)
    tail_number = len(sizes) - len(named)
    tail_group = None
    if tail:
        label = f"{tail_number:,} others" if counted.tail is None else f"{tail_number:,} others and what is rarer"
        tail_group = _group(label, pl.concat(tail), populations, rules)
    return Division(dimension.name, dimension.signal, dimension.unit, groups, tail_group, len(sizes), counted.error)


def _groups(
    dimension: Dimension, rows: pl.DataFrame, values: Sequence[str | int | None], populations: Populations, rules: int
) -> list[GroupCounts]:
    rows_of = {key[0]: group_rows for key, group_rows in rows.partition_by("value", as_dict=True).items()}
    return [_group(dimension.label(value), rows_of[value], populations, rules) for value in values]


def _group(label: str, rows: pl.DataFrame, populations: Populations, rules: int) -> GroupCounts:
    codes, pairs = rows["code"].to_numpy(), rows["pairs"].to_numpy()
    fails = populations.fails(rules)[:, codes] @ pairs if len(pairs) else np.zeros(rules, np.int64)
    undropped, passing = (int(pairs[which[codes]].sum()) for which in (populations.undropped, populations.kept))
    return GroupCounts(label, int(pairs.sum()), undropped, passing, tuple(int(number) for number in fails))


def moved(
    dimensions: Mapping[Dimension, DimensionCounts],
    rules: Sequence[PlannedRule],
    pool: GroupCounts,
    populations: Populations,
) -> tuple[list[GroupShift], list[GroupShift]]:
    """Return the groups that lose most, and those that lose least, against the pool; by pairs."""
    losing: list[GroupShift] = []
    gaining: list[GroupShift] = []
    for dimension, counted in dimensions.items():
        sizes = _excess(counted.rows, pool, populations)
        for moves, ends in ((losing, sizes.head(MOVED)), (gaining, sizes.tail(MOVED).reverse())):
            values = ends["value"].to_list()
            rows = counted.rows.filter(pl.col("value").is_in(ends["value"].implode(), nulls_equal=True))
            groups = _groups(dimension, rows, values, populations, len(rules))
            moves += [_moved(dimension.name, group, rules, pool) for group in groups]
    losing = sorted((move for move in losing if move.excess < 0), key=lambda move: move.excess)
    gaining = sorted((move for move in gaining if move.excess > 0), key=lambda move: -move.excess)
    return losing[:MOVED], gaining[:MOVED]


def _excess(rows: pl.DataFrame, pool: GroupCounts, populations: Populations) -> pl.DataFrame:
    """Return the values by how many pairs they have left beyond their share, the fewest first."""
    undropped = pl.Series("left", populations.undropped[rows["code"].to_numpy()])
    share = pool.undropped / pool.pairs if pool.pairs else 0.0
    counted = rows.with_columns(left=undropped * rows["pairs"]).group_by("value").agg(pl.col("pairs", "left").sum())
    return counted.with_columns(excess=pl.col("left") - pl.col("pairs") * share).sort(
        "excess", "value", nulls_last=True
    )


def _moved(name: str, group: GroupCounts, rules: Sequence[PlannedRule], pool: GroupCounts) -> GroupShift:
    # In whole numbers, pool.pairs times as many: what is treated as the pool is has exactly none beyond its share.
    excess = group.undropped * pool.pairs - group.pairs * pool.undropped
    excesses = [
        fails * pool.pairs - group.pairs * of_pool for fails, of_pool in zip(group.fails, pool.fails, strict=True)
    ]
    largest = max(excesses) if excess < 0 else min(excesses)
    at = excesses.index(largest)
    doing = largest > 0 if excess < 0 else largest < 0
    shares = (group.fails[at] / group.pairs, pool.fails[at] / pool.pairs)
    return GroupShift(name, group, excess / pool.pairs, rules[at].name if doing else None, *shares)


def pool_of(populations: Populations, numbers: NDArray[np.int64], rules: int) -> GroupCounts:
    """Return the whole pool as a group."""
    rows = pl.DataFrame({"code": np.arange(len(populations), dtype=np.int32), "pairs": numbers})
    return _group("all pairs", rows, populations, rules)


@dataclass(frozen=True)
class GroupSurvey:
    """Who is removed."""

    pool: GroupCounts
    divisions: list[Division] = field(default_factory=list)
    losing: list[GroupShift] = field(default_factory=list)
    """Removed more than the pool, the most pairs first."""
    gaining: list[GroupShift] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    """Signals that would divide the pool and are not measured."""
