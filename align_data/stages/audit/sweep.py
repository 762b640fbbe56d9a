"""Sweep: how many pairs would be kept with other thresholds of one rule, in one scan; and which change hands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from align_data.common.errors import RecipeError
from align_data.common.progress import Progress, Tick
from align_data.common.secrets import mask_url
from align_data.data.derived import planned_rows
from align_data.data.layout import Dataset
from align_data.data.ledger import open_current
from align_data.data.thresholds import classes
from align_data.engines.base import Engine
from align_data.recipes.thresholds import Classes, vocabulary_size
from align_data.stages.audit.choose import SweepRequest
from align_data.stages.audit.curves import Counts, Curve, Point, levels, points
from align_data.stages.audit.moves import Move, PieceReader, reader_of
from align_data.stages.audit.roles import OUTCOME, OUTCOMES, PASS, ROLES, UNKNOWN

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
    of_class: str | None = None
    """The class whose threshold was moved, where it was one class's."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        data: dict[str, Any] = {"signal": self.signal, "values": [vars(point) for point in self.values]}
        data |= {"class": self.of_class} if self.of_class is not None else {}
        return {**data, **({"moved": [vars(change) for change in self.changes]} if self.changes is not None else {})}


@dataclass(frozen=True)
class _SweepScan:
    """What is the same for all parts. It travels to other machines."""

    reader: PieceReader

    @property
    def move(self) -> Move:
        """What is moved."""
        return self.reader.moves[0]

    def count(self, part: int, tick: Tick) -> Counts:
        """Count one part, by role and bin."""
        move = self.move
        counts = np.zeros((ROLES, move.cells), np.int64)
        for piece, roles in self.reader.pieces(part):
            cells = roles.astype(np.intp) * move.cells + move.places(piece)
            counts += np.bincount(cells, minlength=counts.size).reshape(counts.shape)
            tick(len(piece))
        return counts


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
    reader = reader_of(dataset, opened, [request], engine, progress)
    (move,) = reader.moves
    if moved and len(set(move.values)) < 2:
        raise RecipeError("--moved needs two values to compare: --values A,B")
    scan = _SweepScan(reader)
    rows = [part.rows for part in dataset.ingested().parts]
    parts = engine.map_parts("sweep", scan.count, rows, progress)
    counted = _points(move, sum(parts, np.zeros((ROLES, move.cells), np.int64)))
    if move.op == "top_k" and move.measured and not move.values:
        counted = _by_size(counted, classes(dataset))
    changes = None
    if moved:
        changes = _changes(scan, moved, seed) if move.measured else []
    shown_op = "ge" if move.op == "top_fraction" and not move.values else move.op  # the values chosen are thresholds
    return Swept(
        move.leaf.test.signal, move.leaf.rule.name, shown_op, counted, changes, move.ranged, move.leaf.of_class
    )


def _points(move: Move, counts: Counts) -> list[Point]:
    if move.values:
        return [
            Point(value, *(int(counts[OUTCOME[:, verdicts] == outcome].sum()) for outcome in (PASS, UNKNOWN)))
            for value, verdicts in zip(move.values, move.verdicts(move.fixed), strict=True)
        ]
    curve = Curve(move.leaf.test, counts, move.axis.scale, move.axis.levels)
    if move.end is None:
        return [Point(level, *curve.levels_at([level])) for level in levels(move.leaf.test)]
    return list(points(curve, move.end, MOST))


def _by_size(counted: Sequence[Point], ngrams: Classes) -> list[Point]:
    """Return points at counts of n-grams as points at sizes of the vocabulary, the smallest first."""
    sizes = {vocabulary_size(ngrams, point.value): point for point in counted}
    return [Point(size, sizes[size].kept, sizes[size].pending) for size in sorted(sizes) if size]


def _changes(scan: _SweepScan, number: int, seed: int) -> list[Change]:
    """Look for pairs, part by part in an order that the seed gives, until there are enough."""
    changes: list[Change] = []
    dataset, move = scan.reader.dataset, scan.move
    order = np.random.default_rng(seed).permutation(len(dataset.ingested().parts)).tolist()
    verdicts = move.verdicts(move.fixed)[[0, -1]]
    for part in order:
        for piece_number, (piece, roles) in enumerate(scan.reader.pieces(part)):
            before, after = OUTCOME[roles, verdicts[:, move.places(piece)]]
            rows = np.flatnonzero(before != after)[: number - len(changes)].tolist()
            place = (part, piece_number)
            pairs = planned_rows(dataset, scan.reader.plan, place, rows, []) if rows else pl.DataFrame()
            for row, pair in zip(rows, pairs.iter_rows(named=True), strict=True):
                value = move.leaf.test.definition.shown(piece[move.leaf.test.signal][row])
                outcomes = (OUTCOMES[before[row]], OUTCOMES[after[row]])
                changes.append(Change(pair["uid"], mask_url(pair["url"]), pair["alt_text"], value, *outcomes))
            if len(changes) >= number:
                return changes
    return changes
