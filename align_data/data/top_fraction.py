"""Where the threshold of a top_fraction is: exactly, in few scans of the columns that its rule and its choice read.

Of a cosine or a probability that is two scans; where it is not known how far values reach, another one tells. Each
scan counts for all rules and fractions at once.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from align_data.common.progress import Progress
from align_data.data.layout import Dataset
from align_data.data.order_statistics import MILLION, Group, Reach, Search, reaches, search
from align_data.data.pool import Counted, PoolScan, choosing, coding, definition, measured_by
from align_data.engines.base import Engine
from align_data.recipes.model import KEPT, POOL
from align_data.recipes.plan import Plan
from align_data.recipes.thresholds import Threshold, TopFraction, TopFractions
from align_data.signals import Signal

_REACHES = {"cosine": (-MILLION, MILLION), "0 to 1": (0, MILLION)}
"""Unit → the least and the greatest millionth that a score can have."""
_LEAST = {"int32": -(2**31), "int64": -(2**63), "float64": -sys.float_info.max}
"""Type → the threshold of no pair: all values reach it."""
_LEAST_SCORE = -1.0
"""The same of a score."""


@dataclass(frozen=True)
class _Choice:
    """What is looked up for one rule."""

    fractions: tuple[float, ...]
    signal: Signal
    among: Counted
    """The pairs that it chooses among."""
    whole: Counted
    """The pairs that its fractions are of."""
    words: str | tuple[str, ...] | None
    """Which pairs it chooses among, where that are not those that no other rule fails."""

    @property
    def reach(self) -> tuple[int, int] | None:
        """The least and the greatest code where the unit tells them; None where only looking does."""
        if self.signal.kind != "score" or self.among.per is not None or self.whole != self.among:
            return None
        return _REACHES.get(self.signal.unit)


def resolve(
    dataset: Dataset, plan: Plan, values: Mapping[str, Sequence[float]], engine: Engine, progress: Progress
) -> dict[str, list[Threshold]]:
    """Return what fractions become as the test of rules, whose signals are measured, and whose choices are resolved."""
    choices = {rule: _choice(plan, rule, fractions) for rule, fractions in values.items()}
    counted = tuple(dict.fromkeys(each for of in choices.values() for each in (of.among, of.whole)))
    scan = PoolScan(dataset, plan, measured_by(dataset, plan), counted)
    rows = [part.rows for part in dataset.ingested().parts]
    unbounded = any(of.reach is None for of in choices.values())
    pool = _Pool(counted, reaches(scan, "scores", rows, engine, progress) if unbounded else {})
    searches = pool.searches(choices.values())
    search(scan, "scores", searches, rows, engine, progress)
    return {
        rule: [_threshold(of, at, pool, searches) for at in range(len(of.fractions))] for rule, of in choices.items()
    }


def _choice(plan: Plan, name: str, fractions: Iterable[float]) -> _Choice:
    rule = plan.rule(name)
    assert rule.rule.signal is not None
    signal = definition(plan, rule.rule.signal)
    rules = tuple(other.name for other in choosing(plan, rule))
    among = Counted(signal.name, coding(signal), rules, rule.rule.per)
    whole = Counted(signal.name, coding(signal), (), rule.rule.per) if rule.rule.of == POOL else among
    words = None if rule.rule.choice == KEPT else rule.rule.choice
    return _Choice(tuple(fractions), signal, among, whole, words)


@dataclass(frozen=True)
class _Pool:
    """How many values there are of what is counted, and how far they reach, as far as that has been looked up."""

    counted: tuple[Counted, ...]
    ends: Mapping[Group, Reach]

    def groups(self, choice: _Choice) -> list[Group]:
        """Return the groups that a choice has a threshold in: one, or those of the classes that there are."""
        number = self.counted.index(choice.among)
        if choice.among.per is None:
            return [(number, None)]
        return sorted((group for group in self.ends if group[0] == number), key=lambda group: str(group[1]))

    def places(self, choice: _Choice, group: Group, number: int) -> list[int]:
        """Return the place of the lowest value that passes by each fraction, of so many values."""
        whole = number
        if choice.whole != choice.among:
            whole = self.ends[self.counted.index(choice.whole), group[1]].number
        pairs_of = (math.ceil(Fraction(str(fraction)) * whole) for fraction in choice.fractions)
        return [number - min(number, pairs) for pairs in pairs_of]

    def searches(self, choices: Iterable[_Choice]) -> dict[Group, Search]:
        """Return a search for each group that has values."""
        sharing: dict[Group, list[_Choice]] = {}
        for choice in choices:
            for group in self.groups(choice):
                sharing.setdefault(group, []).append(choice)
        searches = {}
        for group, of_group in sharing.items():
            end = self.ends.get(group)
            reach = (end.low, end.high) if end is not None else of_group[0].reach if not self.ends else None
            if reach is not None:
                searches[group] = Search(partial(self._all_places, of_group, group), *reach)
        return searches

    def _all_places(self, choices: Sequence[_Choice], group: Group, number: int) -> list[int]:
        return [place for choice in choices for place in self.places(choice, group, number)]


def _threshold(choice: _Choice, at: int, pool: _Pool, searches: Mapping[Group, Search]) -> Threshold:
    """Return what one fraction of a choice has become."""
    tops = {group[1]: _top(choice, at, pool, group, searches.get(group)) for group in pool.groups(choice)}
    if choice.among.per is None:
        return tops[None]
    return TopFractions(per=choice.among.per, by_class={str(name): top for name, top in tops.items()})


def _top(choice: _Choice, at: int, pool: _Pool, group: Group, searched: Search | None) -> TopFraction:
    fraction = choice.fractions[at]
    least = _LEAST_SCORE if choice.signal.kind == "score" else _LEAST[choice.signal.type]
    top = TopFraction(fraction=fraction, threshold=least, used=0, pool=0, among=choice.words)
    if searched is None or not searched.number:
        return top
    number = searched.number
    code, below, _ = searched.at(pool.places(choice, group, number)[at])
    whole = pool.ends[pool.counted.index(choice.whole), group[1]].number if choice.whole != choice.among else None
    threshold = choice.among.coding.decode(code)
    return top.model_copy(update={"threshold": threshold, "used": number - below, "pool": number, "whole": whole})
