"""Several captions of one image in one row: each is a row of its own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from align_data.sources.lists.batches import is_text

_PIECE = 2**23


def is_list(kind: pa.DataType) -> bool:
    """Tell whether a type is a list of texts."""
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(lists and (is_text(kind.value_type) or pa.types.is_null(kind.value_type)))


def spread(batch: pa.RecordBatch, column: str) -> Iterator[pa.RecordBatch]:
    """Yield the batch with a row for each text in `column`, a list; a row of none stays one, without a text.

    At least one batch is yielded, and none is much larger than 8 MB for what is repeated.
    """
    lists = batch.column(column)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    row = np.repeat(np.arange(len(lengths)), np.maximum(lengths, 1))
    present = np.repeat(lengths > 0, np.maximum(lengths, 1))
    place = np.cumsum(present) - 1
    texts = lists.flatten()
    remaining = batch.drop_columns([column])
    step = max(1, _PIECE // (1 + _largest(remaining)))
    for start in range(0, max(1, len(row)), step):
        stop = start + step
        taken = remaining.take(pa.array(row[start:stop]))
        values = texts.take(pa.array(place[start:stop], mask=~present[start:stop]))
        yield taken.append_column(column, values)


def _largest(batch: pa.RecordBatch) -> int:
    """Return the bytes of a row that is as large as the largest value of each column."""
    return sum(int(pc.max(pc.binary_length(c)).as_py() or 0) if is_text(c.type) else 16 for c in batch.columns)
