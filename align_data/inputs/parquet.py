"""Parquet lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from align_data.inputs.columns import Choice, by_name
from align_data.inputs.find import Source
from align_data.inputs.rows import Batch, Rejects
from align_data.tables import PIECE_BYTES, PIECE_ROWS

_FEW = 2**10
"""Rows decoded at once."""


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
        batches = (
            batch
            for group in groups  # one by one: a group of huge rows must not make those of others small
            for batch in file.iter_batches(
                _batch_rows(file.metadata.row_group(group)), row_groups=[group], columns=wanted, use_threads=False
            )
        )
        for batch in _pieces(batches):
            numbers = np.arange(row + 1, row + 1 + batch.num_rows)
            row += batch.num_rows
            yield Batch({role: batch.column(name) for role, name in columns.items()}, numbers), Rejects()


def _batch_rows(group: Any) -> int:
    """Return how many rows of a row group to decode at a time, by the mean size of a row.

    What a file says of its columns is not looked at: pyarrow ends the process over some damaged footers.
    """
    # Few: a dictionary of long texts that repeat says nothing of what they will be when decoded.
    return max(1, min(_FEW, PIECE_BYTES * int(group.num_rows) // max(1, int(group.total_byte_size))))


def _pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Join small batches, and cut those that hold too many bytes for what is done with them."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if waiting and (rows + batch.num_rows > PIECE_ROWS or size + batch.nbytes > PIECE_BYTES):
            yield pa.concat_batches(waiting)
            waiting, rows, size = [], 0, 0
        if batch.nbytes > PIECE_BYTES:
            step = max(1, batch.num_rows * PIECE_BYTES // batch.nbytes)
            yield from (batch.slice(first, step) for first in range(0, batch.num_rows, step))
            continue
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
    if waiting:
        yield pa.concat_batches(waiting)


def _open(source: Source) -> pq.ParquetFile:
    # Columns are streamed by pages: a row group of a billion bytes must not be read whole.
    return pq.ParquetFile(source.open(), buffer_size=2**20, pre_buffer=False)
