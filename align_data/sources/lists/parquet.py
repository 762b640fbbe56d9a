"""Parquet lists: nothing is decoded before it is known how large it will be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice, repeat
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from align_data.sources.files.damage import DamagedError
from align_data.sources.lists import parquet_footer, parquet_long_values
from align_data.sources.lists.batches import Batch, Rejects
from align_data.sources.lists.column_names import Choice
from align_data.sources.lists.encodings import Reading
from align_data.sources.lists.input_format import InputFormat, Unit
from align_data.sources.lists.parquet_footer import Group
from align_data.sources.lists.parquet_pages import PAGE, Bounds, pages
from align_data.sources.lists.pieces import Unread, Value, bounded, columns_of, numbered
from align_data.sources.lists.source import Source

_UNIT_ROWS = 1_000_000
_FEW, _MANY = 2**10, 2**14
"""Rows decoded at once: many where their pages show that they are a piece at most."""
_ASKED = 2**23
"""Bytes of a column chunk whose pages are looked at over a network; what a file says of a larger one is believed."""
_PIECE = 2**23
"""Bytes of rows decoded at once, as a file says."""
_LISTS = 64 * 2**20
"""Bytes of all the captions of a row; where one may have more, its row group's are not read."""


@dataclass(frozen=True)
class Stretch:
    """Neighbouring row groups, and how many rows are before them."""

    first_row: int
    groups: tuple[Group, ...]


def look(source: Source, choice: Choice) -> tuple[dict[str, str], str, list[Group]]:
    """Return which column is what, a sentence that says so, and the row groups, with the chunks of these columns."""
    with source.open() as raw:
        groups = parquet_footer.read(raw).groups
    with _open(source) as file:
        columns, note = columns_of(file.schema_arrow, choice, source.path)
    names = set(columns.values())
    return columns, note, [
        replace(group, chunks=tuple(chunk for chunk in group.chunks if chunk.leaf.path[0] in names))
        for group in groups
    ]  # fmt: skip


def stretches(groups: Sequence[Group], rows: int) -> Iterator[Stretch]:
    """Join neighbouring row groups up to about `rows` rows."""
    start = total = 0
    joined: list[Group] = []
    for group in groups:
        if joined and total - start + group.rows > rows:
            yield Stretch(start, tuple(joined))
            start, joined = total, []
        joined.append(group)
        total += group.rows
    if joined or not groups:
        yield Stretch(start, tuple(joined))


def _units(source: Source, choice: Choice, _: Reading) -> tuple[list[Unit], str]:
    columns, note, groups = look(source, choice)
    return [Unit(source, columns, s, rows=_rows(s.groups)) for s in stretches(groups, _UNIT_ROWS)], note


def _rows(groups: Sequence[Group]) -> int | None:
    """Return how many rows there are; None for lists of captions, each of which is one."""
    captions = any(chunk.leaf.repetition for group in groups for chunk in group.chunks)
    return None if captions else sum(group.rows for group in groups)


def read(unit: Unit) -> Iterator[tuple[Batch, Rejects]]:
    """Yield the rows of some row groups; what is too long to be read is rejected."""
    source, stretch = unit.source, unit.section
    stored = sum(chunk.size for group in stretch.groups for chunk in group.chunks)
    with ExitStack() as stack:
        file, raw = stack.enter_context(_open(source)), stack.enter_context(source.open())
        batches = _batches(file, raw, unit.columns, stretch, source)
        yield from bounded(batches, unit.columns, source, stored)


def _batches(
    file: pq.ParquetFile, raw: Any, columns: Mapping[str, str], stretch: Stretch, source: Source
) -> Iterator[tuple[pa.RecordBatch, Rejects]]:
    """Yield a few rows at a time, under our names and with their numbers."""
    row = stretch.first_row
    for group in stretch.groups:  # one by one: a group of huge rows must not make those of others small
        for arrays, rows in _decoded(file, raw, group, list(dict.fromkeys(columns.values())), source):
            numbers = np.arange(row + 1, row + 1 + rows)
            row += rows
            yield from numbered({role: arrays[name] for role, name in columns.items()}, numbers)


def _decoded(
    file: pq.ParquetFile, raw: Any, group: Group, names: list[str], source: Source
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the columns of some rows at a time, and how many; what pyarrow cannot be trusted with as lists of Value."""
    step, long = _bounds(raw, group, source)
    plain = [name for name in names if name not in long]
    if not plain:
        batches: Iterable[Any] = repeat(None, -(-group.rows // step))
    else:
        batches = file.iter_batches(step, row_groups=[group.number], columns=plain, use_threads=False)
    singly = zip(*long.values(), strict=True)
    remaining = group.rows
    for batch in batches:
        rows = min(step, remaining) if batch is None else batch.num_rows
        remaining -= rows
        arrays = {name: _whole(batch.column(name)) for name in plain}
        if not long:
            yield arrays, rows
            continue
        taken = 0
        for together in _cut(islice(singly, rows)):
            sliced = {name: array.slice(taken, len(together)) for name, array in arrays.items()}
            taken += len(together)
            yield (
                sliced | {name: list(column) for name, column in zip(long, zip(*together, strict=True), strict=True)},
                len(together),
            )
    if remaining:
        raise DamagedError("a row group has fewer rows than it declares")


def _whole(array: pa.Array) -> pa.Array:
    """Return an array without a dictionary: a few rows of it are known to be small, many are not."""
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _cut(rows: Iterable[tuple[Value, ...]]) -> Iterator[list[tuple[Value, ...]]]:
    """Yield rows in lists of not too many bytes."""
    together: list[tuple[Value, ...]] = []
    size = 0
    for row in rows:
        together.append(row)
        size += sum(len(value) for value in row if isinstance(value, bytes))
        if size > PAGE:
            yield together
            together, size = [], 0
    if together:
        yield together


def _bounds(raw: Any, group: Group, source: Source) -> tuple[int, dict[str, Iterator[Value]]]:
    """Return how many rows to decode at a time, and the columns that must be read value by value."""
    # What a file says of its size says nothing of a dictionary's long texts that repeat; their pages do.
    step = max(1, min(_MANY, _PIECE * group.rows // max(1, group.size)))
    long: dict[str, Iterator[Value]] = {}
    bounds: list[Bounds] = []
    for chunk in group.chunks:
        if source.remote and chunk.size > _ASKED:
            step = min(step, _FEW)
            continue
        all_pages = list(pages(raw, chunk))
        if not any(page.large for page in all_pages):
            bound = Bounds(raw, chunk, all_pages)
            if chunk.leaf.repetition and bound.of(1) > _LISTS:
                unread = Unread(f"of which a row may have {bound.of(1):,} bytes")
                long[chunk.leaf.path[0]] = repeat(unread, group.rows)
            else:
                bounds.append(bound)
        elif chunk.leaf.repetition:
            long[chunk.leaf.path[0]] = repeat(Unread("in a page that is too large"), group.rows)
        else:
            long[chunk.leaf.path[0]] = parquet_long_values.values(raw, chunk, all_pages)
    limit = 2 * max([PAGE, *(bound.largest for bound in bounds)])
    while step > 1 and sum(bound.of(step) for bound in bounds) > (limit if step <= _FEW else _PIECE):
        step //= 2
    return step, long


def _open(source: Source) -> pq.ParquetFile:
    # Columns are streamed by pages: a row group of a billion bytes must not be read whole.
    return pq.ParquetFile(source.open(), buffer_size=2**20, pre_buffer=False)


FORMAT = InputFormat("parquet", "Parquet", (".parquet", ".pq"), _units, read, magic=(b"PAR1",))
