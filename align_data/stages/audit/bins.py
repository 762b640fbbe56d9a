"""Where a rule's values are cut: exactly at its thresholds, and between them finely enough to draw a curve.

A cut is a number: values below it are on one side, it and all above on the other. Every test of numbers is one cut or
two, so a count between cuts is the count that a rule with that threshold would give.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.recipes.model import Rule

Cuts = NDArray[Any]
"""Of whole numbers or of floats, ascending."""
Bins = NDArray[np.intp]

_DENSE = 1000
"""Whole numbers below it are cut one by one, all others to three digits."""
NUMBERS = ("int32", "int64", "float64")
ENDS = {"gt": "lower", "ge": "lower", "lt": "upper", "le": "upper"}
"""Operator → which end of the values that pass its threshold is."""


@dataclass(frozen=True)
class End:
    """One end of what passes a rule: its operator and its threshold."""

    op: str
    value: float

    @property
    def lower(self) -> bool:
        """Whether what passes is above it."""
        return ENDS[self.op] == "lower"

    def passes(self, column: pl.Expr) -> pl.Expr:
        """Return whether the column's values are on the side that passes: null where they are null."""
        return {"gt": column.gt, "ge": column.ge, "lt": column.lt, "le": column.le}[self.op](self.value)


def ends(rule: Rule) -> tuple[End, ...]:
    """Return the ends of what passes a rule that compares numbers, the lower first; none for eq and in."""
    if rule.op == "between":
        return End("ge", rule.value[0]), End("le", rule.value[1])
    return (End(rule.op, rule.value),) if rule.op in ENDS else ()


def cut(end: End, whole: bool) -> float | None:
    """Return the least value above the cut that an end is, None where 64 bits hold none; `whole` for integers."""
    beyond = end.op in ("gt", "le")
    if not whole:
        return math.nextafter(end.value, math.inf) if beyond else float(end.value)
    # A rule compares integers with a float as floats: of 64 bits, up to 512 round to the float beside them.
    near = range(math.floor(end.value) - 1024, math.floor(end.value) + 1025)
    search = bisect_right if beyond else bisect_left
    least = near.start + search(near, end.value, key=type(end.value))
    return max(least, -(2**63)) if least < 2**63 else None


@lru_cache(maxsize=2)
def _grid(whole: bool) -> Cuts:
    """Return cuts over all that a number can be: three digits, but no finer than 1 or 0.001."""
    decades = [np.arange(100, 1000, dtype=np.int64) * 10**power for power in range(1, 16)]
    powers = -(10 ** np.arange(18, -1, -1, dtype=np.int64))
    if whole:
        return np.unique(np.concatenate([powers, np.arange(_DENSE), *decades, np.arange(100, 922) * 10**16]))
    near = np.arange(-_DENSE, _DENSE) / _DENSE
    few = [np.arange(100, 1000) / 100, np.arange(100, 1000) / 10, *decades[:7]]
    return np.unique(np.concatenate([powers.astype(float), near, *few]))


class Scale:
    """The cuts of one rule's values, and the bins between them: bin 0 is below the first cut."""

    def __init__(self, whole: bool, thresholds: Iterable[End], fine: bool = True) -> None:
        """Cut at the thresholds and, where a `fine` curve is wanted, at every value that one could be moved to."""
        self.whole = whole
        thresholds = list(thresholds)
        given = [at for at in (cut(end, whole) for end in thresholds) if at is not None]
        grid = _grid(whole) if fine else _grid(whole)[:0]
        lists: list[Cuts] = [grid, np.array(given, grid.dtype)]
        if not whole and any(end.op in ("gt", "le") for end in thresholds):
            lists.append(
                np.nextafter(grid.astype(float), math.inf)
            )  # a threshold there lets the value itself pass, or not
        self.cuts: Cuts = np.unique(np.concatenate(lists))
        self._dense = int(np.searchsorted(self.cuts, 0)) if whole and fine else None

    @property
    def bins(self) -> int:
        """How many bins there are."""
        return len(self.cuts) + 1

    def place(self, values: pl.Series) -> Bins:
        """Return the bin of each value; there are no nulls among them. NaN is above everything, as Polars has it."""
        if not self.whole:
            return np.searchsorted(self.cuts, values.to_numpy(), side="right")
        numbers: Bins = values.cast(pl.Int64).to_numpy()
        if self._dense is None:
            return np.searchsorted(self.cuts, numbers, side="right")
        dense = (numbers >= 0) & (numbers < _DENSE)
        found: Bins = numbers + (self._dense + 1)
        if not dense.all():
            found[~dense] = np.searchsorted(self.cuts, numbers[~dense], side="right")
        return found

    def first(self, end: End) -> int:
        """Return the first bin above an end, which must be among the thresholds or on the grid."""
        at = cut(end, self.whole)
        return self.bins if at is None else int(np.searchsorted(self.cuts, at)) + 1
