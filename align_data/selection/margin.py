"""How far pairs are from a threshold: the test that is meant, its side, and the distance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import polars as pl

from align_data.common.errors import nearest
from align_data.data.ledger import KEPT
from align_data.recipes.plan import Plan, PlannedRule
from align_data.recipes.planned import PASSES, PlannedTest
from align_data.selection.conditions import ConditionError
from align_data.selection.selection import NEAREST, PairSelection

DISTANCE = "_distance"


@dataclass(frozen=True)
class Margin:
    """A test whose threshold pairs are compared with."""

    test: PlannedTest
    side: str | None
    bit: int | None
    """The bit of its rule in the masks, where the rule is this test alone: its side can be read there."""

    @staticmethod
    def of(selection: PairSelection, plan: Plan) -> Margin | None:
        """Return what a selection means by nearest, None where it does not ask.

        ConditionError for a rule or test that there is not, that is taken out, or that compares with no threshold.
        """
        if selection.nearest is None:
            return None
        name, tests = selection.nearest, _named(plan)
        if name not in tests:
            rule = next((rule for rule in plan.rules if rule.name == name), None)
            if rule is not None and not rule.in_force:
                raise ConditionError(f"{NEAREST}={name}: the rule is taken out; put it back to ask")
            if rule is not None:
                choices = [of for of, (its, test) in tests.items() if its == rule and _thresholds(test)]
                raise ConditionError(f"{NEAREST}={name}: the rule has several tests: say which, {' or '.join(choices)}")
            raise ConditionError(f"{NEAREST}={name[:200]}: there is no such rule{nearest(name, list(tests))}")
        its, test = tests[name]
        if not _thresholds(test):
            raise ConditionError(f"{NEAREST}={name}: it compares with no threshold that a number can be near to")
        return Margin(test, selection.side, its.bit if len(its.tests) == 1 else None)

    def of_those_with_one(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the pairs that have a distance and lie on the side that is asked, with it as `_distance`."""
        if self.side is not None:
            frame = frame.filter(self._passes() == (self.side == KEPT))
        return frame.with_columns(self.distance.alias(DISTANCE)).filter(pl.col(DISTANCE).is_not_null())

    def _passes(self) -> pl.Expr:
        if self.bit is None:
            return self.test.verdict(self.test.columns)
        failed, unknown = (pl.col(mask) & self.bit != 0 for mask in ("failed", "unknown"))
        return pl.when(~unknown).then(~failed)

    @property
    def distance(self) -> pl.Expr:
        """How far the value is from the threshold of its class, of two ends the nearer one; null where it has none."""
        value = pl.col(self.test.signal).cast(pl.Float64)
        return pl.min_horizontal([(value - self._end(place)).abs() for place in range(_thresholds(self.test))])

    def _end(self, place: int) -> pl.Expr:
        """Return one end of what the test lets pass: null in a class in which all pass, and where no class is known."""

        def of(value: Any) -> float | None:
            ends = _ends(self.test, value)
            return ends[place] if ends else None

        others = pl.lit(of(self.test.value), pl.Float64)
        if self.test.by is None:
            return others
        by, ends = pl.col(self.test.by.name).cast(pl.String), [of(value) for value in self.test.classes.values()]
        named = by.replace_strict(list(self.test.classes), pl.Series(ends, dtype=pl.Float64), default=others)
        return pl.when(by.is_not_null()).then(named)


def _ends(test: PlannedTest, *values: Any) -> list[float]:
    """Return the ends of what passes by the first of some values that lets not all pass."""
    of = next((value for value in values if value is not PASSES), None)
    return [] if of is None else [float(end.value) for end in test.operator.bounds(of)]


def _thresholds(test: PlannedTest) -> int:
    """Return how many ends what a test lets pass has, in any class; none where a number cannot be near to it."""
    decides = test.definition.number and test.resolved
    return len(_ends(test, test.value, *test.classes.values())) if decides else 0


def _named(plan: Plan) -> dict[str, tuple[PlannedRule, PlannedTest]]:
    """Return the tests of rules in force by every name that means one: RULE, RULE.SIGNAL, RULE.SIGNAL.OP."""
    named = [(name, rule, test) for rule in plan.in_force for test in rule.tests for name in _names(rule, test)]
    times = Counter(name for name, *_ in named)
    return {name: (rule, test) for name, rule, test in named if times[name] == 1}


def _names(rule: PlannedRule, test: PlannedTest) -> list[str]:
    return [rule.name, f"{rule.name}.{test.signal}", f"{rule.name}.{test.signal}.{test.op}"]
