"""How many pairs would be kept at another threshold: from the values of one signal, with all other rules in force."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.recipes.model import Rule
from align_data.recipes.operators import Bound
from align_data.signals import find
from align_data.stages.audit.bins import Scale
from align_data.stages.audit.mask_codes import OPEN, POPULATIONS, WAITING, Codes, Populations

Counts = NDArray[np.int64]
"""A row a population, a column a bin; the last is of pairs without a value."""


class Tally:
    """Counts the values of one rule's signal, bin by bin and population by population."""

    def __init__(self, rule: Rule, bit: int, populations: Populations, moved: Sequence[Any] | None = None) -> None:
        """Count for a curve; or, if `moved` names other ends or levels of the rule, for exactly these."""
        self.rule = rule
        self._beside = populations.beside(bit).astype(np.intp)
        self.scale = _scale(rule, moved)
        self.levels = [] if self.scale is not None else levels(rule, moved or ())
        self._bins = self.scale.bins if self.scale is not None else len(self.levels) + 1  # and all other values
        self.counts: Counts = np.zeros((POPULATIONS, self._bins + 1), np.int64)

    def curve(self, counts: Counts) -> Curve:
        """Return the curve of what all parts counted."""
        return Curve(self.rule, counts, self.scale, self.levels)

    def add(self, values: pl.Series | None, codes: Codes) -> None:
        """Count one piece; `values` is None where nobody has measured them."""
        width = self._bins + 1
        places = self._beside[codes] * width
        if values is None:
            places += self._bins
        elif values.null_count():
            known = values.is_not_null().to_numpy()
            places[~known] += self._bins
            places[known] += self._place(values.drop_nulls())
        else:
            places += self._place(values)
        self.counts += np.bincount(places, minlength=POPULATIONS * width).reshape(POPULATIONS, width)

    def _place(self, values: pl.Series) -> NDArray[np.intp]:
        if self.scale is not None:
            return self.scale.place(values)
        found = np.full(len(values), len(self.levels), np.intp)
        for number, level in enumerate(self.levels):
            found[(values == level).to_numpy()] = number
        return found


def _scale(rule: Rule, moved: Sequence[Any] | None) -> Scale | None:
    found = rule.bounds
    if not found:
        return None
    return Scale(find(rule.signal).type != "float64", [*found, *(moved or ())], fine=moved is None)


def levels(rule: Rule, more: Sequence[Any] = ()) -> list[Any]:
    """Return the values that a rule of eq or in names, and more; both truths for a bool."""
    if find(rule.signal).type == "bool":
        return [True, False]
    return list(dict.fromkeys([*(rule.value if rule.op == "in" else [rule.value]), *more]))


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
    """Of those that no other rule fails."""


class Curve:
    """A tally of all parts, and what can be read from it."""

    def __init__(self, rule: Rule, counts: Counts, scale: Scale | None, levels: Sequence[Any] = ()) -> None:
        self.rule = rule
        self.scale = scale
        self.levels = list(levels)
        self.unknown, self.unknown_open = int(counts[:, -1].sum()), int(counts[OPEN:, -1].sum())
        """Pairs without a value, of all and of those that no other rule fails."""
        self.counts = counts[:, :-1]
        self._sums = np.concatenate([np.zeros((POPULATIONS, 1), np.int64), np.cumsum(self.counts, axis=1)], axis=1)

    @property
    def whole(self) -> bool:
        """Whether values are whole numbers."""
        return self.scale is not None and self.scale.whole

    def pairs(self, first: int, last: int) -> tuple[int, int]:
        """Return the pairs in bins from `first` up to `last`: of all, and of those that no other rule fails."""
        found = self._sums[:, last] - self._sums[:, first]
        return int(found.sum()), int(found[OPEN:].sum())

    def at(self, moved: Sequence[Bound]) -> tuple[int, int]:
        """Return pairs kept and pending if what passes had these ends."""
        assert self.scale is not None
        first, last = 0, self.scale.bins
        for end in moved:
            if end.lower:
                first = max(first, self.scale.first(end))
            else:
                last = min(last, self.scale.first(end))
        passing = self._sums[:, max(first, last)] - self._sums[:, first]
        return int(passing[OPEN]), int(passing[WAITING]) + self.unknown_open

    def levels_at(self, passing: Sequence[Any]) -> tuple[int, int]:
        """Return pairs kept and pending if these of the levels passed, and no other value."""
        columns = [number for number, level in enumerate(self.levels) if level in passing]
        found = self.counts[:, columns].sum(axis=1)
        return int(found[OPEN]), int(found[WAITING]) + self.unknown_open

    def present(self) -> NDArray[np.intp]:
        """Return the bins that have a pair, in order."""
        return np.flatnonzero(self.counts.sum(axis=0))

    def low(self, number: int) -> float | None:
        """Return the least value that a bin can have; None for the first, which has none."""
        assert self.scale is not None
        if number == 0:
            return None
        found = self.scale.cuts[number - 1].item()
        return int(found) if self.whole else float(found)


