"""What thresholds that are relative to the pool become as other rules are moved: from the columns in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import polars as pl

from align_data.common.progress import Progress
from align_data.data import first_of, scales
from align_data.data.layout import Dataset
from align_data.data.pool import choosing, definition, measured_by
from align_data.data.thresholds import checked, look_up
from align_data.data.top_fraction import least_of
from align_data.engines.base import Engine
from align_data.recipes.model import KEPT, POOL
from align_data.recipes.plan import Plan, PlannedRule, chosen_by
from align_data.recipes.scores import OF_PAIRS
from align_data.recipes.thresholds import Threshold, TopFraction, TopFractions
from align_data.stages.audit.what_if.held import Held


def resolved(
    dataset: Dataset, before: Plan, plan: Plan, held: Held, engine: Engine, progress: Progress, *, scan: bool = False
) -> tuple[Plan, list[str]]:
    """Return a moved plan with its thresholds, and what of it is not as `filter` would have it, a sentence each.

    Fractions and ranks are of the pairs that are held; with `scan` of all pairs, which are read for them.
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
    return _Choices(dataset, before, held, engine, progress, scan).resolved(plan, measured_by(dataset, plan))


@dataclass(frozen=True)
class _Choices:
    """What rules become that choose among pairs."""

    dataset: Dataset
    before: Plan
    held: Held
    engine: Engine
    progress: Progress
    scan: bool

    def resolved(self, plan: Plan, measured: frozenset[str]) -> tuple[Plan, list[str]]:
        """Resolve those rules, the ones that choose among the pairs of others behind these."""
        notes, waiting = [], [rule.name for rule in plan.rules if rule.rule.chooses]
        while waiting:
            ready = [name for name in waiting if not _waits(plan.rule(name), waiting)]
            waiting = [name for name in waiting if name not in ready]
            for name in ready:
                rule = plan.rule(name)
                compared = {*chosen_by(rule.rule), *([] if rule.rule.first_of else rule.columns)} - {*OF_PAIRS}
                if plan.known(measured) >= compared:
                    threshold, note = self._threshold(plan, rule)
                    plan = plan.with_thresholds({name: threshold} if threshold is not None else {})
                    notes += [note] if note is not None else []
        return plan, notes

    def _threshold(self, plan: Plan, rule: PlannedRule) -> tuple[Threshold | None, str | None]:
        if rule.rule.first_of is not None:
            return self._first(plan, rule)
        if not self.scan:
            return _fraction(plan, rule, self.held), None
        values = {rule.name: [rule.rule.value]}
        return look_up(self.dataset, plan, "top_fraction", values, self.engine, self.progress)[rule.name][0], None

    def _first(self, plan: Plan, rule: PlannedRule) -> tuple[Threshold | None, str | None]:
        """Return the ranks of a rule; those of the ledger, and that they are, where a part of the pool cannot tell."""
        table_name = first_of.table_name(self.dataset, plan, rule.name)
        if self.scan or first_of.stored(self.dataset, table_name) is not None:
            return first_of.resolve(self.dataset, plan, rule.name, self.engine, self.progress), None
        if self.held.whole:
            return first_of.threshold(rule, self.held.ranked(plan, rule.name, table_name).sizes, table_name), None
        note = f"{rule.name} keeps the ranks that it has in the ledger; counting all pairs ranks them anew"
        ranks = self.before.firsts[rule.name].ranks if rule.name in self.before.firsts else None
        manifest = first_of.stored(self.dataset, ranks) if ranks is not None else None
        if ranks is None or manifest is None:
            return None, note
        return first_of.threshold(rule, manifest.meta.sizes, ranks), note


def _waits(rule: PlannedRule, waiting: Sequence[str]) -> bool:
    return rule.rule.choice not in (POOL, KEPT) and any(name in waiting for name in rule.rule.choice)


def _fraction(plan: Plan, rule: PlannedRule, held: Held) -> Threshold:
    """Return what a fraction becomes, exactly as `data.top_fraction` finds it in scans of the pool."""
    signal, per, fraction = rule.rule.signal, rule.rule.per, rule.rule.value
    assert signal is not None
    names = [signal, *([per] if per is not None else [])]
    held.load(plan, names)
    rules = choosing(plan, rule)
    members = held.among(plan, rules)

    def values(place: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        frame = held.frame(plan, place, names).with_columns(
            pl.lit("").alias("class") if per is None else pl.col(per).cast(pl.String).alias("class")
        )
        frame = frame.select(pl.col(signal).alias("value"), "class")
        return frame.filter(pl.Series(members[place])).drop_nulls(), frame.drop_nulls()

    each = held.each(values)
    among = pl.concat([pair[0] for pair in each])
    whole = pl.concat([pair[1] for pair in each]) if rule.rule.of == POOL else among
    sizes: Mapping[str, int] = dict(whole.group_by("class").len().iter_rows())
    words = None if rule.rule.choice == KEPT else rule.rule.choice
    of_pool = rule.rule.of == POOL and bool(rules)
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
