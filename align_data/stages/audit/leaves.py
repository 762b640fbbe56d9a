"""The tests that a curve is drawn of and that a sweep moves: each comparison of each rule, in each class of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.recipes.plan import Plan, PlannedRule
from align_data.recipes.planned import PASSES, AnyOf, Planned, PlannedTest
from align_data.recipes.values import ELSE
from align_data.stages.audit.mask_codes import Codes, Populations
from align_data.stages.audit.roles import FAIL, PASS, PLAIN, ROLES, UNKNOWN, Verdicts, paired_roles, roles

Which = NDArray[np.bool_]
RuleVerdicts = dict[int, list[Verdicts]]
"""Bit of a rule → the verdicts of its tests on the pairs of a piece."""
CLASSES = 12
"""Classes of one test whose curves are drawn."""


@dataclass(frozen=True)
class Comparison:
    """One comparison of a rule, for the pairs of one class where its value hangs on a class."""

    rule: PlannedRule
    number: int = 0
    """Its place among the comparisons of the rule."""
    of_class: str | None = None
    """The class, or ELSE for those that are not named; None where the value hangs on none."""

    @property
    def whole(self) -> PlannedTest:
        """The comparison in all classes."""
        return self.rule.tests[self.number]

    @cached_property
    def test(self) -> PlannedTest:
        """The comparison as pairs of the class meet it."""
        return self.whole if self.of_class is None else self.whole.of_class(self.of_class)

    @property
    def plain(self) -> bool:
        """Whether the rule is this one comparison for all pairs, so that the masks tell its role."""
        return self.rule.plain

    @property
    def roles(self) -> int:
        """How many roles pairs can have in moving it."""
        return PLAIN if self.plain else ROLES

    @property
    def name(self) -> str:
        """What it is called: the rule's name; of several tests or classes behind it which one, as `--set` takes it."""
        if self.plain:
            return self.rule.name
        steps = [self.rule.name, *([self.test.signal] if len(self.rule.tests) > 1 else []), self.test.op]
        return ".".join([*steps, *([self.of_class] if self.of_class is not None else [])])

    @property
    def class_words(self) -> str:
        """For which pairs it is, in words; '' for all."""
        by = self.whole.by
        if by is None or self.of_class is None:
            return ""
        return f"where {by.name} is {'another' if self.of_class == ELSE else self.of_class}"

    def matches(self, piece: pl.DataFrame) -> Which | None:
        """Return which pairs are of the class; None where it is for all pairs."""
        by = self.whole.by
        if by is None or self.of_class is None:
            return None
        if by.name not in piece.columns:  # not measured: no pair is known to be of the class
            return np.zeros(len(piece), np.bool_)
        column = piece[by.name]
        classes = column if column.dtype == pl.Enum else column.cast(pl.String)
        named = classes.is_in(list(self.whole.classes)) if self.of_class == ELSE else classes != self.of_class
        return ~named.fill_null(True).to_numpy()


def of_rule(rule: PlannedRule, limit: int | None = CLASSES) -> Iterator[Comparison]:
    """Yield the tests of a rule, each class of one by itself; of many classes the first `limit`."""
    for number, test in enumerate(rule.tests):
        if test.by is None:
            yield Comparison(rule, number)
        else:
            yield from (Comparison(rule, number, name) for name in [*test.classes, ELSE][:limit])


def drawn(plan: Plan, known: Collection[str]) -> dict[str, Comparison]:
    """Return the tests whose columns are known and that have a threshold, by name."""
    every = [leaf for rule in plan.rules for leaf in of_rule(rule)]
    decidable = [leaf for leaf in every if leaf.test.resolved and leaf.test.value is not PASSES]
    return {leaf.name: leaf for leaf in decidable if set(leaf.whole.columns) <= set(known)}


class RoleFinder:
    """Tells the roles of pairs in moving some tests, a pair's from its masks and its values."""

    def __init__(self, leaves: Sequence[Comparison], populations: Populations, known: Collection[str]) -> None:
        self._leaves, self._known = leaves, known
        self._rules = {leaf.rule.bit: leaf.rule for leaf in leaves}
        self._others = populations.others(sum(self._rules))
        self._plain = all(rule.plain for rule in self._rules.values())
        nothing = np.zeros_like(self._others)
        self._of_codes = self._role([nothing] * (2 ** len(leaves) - 1) + [self._others])

    def find(self, codes: Codes, piece: pl.DataFrame, memo: RuleVerdicts | None = None) -> Verdicts:
        """Return the role of each pair of a piece, which has the columns of the rules.

        `memo` has what was computed of the piece for other tests of the rules, and takes what is computed now.
        """
        if self._plain:
            return self._of_codes[codes]
        others = self._others[codes]
        verdicts: RuleVerdicts = {} if memo is None else memo
        for bit, rule in self._rules.items():
            if bit not in verdicts:
                verdicts[bit] = self._verdicts(rule, piece)
        matches = [leaf.matches(piece) for leaf in self._leaves]
        ends = [FAIL, PASS]
        corners = [(a,) for a in ends] if len(self._leaves) == 1 else [(a, b) for b in ends for a in ends]
        return self._role([self._outcomes(others, verdicts, matches, corner) for corner in corners])

    def _role(self, corners: Sequence[Verdicts]) -> Verdicts:
        return roles(*corners) if len(self._leaves) == 1 else paired_roles(*corners)

    def _verdicts(self, rule: PlannedRule, piece: pl.DataFrame) -> list[Verdicts]:
        """Return the verdict of each test of a rule; of a plain rule none is needed."""
        if rule.plain:
            return [np.zeros(len(piece), np.int8)]
        verdicts = [test.verdict(self._known) for test in rule.tests]
        frame = piece.with_columns(
            pl.when(verdict.is_null()).then(UNKNOWN).when(verdict).then(PASS).otherwise(FAIL).alias(f"_{number}")
            for number, verdict in enumerate(verdicts)
        )
        return [frame[f"_{number}"].cast(pl.Int8).to_numpy() for number in range(len(verdicts))]

    def _outcomes(
        self,
        others: Verdicts,
        verdicts: RuleVerdicts,
        matches: Sequence[Which | None],
        moved: Sequence[int],
    ) -> Verdicts:
        """Return the outcomes where the tests have the verdicts `moved`, each for the pairs of its class."""
        changed = {bit: list(verdicts[bit]) for bit in self._rules}
        # Of two ends of a range both must pass; so what is moved passes first, and then each end holds it down.
        for verdict in ([PASS] * len(moved), moved):
            for leaf, match, to in zip(self._leaves, matches, verdict, strict=True):
                of_rule = changed[leaf.rule.bit]
                before = of_rule[leaf.number]
                after = np.minimum(before, np.int8(to)) if verdict is moved else np.full_like(before, to)
                of_rule[leaf.number] = after if match is None else np.where(match, after, before)
        decided = [_combined(rule.planned, iter(changed[bit])) for bit, rule in self._rules.items()]
        outcomes: Verdicts = reduce(np.minimum, [others, *decided])
        return outcomes


def _combined(planned: Planned, verdicts: Iterator[Verdicts]) -> Verdicts:
    """Return the verdict of a rule by those of its tests, in their order."""
    if isinstance(planned, PlannedTest):
        return next(verdicts)
    extreme = np.maximum if isinstance(planned, AnyOf) else np.minimum
    return reduce(extreme, [_combined(part, verdicts) for part in planned.parts])
