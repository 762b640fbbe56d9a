"""Where the threshold of a top_fraction is: exactly, in two scans of stored columns, in kilobytes whatever the pool.

A score has six decimals, so it is a whole number of millionths. The first scan counts the pool's scores by thousandths,
the second those in the thousandth that the threshold is in; each counts for all rules at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.progress import Progress, Tick
from align_data.data.columns import columns
from align_data.data.layout import Dataset
from align_data.data.ledger import Plan, Top
from align_data.engines.base import Engine
from align_data.recipes.model import Rule, masks
from align_data.signals.score import DECIMALS

Counts = NDArray[np.int64]
Bin = tuple[int, int]
"""A signal's place, and a thousandth above -1."""

_MILLION = 10**DECIMALS
_FINE = 1000
_COARSE = 2 * _MILLION // _FINE + 1
"""Thousandths from -1 to 1, both ends with their own."""
_LEAST = -1.0


@dataclass(frozen=True)
class _Scan:
    """What is the same for all parts. It travels to other machines."""

    dataset: Dataset
    rules: tuple[Rule, ...]
    """Those that say which pairs are in the pool."""
    measured: frozenset[str]
    signals: tuple[str, ...]
    """Whose values are counted."""

    def coarse(self, part: int, tick: Tick) -> Counts:
        """Count one part by thousandths, a row a signal."""
        found = np.zeros((len(self.signals), _COARSE), np.int64)
        for steps in self._steps(part, tick):
            for row, some in enumerate(steps):
                found[row] += np.bincount(some // _FINE, minlength=_COARSE)
        return found

    def fine(self, bins: Sequence[Bin], part: int, tick: Tick) -> Counts:
        """Count one part by millionths inside some bins, a row a bin."""
        found = np.zeros((len(bins), _FINE), np.int64)
        for steps in self._steps(part, tick):
            for row, (signal, number) in enumerate(bins):
                inside = steps[signal] - number * _FINE
                found[row] += np.bincount(inside[(inside >= 0) & (inside < _FINE)], minlength=_FINE)
        return found

    def _steps(self, part: int, tick: Tick) -> Iterator[list[Counts]]:
        """Yield the scores of the pool's pairs in each piece, as millionths above -1, a list a signal."""
        failed, _ = masks(self.rules, (), self.measured)
        needed = {rule.signal for rule in self.rules} & self.measured | {*self.signals}
        for piece in columns(self.dataset, part, ["copies"], sorted(needed)):
            pool = piece.with_columns(failed).filter(pl.col("failed") == 0)  # of no rules it is one number
            yield [_millionths(pool[name].drop_nulls()) for name in self.signals]
            tick(len(piece))


def _millionths(scores: pl.Series) -> Counts:
    found: Counts = np.rint((scores.to_numpy() - _LEAST) * _MILLION).astype(np.int64)
    return found


def resolve(
    dataset: Dataset,
    plan: Plan,
    measured: frozenset[str],
    asked: Mapping[str, Sequence[float]],
    engine: Engine,
    progress: Progress,
) -> dict[str, list[Top]]:
    """Return what fractions become as the test of a rule, for each rule that is asked for; its signal is measured.

    The pool is of the pairs that no other rule in force fails; those of top_fraction are not asked.
    """
    rules = zip(plan.recipe.rules, plan.deciding, strict=True)
    others = tuple(r for written, r in rules if written.op != "top_fraction" and written.name not in plan.off)
    signal_of = {name: plan.recipe.rules[plan.recipe.position(name)].signal for name in asked}
    signals = tuple(dict.fromkeys(signal_of.values()))
    if not signals:
        return {}
    scan = _Scan(dataset, others, measured, signals)
    rows = [part.rows for part in dataset.ingested().parts]
    zeros = np.zeros((len(signals), _COARSE), np.int64)
    coarse = sum(engine.map_parts("scores", scan.coarse, rows, progress), zeros)
    searches = {
        (name, fraction): _Search(signals.index(signal_of[name]), fraction, coarse[signals.index(signal_of[name])])
        for name, fractions in asked.items()
        for fraction in fractions
    }
    bins = sorted({search.bin for search in searches.values()})
    zeros = np.zeros((len(bins), _FINE), np.int64)
    fine = sum(engine.map_parts("scores", partial(scan.fine, bins), rows, progress), zeros)
    tops = {key: search.top(fine[bins.index(search.bin)]) for key, search in searches.items()}
    return {name: [tops[name, fraction] for fraction in fractions] for name, fractions in asked.items()}


class _Search:
    """The way to one threshold: the thousandth that it is in, and then itself."""

    def __init__(self, signal: int, fraction: float, counts: Counts) -> None:
        self._none = Top(fraction, _LEAST, 0, int(counts.sum()))
        number, self._above = _reached(counts, self._none.wanted)
        self.bin: Bin = (signal, number)

    def top(self, counts: Counts) -> Top:
        """Return the threshold, by the counts in the bin."""
        if not self._none.pool:
            return self._none
        step, above = _reached(counts, self._none.wanted - self._above)
        # Divided once, as the scores were: then the two are the same float.
        threshold = (self.bin[1] * _FINE + step - _MILLION) / _MILLION
        return replace(self._none, threshold=threshold, used=self._above + above + int(counts[step]))


def _reached(counts: Counts, rank: int) -> tuple[int, int]:
    """Return the highest place that at least `rank` are at or above, and how many are above it."""
    down = np.cumsum(counts[::-1])
    at = int(np.searchsorted(down, rank))
    return len(counts) - 1 - at, int(down[at - 1]) if at else 0
