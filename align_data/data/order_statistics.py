"""The values at places of an order, over a whole pool: exactly, in few scans, in kilobytes whatever the pool.

Values are coded as whole numbers of the same order: whole numbers as themselves, scores as millionths, other floats by
their bits. The first scan counts a range of codes in equal steps, the next one the step that the place is in, until a
step is one code, or has so few values that they are counted one by one: mostly that is the second. Each scan counts
for all groups of values, and all places in them, at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
_STEPS = (2**6, 2**14, 2**16)
"""Into how many steps the ranges of a group are divided together: of any pool, for one place, and for many."""
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

    def code(self, value: float) -> int:
        """Return the code of one value."""
        return int(self.encode(pl.Series([value]))[0])

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


class CodeRange(NamedTuple):
    """Codes from `low` to `high`, both included, in steps of `step`."""

    low: int
    high: int
    step: int

    @property
    def steps(self) -> int:
        """How many steps it has; the last may be shorter."""
        return (self.high - self.low) // self.step + 1


def divided(low: int, high: int, limit: int) -> CodeRange:
    """Return a range in at most about `limit` steps: no more than the fewest scans need to come to its single codes."""
    width, scans = high - low + 1, 1
    while limit**scans < width:
        scans += 1
    steps = width if scans == 1 else int(float(width) ** (1 / scans)) + 1
    return CodeRange(low, high, -(-width // steps))


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


@dataclass
class Opening:
    """What the first scan tells of a group: its values by the steps of a range, and those outside of it."""

    range: CodeRange
    counts: Codes
    below: int = 0
    above: int = 0
    least: int = 2**63 - 1
    """Of all values."""
    greatest: int = -(2**63)

    @property
    def number(self) -> int:
        """How many values there are."""
        return self.below + int(self.counts.sum()) + self.above

    def add(self, other: Opening) -> None:
        """Add what other pairs tell."""
        self.counts += other.counts
        self.below, self.above = self.below + other.below, self.above + other.above
        self.least, self.greatest = min(self.least, other.least), max(self.greatest, other.greatest)


def openings(
    source: CodeSource,
    title: str,
    ranges: Sequence[CodeRange],
    rows: Sequence[int],
    engine: Engine,
    progress: Progress,
) -> dict[Group, Opening]:
    """Count each group by the range of its number, in one scan; a group without values is absent."""
    total: dict[Group, Opening] = {}
    for part in engine.map_parts(title, partial(_open, source, ranges), rows, progress):
        _add(total, part)
    return total


def _open(source: CodeSource, ranges: Sequence[CodeRange], part: int, tick: Tick) -> dict[Group, Opening]:
    total: dict[Group, Opening] = {}
    for groups in source.codes(part, tick):
        _add(total, {group: _opening(codes, ranges[group[0]]) for group, codes in groups.items() if len(codes)})
    return total


def _add(total: dict[Group, Opening], openings_: Mapping[Group, Opening]) -> None:
    for group, opening in openings_.items():
        if group in total:
            total[group].add(opening)
        else:
            total[group] = opening


def _opening(codes: Codes, range_: CodeRange) -> Opening:
    least, greatest = int(codes.min()), int(codes.max())
    below = int((codes < range_.low).sum()) if least < range_.low else 0
    above = int((codes > range_.high).sum()) if greatest > range_.high else 0
    inside = codes if not below + above else codes[(codes >= range_.low) & (codes <= range_.high)]
    return Opening(range_, _by_steps(inside, [range_]), below, above, least, greatest)


_Open = tuple[int, int, int, list[int]]
"""The least and the greatest code of a range, how many values are below it, and which places are in it."""


class Search:
    """The way to the values at some places of a group: ever smaller ranges that they are in, then themselves."""

    def __init__(self, places: Iterable[int], opening: Opening) -> None:
        """`places` are counted from the lowest value, 0."""
        self.number = opening.number
        self._at: dict[int, Statistic] = {}
        self._open: list[_Open] = []
        range_, places = opening.range, sorted({*places})
        inside = self.number - opening.above
        low = [place for place in places if place < opening.below]
        high = [place for place in places if place >= inside]
        if low:
            self._open.append((opening.least, range_.low - 1, 0, low))
        self._descend(range_, opening.below, opening.counts, [p for p in places if opening.below <= p < inside])
        if high:
            self._open.append((range_.high + 1, opening.greatest, inside, high))
        self._open.sort()

    @property
    def ended(self) -> bool:
        """Whether all places are known."""
        return not self._open

    def at(self, place: int) -> Statistic:
        """Return what is at a place."""
        return self._at[place]

    def ranges(self, limit: int) -> tuple[CodeRange, ...]:
        """Return what the next scan counts, in at most about `limit` steps; ascending."""
        share = max(2, limit // len(self._open))
        return tuple(divided(low, high, share) for low, high, _, _ in self._open)

    def narrow(self, ranges: Sequence[CodeRange], counts: Codes) -> None:
        """Go on by the counts of the steps of these ranges."""
        start, before, self._open = 0, self._open, []
        for (_, _, below, places), range_ in zip(before, ranges, strict=True):
            self._descend(range_, below, counts[start : start + range_.steps], places)
            start += range_.steps

    def _descend(self, range_: CodeRange, below: int, counts: Codes, places: Sequence[int]) -> None:
        """Find the steps of a range that places are in."""
        up_to = below + np.cumsum(counts)
        steps: dict[int, list[int]] = {}
        for place in places:
            steps.setdefault(int(np.searchsorted(up_to, place, side="right")), []).append(place)
        for step, of_step in steps.items():
            low, less = range_.low + step * range_.step, int(up_to[step - 1]) if step else below
            high = min(low + range_.step - 1, range_.high)
            if low == high:
                self._at |= dict.fromkeys(of_step, Statistic(low, less, int(up_to[step]) - less))
            else:
                self._open.append((low, high, less, of_step))

    def finish(self, values: Codes, counts: Codes) -> None:
        """End by all values of the ranges, ascending, and how many pairs have each."""
        for low, high, below, places in self._open:
            start, end = np.searchsorted(values, low, side="left"), np.searchsorted(values, high, side="right")
            up_to = below + np.cumsum(counts[start:end])
            for place in places:
                at = int(np.searchsorted(up_to, place, side="right"))
                less = int(up_to[at - 1]) if at else below
                self._at[place] = Statistic(int(values[start + at]), less, int(up_to[at]) - less)
        self._open = []


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
        limit = max(least, min(many if several else one, share))
        ranges = {group: search.ranges(limit) for group, search in pending.items()}
        parts = engine.map_parts(title, partial(tally, source, ranges, limit), rows, progress)
        for group, each in pending.items():
            tallies = [part[group] for part in parts if group in part]
            if all(isinstance(counted, _Distinct) for counted in tallies):
                each.finish(*_distinct(tallies))
            else:
                zeros = np.zeros(sum(range_.steps for range_ in ranges[group]), np.int64)
                each.narrow(ranges[group], sum((of.by_steps(ranges[group]) for of in tallies), zeros))


class _Distinct(NamedTuple):
    """Values, ascending, and how many pairs have each."""

    values: Codes
    counts: Codes

    def by_steps(self, ranges: Sequence[CodeRange]) -> Codes:
        """Return the counts of the steps of ranges that all values are in."""
        return _by_steps(self.values, ranges, self.counts)


class _Stepped(NamedTuple):
    """How many pairs have a value in each step."""

    counts: Codes

    def by_steps(self, _: Sequence[CodeRange]) -> Codes:
        """Return them."""
        return self.counts


Tally = _Distinct | _Stepped


def tally(
    source: CodeSource, ranges: Mapping[Group, Sequence[CodeRange]], limit: int, part: int, tick: Tick
) -> dict[Group, Tally]:
    """Count the values of one part that are in ranges: one by one where they are few, or else by their steps."""
    tallies: dict[Group, Tally] = {}
    for groups in source.codes(part, tick):
        for group, codes in groups.items():
            if group in ranges:
                tallies[group] = _counted(tallies.get(group), _inside(codes, ranges[group]), ranges[group], limit)
    return tallies


def _counted(before: Tally | None, codes: Codes, ranges: Sequence[CodeRange], limit: int) -> Tally:
    if isinstance(before, _Stepped) or all(range_.step == 1 for range_ in ranges):
        counts = _by_steps(codes, ranges)
        return _Stepped(counts if before is None else counts + before.by_steps(ranges))
    distinct = _Distinct(*np.unique(codes, return_counts=True))
    if before is not None:
        distinct = _Distinct(*_distinct([before, distinct]))
    return distinct if len(distinct.values) <= limit else _Stepped(distinct.by_steps(ranges))


def _distinct(tallies: Sequence[Tally]) -> tuple[Codes, Codes]:
    """Return the values of all, ascending, and how many pairs have each."""
    of = [each for each in tallies if isinstance(each, _Distinct)]
    values, places = np.unique(np.concatenate([each.values for each in of]), return_inverse=True)
    counts = np.zeros(len(values), np.int64)
    np.add.at(counts, places, np.concatenate([each.counts for each in of]))
    return values, counts


def _inside(codes: Codes, ranges: Sequence[CodeRange]) -> Codes:
    """Return the codes that are in one of some ranges, which ascend."""
    if len(ranges) == 1:
        return codes[(codes >= ranges[0].low) & (codes <= ranges[0].high)]
    lows, highs = (np.array([getattr(range_, end) for range_ in ranges], np.int64) for end in ("low", "high"))
    at = np.searchsorted(lows, codes, side="right") - 1
    return codes[(at >= 0) & (codes <= highs[at])]


def _by_steps(codes: Codes, ranges: Sequence[CodeRange], weights: Codes | None = None) -> Codes:
    """Return how many codes, all in one of some ranges, which ascend, are in each step; a code counts its weight."""
    lows, steps = (np.array([getattr(range_, of) for range_ in ranges], np.int64) for of in ("low", "step"))
    starts = np.cumsum([0, *(range_.steps for range_ in ranges)])
    # As unsigned: the difference of two codes may be beyond what a signed one holds.
    if len(ranges) == 1:
        at = (codes.view(np.uint64) - lows.view(np.uint64)[0]) // np.uint64(ranges[0].step)
    else:
        range_at = np.searchsorted(lows, codes, side="right") - 1
        at = (codes.view(np.uint64) - lows.view(np.uint64)[range_at]) // steps.view(np.uint64)[range_at]
        at += starts[range_at].view(np.uint64)
    counts = np.bincount(at.astype(np.int64), weights, int(starts[-1]))  # exact to 2^53 pairs
    return counts.astype(np.int64)
