"""How many pairs would be kept at another threshold: from the values of one signal, with all other rules in force."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from align_data.recipes.operators import Bound
from align_data.recipes.planned import PlannedTest
from align_data.stages.audit.bins import Scale
from align_data.stages.audit.mask_codes import Which
from align_data.stages.audit.roles import DROPPED, EITHER, KEPT, OPEN, PENDING, PLAIN, ROLES, WAITING, Verdicts
from align_data.stages.audit.values import Values, places

Counts = NDArray[np.int64]
"""A row a role, a column a bin; the last is of pairs without a value."""


class Axis:
    """The bins of the values of a test: those at which it changes, as one end or level of it is moved."""

    def __init__(self, test: PlannedTest, moved: Sequence[Any] | None = None) -> None:
        """Cut for a curve; or, if `moved` names other ends or levels of the test, for exactly these."""
        self.test = test
        self.scale = _scale(test, moved)
        self.levels = [] if self.scale is not None else levels(test, moved or ())
        self._bins = self.scale.bins if self.scale is not None else len(self.levels) + 1  # and all other values

    @property
    def cells(self) -> int:
        """How many bins there are, with that of pairs without a value, which is the last."""
        return self._bins + 1

    def places(self, values: Values | None, number: int) -> NDArray[np.intp]:
        """Return the bin of each of `number` values; the last where there is none, or where they are not measured."""
        return np.full(number, self._bins, np.intp) if values is None else self._places(values)

    def passing(self, alternative: Any, fixed: Sequence[Bound] = ()) -> Which:
        """Return which bins pass where the test has this bound beside those that are `fixed`, or this level alone."""
        passing = np.zeros(self.cells, np.bool_)
        if self.scale is None:
            passing[[number for number, level in enumerate(self.levels) if level == alternative]] = True
        else:
            passing[slice(*passing_bins(self.scale, [alternative, *fixed]))] = True
        return passing

    def _places(self, values: Values) -> NDArray[np.intp]:
        """Return the bin of each value; the last where there is none."""
        if isinstance(values, pa.ChunkedArray):
            bins_of = [np.append(self._place(pl.Series(chunk.dictionary)), self._bins) for chunk in values.chunks]
            chunks = zip(bins_of, values.chunks, strict=True)
            return np.concatenate([bins[places(chunk, len(bins) - 1)] for bins, chunk in chunks])
        if not values.null_count():
            return self._place(values)
        bins = np.full(len(values), self._bins, np.intp)
        bins[values.is_not_null().to_numpy()] = self._place(values.drop_nulls())
        return bins

    def _place(self, values: pl.Series) -> NDArray[np.intp]:
        if self.scale is not None:
            return self.scale.place(values)
        bins = np.full(len(values), len(self.levels), np.intp)
        for number, level in enumerate(self.levels):
            bins[(values == level).to_numpy()] = number
        return bins


class Tally:
    """Counts the values of one test's signal, bin by bin and role by role; pairs of another class by role alone."""

    def __init__(self, axis: Axis, roles: int = PLAIN, *, of_class: bool = False) -> None:
        self.axis = axis
        self._of_class = of_class
        self.counts: Counts = np.zeros((roles, axis.cells + of_class), np.int64)

    def curve(self, counts: Counts) -> Curve:
        """Return the curve of what all parts counted."""
        elsewhere = counts[:, -1] if self._of_class else None
        of_values = counts[:, : self.axis.cells]
        return Curve(self.axis.test, of_values, self.axis.scale, self.axis.levels, elsewhere)

    def add(self, values: Values | None, roles: Verdicts, matches: Which | None = None) -> None:
        """Count one piece, of which each pair has a role; `values` is None where they are not measured.

        `matches` tells which pairs are of the test's class, where it is of one.
        """
        self.add_placed(self.columns(values, len(roles), matches), np.arange(len(self.counts)), roles)

    def columns(self, values: Values | None, number: int, matches: Which | None = None) -> NDArray[np.intp]:
        """Return the column of the counts that each of `number` pairs is counted in, whatever its role."""
        places = self.axis.places(values, number)
        return places if matches is None else np.where(matches, places, self.counts.shape[1] - 1)

    def add_placed(self, columns: NDArray[Any], roles: NDArray[Any], of_pair: NDArray[Any]) -> None:
        """Count pairs by their columns; `of_pair` says which of the `roles` each has."""
        cells = (roles.astype(np.intp) * self.counts.shape[1]).take(of_pair)
        cells += columns
        self.counts += np.bincount(cells, minlength=self.counts.size).reshape(self.counts.shape)


