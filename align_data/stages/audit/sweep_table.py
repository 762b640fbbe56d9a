"""Two tests moved at once: how many pairs would be kept with each combination of their values, in one scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from align_data.common.errors import RecipeError
from align_data.common.progress import Progress, Tick
from align_data.data.layout import Dataset
from align_data.data.ledger import open_current
from align_data.engines.base import Engine
from align_data.stages.audit.moves import Move, PieceReader, SweepRequest, move_of, reader_of
from align_data.stages.audit.roles import PAIRED, PAIRED_OUTCOME, PASS, UNKNOWN, VERDICTS, Verdicts, paired_roles

Counts = NDArray[np.int64]
"""Pairs by their role, and by the bins of both values."""
COMBINATIONS = 100_000
"""Of values that one table may have."""


@dataclass(frozen=True)
class SweptSide:
    """What is moved along one side of a table."""

    signal: str
    rule: str
    op: str
    """The operator whose value is moved."""
    values: list[Any]
    ranged: bool
    """Whether the rule asks for a range, of which one end is moved."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {"signal": self.signal, "rule": self.rule, "op": self.op, "values": self.values}


@dataclass(frozen=True)
class SweptTable:
    """Pairs kept and pending for every combination of two tests' values, with every other rule in force."""

    rows: SweptSide
    columns: SweptSide
    kept: list[list[int]]
    """A row a value of `rows`, in it a number a value of `columns`."""
    pending: list[list[int]]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        sides = {"rows": self.rows.to_json(), "columns": self.columns.to_json()}
        return {**sides, "kept": self.kept, "pending": self.pending}


@dataclass(frozen=True)
class _TableScan:
    """What is the same for all parts. It travels to other machines."""

    reader: PieceReader
    moves: tuple[Move, Move]

    def count(self, part: int, tick: Tick) -> Counts:
        """Count one part."""
        rows, columns = self.moves
        down, across = rows.axis(), columns.axis()
        counts = np.zeros((PAIRED, down.cells, across.cells), np.int64)
        others = self.reader.populations.others(rows.rule.bit | columns.rule.bit)
        nothing = np.zeros_like(others)
        roles = paired_roles(nothing, nothing, nothing, others).astype(np.intp)
        for piece, codes in self.reader.pieces(part):
            cells = roles[codes] * down.cells + rows.places(down, piece)
            cells = cells * across.cells + columns.places(across, piece)
            counts += np.bincount(cells, minlength=counts.size).reshape(counts.shape)
            tick(len(piece))
        return counts


def sweep_table(
    dataset: Dataset, ledger: str, requests: tuple[SweepRequest, SweepRequest], engine: Engine, progress: Progress
) -> SweptTable:
    """Count what each combination of the values of two requests would keep.

    Raises RecipeError as `sweep` does, and where the two move the same end of the same rule, or one names no values.
    """
    opened = open_current(dataset, ledger)
    for request in requests:
        if not request.values:
            raise RecipeError(f"two signals at once need the values of both, and {request.signal} has none: --values")
    rows, columns = (move_of(dataset, opened, request, engine, progress) for request in requests)
    _check(rows, columns)
    scan = _TableScan(reader_of(dataset, opened, rows, columns), (rows, columns))
    sizes = [part.rows for part in dataset.ingested().parts]
    down, across = rows.axis(), columns.axis()
    zeros = np.zeros((PAIRED, down.cells, across.cells), np.int64)
    counts = sum(engine.map_parts("sweep", scan.count, sizes, progress), zeros)
    # Where both ends of a range are moved, neither is fixed.
    same = rows.rule.bit == columns.rule.bit
    of_rows, of_columns = (m.verdicts(axis, () if same else m.fixed) for m, axis in ((rows, down), (columns, across)))
    kept, pending = (_pairs(counts, of_rows, of_columns, outcome).tolist() for outcome in (PASS, UNKNOWN))
    return SweptTable(_side(rows), _side(columns), kept, pending)


def _check(rows: Move, columns: Move) -> None:
    """Raise RecipeError for two moves that are one, or that have too many combinations."""
    if rows.rule.bit == columns.rule.bit and (rows.end is None or rows.end == columns.end):
        raise RecipeError(
            f"both would move the {rows.op} of {rows.rule.name}: choose another signal, rule or end for one of them"
        )
    if (number := len(rows.values) * len(columns.values)) > COMBINATIONS:
        raise RecipeError(f"{number:,} combinations of values are more than the {COMBINATIONS:,} that a table may have")


def _pairs(counts: Counts, rows: Verdicts, columns: Verdicts, outcome: int) -> NDArray[np.int64]:
    """Return the pairs that have an outcome, of the verdicts of each alternative on the values of each bin."""
    total = np.zeros((len(rows), len(columns)))
    for role in np.flatnonzero(counts.any(axis=(1, 2))).tolist():
        of_role = counts[role].astype(float)  # exact to 2^53, and many times as fast
        for verdict in VERDICTS:
            others = np.flatnonzero(PAIRED_OUTCOME[role, verdict] == outcome)
            if len(others):
                total += (rows == verdict).astype(float) @ of_role @ np.isin(columns, others).astype(float).T
    return total.astype(np.int64)


def _side(move: Move) -> SweptSide:
    return SweptSide(move.rule.signal, move.rule.name, move.op, list(move.values), move.ranged)
