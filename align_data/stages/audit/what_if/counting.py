"""Counting what becomes of a pool: the ledger's masks as they are, and anew what the moved rules decide."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.progress import Progress
from align_data.data import first_of
from align_data.data.columns import available
from align_data.data.layout import Dataset
from align_data.data.ledger import open_current
from align_data.engines.base import Engine
from align_data.recipes.plan import Plan, PlannedRule
from align_data.recipes.planned import Planned
from align_data.recipes.thresholds import FirstOf
from align_data.stages.audit.curves import Counts, Curve
from align_data.stages.audit.leaf_tally import leaf_tally
from align_data.stages.audit.leaves import Comparison, drawn
from align_data.stages.audit.roles import DROPPED, FAIL, OPEN, PASS, UNKNOWN, WAITING, Verdicts
from align_data.stages.audit.what_if.held import Code, Held
from align_data.stages.audit.what_if.moved import Cells, MovedPool, masks_of, pool
from align_data.stages.audit.what_if.resolving import resolved
from align_data.storage.passing import passing_store

MOST = 20_000_000
"""Pairs that are held; of a larger pool, as many parts as have not more: each is a random sample."""
_DENSE = 2**22
"""Cells that are counted in a table; where there are more, those that no pair is in are left out."""


class WhatIf:
    """The pool of a ledger, held so that thresholds move together. Several threads may ask at once."""

    def __init__(self, dataset: Dataset, ledger: str, engine: Engine, progress: Progress, most: int = MOST) -> None:
        """Open a ledger; DatasetError where it is not there, or of older signals."""
        self._engine, self._progress = engine, progress
        self._ledger = open_current(dataset, ledger)
        self.plan = self._ledger.plan
        ranks = any(rule.rule.first_of is not None for rule in self.plan.rules)
        self._dataset = Dataset(dataset.store, passing_store()) if ranks else dataset
        self._rows = [part.rows for part in dataset.ingested().parts]
        self._most = most
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._held: Held | None = None

    @property
    def held(self) -> Held:
        """The parts that are held, read when somebody first asks."""
        with self._lock:
            if self._held is None:
                self._held = self._holding(next(self._windows(), []))
            return self._held

    def _holding(self, parts: Sequence[int]) -> Held:
        return Held(self._dataset, self._ledger, parts, self._engine, self._progress)

    def _windows(self) -> Iterator[list[int]]:
        """Yield parts that are held together: one after the other all of the pool."""
        window: list[int] = []
        for part, rows in enumerate(self._rows):
            if window and sum(self._rows[at] for at in window) + rows > self._most:
                yield window
                window = []
            window.append(part)
        if window:
            yield window

    def count(self, plan: Plan, *, whole: bool = False) -> MovedPool:
        """Count what becomes of the pool by a plan of the ledger's recipe; `whole`: of all pairs, however many.

        Thresholds that are relative to the pool become what they would by `filter`; RecipeError for what cannot be set.
        """
        held = self.held
        plan, notes = self._resolved(plan, whole=whole)
        moved = self._moved(plan)
        if self._beyond_held(whole):
            windows = [self._cells(self._holding(parts), plan, moved) for parts in self._windows()]
            cells = _merged(windows)
        else:
            cells = self._cells(held, plan, moved)
        return pool(cells, held.populations, plan, moved, sum(self._rows), notes)

    def resolved(self, plan: Plan) -> Plan:
        """Return a plan of the ledger's recipe with its thresholds, as `count` has it."""
        return self._resolved(plan, whole=False)[0]

    def as_filter(self, plan: Plan) -> tuple[Dataset, Plan]:
        """Return a plan of the ledger's recipe as `filter` would have it, its thresholds of all pairs.

        And the dataset with the ranks that the plan compares: these are aside of it, as long as somebody holds it.
        """
        plan, _ = self._resolved(plan, whole=True)
        with self._writing:
            for name, first in plan.firsts.items():
                if first_of.stored(self._dataset, first.ranks) is None:
                    ranked = self.held.ranked(plan, name, first.ranks)
                    first_of.write(self._dataset, first.ranks, ranked.parts, ranked.sizes)
        return self._dataset, plan

    def _resolved(self, plan: Plan, *, whole: bool) -> tuple[Plan, list[str]]:
        scan = self._beyond_held(whole)
        return resolved(self._dataset, self.plan, plan, self.held, self._engine, self._progress, scan=scan)

    def _beyond_held(self, whole: bool) -> bool:
        """Tell whether all pairs are to be counted, and not all are held."""
        return whole and self.held.pairs < sum(self._rows)

    @cached_property
    def own_curves(self) -> dict[str, Curve]:
        """The curves of the ledger's own plan."""
        return self.curves(self.plan)

    def curves(self, plan: Plan) -> dict[str, Curve]:
        """Return, by test, how its values are distributed: of all pairs, and of those that nothing else drops.

        Of a pool of which parts are held, in those. `plan` has its thresholds resolved.
        """
        known, moved, held = self._known(plan), self._moved(plan), self.held
        leaves = drawn(plan, known)
        held.load(plan, [column for leaf in leaves.values() for column in leaf.whole.columns])
        verdicts = self._verdicts(held, plan, moved)
        columns = [held.counted_in(plan, leaf) for leaf in leaves.values()]

        def tally(place: int) -> list[Counts]:
            cells, of_pair = _cells(held.codes[place], [of[place] for of in verdicts], len(held.populations))
            masks = masks_of(cells, held.populations, moved)
            of_leaves = zip(leaves.values(), columns, strict=True)
            return [_tallied(leaf, masks, of_pair, of[place]) for leaf, of in of_leaves]

        parts = held.each(tally)
        tallies = {name: leaf_tally(leaf) for name, leaf in leaves.items()}
        return {
            name: of.curve(sum((part[at] for part in parts), of.counts))
            for at, (name, of) in enumerate(tallies.items())
        }

    def _known(self, plan: Plan) -> frozenset[str]:
        """Return the columns that a plan's rules may read."""
        return frozenset(plan.known(available(self._dataset, self._dataset.ingested(), plan.signals)))

    def _moved(self, plan: Plan) -> list[PlannedRule]:
        """Return the rules of a plan that decide otherwise than the ledger's."""
        return [
            rule
            for rule, before in zip(plan.rules, self.plan.rules, strict=True)
            if rule.in_force != before.in_force or (rule.in_force and _decides(rule) != _decides(before))
        ]

    def _verdicts(self, held: Held, plan: Plan, moved: Sequence[PlannedRule]) -> list[list[Verdicts]]:
        known = self._known(plan)
        return [held.verdicts(plan, rule, known) for rule in moved if rule.in_force]

    def _cells(self, held: Held, plan: Plan, moved: Sequence[PlannedRule]) -> Cells:
        verdicts = self._verdicts(held, plan, moved)

        def count(place: int) -> Cells:
            cells, of_pair = _cells(held.codes[place], [of[place] for of in verdicts], len(held.populations))
            return np.column_stack([cells, np.bincount(of_pair, minlength=len(cells))])

        return _merged(held.each(count)) if held.parts else np.empty((0, len(verdicts) + 2), np.int64)


