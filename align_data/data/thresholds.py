"""Resolving a recipe for a dataset: the one place where what a rule asks of the pool becomes a threshold."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from align_data.common.errors import DatasetError, RecipeError
from align_data.common.progress import Progress
from align_data.data import first_of, scales, top_fraction
from align_data.data.columns import available
from align_data.data.layout import Dataset
from align_data.data.reach import check_rules
from align_data.engines.base import Engine
from align_data.recipes.model import KEPT, POOL, Recipe
from align_data.recipes.overrides import override_all, unset
from align_data.recipes.plan import Plan, PlannedRule, chosen_by
from align_data.recipes.scores import OF_PAIRS
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

    Raises RecipeError for an override or a rule that is not the recipe's, a threshold that is still to be set, or one,
    also of a rule that is taken out, that is further than was looked, DatasetError for stale signals.
    """
    plan = Plan.unresolved(override_all(recipe, overrides, off), overrides, off)
    plan, measured = checked(dataset, plan)
    # What takes scans of the pool a report must not look up again, even of a rule that is taken out.
    rules = [rule for rule in plan.rules if rule.in_force or _op(rule) != "top_k"]
    return _resolved(dataset, plan, rules, measured, engine, progress, ranks=True)


def checked(dataset: Dataset, plan: Plan) -> tuple[Plan, set[str]]:
    """Return a plan that can be resolved, with what is not measured; and the signals that are.

    Raises RecipeError for thresholds that are still to be set, or beyond what was looked; DatasetError for stale
    signals.
    """
    _check_specified(plan)
    measured = available(dataset, dataset.ingested(), plan.signals)
    unmeasured = tuple(dict.fromkeys(signal for signal in plan.signals if signal not in measured))
    plan = plan.with_unmeasured(unmeasured)
    # Of a rule that is taken out it is told what it would drop, so that must be known too.
    check_rules(dataset, plan.rules)
    return plan, measured


def complete(dataset: Dataset, plan: Plan, engine: Engine, progress: Progress) -> Plan:
    """Return a ledger's plan with a threshold for each measured rule: for what would be of rules that do not decide.

    Such are the rules that are taken out, and those whose signal was measured after the ledger was decided; of these a
    first_of stays unknown, for its ranks are written when a ledger is decided.
    """
    rules = [rule for rule in plan.rules if rule.threshold is None]
    measured = available(dataset, dataset.ingested(), plan.signals)
    return _resolved(dataset, plan, rules, measured, engine, progress, ranks=False)


def _check_specified(plan: Plan) -> None:
    """Raise RecipeError for rules in force whose thresholds are still to be set."""
    rules = [rule.rule for rule in plan.in_force if rule.rule.unspecified]
    if rules:
        settings = " ".join(f"--set {setting}" for rule in rules for setting in unset(rule))
        names = [rule.name for rule in rules]
        raise RecipeError(
            f"{plan.recipe.name} leaves the threshold of {', '.join(names)} to you, for its source does not give one: "
            f"{settings}; or leave {'it' if len(names) == 1 else 'them'} out: --without {','.join(names)}"
        )


def _op(rule: PlannedRule) -> str | None:
    """Return the operator of a rule that is relative to the pool; None for any other."""
    if rule.rule.first_of is not None:
        return "first_of"
    return rule.rule.op if rule.rule.signal is not None and rule.rule.operator.relative else None


def _resolved(
    dataset: Dataset,
    plan: Plan,
    rules: Sequence[PlannedRule],
    measured: set[str],
    engine: Engine,
    progress: Progress,
    *,
    ranks: bool,
) -> Plan:
    """Return the plan with thresholds for these rules, as far as their signals are measured."""
    values = {rule.name: [rule.rule.value] for rule in rules if _op(rule) == "top_k" and rule.signal in measured}
    plan = _with(plan, look_up(dataset, plan, "top_k", values, engine, progress))
    columns = {column for rule in rules for column in _compared(rule)}
    plan = scales.resolve(dataset, plan, columns, frozenset(measured), engine, progress)
    readable = plan.known(measured)
    choices = [rule.name for rule in rules if rule.rule.chooses and readable.issuperset(_compared(rule))]
    while choices:  # in order: a rule that chooses among the pairs of others comes after these
        ready = [name for name in choices if not _waits(plan, name, choices)]
        choices = [name for name in choices if name not in ready]
        fractions = {name: [plan.rule(name).rule.value] for name in ready if _op(plan.rule(name)) == "top_fraction"}
        firsts = [name for name in ready if name not in fractions and ranks]
        plan = _with(plan, look_up(dataset, plan, "top_fraction", fractions, engine, progress))
        for name in firsts:
            plan = plan.with_thresholds({name: first_of.resolve(dataset, plan, name, engine, progress)})
    return plan


def _with(plan: Plan, thresholds: Thresholds) -> Plan:
    return plan.with_thresholds({name: threshold for name, (threshold,) in thresholds.items()})


def _compared(rule: PlannedRule) -> list[str]:
    """Return the columns that a rule hangs on, but for its ranks, which are still to be made."""
    compared = [] if rule.rule.first_of is not None else list(rule.columns)
    return [*compared, *(name for name in chosen_by(rule.rule) if name not in OF_PAIRS)]


def _waits(plan: Plan, name: str, pending: Sequence[str]) -> bool:
    """Tell whether a rule chooses among the pairs of rules that are still to be resolved."""
    rule = plan.rule(name).rule
    return rule.choice not in (POOL, KEPT) and any(other in pending for other in rule.choice)


def look_up(dataset: Dataset, plan: Plan, op: str, values: Values, engine: Engine, progress: Progress) -> Thresholds:
    """Return what values of the operator `op` become in this pool as the test of a plan's rules, which are measured."""
    return _RESOLVERS[op](dataset, plan, values, engine, progress) if values else {}


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
