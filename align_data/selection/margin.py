"""How far pairs are from a threshold: the test that is meant, its side, and the distance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import polars as pl

from align_data.common.errors import nearest
from align_data.data.ledger import KEPT
from align_data.recipes.plan import Plan, PlannedRule
from align_data.recipes.planned import PlannedTest
from align_data.selection.conditions import ConditionError
from align_data.selection.selection import NEAREST, PairSelection


@dataclass(frozen=True)
class Margin:
    """A test whose threshold pairs are compared with."""

    test: PlannedTest
    side: str | None = None

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
                choices = [of for of, test in tests.items() if test in rule.tests]
                raise ConditionError(f"{NEAREST}={name}: the rule has several tests: say which, {' or '.join(choices)}")
            raise ConditionError(f"{NEAREST}={name[:200]}: there is no such rule{nearest(name, list(tests))}")
        test = tests[name]
        if not test.definition.number or not test.resolved or not _ends(test, test.value, *test.classes.values()):
            raise ConditionError(f"{NEAREST}={name}: it compares with no threshold that a number can be near to")
        return Margin(test, selection.side)

    @property
    def holds(self) -> pl.Expr:
        """Whether pairs have a distance, and lie on the side that is asked."""
        has_distance = self.distance.is_not_null()
        if self.side is None:
            return has_distance
        return has_distance & (self.test.verdict(self.test.columns) == (self.side == KEPT)).fill_null(False)

    @property
    def distance(self) -> pl.Expr:
        """How far the value is from the threshold of its class, of two ends the nearer one."""
        test, column = self.test, pl.col(self.test.signal).cast(pl.Float64)

        def away(value: Any) -> pl.Expr:
            ends = [(column - end).abs() for end in _ends(test, value)]
            return pl.min_horizontal(ends) if ends else pl.lit(None, pl.Float64)

        if test.by is None:
            return away(test.value)
        by, of_class = pl.col(test.by.name).cast(pl.String), away(test.value)
        for name, value in test.classes.items():
            of_class = pl.when(by == name).then(away(value)).otherwise(of_class)
        return pl.when(by.is_not_null()).then(of_class)


def _ends(test: PlannedTest, *values: Any) -> list[float]:
    return [float(end.value) for value in values if value is not None for end in test.operator.bounds(value)]


def _named(plan: Plan) -> dict[str, PlannedTest]:
    """Return the tests of rules in force by every name that means one: RULE, RULE.SIGNAL, RULE.SIGNAL.OP."""
    named = [(name, test) for rule in plan.in_force for test in rule.tests for name in _names(rule, test)]
    times = Counter(name for name, _ in named)
    return {name: test for name, test in named if times[name] == 1}


def _names(rule: PlannedRule, test: PlannedTest) -> list[str]:
    return [rule.name, f"{rule.name}.{test.signal}", f"{rule.name}.{test.signal}.{test.op}"]
