"""Where a rule's values are cut: exactly at its thresholds, and between them finely enough to draw a curve.

A cut is a number: values below it are on one side, it and all above on the other. Every test of numbers is one cut or
two, so a count between cuts is the count that a rule with that threshold would give.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.recipes.operators import Bound

Cuts = NDArray[Any]
"""Of whole numbers or of floats, ascending."""
Bins = NDArray[np.intp]

_DENSE = 1000
"""Whole numbers below it are cut one by one, all others to three digits."""


@lru_cache(maxsize=2)
def _grid(whole: bool) -> Cuts:
    """Return cuts over all that a number can be: three digits, but no finer than 1 or 0.001."""
    decades = [np.arange(100, 1000, dtype=np.int64) * 10**power for power in range(1, 16)]
    powers = -(10 ** np.arange(18, -1, -1, dtype=np.int64))
    if whole:
        return np.unique(np.concatenate([powers, np.arange(_DENSE), *decades, np.arange(100, 922) * 10**16]))
    near = np.arange(-_DENSE, _DENSE) / _DENSE
    decimals = [np.arange(100, 1000) / 100, np.arange(100, 1000) / 10, *decades[:7]]
    return np.unique(np.concatenate([powers.astype(float), near, *decimals]))


class Scale:
    """The cuts of one rule's values, and the bins between them: bin 0 is below the first cut."""

    def __init__(self, whole: bool, bounds: Iterable[Bound], fine: bool = True) -> None:
        """Cut at the bounds and, where a `fine` curve is wanted, at every value that one could be moved to."""
        self.whole = whole
        bounds = list(bounds)
        edges = [at for at in (bound.cut(whole=whole) for bound in bounds) if at is not None]
        grid = _grid(whole) if fine else _grid(whole)[:0]
        lists: list[Cuts] = [grid, np.array(edges, grid.dtype)]
        if not whole and any(bound.cuts_above for bound in bounds):
            # A threshold there lets the value itself pass, or not.
            lists.append(np.nextafter(grid.astype(float), math.inf))
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
        bins: Bins = numbers + (self._dense + 1)
        if not dense.all():
            bins[~dense] = np.searchsorted(self.cuts, numbers[~dense], side="right")
        return bins

    def first(self, bound: Bound) -> int:
        """Return the first bin above a bound, which must be among the thresholds or on the grid."""
        at = bound.cut(whole=self.whole)
        return self.bins if at is None else int(np.searchsorted(self.cuts, at)) + 1
