"""Datasets whose signals are what a test says: every group of measured columns is written, and nothing is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from conftest import SCHEMA, write_list

from align_data.common.progress import Silent
from align_data.data.columns import by_group, identities
from align_data.data.layout import Dataset
from align_data.data.meta import SignalsMeta
from align_data.engines.local import LocalEngine
from align_data.recipes.model import Recipe
from align_data.signals import find
from align_data.stages.decision import Decision, decide_ledger
from align_data.stages.ingest import Parts, ingest
from align_data.stages.measure import measure
from align_data.storage.store import Store

TYPES = {"int32": pl.Int32, "int64": pl.Int64, "float64": pl.Float64, "string": pl.String, "bool": pl.Boolean}
PAIRS = ("url", "alt_text")
Row = Mapping[str, Any]


def planted(out: Path, rows: Sequence[Row], parts: int = 60) -> tuple[Dataset, list[int]]:
    """Make a dataset of rows, of which each key is a signal, a URL or a text; return the row's number of each pair too."""
    listed = [
        dict.fromkeys(SCHEMA)
        | {"url": f"http://host/{n}", "alt_text": f"text {n}"}
        | {k: row[k] for k in PAIRS if k in row}
        for n, row in enumerate(rows)
    ]
    dataset = Dataset(Store(out))
    engine = LocalEngine(dataset.store.work, 1)
    ingest(write_list(out.with_name(f"{out.name}-list"), listed), dataset, engine, Silent(), parts=Parts(rows=parts))
    signals = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in PAIRS]
    if any(dataset.behind(name) for name in signals):  # it counts n-grams beside the column
        measure(dataset, engine, Silent(), [name for name in signals if dataset.behind(name)])
    number_of = {(row["url"], row["alt_text"]): n for n, row in enumerate(listed)}
    assert len(number_of) == len(rows)
    pairs = dataset.ingested()
    parted = [
        [
            number_of[pair]
            for piece in dataset.pairs.pieces(part, list(PAIRS))
            for pair in piece.select(PAIRS).iter_rows()
        ]
        for part in range(len(pairs.parts))
    ]
    for group, names in by_group(signals).items():
        table = dataset.measured(group)
        table.retract()
        said = identities(dataset, names, anew=True)
        for part, numbers in enumerate(parted):
            columns = {name: [rows[n].get(name) for n in numbers] for name in names}
            schema = {name: TYPES[find(name).type] for name in names}
            with table.writer(part, {}, names) as writer:
                writer.write(pl.DataFrame(columns, schema, strict=False))
        infos = [table.info(part) for part in range(len(parted))]
        table.commit(infos, SignalsMeta(signals=said, pairs=pairs.fingerprint))
    return dataset, [n for numbers in parted for n in numbers]


def outcomes(
    out: Path, recipe: Recipe, rows: Sequence[Row], overrides: Sequence[str] = (), off: Sequence[str] = ()
) -> list[tuple[int, int]]:
    """Return the masks of each row by a recipe: the rules that it fails, and those that are unknown."""
    dataset, order = planted(out, rows)
    decision = Decision(recipe, overrides, off)
    decide_ledger(decision, dataset, LocalEngine(dataset.store.work, 1), Silent())
    ledger = dataset.ledger(decision.ledger)
    masks = [
        row
        for part in range(len(dataset.ingested().parts))
        for piece in ledger.pieces(part, ["failed", "unknown"])
        for row in piece.select("failed", "unknown").iter_rows()
    ]
    return [masks[order.index(n)] for n in range(len(rows))]