def _scale(test: PlannedTest, moved: Sequence[Any] | None) -> Scale | None:
    bounds = test.bounds
    if not bounds:
        return None
    return Scale(test.definition.type != "float64", [*bounds, *(moved or ())], fine=moved is None)


def passing_bins(scale: Scale, ends: Sequence[Bound]) -> tuple[int, int]:
    """Return the first bin between some ends, and the first behind it that is not."""
    begin, stop = 0, scale.bins
    for bound in ends:
        if bound.lower:
            begin = max(begin, scale.first(bound))
        else:
            stop = min(stop, scale.first(bound))
    return begin, max(begin, stop)


def levels(test: PlannedTest, moved: Sequence[Any] = ()) -> list[Any]:
    """Return the values that a test of eq or in names, and more; both truths for a bool."""
    if test.definition.type == "bool":
        return [True, False]
    return list(dict.fromkeys([*(test.value if test.op == "in" else [test.value]), *moved]))


@dataclass(frozen=True)
class Point:
    """What would be of the pairs with a threshold at `value`, and every other rule in force."""

    value: float
    kept: int
    pending: int


@dataclass(frozen=True)
class Bar:
    """Pairs whose value is at least `low` and below `high`, which None leaves open; `value` where it is one value."""

    low: float | None
    high: float | None
    value: float | str | bool | None
    pairs: int
    """Of all pairs."""
    open: int
    """Of those that nothing else drops: of a rule that is one test, that no other rule fails."""


class Curve:
    """A tally of all parts, and what can be read from it."""

    def __init__(
        self,
        test: PlannedTest,
        counts: Counts,
        scale: Scale | None,
        levels: Sequence[Any] = (),
        elsewhere: NDArray[np.int64] | None = None,
    ) -> None:
        """Take the counts of the values, and by role those of pairs of other classes, whose outcome nothing moves."""
        self.test = test
        self.scale = scale
        self.levels = list(levels)
        padded = np.zeros((ROLES, counts.shape[1]), np.int64)
        padded[: len(counts)] = counts
        self.unknown, self.unknown_open = int(padded[:, -1].sum()), int(padded[OPEN:, -1].sum())
        """Pairs without a value, of all and of those that nothing else drops."""
        self.counts = padded[:, :-1]
        self._sums = np.concatenate([np.zeros((ROLES, 1), np.int64), np.cumsum(self.counts, axis=1)], axis=1)
        self._unknown = padded[:, -1]
        self._all = padded.sum(axis=1)
        if elsewhere is not None:
            self._all[: len(elsewhere)] += elsewhere

    @property
    def whole(self) -> bool:
        """Whether values are whole numbers."""
        return self.scale is not None and self.scale.whole

    def pairs(self, begin: int, end: int) -> tuple[int, int]:
        """Return the pairs in bins from `first` up to `last`: of all, and of those that nothing else drops."""
        pairs = self._sums[:, end] - self._sums[:, begin]
        return int(pairs.sum()), int(pairs.sum() - pairs[DROPPED])

    def at(self, moved: Sequence[Bound]) -> tuple[int, int]:
        """Return pairs kept and pending if what passes had these ends."""
        assert self.scale is not None
        begin, stop = passing_bins(self.scale, moved)
        return self._outcomes(self._sums[:, stop] - self._sums[:, begin])

    def levels_at(self, passing: Sequence[Any]) -> tuple[int, int]:
        """Return pairs kept and pending if these of the levels passed, and no other value."""
        columns = [number for number, level in enumerate(self.levels) if level in passing]
        return self._outcomes(self.counts[:, columns].sum(axis=1))

    def _outcomes(self, passing: NDArray[np.int64]) -> tuple[int, int]:
        """Return pairs kept and pending, of the pairs of each role that pass."""
        kept = passing[OPEN] + passing[EITHER] + self._all[KEPT]
        undecided = self._unknown[OPEN] + self._unknown[WAITING] + self._all[PENDING]
        return int(kept), int(passing[WAITING] + undecided + self._all[EITHER] - passing[EITHER])

    def present(self) -> NDArray[np.intp]:
        """Return the bins that have a pair, in order."""
        return np.flatnonzero(self.counts.sum(axis=0))

    def low(self, number: int) -> float | None:
        """Return the least value that a bin can have; None for the first, which has none."""
        assert self.scale is not None
        if number == 0:
            return None
        edge = self.scale.cuts[number - 1].item()
        return int(edge) if self.whole else float(edge)


