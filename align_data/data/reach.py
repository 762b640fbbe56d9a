"""Whether what is stored can tell what a rule asks: a comparison of images looks to a distance or a cosine, not beyond.

Beyond that a stored value says no more than 'nothing is so near'.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from align_data.common.bits import WIDTH
from align_data.common.errors import RecipeError
from align_data.data.columns import within_of
from align_data.data.layout import Dataset
from align_data.recipes.operators import Bound
from align_data.recipes.plan import PlannedRule
from align_data.recipes.planned import PASSES
from align_data.signals import Signal
from align_data.signals.copies import FARTHEST
from align_data.signals.families import split
from align_data.signals.near import FLOORED
from align_data.signals.score import DECIMALS

_MILLION = 10**DECIMALS


def check_rules(dataset: Dataset, rules: Iterable[PlannedRule]) -> None:
    """Raise RecipeError for the first rule that asks for more than was looked up; one on nothing measured passes."""
    for rule in rules:
        for test in rule.tests:
            of_classes = [test] if test.by is None else map(test.of_class, (None, *test.classes))
            for each in of_classes:
                if each.resolved and each.value is not PASSES:
                    check_tests(dataset, rule.name, test.definition, each.bounds or (each.value,))


def check_tests(dataset: Dataset, rule: str, signal: Signal, tests: Sequence[Any]) -> None:
    """Raise RecipeError where one of these tests of a rule's signal asks for more than was looked up.

    A test is a Bound, or the value of eq or in.
    """
    if signal.within is not None:
        _check_distances(dataset, rule, signal, tests)
    opened = split(signal.name)
    if opened is not None and opened[0] in FLOORED:
        _check_cosines(dataset, signal, tests)


def _check_distances(dataset: Dataset, rule: str, signal: Signal, tests: Sequence[Any]) -> None:
    manifest = dataset.measured(signal.group).committed()
    if manifest is None or signal.none is None or signal.name not in manifest.meta.signals:
        return
    within = within_of(manifest.meta.signals)[signal.name]
    needed = max((farthest for test in tests for farthest in _needed(test, signal.none)), default=0)
    if within < needed and within < WIDTH:
        raise RecipeError(
            f"the rule {rule} asks about distances up to {needed}, and {signal.name} was looked up to {within} "
            f"alone: {_further(signal, needed)}, or choose a threshold of at most {within}"
        )


def _further(signal: Signal, needed: int) -> str:
    """Say what would look so far."""
    option, farthest = ("--phash-within", FARTHEST) if signal.group == "copies" else ("--eval-within", WIDTH)
    return f"{option} is at most {farthest}" if needed > farthest else f"measure it again with {option} {needed}"


def _needed(test: Any, none: int) -> Iterator[int]:
    """Yield how far must be looked to tell whether a value passes; nothing where all distances pass, or none do."""
    if not isinstance(test, Bound):
        yield from map(int, _numbers(test))
        return
    least = test.cut(whole=True)
    if least is not None and 0 < least <= none:
        yield int(least) - 1


def _check_cosines(dataset: Dataset, signal: Signal, tests: Sequence[Any]) -> None:
    manifest = dataset.measured(signal.group).committed()
    run = manifest.meta.signals.get(signal.name, {}).get("run") if manifest is not None else None
    if not isinstance(run, dict) or not isinstance(run.get("floor"), int):
        return
    floor = run["floor"] / _MILLION
    for number in (number for test in tests for number in _numbers(test)):
        if number < floor and number != signal.none:
            of_user = signal.group.partition(".")[2]
            raise RecipeError(
                f"{signal.name} cannot be compared with {number:g}: cosines below {floor:g} are not stored; compare "
                f"the images again: align-data neighbours {of_user} {shlex.quote(dataset.store.url)} --floor {number:g}"
            )


def _numbers(test: Any) -> Iterator[float]:
    if isinstance(test, list | tuple):
        yield from test
    else:
        yield test.value if isinstance(test, Bound) else test
