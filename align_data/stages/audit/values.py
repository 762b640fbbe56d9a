"""The values of one column of a piece: numbers as they are, texts encoded, each different one once."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

Values: TypeAlias = "pl.Series | pa.ChunkedArray"
"""A series; or texts, a chunked array of the type dictionary."""


def values_of(column: pa.ChunkedArray) -> Values:
    """Return a column as the values of a piece."""
    if pa.types.is_dictionary(column.type):
        return column
    series = pl.from_arrow(column)
    assert isinstance(series, pl.Series)
    return series


def places(texts: pa.DictionaryArray, absent: int) -> NDArray[np.intp]:
    """Return the place of each text in its dictionary; `absent` for null."""
    # By Polars: Arrow's own ways to numpy import pandas where it is installed, for a third of a second.
    return pl.Series(texts.indices).fill_null(absent).to_numpy().astype(np.intp)


def series_of(values: Values) -> pl.Series:
    """Return the values of a piece as a series: texts as they are."""
    if isinstance(values, pl.Series):
        return values
    series = pl.from_arrow(values)
    assert isinstance(series, pl.Series)
    return series.cast(pl.String)
