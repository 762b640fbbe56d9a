"""Parquet lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from align_data.inputs.columns import Choice, by_name
from align_data.inputs.find import Source
from align_data.inputs.rows import Batch, Rejects
from align_data.tables import PIECE_BYTES, PIECE_ROWS


def look(source: Source, choice: Choice) -> tuple[dict[str, str], str, list[int]]:
    """Return which column is what, a sentence that says so, and the number of rows of each row group."""
    with _open(source) as file:
        columns, said = by_name(file.schema_arrow.names, choice, source.path)
        return columns, said, [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]


def stretches(groups: Sequence[int], rows: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Join neighbouring row groups up to about `rows` rows; yield each stretch's first row and its groups."""
    first = total = 0
    some: list[int] = []
    for group, count in enumerate(groups):
        if some and total - first + count > rows:
            yield first, tuple(some)
            first, some = total, []
        some.append(group)
        total += count
    if some or not groups:
        yield first, tuple(some)


def read(
    source: Source, columns: dict[str, str], groups: Sequence[int], first_row: int
) -> Iterator[tuple[Batch, Rejects]]:
    """Yield the rows of some row groups."""
    row = first_row
    with _open(source) as file:
        wanted = list(dict.fromkeys(columns.values()))
        rows = _batch_rows(file.metadata, groups, wanted)
        for batch in file.iter_batches(rows, row_groups=list(groups), columns=wanted, use_threads=False):
            numbers = np.arange(row + 1, row + 1 + batch.num_rows)
            row += batch.num_rows
            yield Batch({role: batch.column(name) for role, name in columns.items()}, numbers), Rejects()


def _batch_rows(metadata: Any, groups: Sequence[int], wanted: Sequence[str]) -> int:
    """Return how many rows to read at a time, by their mean size: 100,000 rows of huge texts must not be in memory."""
    size = rows = 0
    for group in map(metadata.row_group, groups):
        rows += group.num_rows
        columns = map(group.column, range(group.num_columns))
        size += sum(c.total_uncompressed_size for c in columns if c.path_in_schema in wanted)
    return max(1, min(PIECE_ROWS, PIECE_BYTES * rows // max(1, size)))


def _open(source: Source) -> pq.ParquetFile:
    # Columns are streamed by pages: a row group of a billion bytes must not be read whole.
    return pq.ParquetFile(source.open(), buffer_size=2**20, pre_buffer=False)
