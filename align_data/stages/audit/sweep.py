"""Sweep: how many pairs would be kept with other thresholds of one rule, in one scan; and which change hands."""

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
from align_data.common.progress import Progress, Tick
from align_data.common.secrets import mask_url
from align_data.data.columns import available, columns
from align_data.data.layout import Dataset
from align_data.data.ledger import Ledger, open_current
from align_data.data.reach import check_tests
from align_data.data.thresholds import classes, complete, look_up
from align_data.engines.base import Engine
from align_data.recipes.model import Rule
from align_data.recipes.operators import OPERATORS, Bound
from align_data.recipes.plan import Plan, PlannedRule
from align_data.recipes.thresholds import Classes, vocabulary_size
from align_data.signals import Signal, current_name, find
from align_data.stages.audit import sampling
from align_data.stages.audit.curves import Counts, Curve, Point, Tally, levels, points
from align_data.stages.audit.mask_codes import DROPPED, OPEN, Codes, Populations

MOST = 20
"""Values where none are named."""


@dataclass(frozen=True)
class Change:
    """A pair whose outcome is another with another threshold."""

    uid: str
    url: str
    alt_text: str
    value: Any
    before: str
    """Its outcome with the first of the two thresholds: kept, pending or dropped."""
    after: str


@dataclass(frozen=True)
class Swept:
    """What a sweep found."""

    signal: str
    rule: str
    op: str
    """The operator whose value is moved."""
    values: list[Point]
    changes: list[Change] | None
    """None if none were requested."""
    ranged: bool
    """Whether the rule asks for a range, of which one end was moved."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        data: dict[str, Any] = {"signal": self.signal, "values": [vars(point) for point in self.values]}
        return {**data, **({"moved": [vars(change) for change in self.changes]} if self.changes is not None else {})}


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
class _SweepScan:
    """What is the same for all parts. It travels to other machines."""

    dataset: Dataset
    ledger: str
    rule: PlannedRule
    columns: tuple[str, ...]
    """The rule's signal, if it is measured."""
    alternatives: tuple[Any, ...]
    """What decides for each value that is tried: the bound that is moved there, or the level itself."""
    populations: Populations

    def tally(self) -> Tally:
        """Return an empty tally of the rule's values."""
        return Tally(self.rule.deciding, self.rule.bit, self.populations, self.alternatives or None)

    def count(self, part: int, tick: Tick) -> Counts:
        """Count one part."""
        tally = self.tally()
        for piece, codes in self.pieces(part):
            tally.add(piece[self.rule.signal] if self.columns else None, codes)
            tick(len(piece))
        return tally.counts

    def pieces(self, part: int) -> Iterator[tuple[pl.DataFrame, Codes]]:
        """Yield the pieces of one part, each with the number of each pair's masks."""
        masks = self.dataset.ledger(self.ledger).pieces(part, ["failed", "unknown"])
        for piece, mask in zip(columns(self.dataset, part, ["copies"], self.columns), masks, strict=True):
            yield piece, self.populations.codes(mask)


def sweep(
    dataset: Dataset,
    ledger: str,
    request: SweepRequest,
    engine: Engine,
    progress: Progress,
    moved: int = 0,
    seed: int = 0,
) -> Swept:
    """Count what each value would keep; return up to `moved` pairs that change hands between the first and the last.

    Raises RecipeError for a signal that no rule of the ledger tests, or a value that it cannot be compared with.
    """
    opened = open_current(dataset, ledger)
    request = replace(request, signal=current_name(request.signal))
    plan = opened.plan
    name = _rule_name(plan, request)
    measured = request.signal in available(dataset, dataset.ingested(), [*plan.signals, request.signal])
    op = _op(plan.rule(name).rule, upper=request.upper)
    values = [_value(plan.rule(name).rule, op, value) for value in request.values]
    if moved and len(set(values)) < 2:
        raise RecipeError("--moved needs two values to compare: --values A,B")
    plan = complete(dataset, plan, engine, progress)
    rule = plan.rule(name)
    alternatives: list[Any] = list(values)
    if OPERATORS[op].relative and measured and values:
        thresholds = look_up(dataset, plan, op, {name: values}, engine, progress)[name]
        alternatives = [Bound(OPERATORS[op].becomes or op, threshold.threshold) for threshold in thresholds]
    elif rule.bounds:
        alternatives = [Bound(op, value) for value in values]
    check_tests(dataset, rule, alternatives)
    scan = _scan(opened, dataset, rule, alternatives, measured=measured)
    rows = [part.rows for part in dataset.ingested().parts]
    counts = engine.map_parts("sweep", scan.count, rows, progress)
    counted = _points(scan.tally().curve(sum(counts, scan.tally().counts)), rule, op, values, alternatives)
    if op == "top_k" and measured and not values:
        counted = _by_size(counted, classes(dataset))
    changes = None
    if moved:
        changes = _changes(scan, moved, seed) if measured else []
    shown_op = "ge" if op == "top_fraction" and not values else op  # the values chosen are thresholds
    return Swept(rule.signal, name, shown_op, counted, changes, len(rule.bounds) > 1)


