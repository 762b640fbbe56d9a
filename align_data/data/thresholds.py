"""Resolving a recipe for a dataset: the one place where what a rule asks of the pool becomes a threshold."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from align_data.common.errors import DatasetError
from align_data.common.progress import Progress
from align_data.data import top_fraction
from align_data.data.columns import available
from align_data.data.layout import Dataset
from align_data.data.reach import check_rules
from align_data.engines.base import Engine
from align_data.recipes.model import Recipe
from align_data.recipes.overrides import override_all
from align_data.recipes.plan import Plan, PlannedRule
from align_data.recipes.thresholds import Threshold, vocabulary

Values = Mapping[str, Sequence[Any]]
"""Rule → values of its test."""
Thresholds = dict[str, list[Threshold]]
"""Rule → what each of its values became."""


def resolve(
    dataset: Dataset,
    recipe: Recipe,
    engine: Engine,
    progress: Progress,
    overrides: Sequence[str] = (),
    off: Sequence[str] = (),
) -> Plan:
    """Return the recipe as it decides on this dataset: overridden, rules taken out, relative thresholds resolved.

    Raises RecipeError for an override or a rule that is not the recipe's, or a threshold, also of a rule that is taken
    out, that is further than was looked, DatasetError for stale signals.
    """
    plan = Plan.unresolved(override_all(recipe, overrides, off), overrides, off)
    measured = available(dataset, dataset.ingested(), plan.signals)
    unmeasured = tuple(dict.fromkeys(signal for signal in plan.signals if signal not in measured))
    plan = plan.with_unmeasured(unmeasured)
    # Of a rule that is taken out it is told what it would drop, so that must be known too.
    check_rules(dataset, plan.rules)
    # A top_fraction takes two scans, so a report must not look it up again, even of a rule that is taken out.
    rules = [rule for rule in plan.rules if rule.in_force or rule.rule.op == "top_fraction"]
    return _resolved(dataset, plan, rules, measured, engine, progress)


def complete(dataset: Dataset, plan: Plan, engine: Engine, progress: Progress) -> Plan:
    """Return a ledger's plan with a threshold for each measured rule: for what would be of rules that do not decide.

    Such are the rules that are taken out, and those whose signal was measured after the ledger was decided.
    """
    measured = available(dataset, dataset.ingested(), plan.signals)
    rules = [rule for rule in plan.rules if rule.threshold is None]
    return _resolved(dataset, plan, rules, measured, engine, progress)


def _resolved(
    dataset: Dataset,
    plan: Plan,
    rules: Sequence[PlannedRule],
    measured: set[str],
    engine: Engine,
    progress: Progress,
) -> Plan:
    """Return the plan with thresholds for these rules, as far as their signals are measured."""
    for op in _RESOLVERS:  # in order: fractions are of what the vocabulary leaves
        values = {rule.name: [rule.rule.value] for rule in rules if rule.rule.op == op and rule.signal in measured}
        thresholds = look_up(dataset, plan, op, values, engine, progress) if values else {}
        plan = plan.with_thresholds({name: threshold for name, (threshold,) in thresholds.items()})
    return plan


def look_up(dataset: Dataset, plan: Plan, op: str, values: Values, engine: Engine, progress: Progress) -> Thresholds:
    """Return what values of the operator `op` become in this pool as the test of a plan's rules, which are measured."""
    return _RESOLVERS[op](dataset, plan, values, engine, progress)


def _vocabularies(dataset: Dataset, _plan: Plan, values: Values, _engine: Engine, _progress: Progress) -> Thresholds:
    counted = classes(dataset)
    return {name: [vocabulary(size, counted) for size in sizes] for name, sizes in values.items()}


_RESOLVERS: Mapping[str, Callable[[Dataset, Plan, Values, Engine, Progress], Thresholds]] = {
    "top_k": _vocabularies,
    "top_fraction": top_fraction.resolve,
}
"""Operator whose threshold is relative to the pool → what looks it up."""


def classes(dataset: Dataset) -> list[tuple[int, int]]:
    """Return how many n-grams have each count, by ascending count."""
    table = dataset.classes("ngrams")
    if table.committed() is None:
        url = table.store.url
        raise DatasetError(f"{url} lacks {table.name}; measure again: align-data measure {shlex.quote(url)}")
    return [row for piece in table.pieces(0, ["count", "keys"]) for row in piece.rows()]
