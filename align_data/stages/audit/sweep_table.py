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
from align_data.stages.audit.choose import SweepRequest
from align_data.stages.audit.moves import Move, PieceReader, reader_of
from align_data.stages.audit.roles import PAIRED, PAIRED_OUTCOME, PASS, UNKNOWN, VERDICTS, Verdicts

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
    of_class: str | None = None
    """The class whose threshold is moved, where it is one class's."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        data = {"signal": self.signal, "rule": self.rule, "op": self.op, "values": self.values}
        return data | ({"class": self.of_class} if self.of_class is not None else {})


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

    @property
    def zeros(self) -> Counts:
        """No pairs of any role in any bin."""
        rows, columns = self.reader.moves
        return np.zeros((PAIRED, rows.cells, columns.cells), np.int64)

    def count(self, part: int, tick: Tick) -> Counts:
        """Count one part."""
        rows, columns = self.reader.moves
        counts = self.zeros
        for piece, roles in self.reader.pieces(part):
            cells = roles.astype(np.intp) * rows.cells + rows.places(piece)
            cells = cells * columns.cells + columns.places(piece)
            counts += np.bincount(cells, minlength=counts.size).reshape(counts.shape)
            tick(len(piece))
        return counts


def sweep_table(
    dataset: Dataset, ledger: str, requests: tuple[SweepRequest, SweepRequest], engine: Engine, progress: Progress
) -> SweptTable:
    """Count what each combination of the values of two requests would keep.

    Raises RecipeError as `sweep` does, and where the two move the same end of the same test, or one names no values.
    """
    opened = open_current(dataset, ledger)
    for request in requests:
        if not request.values:
            raise RecipeError(
                f"two at once need the values of both, and {request.signal or request.rule} has none: --values"
            )
    reader = reader_of(dataset, opened, requests, engine, progress)
    rows, columns = reader.moves
    _check(rows, columns)
    scan = _TableScan(reader)
    sizes = [part.rows for part in dataset.ingested().parts]
    counts = sum(engine.map_parts("sweep", scan.count, sizes, progress), scan.zeros)
    # Where both ends of a range are moved, neither is fixed.
    of_rows, of_columns = (m.verdicts(() if _same(rows, columns) else m.fixed) for m in (rows, columns))
    kept, pending = (_pairs(counts, of_rows, of_columns, outcome).tolist() for outcome in (PASS, UNKNOWN))
    return SweptTable(_side(rows), _side(columns), kept, pending)


def _same(rows: Move, columns: Move) -> bool:
    """Tell whether two moves are of the same test, for the same pairs."""
    a, b = rows.leaf, columns.leaf
    return (a.rule.bit, a.number) == (b.rule.bit, b.number) and (
        a.of_class == b.of_class or None in (a.of_class, b.of_class)
    )


def _check(rows: Move, columns: Move) -> None:
    """Raise RecipeError for two moves that are one, or that have too many combinations."""
    if _same(rows, columns) and (rows.end is None or rows.end == columns.end):
        raise RecipeError(
            f"both would move the {rows.op} of {rows.leaf.name}: choose another signal, rule or end for one of them"
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
    return SweptSide(
        move.leaf.test.signal, move.leaf.rule.name, move.op, list(move.values), move.ranged, move.leaf.of_class
    )
