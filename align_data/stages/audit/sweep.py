"""Sweep: how many pairs would be kept with other thresholds of one rule, in one scan; and which change hands."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from pydantic import ValidationError

from align_data.common.errors import RecipeError
from align_data.common.progress import Progress, Tick
from align_data.common.secrets import mask_url
from align_data.data.columns import available, columns
from align_data.data.layout import Dataset
from align_data.data.ledger import Plan, masks_of, open_current, vocabulary
from align_data.data.top_fraction import resolve
from align_data.engines.base import Engine
from align_data.recipes.model import RESOLVED, Rule
from align_data.signals import Signal, find
from align_data.stages.audit import sampling
from align_data.stages.audit.bins import End, ends
from align_data.stages.audit.curves import Counts, Curve, Point, Tally, levels, points
from align_data.stages.audit.mask_codes import DROPPED, OPEN, Populations
from align_data.stages.audit.survey import Classes, classes, testing, vocabulary_size

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
    """None if nobody asked for them."""
    ranged: bool
    """Whether the rule asks for a range, of which one end was moved."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        data: dict[str, Any] = {"signal": self.signal, "values": [vars(point) for point in self.values]}
        return {**data, **({"moved": [vars(change) for change in self.changes]} if self.changes is not None else {})}


@dataclass(frozen=True)
class Asked:
    """What is to be swept."""

    signal: str
    values: Sequence[Any] = ()
    """Thresholds, as text or numbers; for top_k sizes of the vocabulary, for top_fraction shares. Some of our choice if
    there are none."""
    rule: str | None = None
    """The rule's name, where several rules test the signal."""
    upper: bool = True
    """Of a rule that asks for a range, whether the upper end is moved."""


def sweep(
    dataset: Dataset, ledger: str, asked: Asked, engine: Engine, progress: Progress, moved: int = 0, seed: int = 0
) -> Swept:
    """Count what each value would keep; return up to `moved` pairs that change hands from the first to the last.

    Raises RecipeError for a signal that no rule of the ledger tests, or a value that it cannot be compared with.
    """
    plan, manifest = open_current(dataset, ledger)
    pairs = dataset.ingested()
    place = _place(plan, asked)
    measured = frozenset(available(dataset, pairs, [*plan.signals, asked.signal]))
    there = asked.signal in measured
    known = classes(dataset) if asked.signal == "rarest_ngram" and there else None
    written, rule = plan.recipe.rules[place], testing(plan, known)[place]
    op = _op(written, asked.upper)
    values = [_value(written, op, value) for value in asked.values]
    if moved and len(set(values)) < 2:
        raise RecipeError("--moved needs two values, to say which pairs change hands between them: --values A,B")
    if op == "top_fraction" and there:
        tops = resolve(dataset, plan, measured, {rule.name: values}, engine, progress)[rule.name]
        tested: list[Any] = [End("ge", top.threshold) for top in tops]
    else:
        tested = _tested(rule, op, values, known)
    populations = Populations(masks_of(manifest))

    def tally() -> Tally:
        return Tally(rule, place, populations, tested or None)

    def count(part: int, tick: Tick) -> Counts:
        found = tally()
        for piece, codes in _pieces(dataset, ledger, part, [rule.signal] if there else [], populations):
            found.add(piece[rule.signal] if there else None, codes)
            tick(len(piece))
        return found.counts

    rows = [part.rows for part in pairs.parts]
    counted = engine.map_parts("sweep", count, rows, progress)
    curve = tally().curve(sum(counted, tally().counts))
    found = _points(curve, rule, op, values, tested)
    if op == "top_k" and known is not None and not values:
        found = _by_size(found, known)
    changes = None
    if moved:
        changes = _changes(dataset, ledger, place, rule, tested, moved, seed, populations) if there else []
    shown = "ge" if op == "top_fraction" and not values else op  # ours are thresholds
    return Swept(rule.signal, rule.name, shown, found, changes, len(ends(rule)) > 1)


def _place(plan: Plan, asked: Asked) -> int:
    rules = plan.recipe.rules
    if asked.rule is not None:
        place = plan.recipe.position(asked.rule)
        if rules[place].signal != asked.signal:
            raise RecipeError(f"the rule {asked.rule} tests {rules[place].signal}, not {asked.signal}")
        return place
    found = [place for place, rule in enumerate(rules) if rule.signal == asked.signal]
    if not found:
        tested = ", ".join(dict.fromkeys(rule.signal for rule in rules))
        raise RecipeError(f"no rule of {plan.recipe.name} tests {asked.signal}; its rules test: {tested}")
    if len(found) > 1:
        names = ", ".join(rules[place].name for place in found)
        raise RecipeError(f"several rules test {asked.signal}: say which with --rule: {names}")
    return found[0]


