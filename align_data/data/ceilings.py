"""Whether what is stored can tell what a rule asks: of values that are looked up to a distance only, not beyond it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from align_data.common.bits import WIDTH
from align_data.common.errors import RecipeError
from align_data.data.columns import within_of
from align_data.data.layout import Dataset
from align_data.recipes.operators import Bound
from align_data.recipes.plan import PlannedRule
from align_data.signals import Signal, find
from align_data.signals.copies import FARTHEST


def check_ceilings(dataset: Dataset, rules: Iterable[PlannedRule]) -> None:
    """Raise RecipeError for the first rule that asks for more than was looked up; one on nothing measured is none."""
    for rule in rules:
        deciding = rule.deciding
        values = deciding.value if isinstance(deciding.value, tuple) else (deciding.value,)
        check_tests(dataset, rule, deciding.bounds or values)


def check_tests(dataset: Dataset, rule: PlannedRule, tests: Sequence[Bound] | Sequence[float]) -> None:
    """Raise RecipeError where one of these tests, in place of the rule's own, asks for more than was looked up."""
    signal = find(rule.signal)
    manifest = dataset.measured(signal.group).committed() if signal.within is not None else None
    if manifest is None or signal.none is None or signal.name not in manifest.meta.signals:
        return
    within = within_of(manifest.meta.signals)[signal.name]
    needed = max((reach for test in tests if (reach := _needed(test, signal.none)) is not None), default=0)
    if within < needed and within < WIDTH:
        raise RecipeError(
            f"the rule {rule.name} asks about distances up to {needed}, and {signal.name} was looked up to {within} "
            f"alone: {_further(signal, needed)}, or choose a threshold of at most {within}"
        )


def _further(signal: Signal, needed: int) -> str:
    """Say what would look so far."""
    option, farthest = ("--phash-within", FARTHEST) if signal.group == "copies" else ("--eval-within", WIDTH)
    return f"{option} is at most {farthest}" if needed > farthest else f"measure it again with {option} {needed}"


def _needed(test: Bound | float, none: int) -> int | None:
    """Return how far must be looked to tell whether a value passes; None where every distance passes, or none does."""
    if not isinstance(test, Bound):
        return int(test)
    least = test.cut(whole=True)
    return None if least is None or least > none or least <= 0 else int(least) - 1
