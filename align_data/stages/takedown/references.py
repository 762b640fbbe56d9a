"""What other pairs say of pairs that are taken down: that they are their near-duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import polars as pl

from align_data.common.progress import Progress, Tick
from align_data.data.layout import Dataset
from align_data.data.meta import PairsMeta
from align_data.engines.base import Engine
from align_data.signals import FAMILIES
from align_data.stages.takedown.files import check_names, note, recall, rewritten
from align_data.stages.takedown.part import PartReceipt, rewrite, understood
from align_data.storage.store import sha256_of
from align_data.storage.tables import Manifest, Table

_NAMES_ANOTHER = "nearest_duplicate"
"""What the names of signals begin with that hold the uid of another pair."""


def edge_tables(dataset: Dataset) -> list[Table[Any]]:
    """Return the tables of images and their nearest earlier ones."""
    return [dataset.neighbours(name) for name in dataset.compared()]


def referring(dataset: Dataset, part: int, dead: pl.Series) -> list[Table[Any]]:
    """Return the tables whose part names some of `dead`."""
    return [table for table in _tables(dataset) if table.has(part) and _names(table, part, dead)]


def erase_references(
    dataset: Dataset, pairs: Manifest[PairsMeta], dead: pl.Series, engine: Engine, progress: Progress
) -> list[PartReceipt]:
    """Take out of all parts what names `dead`: the name of a near-duplicate, and a pair of near-duplicates."""
    if not _tables(dataset):
        return []
    rows = [part.rows for part in pairs.parts]

    def erase(part: int, tick: Tick) -> PartReceipt:
        receipt = _erase(dataset, part, dead)
        tick(rows[part])
        return receipt

    return engine.map_parts("takedown: near-duplicates", erase, rows, progress)


def _erase(dataset: Dataset, part: int, dead: pl.Series) -> PartReceipt:
    store, name = dataset.store, f"references-{part:05d}"
    receipt = recall(store, f"{name}-done", understood)
    if receipt is not None:
        return receipt
    before = recall(store, name, lambda values: dict(values["files"]))
    if before is None:
        files = [table.part_name(part) for table in referring(dataset, part, dead)]
        before = {file: sha256_of(store, file) for file in files}
        note(store, name, {"files": before})
    check_names(store, name, before, [table.part_name(part) for table in _tables(dataset)])
    receipt = PartReceipt()
    for table in _tables(dataset):
        file = table.part_name(part)
        if file in before:
            if sha256_of(store, file) == before[file]:
                rewrite(table, part, partial(_without, _columns(table), dead), table.facts(part) or {})
            receipt.sizes[table.name] = asdict(table.now(part))
    receipt.files = rewritten(before.items(), partial(sha256_of, store))
    note(store, f"{name}-done", asdict(receipt))
    return receipt


def _tables(dataset: Dataset) -> list[Table[Any]]:
    family = FAMILIES[_NAMES_ANOTHER].group
    near = [dataset.measured(group) for group in dataset.groups() if group.startswith(f"{family}.")]
    return [*near, *edge_tables(dataset)]


def _columns(table: Table[Any]) -> list[str]:
    """Return the columns that name pairs."""
    erased = [column.name for column in table.contract.columns if column.type == "string"]
    return [name for name in erased if table.name.startswith("neighbours/") or name.startswith(_NAMES_ANOTHER)]


def _names(table: Table[Any], part: int, dead: pl.Series) -> bool:
    columns = [name for name in _columns(table) if name in table.columns(part)]
    pieces = table.pieces(part, columns) if columns else iter(())
    return any(piece.select(pl.any_horizontal(_among(columns, dead)).any()).item() for piece in pieces)


def _among(columns: Sequence[str], dead: pl.Series) -> list[pl.Expr]:
    return [pl.col(name).is_in(dead.implode()).fill_null(False) for name in columns]


def _without(columns: Sequence[str], dead: pl.Series, pieces: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield pieces without what names `dead`: of a table of edges the row, of signals the value."""
    for piece in pieces:
        if len(columns) > 1:
            yield piece.filter(~pl.any_horizontal(_among(columns, dead)))
        else:
            yield piece.with_columns(
                pl.when(~gone).then(pl.col(name)).alias(name)
                for name, gone in zip(columns, _among(columns, dead), strict=True)
            )
