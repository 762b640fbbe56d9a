"""Where the threshold of a top_fraction is: exactly, in few scans of stored columns, in kilobytes whatever the pool.

A score has six decimals, so it is a whole number of millionths. Each scan counts the pool's scores in equal steps of an
interval, the next one in the step that the threshold is in, until a step is a millionth: for cosines that is two scans,
by thousandths and by millionths. Where it is not known how far scores reach, another scan tells. Each counts for all
rules at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.progress import Progress, Tick
from align_data.data.columns import available, columns
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.recipes.plan import Plan, PlannedRule, masks
from align_data.recipes.thresholds import Threshold, TopFraction
from align_data.signals import find
from align_data.signals.score import DECIMALS

Counts = NDArray[np.int64]

_MILLION = 10**DECIMALS
_STEPS = 2001
"""Steps of an interval: all thousandths from -1 to 1, both ends with their own."""
_REACHES = {"cosine": (-_MILLION, _MILLION), "0 to 1": (0, _MILLION)}
"""Unit → the least and the greatest millionth that a score can have."""
_LEAST = -1.0
"""The threshold for an empty pool, which nothing is above or below."""


class Interval(NamedTuple):
    """Steps of one signal's values, in millionths; scores are counted in each of them."""

    signal: int
    """Its number."""
    low: int
    width: int
    step: int


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

    def reaches(self, part: int, tick: Tick) -> list[tuple[int, int] | None]:
        """Return the least and the greatest millionth of each signal in one part; None where it has no value."""
        ends: list[tuple[int, int] | None] = [None] * len(self.signals)
        for scores in self._scores(part, tick):
            for number, values in enumerate(scores):
                if len(values):
                    ends[number] = _outer(ends[number], (int(values.min()), int(values.max())))
        return ends

    def counts(self, intervals: Sequence[Interval], part: int, tick: Tick) -> Counts:
        """Count one part by the steps of some intervals, a row an interval."""
        counts = np.zeros((len(intervals), _STEPS), np.int64)
        for scores in self._scores(part, tick):
            for row, interval in enumerate(intervals):
                above = scores[interval.signal] - interval.low
                inside = above[(above >= 0) & (above < interval.width)]
                counts[row] += np.bincount(inside // interval.step, minlength=_STEPS)
        return counts

    def _scores(self, part: int, tick: Tick) -> Iterator[list[Counts]]:
        """Yield the scores of the pool's pairs in each piece, as millionths, a list a signal."""
        failed, _ = masks(self.rules, self.measured)
        needed = {rule.signal for rule in self.rules} & self.measured | {*self.signals}
        for piece in columns(self.dataset, part, ["copies"], sorted(needed)):
            pool = piece.with_columns(failed).filter(pl.col("failed") == 0)  # of no rules it is one number
            yield [_millionths(pool[name].drop_nulls()) for name in self.signals]
            tick(len(piece))


def _millionths(scores: pl.Series) -> Counts:
    steps: Counts = np.rint(scores.to_numpy() * _MILLION).astype(np.int64)
    return steps


def _outer(ends: tuple[int, int] | None, other: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return what reaches as far as both."""
    if ends is None or other is None:
        return ends or other
    return min(ends[0], other[0]), max(ends[1], other[1])


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
    reaches = _reaches(scan, rows, engine, progress)
    searches = {
        (name, fraction): _ThresholdSearch(signals.index(signal), fraction, reaches[signals.index(signal)])
        for name, signal in signal_of.items()
        for fraction in values[name]
    }
    while intervals := sorted({search.interval for search in searches.values() if not search.ended}):
        zeros = np.zeros((len(intervals), _STEPS), np.int64)
        counts = sum(engine.map_parts("scores", partial(scan.counts, intervals), rows, progress), zeros)
        for search in searches.values():
            if not search.ended:
                search.narrow(counts[intervals.index(search.interval)])
    return {name: [searches[name, fraction].threshold for fraction in fractions] for name, fractions in values.items()}


def _reaches(
    scan: _ScoreScan, rows: Sequence[int], engine: Engine, progress: Progress
) -> Sequence[tuple[int, int] | None]:
    """Return how far the scores of each signal reach: by its unit, or else by looking at all of them."""
    known = [_REACHES.get(find(name).unit) for name in scan.signals]
    if None not in known:
        return known
    ends: list[tuple[int, int] | None] = [None] * len(known)
    for part in engine.map_parts("scores", scan.reaches, rows, progress):
        ends = [_outer(end, other) for end, other in zip(ends, part, strict=True)]
    return ends


class _ThresholdSearch:
    """The way to one threshold: ever smaller intervals that it is in, and then itself."""

    def __init__(self, signal: int, fraction: float, reach: tuple[int, int] | None) -> None:
        self._top = TopFraction(fraction=fraction, threshold=_LEAST, used=0, pool=0)
        self._above = 0
        self.ended = reach is None
        low, high = reach or (0, 0)
        self.interval = _interval(signal, low, high - low + 1)
        self._first = True

    def narrow(self, counts: Counts) -> None:
        """Go on by the counts of the interval."""
        if self._first:
            self._first, self._top = False, self._top.model_copy(update={"pool": int(counts.sum())})
        if not self._top.pool:
            self.ended = True
            return
        number, above = _reached(counts, self._top.pairs - self._above)
        self._above += above
        signal, low, _, step = self.interval
        low += number * step
        self.ended = step == 1
        if self.ended:
            # Divided once, as the scores were: then the two are the same float.
            used = self._above + int(counts[number])
            self._top = self._top.model_copy(update={"threshold": low / _MILLION, "used": used})
        self.interval = _interval(signal, low, step)

    @property
    def threshold(self) -> TopFraction:
        """What the fraction has become."""
        return self._top


def _interval(signal: int, low: int, width: int) -> Interval:
    """Return an interval in as small steps as there are."""
    return Interval(signal, low, width, -(-width // _STEPS))


def _reached(counts: Counts, rank: int) -> tuple[int, int]:
    """Return the highest index that at least `rank` are at or above, and how many are above it."""
    down = np.cumsum(counts[::-1])
    at = int(np.searchsorted(down, rank))
    return len(counts) - 1 - at, int(down[at - 1]) if at else 0
