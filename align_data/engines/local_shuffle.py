"""The local engine's shuffle: sorted batches held, and read back as windows of the key."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from align_data.common.hashing import Hashes
from align_data.engines.base import A, Shuffle
from align_data.engines.spill import Batches
from align_data.storage.frames import frame

Slice = tuple[pa.RecordBatch, int, int]
"""The rows of a batch from one position up to another."""


WINDOW = 32 * 2**20
"""Bytes of rows that a part merges at once: little enough to be used again and again."""
_TOUCHED = 2**24
"""Bytes read from spilled batches before their memory is released."""
Merge = Callable[[pl.DataFrame], pl.DataFrame]


def hold(frames: Generator[pl.DataFrame, None, A], merge: Merge, batches: Batches, run: int) -> A:
    """Hold frames as sorted batches; return what their generator returns.

    What is spilled is first merged to batches of about `run` bytes: a part reads a little of every batch, and the
    fewer and longer these pieces are, the fewer pages it touches.
    """
    waiting: list[pa.RecordBatch] = []
    try:
        while True:
            rows = merge(next(frames))
            if rows.is_empty():
                continue
            batch = _batch(rows)
            if waiting or not batches.keep(batch):
                waiting.append(batch)
            if sum(b.nbytes for b in waiting) > run:
                batches.write(_batch(merge(frame(pa.Table.from_batches(waiting)))))
                waiting = []
    except StopIteration as end:
        if waiting:
            batches.write(_batch(merge(frame(pa.Table.from_batches(waiting)))))
        return end.value  # type: ignore[no-any-return]


def _batch(rows: pl.DataFrame) -> pa.RecordBatch:
    return rows.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks().to_batches()[0]


def windows(
    spilled: Sequence[Batches], shuffle: Shuffle[Any, Any, Any], start: int, stop: int, limit: int
) -> Iterator[pl.DataFrame]:
    """Yield the rows of all batches with a key in [start, stop), merged, in ascending windows of about `limit` bytes.

    Keys that are hashes make equal ranges of them windows of about equal size; what is larger, by a hot key or by keys
    that are not hashes, is divided further, at last by the tie.
    """
    with ExitStack() as stack:
        read = [stack.enter_context(file.read()) for file in spilled]
        mapped = [release for _, release in read if release is not None]
        touched = 0
        columns = shuffle.key, shuffle.tie
        for slices in _windows([batch for batches, _ in read for batch in batches], columns, start, stop, limit):
            yield shuffle.merge(frame(pa.Table.from_batches([b.slice(i, j - i) for b, i, j in slices])))
            touched += _size(slices)
            if touched > _TOUCHED:
                touched = 0
                for release in mapped:
                    release()


def _windows(
    batches: Sequence[pa.RecordBatch], columns: tuple[str, str], start: int, stop: int, limit: int
) -> Iterator[list[Slice]]:
    """Yield the rows in each window of the key, the first of the two columns."""
    key, _ = columns
    slices = [s for batch in batches for s in _between(batch, key, 0, batch.num_rows, start, stop)]
    number = max(1, -(-_size(slices) // limit))
    edges = [start + (stop - start) * i // number for i in range(number + 1)]
    waiting = [[s for b, i, j in slices for s in _between(b, key, i, j, *ends)] for ends in pairwise(edges)]
    waiting.reverse()
    while waiting:
        window = waiting.pop()
        halves = _halve(window, columns) if _size(window) > 2 * limit else None
        if halves is not None:
            waiting += [halves[1], halves[0]]
        elif window:
            yield window


def _size(slices: Sequence[Slice]) -> int:
    """Return about how many bytes some slices hold, by the mean of their batches."""
    return sum(batch.nbytes * (stop - start) // batch.num_rows for batch, start, stop in slices)


def _between(batch: pa.RecordBatch, column: str, start: int, end: int, low_key: int, high_key: int) -> list[Slice]:
    keys = _keys(batch, column)[start:end]
    low = start + int(np.searchsorted(keys, np.uint64(low_key)))
    high = end if high_key >= 2**64 else start + int(np.searchsorted(keys, np.uint64(high_key)))
    return [(batch, low, high)] if high > low else []


def _halve(slices: list[Slice], columns: tuple[str, str]) -> tuple[list[Slice], list[Slice]] | None:
    """Divide slices at the median key, or within one key at the median tie; None if all rows have both equal."""
    for column in columns:
        keys: NDArray[np.uint64] = np.concatenate([_keys(b, column)[i:j] for b, i, j in slices])
        least = keys.min()
        if least != keys.max():
            middle = np.partition(keys, len(keys) // 2)[len(keys) // 2]
            at = int(middle if middle > least else keys[keys > least].min())
            low = [s for b, i, j in slices for s in _between(b, column, i, j, 0, at)]
            high = [s for b, i, j in slices for s in _between(b, column, i, j, at, 2**64)]
            return low, high
    return None


def _keys(batch: pa.RecordBatch, column: str) -> Hashes:
    assert batch.schema.field(column).type == pa.uint64(), f"{column} is not UInt64"
    return pl.Series(batch.column(column)).to_numpy()
