"""What a sweep moves: one test of a rule, by one end of it, and the values that are tried in its place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from pydantic import ValidationError

from align_data.common.errors import RecipeError
from align_data.common.progress import Progress
from align_data.data.columns import available, columns
from align_data.data.layout import Dataset
from align_data.data.ledger import Ledger
from align_data.data.reach import check_tests
from align_data.data.thresholds import complete, look_up
from align_data.engines.base import Engine
from align_data.recipes.model import Rule
from align_data.recipes.operators import OPERATORS, Bound
from align_data.recipes.plan import Plan, PlannedRule
from align_data.signals import Signal, current_name
from align_data.stages.audit.curves import Axis
from align_data.stages.audit.mask_codes import Codes, Populations
from align_data.stages.audit.roles import FAIL, PASS, UNKNOWN, Verdicts


@dataclass(frozen=True)
class SweepRequest:
    """What is to be swept."""

    signal: str
    values: Sequence[Any] = ()
    """Thresholds, as text or numbers; for top_k sizes of the vocabulary, for top_fraction fractions. Chosen from the
    signal's values if there are none."""
    rule: str | None = None
    """The rule's name, where several rules test the signal."""
    upper: bool = True
    """Of a rule that asks for a range, whether the upper end is moved."""


@dataclass(frozen=True)
class Move:
    """One end or level of a rule's test, and the values that it is moved to. It travels to other machines."""

    rule: PlannedRule
    op: str
    """The operator whose value is moved."""
    values: tuple[Any, ...]
    """As they were requested; none where they are to be chosen."""
    alternatives: tuple[Any, ...]
    """What decides for each value: the bound that is moved there, or the level itself."""
    measured: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """The signals that are read of each pair."""
        return (self.rule.signal,) if self.measured else ()

    @property
    def ranged(self) -> bool:
        """Whether the rule asks for a range, of which one end is moved."""
        return len(self.rule.bounds) > 1

    @property
    def end(self) -> Bound | None:
        """The end that is moved; None of eq and in."""
        return next((bound for bound in self.rule.bounds if bound.op == (OPERATORS[self.op].becomes or self.op)), None)

    @property
    def fixed(self) -> tuple[Bound, ...]:
        """The ends that stay."""
        return tuple(bound for bound in self.rule.bounds if bound != self.end)

    def axis(self) -> Axis:
        """Return the bins of the values: of the alternatives, or of all where they are to be chosen."""
        return Axis(self.rule.deciding, self.alternatives or None)

    def places(self, axis: Axis, piece: pl.DataFrame) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Return the bin of each pair of a piece."""
        return axis.places(piece[self.rule.signal] if self.measured else None, len(piece))

    def verdicts(self, axis: Axis, fixed: Sequence[Bound]) -> Verdicts:
        """Return the verdict of each alternative, a row, on the values of each bin, with the ends that are `fixed`."""
        verdicts = np.full((len(self.alternatives), axis.cells), FAIL, np.int8)
        for row, alternative in zip(verdicts, self.alternatives, strict=True):
            row[axis.passing(alternative, fixed)] = PASS
        verdicts[:, -1] = UNKNOWN
        return verdicts


@dataclass(frozen=True)
class PieceReader:
    """Reads what a sweep counts, part by part. It travels to other machines."""

    dataset: Dataset
    ledger: str
    columns: tuple[str, ...]
    populations: Populations

    def pieces(self, part: int) -> Iterator[tuple[pl.DataFrame, Codes]]:
        """Yield the pieces of one part, each with the number of each pair's masks."""
        masks = self.dataset.ledger(self.ledger).pieces(part, ["failed", "unknown"])
        for piece, mask in zip(columns(self.dataset, part, ["copies"], self.columns), masks, strict=True):
            yield piece, self.populations.codes(mask)


def reader_of(dataset: Dataset, ledger: Ledger, *moves: Move) -> PieceReader:
    """Return what reads the columns of some moves."""
    names = dict.fromkeys(name for move in moves for name in move.columns)
    return PieceReader(dataset, ledger.name, tuple(names), Populations(ledger.masks))


def move_of(dataset: Dataset, ledger: Ledger, request: SweepRequest, engine: Engine, progress: Progress) -> Move:
    """Return what a request moves.

    Raises RecipeError for a signal that no rule of the ledger tests, or a value that it cannot be compared with.
    """
    request = replace(request, signal=current_name(request.signal))
    plan = ledger.plan
    name = _rule_name(plan, request)
    measured = request.signal in available(dataset, dataset.ingested(), [*plan.signals, request.signal])
    op = _op(plan.rule(name).rule, upper=request.upper)
    values = tuple(_value(plan.rule(name).rule, op, value) for value in request.values)
    plan = complete(dataset, plan, engine, progress)
    rule = plan.rule(name)
    alternatives: list[Any] = list(values)
    if OPERATORS[op].relative and measured and values:
        thresholds = look_up(dataset, plan, op, {name: values}, engine, progress)[name]
        alternatives = [Bound(OPERATORS[op].becomes or op, threshold.threshold) for threshold in thresholds]
    elif rule.bounds:
        alternatives = [Bound(op, value) for value in values]
    check_tests(dataset, rule, alternatives)
    return Move(rule, op, values, tuple(alternatives), measured)


def _rule_name(plan: Plan, request: SweepRequest) -> str:
    """Return the name of the rule that is swept."""
    if request.rule is not None:
        rule = plan.rule(request.rule)
        if rule.signal != request.signal:
            raise RecipeError(f"the rule {request.rule} tests {rule.signal}, not {request.signal}")
        return rule.name
    names = [rule.name for rule in plan.rules if rule.signal == request.signal]
    if not names:
        signals = ", ".join(dict.fromkeys(rule.signal for rule in plan.rules))
        raise RecipeError(f"no rule of {plan.recipe.name} tests {request.signal}; its rules test: {signals}")
    if len(names) > 1:
        raise RecipeError(f"several rules test {request.signal}: choose one with --rule: {', '.join(names)}")
    return names[0]


def _op(rule: Rule, *, upper: bool) -> str:
    """Return the operator whose value is moved."""
    return rule.op if len(rule.bounds) < 2 else rule.bounds[upper].op


def _value(rule: Rule, op: str, value: Any) -> Any:
    """Return a value that the rule's signal can be compared with, as its operator takes it."""
    typed = _typed(value, rule.definition) if isinstance(value, str) else value
    try:
        moved = rule.with_test(op, [typed] if op == "in" else typed)
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
