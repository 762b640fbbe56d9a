"""What a sweep moves: one test of a rule, by one end of it, and the values that are tried in its place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError

from align_data.common.errors import RecipeError
from align_data.common.progress import Progress
from align_data.data.columns import available
from align_data.data.derived import planned_columns
from align_data.data.layout import Dataset
from align_data.data.ledger import Ledger
from align_data.data.reach import check_tests
from align_data.data.thresholds import complete, look_up
from align_data.engines.base import Engine
from align_data.recipes.conditions import Test, scores_in_scope
from align_data.recipes.operators import OPERATORS, Bound
from align_data.recipes.plan import Plan
from align_data.recipes.planned import PASSES, PlannedTest
from align_data.recipes.thresholds import Threshold, TopFractions
from align_data.signals import Signal
from align_data.stages.audit.choose import SweepRequest, leaf_of
from align_data.stages.audit.curves import Axis
from align_data.stages.audit.leaves import Comparison, RoleFinder
from align_data.stages.audit.mask_codes import Populations
from align_data.stages.audit.roles import FAIL, PASS, UNKNOWN, Verdicts

FRACTIONS = tuple(step / 20 for step in range(1, 21))
"""Those that are tried where a fraction is of each class, and none are named."""
_LEAST = -(2**63)
"""The threshold that every value passes."""


@dataclass(frozen=True)
class Move:
    """One end or level of a test, and the values that it is moved to. It travels to other machines."""

    leaf: Comparison
    op: str
    """The operator whose value is moved."""
    values: tuple[Any, ...]
    """As they were requested; none where they are to be chosen."""
    alternatives: tuple[Any, ...]
    """What decides for each value: the bound that is moved there, the level itself, or a test with a value a class."""
    known: frozenset[str]
    """The columns that there are."""

    @property
    def measured(self) -> bool:
        """Whether the columns that the test reads are there."""
        return set(self.leaf.whole.columns) <= self.known

    @property
    def columns(self) -> frozenset[str]:
        """The columns that are read of each pair."""
        leaf = self.leaf
        return self.known & ({leaf.test.signal} if leaf.plain else {leaf.test.signal, *leaf.rule.columns})

    @property
    def ranged(self) -> bool:
        """Whether the test asks for a range, of which one end is moved."""
        return len(self.leaf.test.bounds) > 1

    @property
    def end(self) -> Bound | None:
        """The end that is moved; None of eq and in."""
        bounds = self.leaf.test.bounds
        return next((bound for bound in bounds if bound.op == (OPERATORS[self.op].becomes or self.op)), None)

    @property
    def fixed(self) -> tuple[Bound, ...]:
        """The ends that stay."""
        return tuple(bound for bound in self.leaf.test.bounds if bound != self.end)

    @cached_property
    def axis(self) -> Axis:
        """The bins of the values: of the alternatives, or of all where they are to be chosen."""
        return Axis(self.leaf.test, self.alternatives or None)

    @property
    def _by_class(self) -> bool:
        """Whether each alternative has a threshold a class."""
        return any(isinstance(alternative, PlannedTest) for alternative in self.alternatives)

    @property
    def cells(self) -> int:
        """How many bins there are, the last of pairs without a value."""
        return len(self.alternatives) + 2 if self._by_class else self.axis.cells

    def places(self, piece: pl.DataFrame) -> NDArray[np.intp]:
        """Return the bin of each pair of a piece."""
        if not self.measured:
            return np.full(len(piece), self.cells - 1, np.intp)
        if not self._by_class:
            places = self.axis.places(piece[self.leaf.test.signal], len(piece))
            matches = self.leaf.matches(piece)
            # What is of another class has a role that nothing moves: no curve is to go where its values lie.
            return places if matches is None else np.where(matches, places, self.cells - 1)
        # Fractions are nested: how many of them let a pair pass tells which.
        passing = pl.sum_horizontal(test.verdict(self.known).cast(pl.Int64) for test in self.alternatives)
        unknown = self.alternatives[0].verdict(self.known).is_null()
        cells = pl.when(unknown).then(self.cells - 1).otherwise(passing).alias("_cell")
        return piece.with_columns(cells)["_cell"].to_numpy().astype(np.intp)

    def verdicts(self, fixed: Sequence[Bound]) -> Verdicts:
        """Return the verdict of each alternative, a row, on the pairs of each bin, with the ends that are `fixed`."""
        verdicts = np.full((len(self.alternatives), self.cells), FAIL, np.int8)
        for row, value, alternative in zip(verdicts, self.values, self.alternatives, strict=True):
            if self._by_class:
                row[1 + sum(wider > value for wider in self.values) :] = PASS
            else:
                row[self.axis.passing(alternative, fixed)] = PASS
        verdicts[:, -1] = UNKNOWN
        return verdicts


@dataclass(frozen=True)
class PieceReader:
    """Reads what a sweep counts, part by part: pieces, and the role of each pair. It travels to other machines."""

    dataset: Dataset
    ledger: str
    plan: Plan
    moves: tuple[Move, ...]
    populations: Populations

    @cached_property
    def _finder(self) -> RoleFinder:
        return RoleFinder([move.leaf for move in self.moves], self.populations, self.moves[0].known)

    def pieces(self, part: int) -> Iterator[tuple[pl.DataFrame, Verdicts]]:
        """Yield the pieces of one part, each with the role of each pair."""
        names = sorted(set().union(*(move.columns for move in self.moves)))
        masks = self.dataset.ledger(self.ledger).pieces(part, ["failed", "unknown"])
        pieces = planned_columns(self.dataset, self.plan, part, ["copies"], names)
        for piece, mask in zip(pieces, masks, strict=True):
            yield piece, self._finder.find(self.populations.codes(mask), piece)


def reader_of(
    dataset: Dataset, ledger: Ledger, requests: Sequence[SweepRequest], engine: Engine, progress: Progress
) -> PieceReader:
    """Return what reads the pairs for some requests, with what each of them moves.

    Raises RecipeError for a signal that no rule of the ledger tests, or a value that it cannot be compared with.
    """
    for request in requests:
        leaf_of(ledger.plan, request)  # what is wrong is said before anything is looked up
    plan = complete(dataset, ledger.plan, engine, progress)
    known = frozenset(plan.known(available(dataset, dataset.ingested(), plan.signals_of(plan.rules))))
    moves = tuple(_move(dataset, plan, request, known, engine, progress) for request in requests)
    return PieceReader(dataset, ledger.name, plan, moves, Populations(ledger.masks))


def _move(
    dataset: Dataset, plan: Plan, request: SweepRequest, known: frozenset[str], engine: Engine, progress: Progress
) -> Move:
    leaf = leaf_of(plan, request)
    rule, test = leaf.rule, leaf.test
    op = _op(leaf, upper=request.upper)
    values = tuple(_value(plan, leaf, op, value) for value in request.values)
    if op == "top_fraction" and leaf.whole.by is not None and not values:
        values = FRACTIONS
    alternatives: list[Any] = list(values)
    if OPERATORS[op].relative and set(leaf.whole.columns) <= known and values:
        thresholds = look_up(dataset, plan, op, {rule.name: values}, engine, progress)[rule.name]
        alternatives = [_resolved(leaf, OPERATORS[op].becomes or op, threshold) for threshold in thresholds]
    elif test.bounds:
        alternatives = [Bound(op, value) for value in values]
    check_tests(dataset, rule.name, test.definition, [of for of in alternatives if not isinstance(of, PlannedTest)])
    return Move(leaf, op, values, tuple(alternatives), known)


def _resolved(leaf: Comparison, op: str, threshold: Threshold) -> Bound | PlannedTest:
    """Return what decides for a threshold that was looked up: a bound, or a test with one a class."""
    if not isinstance(threshold, TopFractions):
        return Bound(op, threshold.threshold)
    (test,) = replace(leaf.rule, threshold=threshold).tests
    if leaf.of_class is None:
        return test
    least = test.of_class(leaf.of_class).value
    return Bound(op, _LEAST if least is PASSES else least)


def _op(leaf: Comparison, *, upper: bool) -> str:
    """Return the operator whose value is moved."""
    if leaf.rule.rule.relative and leaf.rule.rule.signal is not None:
        return leaf.rule.rule.op
    return leaf.test.op if len(leaf.test.bounds) < 2 else leaf.test.bounds[upper].op


def _value(plan: Plan, leaf: Comparison, op: str, value: Any) -> Any:
    """Return a value that the test's signal can be compared with, as its operator takes it."""
    signal = leaf.test.definition
    typed = _typed(value, signal) if isinstance(value, str) else value
    if leaf.rule.rule.first_of is not None:
        if isinstance(typed, bool) or not isinstance(typed, int) or typed < 1:
            raise RecipeError(f"--values {value}: {leaf.rule.name} keeps a whole number of pairs of each group")
        return typed
    try:
        with scores_in_scope(plan.recipe.definitions):
            moved = Test.model_validate({"signal": signal.name, op: [typed] if op == "in" else typed})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise RecipeError(f"--values {value}: {reason}") from None
    return moved.value[0] if op == "in" else moved.value


def _typed(text: str, signal: Signal) -> Any:
    """Return the value in a text: of a text signal itself, whatever it looks like; else a number, or true or false."""
    if signal.type == "string":
        return text
    if signal.type == "bool":
        return {"true": True, "false": False}.get(text.lower(), text)
    for type_ in (int, float):
        with suppress(ValueError, OverflowError):
            if math.isfinite(number := type_(text)):
                return number
    raise RecipeError(f"--values {text}: {signal.name} is {signal.unit}, and this is not a number")