def points(curve: Curve, moved_end: Bound, limit: int) -> Iterator[Point]:
    """Yield the curve of one end of a rule, the other left where it is: about `most` points, the threshold among them.

    Between two points the curve may be steeper; at each it is exact.
    """
    assert curve.scale is not None
    fixed = [bound for bound in curve.test.bounds if bound != moved_end]
    for value in _values(curve, moved_end, limit):
        kept, pending = curve.at([Bound(moved_end.op, value), *fixed])
        yield Point(value, kept, pending)


def _values(curve: Curve, end: Bound, limit: int) -> list[float]:
    """Return thresholds at which cuts are, where values lie, from one that drops nothing to one that drops all."""
    assert curve.scale is not None
    scale = curve.scale
    occupied = shown_bins(curve)
    if not len(occupied):
        return [end.value]
    candidates = np.arange(max(0, occupied[0] - 1), min(len(scale.cuts), occupied[-1] + 1))
    cuts = _thresholds(scale, candidates, end)
    if len(cuts) > limit and scale.whole:
        cuts = _thresholds(scale, np.clip(_changing(occupied, end), 0, len(scale.cuts) - 1), end)
    return sorted({*(_thinned(curve, cuts, limit) if len(cuts) > limit else cuts), end.value})


def _changing(occupied: NDArray[np.intp], end: Bound) -> NDArray[np.intp]:
    """Return the cuts below or above each value that there is: between two of them no pair is lost."""
    if end.cuts_above:
        return np.append(occupied[0] - 1, occupied)
    return np.append(occupied - 1, occupied[-1])


def steps_are_exact(curve: Curve, end: Bound, thresholds: Sequence[float]) -> bool:
    """Whether thresholds of whole numbers tell of all between them: no other would keep another number of pairs.

    One between two keeps what the greater keeps (ge, lt), or what the lesser does (gt, le).
    """
    assert curve.scale is not None
    firsts = [curve.scale.first(Bound(end.op, value)) for value in thresholds]
    for begin, stop in pairwise(firsts):
        lone = stop - 1 if end.cuts_above else begin
        inside = (begin, lone) if end.cuts_above else (lone + 1, stop)
        if begin == stop or not curve.pairs(begin, stop)[0]:
            continue
        low, high = curve.low(lone), curve.low(lone + 1)
        single = low is not None and high is not None and high - low == 1
        if curve.pairs(*inside)[0] or (curve.pairs(lone, lone + 1)[0] and not single):
            return False
    return True


def _thresholds(scale: Scale, cuts: NDArray[np.intp], end: Bound) -> dict[float, int]:
    """Return the values that an end of this operator has at cuts, each with its cut.

    A float that takes more than six digits is left out: it is the neighbour of one that the other operators have.
    """
    beyond = end.cuts_above
    least = scale.cuts[cuts]
    if scale.whole:
        return {value - beyond: at for value, at in zip(least.tolist(), cuts.tolist(), strict=True)}
    values = (np.nextafter(least, -np.inf) if beyond else least).tolist()
    return {value: at for value, at in zip(values, cuts.tolist(), strict=True) if float(f"{value:.6g}") == value}


