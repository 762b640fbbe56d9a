"""Which test of a ledger's rules a sweep is of: the one that a signal, and what else tells it from others, names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from align_data.common.errors import RecipeError, nearest
from align_data.recipes.plan import Plan, PlannedRule
from align_data.recipes.values import ELSE
from align_data.signals import current_name
from align_data.stages.audit.leaves import Comparison


@dataclass(frozen=True)
class SweepRequest:
    """What is to be swept."""

    signal: str | None = None
    """The signal, score or rank whose test is moved; None where the rule has one test."""
    values: Sequence[Any] = ()
    """Thresholds, as text or numbers; for top_k sizes of the vocabulary, for top_fraction fractions. Chosen from the
    signal's values if there are none."""
    rule: str | None = None
    """The rule's name, where several rules test the signal."""
    upper: bool = True
    """Of a test that asks for a range, whether the upper end is moved."""
    op: str | None = None
    """The operator, where several tests of the rule compare the signal."""
    of_class: str | None = None
    """The class whose threshold is moved, of a test with one a class."""


def leaf_of(plan: Plan, request: SweepRequest) -> Comparison:
    """Return the test that a request is of; RecipeError says what would choose one, where it is not one."""
    rule = _rule(plan, request)
    tests = [(number, test) for number, test in enumerate(rule.tests) if _is_of(rule, number, request)]
    if len(tests) > 1:
        raise RecipeError(_several(rule, [number for number, _ in tests], request))
    ((number, test),) = tests
    if test.by is None:
        if request.of_class is not None:
            raise RecipeError(f"the test of {test.signal} in {rule.name} has one value for all pairs, and no classes")
        return Comparison(rule, number)
    if request.of_class is None and not rule.rule.relative:
        raise RecipeError(
            f"{rule.name} has a value for each {test.by.name}: choose one with --class: "
            f"{', '.join([*test.classes, ELSE])}"
        )
    if rule.rule.relative and request.of_class is not None and request.of_class not in test.classes:
        near = nearest(request.of_class, test.classes)
        raise RecipeError(f"no pair that {rule.name} chooses among has the {test.by.name} {request.of_class}{near}")
    return Comparison(rule, number, request.of_class)


def _is_of(rule: PlannedRule, number: int, request: SweepRequest) -> bool:
    """Tell whether a request may mean a test of a rule."""
    test = rule.tests[number]
    op = rule.rule.op if rule.rule.relative and rule.rule.signal is not None else test.op
    named = request.signal is None or test.signal == current_name(request.signal)
    return named and request.op in (None, op)


def _rule(plan: Plan, request: SweepRequest) -> PlannedRule:
    """Return the rule whose test is moved."""
    if request.rule is not None:
        rule = plan.rule(request.rule)
        if not _tests(rule, request):
            tested = ", ".join(dict.fromkeys(test.signal for test in rule.tests))
            asked = " ".join(filter(None, (request.signal and current_name(request.signal), request.op)))
            raise RecipeError(f"the rule {request.rule} tests {tested}, not {asked}")
        return rule
    if request.signal is None:
        raise RecipeError(f"name a signal or a rule of {plan.recipe.name}: {_names(plan.rules)}")
    rules = [rule for rule in plan.rules if _tests(rule, request)]
    if not rules:
        tested = ", ".join(dict.fromkeys(test.signal for rule in plan.rules for test in rule.tests))
        with_op = f" with {request.op}" if request.op else ""
        raise RecipeError(
            f"no rule of {plan.recipe.name} tests {current_name(request.signal)}{with_op}; its rules test: {tested}"
        )
    if len(rules) > 1:
        raise RecipeError(f"several rules test {current_name(request.signal)}: choose one with --rule: {_names(rules)}")
    return rules[0]


def _tests(rule: PlannedRule, request: SweepRequest) -> bool:
    return any(_is_of(rule, number, request) for number in range(len(rule.tests)))


def _names(rules: Iterable[PlannedRule]) -> str:
    return ", ".join(rule.name for rule in rules)


def _several(rule: PlannedRule, numbers: Sequence[int], request: SweepRequest) -> str:
    """Say what would choose one of several tests of a rule."""
    tests = [rule.tests[number] for number in numbers]
    signals, ops = (list(dict.fromkeys(getattr(test, name) for test in tests)) for name in ("signal", "op"))
    if len(signals) > 1 and request.signal is None:
        return f"{rule.name} has several tests: choose one with --signal: {', '.join(signals)}"
    if len(ops) == len(tests):
        return f"{rule.name} tests {signals[0]} several times: choose one with --op: {', '.join(ops)}"
    return f"{rule.name} tests {signals[0]} several times with {ops[0]}, and a sweep cannot tell these apart"
