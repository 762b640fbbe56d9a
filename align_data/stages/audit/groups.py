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
from align_data.stages.audit.dimensions import Dimension, DimensionCounts
from align_data.stages.audit.mask_codes import Populations

HELD = 8_000_000
"""Hosts with their masks that all parts may hand on together; beyond it the rarest are counted as 'others'."""
LEAST = 20_000
"""What a part may always hand on."""
MOVED = 12
"""Groups that are named as removed more, or less, than the pool."""


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
    order = ["value"] if dimension.edges else ["pairs", "value"]
    sizes = counted.sizes.sort(order, descending=[not dimension.edges, False][: len(order)], nulls_last=True)
    named = sizes.head(dimension.named)
    groups = _groups(dimension, counted, named, populations, rules)
    tail_values = counted.rows.filter(~pl.col("place").is_in(named["place"].implode()))
    tail = [frame.select("code", "pairs") for frame in (tail_values, counted.tail) if frame is not None and len(frame)]
    tail_number = len(sizes) - len(named)
    tail_group = None
    if tail:
        label = f"{tail_number:,} others" if counted.tail is None else f"{tail_number:,} others and what is rarer"
        tail_group = _group(label, pl.concat(tail), populations, rules)
    return Division(dimension.name, dimension.signal, dimension.unit, groups, tail_group, len(sizes), counted.error)


def _groups(
    dimension: Dimension, counted: DimensionCounts, sizes: pl.DataFrame, populations: Populations, rules: int
) -> list[GroupCounts]:
    """Return the groups of the values in `sizes`, in their order."""
    rows = counted.rows.filter(pl.col("place").is_in(sizes["place"].implode()))
    rows_of = {key[0]: group_rows for key, group_rows in rows.partition_by("place", as_dict=True).items()}
    named = sizes.select("value", "place").iter_rows()
    return [_group(dimension.label(value), rows_of[place], populations, rules) for value, place in named]


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
        sizes = _excess(counted, pool, populations)
        for moves, ends in ((losing, sizes.head(MOVED)), (gaining, sizes.tail(MOVED).reverse())):
            groups = _groups(dimension, counted, ends, populations, len(rules))
            moves += [_moved(dimension.name, group, rules, pool) for group in groups]
    losing = sorted((move for move in losing if move.excess < 0), key=lambda move: move.excess)
    gaining = sorted((move for move in gaining if move.excess > 0), key=lambda move: -move.excess)
    return losing[:MOVED], gaining[:MOVED]


def _excess(counted: DimensionCounts, pool: GroupCounts, populations: Populations) -> pl.DataFrame:
    """Return the values by how many pairs they have left beyond their share, the fewest first."""
    rows, sizes = counted.rows, counted.sizes
    undropped = populations.undropped[rows["code"].to_numpy()] * rows["pairs"].to_numpy()
    left = pl.Series("left", np.bincount(rows["place"].to_numpy(), undropped, len(counted.values) + 1))
    share = pool.undropped / pool.pairs if pool.pairs else 0.0
    sizes = sizes.with_columns(left=left.gather(sizes["place"]))
    return sizes.with_columns(excess=pl.col("left") - pl.col("pairs") * share).sort("excess", "value", nulls_last=True)


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
