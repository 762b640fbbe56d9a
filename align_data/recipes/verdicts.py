"""What a rule says of one pair, as a sentence: the pair's values, what the rule asks for, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from align_data.recipes.conditions import value_words
from align_data.recipes.operators import figure, text
from align_data.recipes.plan import Plan, PlannedRule
from align_data.recipes.planned import PASSES, AnyOf, Planned, PlannedTest
from align_data.recipes.scores import Term, TermScale

Row = Mapping[str, Any]
"""The values of one pair by column: those that rules compare, and those that scores are made of."""
WORDS = {True: "pass", False: "fail", None: "unknown"}
_NOT_MEASURED = "is not measured"


@dataclass(frozen=True)
class PairGroup:
    """The pairs that a pair is equal to in what first_of goes by."""

    pairs: int
    """Of those that the rule chooses among."""
    first: str | None
    """The uid of the first of them; None where the rule chooses from none."""
    member: bool
    """Whether the pair is one of them."""


def sentence(plan: Plan, rule: PlannedRule, row: Row, verdict: str, group: PairGroup | None = None) -> str:
    """Return what a rule says of a pair; `group` is that of a rule of first_of."""
    asks = f"{'your --set' if rule.overridden else plan.recipe.name} asks"
    if rule.rule.first_of is not None:
        return f"{_rank(rule, row, group)}; {asks} for {rule.rule.phrase()}: {verdict}"
    if rule.rule.parts:
        return f"{_parts(plan, rule.planned, row)}; {asks} that {rule.rule.phrase()}: {verdict}"
    (test,) = rule.tests
    if test.by is None:
        return f"{_value(plan, test, row)}; {asks} for {_request(rule)}: {verdict}"
    by = test.by.name
    value = f"{_value(plan, test, row)} and {by} {_shown(row, by, f'is {row.get(by)}')}"
    return f"{value}; {asks} for {_of_class(rule, test, row.get(by))}: {verdict}"


def _request(rule: PlannedRule) -> str:
    return _after_for(rule.request)


def _after_for(words: str) -> str:
    """Return what a rule asks for as it stands behind 'asks for'."""
    return words.removeprefix("among ")


def _shown(row: Row, column: str, words: str) -> str:
    return words if row.get(column) is not None else _NOT_MEASURED


def _value(plan: Plan, test: PlannedTest, row: Row) -> str:
    """Return the value that a test compares, and what that of a score is made of."""
    value = row.get(test.signal)
    score = (plan.recipe.scores or {}).get(test.signal)
    if score is None:
        return f"{test.signal} {_shown(row, test.signal, f'is {_measured(test, value)}')}"
    return f"{test.signal} {_score(plan, test.signal, row)}"


def _measured(test: PlannedTest, value: Any) -> str:
    """Return a value to six decimals, but for one that these would put on the other side of a threshold or on it."""
    shown = test.definition.shown(value)
    near = isinstance(shown, float) and any(abs(shown - bound.value) < 1e-6 for bound in test.bounds)
    return text(shown) if near or not isinstance(shown, float) else figure(shown)


def _score(plan: Plan, name: str, row: Row, told: set[str] | None = None) -> str:
    """Return a score's value with those of its terms: each as it is, scaled, and weighted.

    Of scores that have been told already only the value is.
    """
    told = {name} if told is None else told
    score = (plan.recipe.scores or {})[name]
    if row.get(name) is None:
        missing = [term for term in plan.behind([name]) if row.get(term) is None]
        said = f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not measured" if missing else ""
        return f"has no value{f', for {said}' if said else ''}"
    scales: Sequence[TermScale | None] = plan.scales.get(name) or [None] * len(score.terms)
    terms = [_term(plan, term, scale, row, told) for term, scale in zip(score.terms, scales, strict=True)]
    listed = terms[0] if len(terms) == 1 else f"{', '.join(terms[:-1])} and {terms[-1]}"
    return f"is {row[name]}, the {score.way} of {listed}"


def _term(plan: Plan, term: Term, scale: TermScale | None, row: Row, told: set[str]) -> str:
    value = row[term.signal]
    nested = term.signal in (plan.recipe.scores or {}) and term.signal not in told
    told.add(term.signal)
    own = f"{term.signal} {_score(plan, term.signal, row, told) if nested else f'is {figure(value)}'}"
    if scale is None or scale.kind == "none":
        scaled: float = value
    else:
        scaled = pl.DataFrame({"v": [value]}).select(scale.apply(pl.col("v"))).item()
        own = f"{own}, {term.scale}"
    if term.weight == 1:
        return f"{scaled:.6g} ({own})"
    return f"{term.weight} × {scaled:.6g} = {term.weight * scaled:.6g} ({own})"


def _parts(plan: Plan, planned: Planned, row: Row) -> str:
    """Return the value and the verdict of each test of several; those in brackets are one of them."""
    if isinstance(planned, PlannedTest):
        by = planned.by
        beside = "" if by is None else f" where {by.name} {_shown(row, by.name, f'is {row.get(by.name)}')}"
        return f"{_value(plan, planned, row)}{beside} ({WORDS[verdict(planned, row)]})"
    inner = [f"[{_parts(plan, part, row)}]" if not isinstance(part, PlannedTest) else _parts(plan, part, row)
             for part in planned.parts]  # fmt: skip
    return ", ".join(inner)


def verdict(planned: Planned, row: Row) -> bool | None:
    """Return whether a pair passes a test; None where that is unknown."""
    if isinstance(planned, PlannedTest):
        values = {column: [row[column]] for column in planned.columns if row.get(column) is not None}
        if len(values) < len(set(planned.columns)):
            return None
        passes: bool | None = pl.DataFrame(values).select(planned.verdict(values)).item()
        return passes
    of_parts = [verdict(part, row) for part in planned.parts]
    deciding = isinstance(planned, AnyOf)
    return deciding if deciding in of_parts else None if None in of_parts else not deciding


def _of_class(rule: PlannedRule, test: PlannedTest, name: Any) -> str:
    """Return what a rule asks for of pairs of one class, in words."""
    assert test.by is not None
    if name is None:
        return _request(rule)
    name = text(name)
    place = f"where {test.by.name} is {name}" if name in test.classes else f"where {test.by.name} is another"
    asked = test.of_class(name)
    if rule.rule.relative:
        least = "all" if asked.value is PASSES else f"those of at least {asked.value}"
        return f"{_after_for(rule.rule.phrase())}, here {least} {place}"
    return f"{value_words(asked.operator, asked.value)} {place}"


def _rank(rule: PlannedRule, row: Row, group: PairGroup | None) -> str:
    """Return which of its group a pair is."""
    columns = " and ".join(rule.rule.first_of or ())
    rank = row.get(rule.signal)
    if rank is None or group is None:
        return f"its rank is not known: a pair without {columns} is in no group"
    if not group.pairs:
        return f"{rule.name} chooses from no pair with its {columns}"
    pairs = "1 pair" if group.pairs == 1 else f"{group.pairs:,} pairs"
    if not group.member:
        return (
            f"it is not among the {pairs} with its {columns} that {rule.name} chooses from; {group.first} is the first"
        )
    first = "" if group.first in (None, row.get("uid")) else f", and {group.first} is the first"
    return f"it is number {rank:,} of {pairs} with its {columns}{first}"
