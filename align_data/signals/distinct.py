"""Asking about each distinct text once: the web's texts repeat, and what reads them word by word is slow."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl


def of_distinct(texts: pl.Series, measured: Callable[[pl.Series], pl.DataFrame]) -> pl.DataFrame:
    """Return what is measured of each text, row for row, where `measured` sees every distinct text once."""
    distinct = texts.unique().alias("text")
    columns = measured(distinct)
    return texts.to_frame("text").join(columns.with_columns(distinct), on="text", how="left", maintain_order="left")