def _decides(rule: PlannedRule) -> tuple[Planned, str | None]:
    """Return what a rule decides by: its tests, and which ranks they compare."""
    return rule.planned, rule.threshold.ranks if isinstance(rule.threshold, FirstOf) else None


def _tallied(leaf: Comparison, masks: tuple[Cells, Cells], of_pair: NDArray[np.intp], columns: Code) -> Counts:
    """Count the values of one test in a part, by what all other rules together decide of the pairs."""
    failed, unknown = (mask & ~np.int64(leaf.rule.bit) for mask in masks)
    undropped = np.where(unknown, WAITING, OPEN)
    tally = leaf_tally(leaf)
    tally.add_placed(columns, np.where(failed, DROPPED, undropped), of_pair)
    return tally.counts


def _cells(codes: Code, verdicts: Sequence[Verdicts], populations: int) -> tuple[Cells, NDArray[np.intp]]:
    """Return the combinations of code and verdicts that pairs have, a row each, and the row of each pair."""
    cells = np.arange(max(1, populations), dtype=np.int64)[:, None]
    of_pair = codes.astype(np.intp)
    for verdict in verdicts:
        of_pair = of_pair * 3 + verdict
        choices = np.tile(np.array([FAIL, UNKNOWN, PASS]), len(cells))
        cells = np.column_stack([np.repeat(cells, 3, axis=0), choices])
        if len(cells) > _DENSE:
            present, of_pair = np.unique(of_pair, return_inverse=True)
            cells = cells[present]
    return cells, of_pair


def _merged(counts: Sequence[Cells]) -> Cells:
    """Return the cells of several parts as one, without those that no pair is in."""
    rows = np.concatenate(counts)
    rows = rows[rows[:, -1] > 0]
    if len(counts) == 1 or not len(rows):
        return rows
    names = [f"{at}" for at in range(rows.shape[1])]
    grouped = pl.DataFrame(rows, names).group_by(names[:-1]).agg(pl.col(names[-1]).sum())
    return grouped.to_numpy()
