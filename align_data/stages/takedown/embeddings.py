"""Embeddings of what is taken down: rows of images that no living URL of the part has any more, and those of texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from align_data.data.image_table import sorted_rows
from align_data.data.layout import Dataset
from align_data.storage.tables import Table


def image_tables(dataset: Dataset) -> list[Table[Any]]:
    """Return the tables of images' embeddings."""
    return [dataset.embedded(name) for name in dataset.embeddings()]


def text_tables(dataset: Dataset) -> list[Table[Any]]:
    """Return the tables of texts' embeddings, which are row for row with `pairs`."""
    return [dataset.embedded_texts(name) for name in dataset.embeddings()]


def orphans(dataset: Dataset, part: int, urls: pl.Series) -> Mapping[str, list[int]]:
    """Return by table the rows of images that only some URLs of the part have, or none."""
    tables = [table for table in image_tables(dataset) if table.has(part)]
    if not tables:
        return {}
    living = pl.Series("sha256", [], pl.String)
    if dataset.content.has(part):
        content = sorted_rows(dataset.content, part, ["url", "sha256"])
        living = content.filter(~pl.col("url").is_in(urls))["sha256"].drop_nulls().unique()
    rows = {table.name: _keys(table, part).is_in(living.implode()).not_().arg_true().to_list() for table in tables}
    return {name: numbers for name, numbers in rows.items() if numbers}


def _keys(table: Table[Any], part: int) -> pl.Series:
    return pl.concat(
        [pl.Series("sha256", [], pl.String), *(piece["sha256"] for piece in table.pieces(part, ["sha256"]))]
    )


def without(rows: list[int], pieces: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield pieces of a table without some of its rows."""
    going, at = pl.Series(rows, dtype=pl.Int64).implode(), 0
    for piece in pieces:
        yield piece.filter(~pl.int_range(at, at + len(piece), eager=True).is_in(going))
        at += len(piece)
