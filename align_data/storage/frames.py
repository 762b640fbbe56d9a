"""Arrow tables as Polars frames."""

from __future__ import annotations

import polars as pl
import pyarrow as pa


def frame(table: pa.Table) -> pl.DataFrame:
    """Return an Arrow table as a Polars frame."""
    result = pl.from_arrow(table)
    assert isinstance(result, pl.DataFrame)
    return result
