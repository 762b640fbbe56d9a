"""A ledger: which rules each pair fails and which are unknown, and the plan that decided it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from pydantic import ValidationError

from align_data.common.errors import AlignDataError, DatasetError, nearest
from align_data.data.batches import added_since
from align_data.data.columns import available, identities
from align_data.data.labels import label_of
from align_data.data.layout import Dataset
from align_data.data.meta import LedgerMeta
from align_data.data.tombstones import fingerprint
from align_data.recipes.overrides import overridden_rule
from align_data.recipes.plan import Plan, PlannedRule
from align_data.recipes.reading import builtin
from align_data.signals import is_signal
from align_data.signals.label import LABEL, SELECTED
from align_data.storage.tables import Manifest

TAKEN_DOWN = -(2**63)
"""The bit of `failed` that no rule has: the pair was taken down."""

NOT_YET = -(2**63)
"""The bit of `unknown` that no rule has: the pair came after the ledger was decided."""

OUTCOMES = KEPT, PENDING, DROPPED = ("kept", "pending", "dropped")
"""What becomes of a pair."""

FAILS = "fails_"
"""What a column begins with that says whether pairs fail a rule; the rule's name follows."""

_COUNTED_BITS = 16
"""Bits of the two masks that are counted in a table."""
Masks = dict[tuple[int, int], int]
"""(failed, unknown) → number of pairs. A few hundred groups at most, and every count of an audit follows from them."""


@dataclass(frozen=True)
class Ledger:
    """A committed ledger."""

    name: str
    plan: Plan
    manifest: Manifest[LedgerMeta]

    @property
    def facts(self) -> LedgerMeta:
        """Its manifest: how it was decided."""
        return self.manifest.meta

    @cached_property
    def masks(self) -> Masks:
        """Its pairs by their masks, counted when it was written."""
        return masks_of(self.manifest)

    @property
    def parts(self) -> int:
        """The number of its parts."""
        return len(self.manifest.parts)


def masks_of(manifest: Manifest[LedgerMeta]) -> Masks:
    """Return the masks in a ledger's manifest."""
    return {(failed, unknown): pairs for failed, unknown, pairs in manifest.meta.masks}


def listed_masks(masks: Masks) -> list[list[int]]:
    """Return masks as a ledger's manifest has them, which `masks_of` reads: without those that no pair has."""
    return [[failed, unknown, number] for (failed, unknown), number in sorted(masks.items()) if number]


def count_masks(verdicts: Iterable[pl.DataFrame]) -> Masks:
    """Group verdicts by their two masks."""
    masks: Masks = {}
    for piece in verdicts:
        add_masks(masks, _few_masks(piece) or _grouped(piece))
    return masks


def _few_masks(verdicts: pl.DataFrame) -> Masks | None:
    """Group verdicts in a table of counts, which has room where the masks have few bits; None where they have many."""
    failed, unknown = (verdicts[name].to_numpy() for name in ("failed", "unknown"))
    low, high = (int(np.bitwise_or.reduce(masks)).bit_length() for masks in (failed, unknown))
    if low + high > _COUNTED_BITS:
        return None
    counts = np.bincount(failed | (unknown << low))
    return {(key & ((1 << low) - 1), key >> low): int(counts[key]) for key in np.flatnonzero(counts).tolist()}


def _grouped(verdicts: pl.DataFrame) -> Masks:
    grouped = verdicts.group_by("failed", "unknown").len()
    return {(failed, unknown): pairs for failed, unknown, pairs in grouped.iter_rows()}


def add_masks(total: Masks, masks: Masks) -> None:
    """Add one count of masks to another."""
    for key, pairs in masks.items():
        total[key] = total.get(key, 0) + pairs


def taken_down(failed: pl.Series, taken: pl.Series) -> pl.Series:
    """Return the column `failed` with the pairs marked that are `taken` down."""
    return (failed | (taken.cast(pl.Int64) * TAKEN_DOWN)).alias("failed")


def outcome() -> pl.Expr:
    """Return what becomes of pairs by their masks `failed` and `unknown`: one of OUTCOMES."""
    undecided = pl.when(pl.col("unknown") == 0).then(pl.lit(KEPT)).otherwise(pl.lit(PENDING))
    return pl.when(pl.col("failed") == 0).then(undecided).otherwise(pl.lit(DROPPED)).alias("outcome")


def outcome_of(failed: int, unknown: int) -> str:
    """Return what becomes of one pair by its masks: one of OUTCOMES."""
    return DROPPED if failed else PENDING if unknown else KEPT


def fails(rule: PlannedRule) -> pl.Expr:
    """Return whether pairs fail a rule, by their masks: null where that is unknown; called `fails_RULE`."""
    failing = pl.col("failed") & rule.bit != 0
    return pl.when(pl.col("unknown") & rule.bit == 0).then(failing).alias(f"{FAILS}{rule.name}")


