"""Where the threshold of a top_fraction is: exactly, in two scans of stored columns, in kilobytes whatever the pool.

A score has six decimals, so it is a whole number of millionths. The first scan counts the pool's scores by thousandths,
the second those in the thousandth that the threshold is in; each counts for all rules at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.progress import Progress, Tick
from align_data.data.columns import available, columns
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.recipes.plan import Plan, PlannedRule, masks
from align_data.recipes.thresholds import Threshold, TopFraction
from align_data.signals.score import DECIMALS

Counts = NDArray[np.int64]
Bin = tuple[int, int]
"""The number of a signal, and a thousandth above -1."""

_MILLION = 10**DECIMALS
_FINE = 1000
_COARSE = 2 * _MILLION // _FINE + 1
"""Thousandths from -1 to 1, both ends with their own."""
_LEAST = -1.0


@dataclass(frozen=True)
class _ScoreScan:
    """What is the same for all parts. It travels to other machines."""

    dataset: Dataset
    rules: tuple[PlannedRule, ...]
    """The rules that decide which pairs are in the pool."""
    measured: frozenset[str]
    """The signals that these know."""
    signals: tuple[str, ...]
    """The signals whose values are counted."""

    def coarse(self, part: int, tick: Tick) -> Counts:
        """Count one part by thousandths, a row a signal."""
        counts = np.zeros((len(self.signals), _COARSE), np.int64)
        for scores in self._scores(part, tick):
            for row, steps in enumerate(scores):
                counts[row] += np.bincount(steps // _FINE, minlength=_COARSE)
        return counts

    def fine(self, bins: Sequence[Bin], part: int, tick: Tick) -> Counts:
        """Count one part by millionths inside some bins, a row a bin."""
        counts = np.zeros((len(bins), _FINE), np.int64)
        for scores in self._scores(part, tick):
            for row, (signal, number) in enumerate(bins):
                inside = scores[signal] - number * _FINE
                counts[row] += np.bincount(inside[(inside >= 0) & (inside < _FINE)], minlength=_FINE)
        return counts

    def _scores(self, part: int, tick: Tick) -> Iterator[list[Counts]]:
        """Yield the scores of the pool's pairs in each piece, as millionths above -1, a list a signal."""
        failed, _ = masks(self.rules, self.measured)
        needed = {rule.signal for rule in self.rules} & self.measured | {*self.signals}
        for piece in columns(self.dataset, part, ["copies"], sorted(needed)):
            pool = piece.with_columns(failed).filter(pl.col("failed") == 0)  # of no rules it is one number
            yield [_millionths(pool[name].drop_nulls()) for name in self.signals]
            tick(len(piece))


def _millionths(scores: pl.Series) -> Counts:
    steps: Counts = np.rint((scores.to_numpy() - _LEAST) * _MILLION).astype(np.int64)
    return steps


def resolve(
    dataset: Dataset, plan: Plan, values: Mapping[str, Sequence[float]], engine: Engine, progress: Progress
) -> dict[str, list[Threshold]]:
    """Return what fractions become as the test of rules, whose signals are measured.

    The pool is the pairs that no other rule in force fails, as the plan knows them; other rules of top_fraction are
    left out of account.
    """
    rules = tuple(rule for rule in plan.in_force if rule.rule.op != "top_fraction")
    measured = frozenset(available(dataset, dataset.ingested(), plan.signals)) - {*plan.unmeasured}
    signal_of = {name: plan.rule(name).signal for name in values}
    signals = tuple(dict.fromkeys(signal_of.values()))
    scan = _ScoreScan(dataset, rules, measured, signals)
    rows = [part.rows for part in dataset.ingested().parts]
    zeros = np.zeros((len(signals), _COARSE), np.int64)
    coarse = sum(engine.map_parts("scores", scan.coarse, rows, progress), zeros)
    searches = {
        (name, fraction): _ThresholdSearch(signals.index(signal), fraction, coarse[signals.index(signal)])
        for name, signal in signal_of.items()
        for fraction in values[name]
    }
    bins = sorted({search.bin for search in searches.values()})
    zeros = np.zeros((len(bins), _FINE), np.int64)
    fine = sum(engine.map_parts("scores", partial(scan.fine, bins), rows, progress), zeros)
    thresholds = {key: search.threshold(fine[bins.index(search.bin)]) for key, search in searches.items()}
    return {name: [thresholds[name, fraction] for fraction in fractions] for name, fractions in values.items()}


class _ThresholdSearch:
    """The way to one threshold: the thousandth that it is in, and then itself."""

    def __init__(self, signal: int, fraction: float, counts: Counts) -> None:
        self._empty = TopFraction(fraction=fraction, threshold=_LEAST, used=0, pool=int(counts.sum()))
        number, self._above = _reached(counts, self._empty.pairs)
        self.bin: Bin = (signal, number)

    def threshold(self, counts: Counts) -> TopFraction:
        """Return the threshold, by the counts in the bin."""
        if not self._empty.pool:
            return self._empty
        step, above = _reached(counts, self._empty.pairs - self._above)
        # Divided once, as the scores were: then the two are the same float.
        threshold = (self.bin[1] * _FINE + step - _MILLION) / _MILLION
        used = self._above + above + int(counts[step])
        return self._empty.model_copy(update={"threshold": threshold, "used": used})


def _reached(counts: Counts, rank: int) -> tuple[int, int]:
    """Return the highest index that at least `rank` are at or above, and how many are above it."""
    down = np.cumsum(counts[::-1])
    at = int(np.searchsorted(down, rank))
    return len(counts) - 1 - at, int(down[at - 1]) if at else 0