def points(curve: Curve, end: Bound, most: int) -> Iterator[Point]:
    """Yield the curve of one end of a rule, the other left where it is: about `most` points, the threshold among them.

    Between two points the curve may be steeper; at each it is exact.
    """
    assert curve.scale is not None
    others = [other for other in curve.rule.bounds if other != end]
    for value in _values(curve, end, most):
        kept, pending = curve.at([Bound(end.op, value), *others])
        yield Point(value, kept, pending)


def _values(curve: Curve, end: Bound, most: int) -> list[float]:
    """Return thresholds at which cuts are, where values lie, from one that drops nothing to one that drops all."""
    assert curve.scale is not None
    scale = curve.scale
    shown = shown_bins(curve)
    if not len(shown):
        return [end.value]
    candidates = np.arange(max(0, shown[0] - 1), min(len(scale.cuts), shown[-1] + 1))
    cuts = _thresholds(scale, candidates, end)
    return sorted({*(_thinned(curve, cuts, most) if len(cuts) > most else cuts), end.value})


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


def _thinned(curve: Curve, cuts: Mapping[float, int], most: int) -> list[float]:
    """Take thresholds between which about equally many pairs lie, and some at equal distance, so that tails are seen.

    `cuts` are ascending thresholds and the cut that each is.
    """
    values = list(cuts)
    below = curve._sums[:, np.array(list(cuts.values())) + 1].sum(axis=0)
    wanted = np.linspace(0, below[-1], most // 2)
    by_pairs = np.minimum(np.searchsorted(below, wanted), len(values) - 1)
    evenly = np.linspace(0, len(values) - 1, most // 2).astype(int)
    return [values[i] for i in sorted({*by_pairs.tolist(), *evenly.tolist()})]


_NONE = 2.0**63
"""Beyond every value but the one that stands for 'has none'."""


def shown_bins(curve: Curve) -> NDArray[np.intp]:
    """Return the bins that have a pair, but that of the value that stands for 'has none'."""
    found = curve.present()
    none = find(curve.rule.signal).none
    if none is not None and curve.scale is not None and len(found):
        last = int(curve.scale.place(pl.Series([none]))[0])
        found = found[found != last]
    return found


def bars(curve: Curve, most: int) -> list[Bar]:
    """Return the distribution in at most about `most` bars, edged at every threshold; exact."""
    if curve.scale is None:
        return _level_bars(curve)
    found = shown_bins(curve)
    if not len(found):
        return []
    first, last = int(found[0]), int(found[-1]) + 1
    thresholds = (curve.scale.first(end) for end in curve.rule.bounds)
    few = found.tolist() if len(found) <= most else []
    between = {*few, *(at + 1 for at in few)} if few else set(_edges(curve, found, most))
    edges = sorted({first, last, *between, *(at for at in thresholds if first < at < last)})
    return [_bar(curve, low, high) for low, high in pairwise(edges) if curve.pairs(low, high)[0]]


def _bar(curve: Curve, first: int, last: int) -> Bar:
    pairs, is_open = curve.pairs(first, last)
    low, high = curve.low(first), curve.low(last) if last < curve.counts.shape[1] else None
    single = curve.whole and low is not None and high is not None and high - low == 1
    return Bar(low, high, low if single else None, pairs, is_open)


def _edges(curve: Curve, found: NDArray[np.intp], most: int) -> list[int]:
    """Return bins to begin bars at: equally wide, on a logarithmic scale where the values span it."""
    assert curve.scale is not None
    cuts = curve.scale.cuts.astype(float)
    first, last = int(found[0]), int(found[-1])
    least, greatest = cuts[max(0, first - 1)], cuts[min(len(cuts) - 1, last)]
    if least >= 0 and greatest > 100 * max(least, 1):
        wanted = np.expm1(np.linspace(np.log1p(least), np.log1p(greatest), most))
    else:
        wanted = np.linspace(least, greatest, most)
    return sorted({first, *(int(at) + 1 for at in np.searchsorted(cuts, wanted) if first <= at < last)})


def _level_bars(curve: Curve) -> list[Bar]:
    columns = curve.counts
    named = [
        Bar(None, None, level, int(columns[:, n].sum()), int(columns[OPEN:, n].sum()))
        for n, level in enumerate(curve.levels)
    ]
    rest = Bar(None, None, None, int(columns[:, -1].sum()), int(columns[OPEN:, -1].sum()))
    return [*named, rest] if rest.pairs else named
