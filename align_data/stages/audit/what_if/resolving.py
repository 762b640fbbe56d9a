"""What thresholds that are relative to the pool become as other rules are moved: from the columns in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl

from align_data.common.progress import Progress
from align_data.data import scales
from align_data.data.layout import Dataset
from align_data.data.pool import choosing, definition, measured_by
from align_data.data.thresholds import checked, look_up
from align_data.data.top_fraction import least_of
from align_data.engines.base import Engine
from align_data.recipes.model import KEPT, POOL
from align_data.recipes.plan import Plan, PlannedRule, chosen_by
from align_data.recipes.scores import OF_PAIRS, RANK
from align_data.recipes.thresholds import FirstOf, Threshold, TopFraction, TopFractions
from align_data.stages.audit.roles import FAIL
from align_data.stages.audit.what_if.held import Held

Find = Callable[[Plan, PlannedRule, frozenset[str]], Threshold]
"""Returns what the fraction of a rule becomes."""


def resolved(
    dataset: Dataset, before: Plan, plan: Plan, held: Held, engine: Engine, progress: Progress, *, scan: bool = False
) -> tuple[Plan, list[str]]:
    """Return a moved plan with its thresholds, and what of it is not as `filter` would have it, a sentence each.

    Fractions are of the pairs that are held; with `scan` of all pairs, which are read for them.
    """
    if plan is before:
        return plan, []
    plan, signals = checked(dataset, plan)
    measured = frozenset(signals)
    sizes = {
        rule.name: [rule.rule.value]
        for rule in plan.rules
        if rule.in_force and rule.rule.signal is not None and rule.rule.op == "top_k" and rule.signal in measured
    }
    vocabularies = look_up(dataset, plan, "top_k", sizes, engine, progress)
    plan = plan.with_thresholds({name: threshold for name, (threshold,) in vocabularies.items()})
    plan = plan.with_scales(before.scales)
    columns = {column for rule in plan.rules for column in (*rule.columns, *chosen_by(rule.rule))} - {*OF_PAIRS}
    if any(score not in plan.scales for score in plan.scores(columns)):
        plan = scales.resolve(dataset, plan, columns, measured, engine, progress)
    plan = plan.with_thresholds(before.firsts)
    plan = plan.with_thresholds({name: _first(plan, name, held) for name in before.firsts})

    def find(plan: Plan, rule: PlannedRule, known: frozenset[str]) -> Threshold:
        if not scan:
            return _fraction(plan, rule, held, known)
        values = {rule.name: [rule.rule.value]}
        return look_up(dataset, plan, "top_fraction", values, engine, progress)[rule.name][0]

    return _chosen(before, plan, find, measured_by(dataset, plan))


def _chosen(before: Plan, plan: Plan, find: Find, measured: frozenset[str]) -> tuple[Plan, list[str]]:
    """Resolve the fractions, those that choose among the pairs of others behind these."""
    known = frozenset(plan.known(measured))
    moved = {
        rule.name
        for rule, was in zip(plan.rules, before.rules, strict=True)
        if rule.in_force != was.in_force or rule.rule != was.rule
    }
    waiting = [rule.name for rule in plan.rules if rule.rule.chooses]
    notes = []
    while waiting:
        ready = [name for name in waiting if not _waits(plan.rule(name), waiting)]
        for name in ready:
            rule = plan.rule(name)
            among = choosing(plan, rule)
            if rule.rule.first_of is not None:
                left_out = {was.name for was in choosing(before, before.rule(name))} ^ {other.name for other in among}
                if left_out or moved & {other.name for other in among}:
                    notes.append(f"{name} keeps the ranks that it has in the ledger; deciding ranks its pairs anew")
                    moved.add(name)
            elif rule.rule.signal in known and (rule.rule.per is None or rule.rule.per in known):
                threshold = find(plan, rule, known)
                plan = plan.with_thresholds({name: threshold})
                if threshold != before.thresholds.get(name):
                    moved.add(name)
        waiting = [name for name in waiting if name not in ready]
    return plan, notes


def _first(plan: Plan, name: str, held: Held) -> FirstOf:
    """Return the ranks of a rule with what the moved rule keeps of them."""
    first, keep = plan.firsts[name], plan.rule(name).rule.keep or 1
    if keep == first.keep:
        return first
    rank = f"{RANK}{name}"
    held.load(plan, [rank])
    used = sum(held.each(lambda place: int(held.frame(place, [rank]).select((pl.col(rank) <= keep).sum()).item())))
    return first.model_copy(update={"keep": keep, "used": used})


def _waits(rule: PlannedRule, waiting: Sequence[str]) -> bool:
    return rule.rule.choice not in (POOL, KEPT) and any(name in waiting for name in rule.rule.choice)


def _fraction(plan: Plan, rule: PlannedRule, held: Held, known: frozenset[str]) -> Threshold:
    """Return what a fraction becomes, exactly as `data.top_fraction` finds it in scans of the pool."""
    signal, per, fraction = rule.rule.signal, rule.rule.per, rule.rule.value
    assert signal is not None
    names = [signal, *([per] if per is not None else [])]
    held.load(plan, names)
    failing = [held.verdicts(plan, other, known) for other in choosing(plan, rule)]

    def values(place: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        frame = held.frame(place, names).with_columns(
            pl.lit("").alias("class") if per is None else pl.col(per).cast(pl.String).alias("class")
        )
        frame = frame.select(pl.col(signal).alias("value"), "class")
        member = np.ones(len(frame), np.bool_)
        for of in failing:
            member &= of[place] != FAIL
        return frame.filter(pl.Series(member)).drop_nulls(), frame.drop_nulls()

    each = held.each(values)
    among = pl.concat([pair[0] for pair in each])
    whole = pl.concat([pair[1] for pair in each]) if rule.rule.of == POOL else among
    sizes: Mapping[str, int] = dict(whole.group_by("class").len().iter_rows())
    words = None if rule.rule.choice == KEPT else rule.rule.choice
    of_pool = rule.rule.of == POOL and bool(failing)
    least = least_of(definition(plan, signal))
    if per is None:
        return _top(among["value"], fraction, sizes.get("", 0), of_pool, words, least)
    classes = sorted(among.partition_by("class", as_dict=True).items(), key=lambda entry: str(entry[0][0]))
    tops = {str(name): _top(of["value"], fraction, sizes[name], of_pool, words, least) for (name,), of in classes}
    return TopFractions(per=per, by_class=tops)


def _top(values: pl.Series, fraction: float, whole: int, of_pool: bool, words: Any, least: float) -> TopFraction:
    top = TopFraction(fraction=fraction, threshold=least, used=0, pool=0, among=words)
    number = len(values)
    if not number:
        return top
    place = number - min(number, math.ceil(Fraction(str(fraction)) * whole))
    threshold = values.sort()[place] if place < number else None
    used = int((values >= threshold).sum())
    update = {"threshold": threshold, "used": used, "pool": number, "whole": whole if of_pool else None}
    return top.model_copy(update=update)