def _thinned(curve: Curve, cuts: Mapping[float, int], limit: int) -> list[float]:
    """Take thresholds between which about equally many pairs lie, and some at equal distance, so that tails are seen.

    `cuts` are ascending thresholds and the cut that each is.
    """
    values = list(cuts)
    below = curve._sums[:, np.array(list(cuts.values())) + 1].sum(axis=0)
    quantiles = np.linspace(0, below[-1], limit // 2)
    by_pairs = np.minimum(np.searchsorted(below, quantiles), len(values) - 1)
    evenly = np.linspace(0, len(values) - 1, limit // 2).astype(int)
    return [values[i] for i in sorted({*by_pairs.tolist(), *evenly.tolist()})]


_NONE = 2.0**63
"""Beyond every value but the one that stands for 'has none'."""


def shown_bins(curve: Curve) -> NDArray[np.intp]:
    """Return the bins that have a pair, but that of the value that stands for 'has none'."""
    occupied = curve.present()
    none = curve.test.definition.none
    if none is not None and curve.scale is not None and len(occupied):
        bin_of_none = int(curve.scale.place(pl.Series([none]))[0])
        occupied = occupied[occupied != bin_of_none]
    return occupied


def bars(curve: Curve, limit: int) -> list[Bar]:
    """Return the distribution in at most about `most` bars, edged at every threshold; exact."""
    if curve.scale is None:
        return _level_bars(curve)
    occupied = shown_bins(curve)
    if not len(occupied):
        return []
    begin, end = int(occupied[0]), int(occupied[-1]) + 1
    thresholds = (curve.scale.first(bound) for bound in curve.test.bounds)
    singles = occupied.tolist() if len(occupied) <= limit else []
    between = {*singles, *(at + 1 for at in singles)} if singles else set(_edges(curve, occupied, limit))
    edges = sorted({begin, end, *between, *(at for at in thresholds if begin < at < end)})
    return [_bar(curve, low, high) for low, high in pairwise(edges) if curve.pairs(low, high)[0]]


def _bar(curve: Curve, begin: int, end: int) -> Bar:
    pairs, is_open = curve.pairs(begin, end)
    low, high = curve.low(begin), curve.low(end) if end < curve.counts.shape[1] else None
    single = curve.whole and low is not None and high is not None and high - low == 1
    return Bar(low, high, low if single else None, pairs, is_open)


def _edges(curve: Curve, occupied: NDArray[np.intp], limit: int) -> list[int]:
    """Return bins to begin bars at: equally wide, on a logarithmic scale where the values span it."""
    assert curve.scale is not None
    cuts = curve.scale.cuts.astype(float)
    begin, end = int(occupied[0]), int(occupied[-1])
    least, greatest = cuts[max(0, begin - 1)], cuts[min(len(cuts) - 1, end)]
    if least >= 0 and greatest > 100 * max(least, 1):
        edges = np.expm1(np.linspace(np.log1p(least), np.log1p(greatest), limit))
    elif (
        curve.whole
    ):  # equally many numbers a bar, and one that begins at the threshold: else bars would differ in width
        step = max(1, math.ceil((greatest - least) / limit))
        cut = next((float(at) for bound in curve.test.bounds if (at := bound.cut(whole=True)) is not None), least)
        edges = np.arange(least + (cut - least) % step, greatest, step)
    else:
        edges = np.linspace(least, greatest, limit)
    return sorted({begin, *(int(at) + 1 for at in np.searchsorted(cuts, edges) if begin <= at < end)})


def _level_bars(curve: Curve) -> list[Bar]:
    columns = curve.counts
    named = [
        Bar(None, None, level, int(columns[:, n].sum()), int(columns[OPEN:, n].sum()))
        for n, level in enumerate(curve.levels)
    ]
    remainder = Bar(None, None, None, int(columns[:, -1].sum()), int(columns[OPEN:, -1].sum()))
    return [*named, remainder] if remainder.pairs else named