def open_ledger(dataset: Dataset, name: str, *, former: bool = False) -> Ledger:
    """Open a ledger; DatasetError names the ledgers there are.

    So is one that was decided before the last takedown, because its files were put back from somewhere; and, but with
    `former`, one that is kept from before a batch was added.
    """
    dataset.ingested()
    if name.endswith((".yaml", ".yml")):
        raise DatasetError(
            f"{name} is a recipe's file; a ledger has the recipe's name, or the name given by --as "
            f"(there are: {', '.join(dataset.ledgers()) or 'none'})"
        )
    manifest = dataset.ledger(name).committed()
    if manifest is None:
        names = dataset.ledgers()
        recipe = name if name in builtin() else f"RECIPE --as {name}"
        raise DatasetError(
            f"{dataset.store.url} has no ledger {name}{nearest(name, names)}; there are: {', '.join(names) or 'none'}; "
            f"make it with: align-data filter {shlex.quote(dataset.store.url)} --recipe {recipe}"
        )
    ledger = _opened(dataset, name, manifest)
    if ledger.facts.until is not None and not former:
        now, url = name.removesuffix(f".{ledger.facts.until}"), shlex.quote(dataset.store.url)
        raise DatasetError(
            f"{name} is the ledger {now} as it was with the batch {ledger.facts.until}, kept to be compared: "
            f"align-data diff {url} {name} {now}"
        )
    if ledger.facts.tombstones != fingerprint(dataset):
        raise DatasetError(
            f"the ledger {name} of {dataset.store.url} was decided before the last takedown; "
            f"{again(dataset.store.url, name, ledger.plan)}"
        )
    return ledger


def decided_by(dataset: Dataset, name: str) -> Plan | None:
    """Return the plan of a ledger, which may be stale; None where there is none, DatasetError for a damaged one."""
    manifest = dataset.ledger(name).committed()
    return None if manifest is None else _plan_of(dataset, name, manifest)


def _opened(dataset: Dataset, name: str, manifest: Manifest[LedgerMeta]) -> Ledger:
    """Return a ledger; DatasetError if its plan cannot be understood, or if it is of other pairs."""
    plan = _plan_of(dataset, name, manifest)
    pairs = dataset.ingested()
    if manifest.meta.pairs != pairs.fingerprint:
        where, new = dataset.store.path(dataset.ledger(name).name), added_since(pairs, manifest.meta.pairs)
        when = f"before the batch {new[0]} was added" if new else "for different pairs"
        raise DatasetError(f"{where} was decided {when}; {again(dataset.store.url, name, plan)}")
    return Ledger(name, plan, manifest)


def _plan_of(dataset: Dataset, name: str, manifest: Manifest[LedgerMeta]) -> Plan:
    where = dataset.store.path(dataset.ledger(name).name)
    try:
        return Plan.model_validate(manifest.meta.plan)
    except (ValidationError, AlignDataError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DatasetError(
            f"the plan of {where} cannot be understood: {reason}; it is damaged, or of another version: remove "
            f"{where} and filter again: align-data filter {shlex.quote(dataset.store.url)} --recipe {name}"
        ) from error


def filter_command(url: str, name: str, plan: Plan, without: Sequence[str] = ()) -> str:
    """Return the command that decides as a plan did, but without some more rules, as the ledger `name`.

    A recipe that is not one of filters/ is taken for a file that has the recipe's name.
    """
    recipe, off = plan.recipe.name, [*plan.off, *without]
    words = ["align-data", "filter", url, "--recipe", recipe if recipe in builtin() else f"{recipe}.yaml"]
    names = [rule.name for rule in plan.recipe.rules]
    for assignment in plan.overrides:
        if overridden_rule(assignment, names) not in off:
            words += ["--set", assignment]
    words += ["--without", ",".join(off)] if off else []
    return shlex.join(words + (["--as", name] if recipe != name else []))


def again(url: str, name: str, plan: Plan) -> str:
    """Return what makes a ledger anew that is stale: filtering, or of one that keeps a selection, selecting."""
    rule = plan.recipe.rules[0]
    if rule.signal != f"{LABEL}_{name}" or rule.value != SELECTED:
        return f"filter again: {filter_command(url, name, plan)}"
    return f"select its pairs again: align-data select {shlex.quote(url)} {rule.note} --as {name}"


def as_recipe(dataset: Dataset, name: str) -> str | None:
    """Return what to do where a ledger's name stands in place of a recipe's; None where no ledger has the name."""
    if name not in dataset.ledgers():
        return None
    plan = open_ledger(dataset, name).plan
    return (
        f"no recipe is called {name}, only a ledger of {dataset.store.url}, which was decided by the recipe "
        f"{plan.recipe.name}; {again(dataset.store.url, name, plan)}"
    )


def outdated(dataset: Dataset, ledger: Ledger) -> list[str]:
    """Return the signals that a ledger was decided by and that have been measured again since."""
    before: Mapping[str, Any] = {name: at for name, at in ledger.facts.signals.items() if is_signal(name)}
    now = identities(dataset, before)
    return [name for name in before if now[name] != before[name]]


def _changed(signals: Sequence[str]) -> str:
    """Say what happened to signals since: marks are given, and all else is measured."""
    measured = [name for name in signals if label_of(name) is None]
    marked = [label for name in signals if (label := label_of(name)) is not None]
    events = [f"{', '.join(measured)} {'was' if len(measured) == 1 else 'were'} measured again"] if measured else []
    events += [f"pairs were marked in the label{'' if len(marked) == 1 else 's'} {', '.join(marked)}"] if marked else []
    return " and ".join(events)


def open_current(dataset: Dataset, name: str) -> Ledger:
    """Open a ledger for a reader of signals beside its verdicts; DatasetError where it is of older signals too."""
    ledger = open_ledger(dataset, name)
    if signals := outdated(dataset, ledger):
        available(dataset, dataset.ingested(), signals)  # where the values are stale too, that is to mend first
        raise DatasetError(
            f"the ledger {name} was decided before {_changed(signals)}; {again(dataset.store.url, name, ledger.plan)}"
        )
    return ledger