def _scan(
    ledger: Ledger, dataset: Dataset, rule: PlannedRule, alternatives: Sequence[Any], *, measured: bool
) -> _SweepScan:
    names = (rule.signal,) if measured else ()
    return _SweepScan(dataset, ledger.name, rule, names, tuple(alternatives), Populations(ledger.masks))


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
    typed = _typed(value, find(rule.signal)) if isinstance(value, str) else value
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


def _points(
    curve: Curve, rule: PlannedRule, op: str, values: Sequence[Any], alternatives: Sequence[Any]
) -> list[Point]:
    if not rule.bounds:
        return [Point(level, *curve.levels_at([level])) for level in values or levels(rule.deciding)]
    bound = next(bound for bound in rule.bounds if bound.op == (OPERATORS[op].becomes or op))
    if not alternatives:
        return list(points(curve, bound, MOST))
    fixed = [end for end in rule.bounds if end != bound]
    return [Point(value, *curve.at([moved, *fixed])) for value, moved in zip(values, alternatives, strict=True)]


def _by_size(counted: Sequence[Point], ngrams: Classes) -> list[Point]:
    """Return points at counts of n-grams as points at sizes of the vocabulary, the smallest first."""
    sizes = {vocabulary_size(ngrams, point.value): point for point in counted}
    return [Point(size, sizes[size].kept, sizes[size].pending) for size in sorted(sizes) if size]


def _changes(scan: _SweepScan, number: int, seed: int) -> list[Change]:
    """Look for pairs, part by part in an order that the seed gives, until there are enough."""
    changes: list[Change] = []
    order = np.random.default_rng(seed).permutation(len(scan.dataset.ingested().parts)).tolist()
    for part in order:
        for piece_number, (piece, codes) in enumerate(scan.pieces(part)):
            changes += _changes_in(scan, (part, piece_number), piece, codes, number - len(changes))
            if len(changes) >= number:
                return changes
    return changes


def _changes_in(
    scan: _SweepScan, position: tuple[int, int], piece: pl.DataFrame, codes: Codes, number: int
) -> Iterator[Change]:
    """Yield at most `number` pairs of one piece that change hands."""
    signal = scan.rule.signal
    tests = [_passes(scan.rule, scan.alternatives[at]) for at in (0, -1)]
    before, after = (piece.select(test.fill_null(True)).to_series().to_numpy() for test in tests)
    beside = scan.populations.beside(scan.rule.bit)[codes]
    rows = np.flatnonzero((beside != DROPPED) & (before != after))[:number].tolist()
    pairs = sampling.at(scan.dataset, *position, rows, [signal]) if rows else pl.DataFrame()
    for row, pair in zip(rows, pairs.iter_rows(named=True), strict=True):
        passing = "kept" if beside[row] == OPEN else "pending"
        outcomes = [passing if test[row] else "dropped" for test in (before, after)]
        value = find(signal).shown(pair[signal])
        yield Change(pair["uid"], mask_url(pair["url"]), pair["alt_text"], value, *outcomes)


def _passes(rule: PlannedRule, moved: Any) -> pl.Expr:
    column = pl.col(rule.signal)
    if not isinstance(moved, Bound):
        return column.eq(moved)
    fixed = [bound for bound in rule.bounds if bound.op != moved.op]
    return pl.all_horizontal([bound.passes(column) for bound in (moved, *fixed)])