def _op(rule: Rule, upper: bool) -> str:
    """Return the operator whose value is moved."""
    return ("le" if upper else "ge") if rule.op == "between" else rule.op


def _value(rule: Rule, op: str, value: Any) -> Any:
    """Return a value that the rule's signal can be compared with, as its operator takes it."""
    given = _typed(value, find(rule.signal)) if isinstance(value, str) else value
    try:
        tested = rule.with_test(op, [given] if op == "in" else given)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise RecipeError(f"--values {value}: {said}") from None
    return tested.value[0] if op == "in" else tested.value


def _typed(text: str, signal: Signal) -> Any:
    """Return what a text says: of a text signal itself, whatever it looks like; else a number, or true or false."""
    if signal.type == "string":
        return text
    if signal.type == "bool":
        return {"true": True, "false": False}.get(text.lower(), text)
    for number in (int, float):
        with suppress(ValueError, OverflowError):
            if math.isfinite(found := number(text)):
                return found
    raise RecipeError(f"--values {text}: {signal.name} is {signal.unit}, and this is no number")


def _tested(rule: Rule, op: str, values: Sequence[Any], known: Classes | None) -> list[Any]:
    """Return what decides for each value: the end of what passes, or the level itself."""
    if op == "top_k" and known is not None:
        return [End("ge", vocabulary(value, known).threshold) for value in values]
    return [End(op, value) for value in values] if ends(rule) else list(values)


def _pieces(
    dataset: Dataset, ledger: str, part: int, signals: Sequence[str], populations: Populations
) -> Iterator[tuple[pl.DataFrame, np.ndarray[Any, np.dtype[np.int32]]]]:
    masks = dataset.ledger(ledger).pieces(part, ["failed", "unknown"])
    for piece, mask in zip(columns(dataset, part, ["copies"], signals), masks, strict=True):
        yield piece, populations.codes(mask)


def _points(curve: Curve, rule: Rule, op: str, values: Sequence[Any], tested: Sequence[Any]) -> list[Point]:
    found = ends(rule)
    if found:
        end = next(end for end in found if end.op == ("ge" if op in RESOLVED else op))
        if not tested:
            return list(points(curve, end, MOST))
        others = [other for other in found if other != end]
        return [Point(v, *curve.at([moved, *others])) for v, moved in zip(values, tested, strict=True)]
    return [Point(level, *curve.levels_at([level])) for level in values or levels(rule)]


def _by_size(found: Sequence[Point], known: Classes) -> list[Point]:
    """Return points at counts of n-grams as points at sizes of the vocabulary, the smallest first."""
    sizes = {vocabulary_size(known, point.value): point for point in found}
    return [Point(size, sizes[size].kept, sizes[size].pending) for size in sorted(sizes) if size]


def _changes(
    dataset: Dataset,
    ledger: str,
    place: int,
    rule: Rule,
    tested: Sequence[Any],
    number: int,
    seed: int,
    populations: Populations,
) -> list[Change]:
    """Look for pairs, part by part in an order that the seed gives, until there are enough."""
    beside = populations.beside(place)
    found: list[Change] = []
    order = np.random.default_rng(seed).permutation(len(dataset.ingested().parts)).tolist()
    tests = [_passes(rule, tested[0]), _passes(rule, tested[-1])]
    for part in order:
        for at, (piece, codes) in enumerate(_pieces(dataset, ledger, part, [rule.signal], populations)):
            before, after = (piece.select(test.fill_null(True)).to_series().to_numpy() for test in tests)
            others = beside[codes]
            rows = np.flatnonzero((others != DROPPED) & (before != after))[: number - len(found)].tolist()
            shown = sampling.at(dataset, part, at, rows, [rule.signal]) if rows else pl.DataFrame()
            for row, pair in zip(rows, shown.iter_rows(named=True), strict=True):
                outcomes = [
                    ("kept" if others[row] == OPEN else "pending") if w[row] else "dropped" for w in (before, after)
                ]
                found.append(
                    Change(
                        pair["uid"],
                        mask_url(pair["url"]),
                        pair["alt_text"],
                        find(rule.signal).shown(pair[rule.signal]),
                        *outcomes,
                    )
                )
            if len(found) >= number:
                return found
    return found


def _passes(rule: Rule, moved: Any) -> pl.Expr:
    column = pl.col(rule.signal)
    if not isinstance(moved, End):
        return column.eq(moved)
    others = [end for end in ends(rule) if end.op != moved.op]
    return pl.all_horizontal([end.passes(column) for end in (moved, *others)])
