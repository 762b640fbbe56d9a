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
    decimals = np.concatenate([np.arange(100, 1000) / 100, np.arange(100, 1000) / 10, *decades[:7]])
    return np.unique(np.concatenate([powers.astype(float), -decimals, near, decimals]))


_EXPONENTS = (-20, 53)
_SHIFT = 52 - 9


class _Search:
    """Places numbers between cuts as np.searchsorted does to the right: most of them by a table of their first bits.

    They are the exponent and nine bits of a float, so that an entry is below 0.2 % wide and has a cut or two.
    """

    def __init__(self, cuts: Cuts) -> None:
        self._cuts = cuts
        self._first, end = (int(_bits(np.array([2.0**power]))[0]) for power in _EXPONENTS)
        edges = (np.arange(self._first, end + 1) << _SHIFT).view(np.float64)
        starts = np.searchsorted(cuts, edges, side="right")
        self._starts = starts[:-1]
        self._steps = int(np.diff(starts).max())

    def place(self, numbers: NDArray[Any]) -> Bins:
        """Return how many cuts are not above each number."""
        entries = _bits(numbers.astype(np.float64)) - self._first
        bins = self._starts.take(entries, mode="clip")
        for _ in range(self._steps):
            bins += (self._cuts.take(bins, mode="clip") <= numbers) & (bins < len(self._cuts))
        beyond = np.flatnonzero((entries < 0) | (entries >= len(self._starts)))  # as 0, negative numbers and NaN are
        bins[beyond] = np.searchsorted(self._cuts, numbers[beyond], side="right")
        return bins


def _bits(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    return numbers.view(np.int64) >> _SHIFT


@lru_cache(maxsize=64)
def _search(whole: bool, edges: tuple[float, ...], doubled: bool, fine: bool) -> tuple[Cuts, _Search]:
    """Return the cuts of a scale and what places numbers between them: the same for all parts."""
    grid = _grid(whole) if fine else _grid(whole)[:0]
    lists: list[Cuts] = [grid, np.array(edges, grid.dtype)]
    if doubled:
        lists.append(np.nextafter(grid.astype(float), math.inf))
    cuts: Cuts = np.unique(np.concatenate(lists))
    return cuts, _Search(cuts)


class Scale:
    """The cuts of one rule's values, and the bins between them: bin 0 is below the first cut."""

    def __init__(self, whole: bool, bounds: Iterable[Bound], fine: bool = True) -> None:
        """Cut at the bounds and, where a `fine` curve is wanted, at every value that one could be moved to."""
        self.whole = whole
        bounds = list(bounds)
        edges = tuple(at for at in (bound.cut(whole=whole) for bound in bounds) if at is not None)
        # A threshold at a float that is cut above lets the value itself pass, or not.
        doubled = not whole and any(bound.cuts_above for bound in bounds)
        self.cuts, self._search = _search(whole, edges, doubled, fine)
        self._dense = int(np.searchsorted(self.cuts, 0)) if whole and fine else None

    @property
    def bins(self) -> int:
        """How many bins there are."""
        return len(self.cuts) + 1

    def place(self, values: pl.Series) -> Bins:
        """Return the bin of each value; there are no nulls among them. NaN is above everything, as Polars has it."""
        if not self.whole:
            return self._search.place(values.to_numpy())
        numbers: Bins = values.cast(pl.Int64).to_numpy()
        if self._dense is None:
            return self._search.place(numbers)
        bins: Bins = numbers + (self._dense + 1)
        sparse = np.flatnonzero(numbers.view(np.uint64) >= _DENSE)  # the negative ones too
        bins[sparse] = self._search.place(numbers[sparse])
        return bins

    def first(self, bound: Bound) -> int:
        """Return the first bin above a bound, which must be among the thresholds or on the grid."""
        at = bound.cut(whole=self.whole)
        return self.bins if at is None else int(np.searchsorted(self.cuts, at)) + 1
