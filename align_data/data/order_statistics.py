"""The values at places of an order, over a whole pool: exactly, in few scans, in kilobytes whatever the pool.

Values are coded as whole numbers of the same order: whole numbers as themselves, scores as millionths, other floats by
their bits. A scan counts a stretch of codes in equal steps, the next one the step that the place is in, until a step
is one code. Each scan counts for all groups of values, and all places in them, at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.progress import Progress, Tick
from align_data.engines.base import Engine
from align_data.signals.score import DECIMALS

Codes = NDArray[np.int64]
Group = tuple[int, object]
"""The number of a column that is counted, and the class of its pairs; None for all of them."""

MILLION: int = 10**DECIMALS
_SIGN = np.int64(2**63 - 1)
_FEW = 8
"""Stretches of a group that are counted one by one; of more the values are sorted once."""
_STEPS = (2**6, 2**14, 2**16)
"""Into how many steps the stretches of a group are divided together: of any pool, for one place, and for many."""
_BUDGET = 2**25
"""Counts that all parts may return together."""


@dataclass(frozen=True)
class Coding:
    """How values are whole numbers of the same order."""

    name: str

    def encode(self, values: pl.Series) -> Codes:
        """Return the codes of values without nulls."""
        numbers = values.to_numpy()
        if self.name == "whole":
            return numbers.astype(np.int64)
        if self.name == "millionths":
            steps: Codes = np.rint(numbers * MILLION).astype(np.int64)
            return steps
        return _ordered((numbers + 0.0).view(np.int64))  # of a negative nothing 0.0, which it is equal to

    def decode(self, code: int) -> float:
        """Return the value of a code."""
        if self.name == "whole":
            return code
        if self.name == "millionths":
            return code / MILLION  # as the score was: then the two are the same float
        return float(_ordered(np.array([code], np.int64)).view(np.float64)[0])


def _ordered(bits: Codes) -> Codes:
    """Turn the bits of floats into whole numbers of their order, and back."""
    codes: Codes = bits ^ ((bits >> np.int64(63)) & _SIGN)
    return codes


WHOLE, MILLIONTHS, BITS = Coding("whole"), Coding("millionths"), Coding("bits")


class Reach(NamedTuple):
    """How many values there are, and the least and the greatest of their codes."""

    number: int
    low: int
    high: int


class CodeRange(NamedTuple):
    """Codes from `low` to `high`, both included, in steps of `step`."""

    low: int
    high: int
    step: int

    @property
    def steps(self) -> int:
        """How many steps it has; the last may be shorter."""
        return (self.high - self.low) // self.step + 1


class CodeSource(Protocol):
    """Where codes come from. It travels to other machines."""

    def codes(self, part: int, tick: Tick) -> Iterator[Mapping[Group, Codes]]:
        """Yield the codes of each piece of a part, by group."""


class Statistic(NamedTuple):
    """What is at a place."""

    code: int
    below: int
    """Values that are less."""
    equal: int
    """Values that are equal."""


def reaches(
    source: CodeSource, title: str, rows: Sequence[int], engine: Engine, progress: Progress
) -> dict[Group, Reach]:
    """Return how far the values of each group reach, in one scan; a group without values is absent."""
    total: dict[Group, Reach] = {}
    for part in engine.map_parts(title, partial(_reaches, source), rows, progress):
        _widen(total, part)
    return total


def _reaches(source: CodeSource, part: int, tick: Tick) -> dict[Group, Reach]:
    ends: dict[Group, Reach] = {}
    for groups in source.codes(part, tick):
        _widen(ends, {g: Reach(len(c), int(c.min()), int(c.max())) for g, c in groups.items() if len(c)})
    return ends


def _widen(total: dict[Group, Reach], others: Mapping[Group, Reach]) -> None:
    for group, other in others.items():
        own = total.get(group, other._replace(number=0))
        total[group] = Reach(own.number + other.number, min(own.low, other.low), max(own.high, other.high))


class Search:
    """The way to the values at some places of a group: ever smaller stretches that they are in, then themselves."""

    def __init__(self, places: Callable[[int], Iterable[int]], low: int, high: int) -> None:
        """`places` returns, for the number of values, which ones of them are wanted, counted from the lowest, 0."""
        self._places = places
        self._open: list[tuple[int, int, int, list[int] | None]] = [(low, high, 0, None)]
        self._at: dict[int, Statistic] = {}
        self.number: int | None = None
        """How many values there are, once they have been counted."""

    @property
    def ended(self) -> bool:
        """Whether all places are known."""
        return not self._open

    def at(self, place: int) -> Statistic:
        """Return what is at a place that was searched for."""
        return self._at[place]

    @property
    def statistics(self) -> list[Statistic]:
        """What is at the places, in the order of the places; nothing of no values."""
        return [self._at[place] for place in self._places(self.number)] if self.number else []

    def stretches(self, several: bool, steps_in_all: int) -> tuple[CodeRange, ...]:
        """Return what the next scan counts, in at most about `steps_in_all` steps."""
        limit = max(2, steps_in_all // len(self._open))
        return tuple(
            CodeRange(low, high, -(-(high - low + 1) // _steps(high - low + 1, limit, fewest=not several)))
            for low, high, _, _ in self._open
        )

    def narrow(self, stretches: Sequence[CodeRange], counts: Codes) -> None:
        """Go on by the counts of the steps of these stretches."""
        if self.number is None:
            self.number = int(counts.sum())
            self._open[0] = (*self._open[0][:3], sorted({*self._places(self.number)}) if self.number else [])
        following: dict[int, tuple[int, int, int, list[int] | None]] = {}
        start = 0
        for (_, _, below, places), stretch in zip(self._open, stretches, strict=True):
            up_to = below + np.cumsum(counts[start : start + stretch.steps])
            start += stretch.steps
            for place in places or ():
                at = int(np.searchsorted(up_to, place, side="right"))
                low = stretch.low + at * stretch.step
                high, less = min(low + stretch.step - 1, stretch.high), int(up_to[at - 1]) if at else below
                if low == high:
                    self._at[place] = Statistic(low, less, int(up_to[at]) - less)
                    continue
                within = following.setdefault(low, (low, high, less, []))[3]
                assert within is not None
                within.append(place)
        self._open = list(following.values())


def _steps(width: int, limit: int, *, fewest: bool) -> int:
    """Return into how many steps to divide codes; with `fewest`, no more than the fewest scans need."""
    if width <= limit or not fewest:
        return min(width, limit)
    scans = 2
    while limit**scans < width:
        scans += 1
    return int(float(width) ** (1 / scans)) + 1


def search(
    source: CodeSource,
    title: str,
    searches: Mapping[Group, Search],
    rows: Sequence[int],
    engine: Engine,
    progress: Progress,
    *,
    several: bool = False,
) -> None:
    """Carry searches to their ends, all in the same scans; `several` tells that they have many places each."""
    while pending := {group: search for group, search in searches.items() if not search.ended}:
        least, one, many = _STEPS
        share = _BUDGET // (len(pending) * max(1, len(rows)))
        steps_in_all = max(least, min(many if several else one, share))
        stretches = {group: search.stretches(several, steps_in_all) for group, search in pending.items()}
        totals = {group: np.zeros(sum(s.steps for s in of), np.int64) for group, of in stretches.items()}
        for counts in engine.map_parts(title, partial(count, source, stretches), rows, progress):
            for group, of_group in counts.items():
                totals[group] += of_group
        for group, each in pending.items():
            each.narrow(stretches[group], totals[group])


def count(
    source: CodeSource, stretches: Mapping[Group, Sequence[CodeRange]], part: int, tick: Tick
) -> dict[Group, Codes]:
    """Count the values of one part by the steps of stretches, group by group, one stretch's steps behind another's."""
    counts: dict[Group, Codes] = {}
    for groups in source.codes(part, tick):
        for group, codes in groups.items():
            if group in stretches:
                counted = (_each if len(stretches[group]) <= _FEW else _sorted)(codes, stretches[group])
                counts[group] = counts[group] + counted if group in counts else counted
    return counts


def _each(codes: Codes, stretches: Sequence[CodeRange]) -> Codes:
    counts = []
    for low, high, step in stretches:
        inside = codes[(codes >= low) & (codes <= high)]
        # As unsigned: the difference of two codes may be beyond what a signed one holds.
        above = (inside.view(np.uint64) - np.uint64(low % 2**64)) // np.uint64(step)
        counts.append(np.bincount(above.astype(np.int64), minlength=CodeRange(low, high, step).steps))
    return np.concatenate(counts)


def _sorted(codes: Codes, stretches: Sequence[CodeRange]) -> Codes:
    ordered, counts = np.sort(codes), []
    for low, high, step in stretches:
        ends = np.array([min(low + step * n, high + 1) - 1 for n in range(1, (high - low) // step + 2)], np.int64)
        up_to = np.searchsorted(ordered, ends, side="right")
        counts.append(np.diff(up_to, prepend=np.searchsorted(ordered, np.int64(low), side="left")))
    return np.concatenate(counts)
