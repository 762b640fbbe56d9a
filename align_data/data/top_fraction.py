"""Where the threshold of a top_fraction is: exactly, in few scans of the columns that its rule and its choice read.

Mostly these are two. Each counts for all rules and fractions at once.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from align_data.common.progress import Progress
from align_data.data.layout import Dataset
from align_data.data.order_statistics import Group, Opening, Search, openings, search
from align_data.data.pool import (
    Counted,
    PoolScan,
    check_classes,
    choosing,
    coding,
    definition,
    first_range,
    measured_by,
)
from align_data.data.remembered import remembered
from align_data.engines.base import Engine
from align_data.recipes.model import KEPT, POOL
from align_data.recipes.plan import Plan
from align_data.recipes.thresholds import Threshold, TopFraction, TopFractions
from align_data.signals import Signal

_STEPS, _STEPS_OF_CLASSES = 2**14, 2**8
"""Into how many steps the first scan divides values: of all pairs together, and class by class."""
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


def resolve(
    dataset: Dataset, plan: Plan, values: Mapping[str, Sequence[float]], engine: Engine, progress: Progress
) -> dict[str, list[Threshold]]:
    """Return what fractions become as the test of rules, whose signals are measured, and whose choices are resolved."""
    choices = {rule: _choice(plan, rule, fractions) for rule, fractions in values.items()}
    counted = tuple(dict.fromkeys(each for of in choices.values() for each in (of.among, of.whole)))
    scan = remembered(PoolScan(dataset, plan, measured_by(dataset, plan), counted), engine)
    rows = [part.rows for part in dataset.ingested().parts]
    ranges = [first_range(plan, of, _STEPS if of.per is None else _STEPS_OF_CLASSES) for of in counted]
    pool = _Pool(counted, openings(scan, "scores", ranges, rows, engine, progress))
    classes = Counter(number for number, _ in pool.opened)
    for number, of in enumerate(counted):
        check_classes(of, classes[number])
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
    """How many values there are of what is counted, by what the first scan tells."""

    counted: tuple[Counted, ...]
    opened: Mapping[Group, Opening]

    def groups(self, choice: _Choice) -> list[Group]:
        """Return the groups that a choice has a threshold in: one, or those of the classes that there are."""
        number = self.counted.index(choice.among)
        if choice.among.per is None:
            return [(number, None)]
        return sorted((group for group in self.opened if group[0] == number), key=lambda group: str(group[1]))

    def whole(self, choice: _Choice, group: Group) -> int:
        """Return how many values the fractions of a choice are of."""
        return self.opened[self.counted.index(choice.whole), group[1]].number

    def places(self, choice: _Choice, group: Group) -> list[int]:
        """Return the place of the lowest value that passes by each fraction."""
        number, whole = self.opened[group].number, self.whole(choice, group)
        return [number - min(number, math.ceil(Fraction(str(fraction)) * whole)) for fraction in choice.fractions]

    def searches(self, choices: Iterable[_Choice]) -> dict[Group, Search]:
        """Return a search for each group that has values."""
        places: dict[Group, list[int]] = {}
        for choice in choices:
            for group in self.groups(choice):
                if group in self.opened:
                    places.setdefault(group, []).extend(self.places(choice, group))
        return {group: Search(of_group, self.opened[group]) for group, of_group in places.items()}


def least_of(signal: Signal) -> float:
    """Return the threshold of no pair, which all values reach."""
    return _LEAST_SCORE if signal.kind == "score" else _LEAST[signal.type]


def _threshold(choice: _Choice, at: int, pool: _Pool, searches: Mapping[Group, Search]) -> Threshold:
    """Return what one fraction of a choice has become."""
    tops = {group[1]: _top(choice, at, pool, group, searches.get(group)) for group in pool.groups(choice)}
    if choice.among.per is None:
        return tops[None]
    return TopFractions(per=choice.among.per, by_class={str(name): top for name, top in tops.items()})


def _top(choice: _Choice, at: int, pool: _Pool, group: Group, searched: Search | None) -> TopFraction:
    fraction = choice.fractions[at]
    least = least_of(choice.signal)
    top = TopFraction(fraction=fraction, threshold=least, used=0, pool=0, among=choice.words)
    if searched is None:
        return top
    code, below, _ = searched.at(pool.places(choice, group)[at])
    threshold = choice.among.coding.decode(code)
    whole = pool.whole(choice, group) if choice.whole != choice.among else None
    number = searched.number
    return top.model_copy(update={"threshold": threshold, "used": number - below, "pool": number, "whole": whole})
