"""Parquet lists: nothing is decoded before it is known how large it will be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice, repeat
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from align_data.common.errors import InputError
from align_data.sources.lists import parquet_footer, parquet_long_values
from align_data.sources.lists.batches import MAX_BYTES, Batch, Rejects, is_text, not_text, plain_type
from align_data.sources.lists.captions import is_list, spread
from align_data.sources.lists.column_names import NEEDED, Choice, by_name
from align_data.sources.lists.inputs import Source
from align_data.sources.lists.parquet_footer import Group
from align_data.sources.lists.parquet_long_values import Unread, Value
from align_data.sources.lists.parquet_pages import PAGE, Bounds, pages
from align_data.sources.lists.thrift import DamagedError
from align_data.storage.tables import PIECE_ROWS

_FEW = 2**10
"""Rows decoded at once."""
_ASKED = 2**23
"""Bytes of a column chunk whose pages are looked at over a network; what a file says of a larger one is believed."""
_DECODED = 2**32
_DECODED_RATIO = 64
"""A list may decode to so many bytes, and so many times what is stored of it."""
_PIECE = 2**23
"""Bytes that are handed on at once: each is copied some times on the way."""
_LISTS = 64 * 2**20
"""Bytes of all the captions of a row; where one may have more, its row group's are not read."""
_ROW = "row"


def look(source: Source, choice: Choice) -> tuple[dict[str, str], str, list[Group]]:
    """Return which column is what, a sentence that says so, and the row groups, with the chunks of these columns."""
    with source.open() as raw:
        groups = parquet_footer.read(raw).groups
    with _open(source) as file:
        schema = file.schema_arrow
    columns, said = by_name(schema.names, choice, source.path)
    types = {role: schema.field(name).type for role, name in columns.items()}
    if is_list(types["alt_text"]):
        said += f" ({columns['alt_text']} is a list: each of its captions is a row)"
    for role in NEEDED:
        if not (is_list(types[role]) and role == "alt_text"):
            not_text(types[role], role)
    for role in [role for role, kind in types.items() if role not in NEEDED and not plain_type(kind)]:
        said += f" ({columns.pop(role)} is {types[role]}, so {role} is left empty)"
    wanted = set(columns.values())
    return columns, said, [
        replace(group, chunks=tuple(chunk for chunk in group.chunks if chunk.leaf.path[0] in wanted))
        for group in groups
    ]  # fmt: skip


def stretches(groups: Sequence[Group], rows: int) -> Iterator[tuple[int, tuple[Group, ...]]]:
    """Join neighbouring row groups up to about `rows` rows; yield each stretch's first row and its groups."""
    first = total = 0
    some: list[Group] = []
    for group in groups:
        if some and total - first + group.rows > rows:
            yield first, tuple(some)
            first, some = total, []
        some.append(group)
        total += group.rows
    if some or not groups:
        yield first, tuple(some)


def read(
    source: Source, columns: Mapping[str, str], groups: Sequence[Group], first_row: int
) -> Iterator[tuple[Batch, Rejects]]:
    """Yield the rows of some row groups; what is too long to be read is rejected."""
    left = _DECODED + _DECODED_RATIO * sum(chunk.size for group in groups for chunk in group.chunks)
    with ExitStack() as stack:
        file, raw = stack.enter_context(_open(source)), stack.enter_context(source.open())
        for batch, rejects in _pieces(_batches(file, raw, columns, groups, first_row, source)):
            left -= batch.nbytes
            if left < 0:
                raise InputError(
                    f"{source.path} is {source.size:,} bytes, and decodes to more than {_DECODED // 2**30} GB: "
                    "it is not a list but a bomb; leave it out"
                )
            yield Batch({role: batch.column(role) for role in columns}, batch.column(_ROW).to_numpy()), rejects


def _batches(
    file: pq.ParquetFile, raw: Any, columns: Mapping[str, str], groups: Sequence[Group], row: int, source: Source
) -> Iterator[tuple[pa.RecordBatch, Rejects]]:
    """Yield a few rows at a time, under our names and with their numbers."""
    for group in groups:  # one by one: a group of huge rows must not make those of others small
        for arrays, rows in _decoded(file, raw, group, list(dict.fromkeys(columns.values())), source):
            numbers = np.arange(row + 1, row + 1 + rows)
            row += rows
            rejects = Rejects()
            named = _readable({role: arrays[name] for role, name in columns.items()}, numbers, rejects)
            batch = pa.RecordBatch.from_pydict(named)
            if is_list(batch.schema.field("alt_text").type):
                pieces = spread(batch, "alt_text")
                yield next(pieces), rejects
                yield from zip(pieces, iter(Rejects, None), strict=False)
            else:
                yield batch, rejects


def _readable(columns: dict[str, Any], numbers: Any, rejects: Rejects) -> dict[str, Any]:
    """Return columns as arrays, with the rows' numbers; what is too long is rejected, or left out where not needed."""
    bad: dict[int, str] = {}
    for role, column in columns.items():
        if isinstance(column, list):
            if role in NEEDED:
                for place, value in enumerate(column):
                    if isinstance(value, Unread):
                        bad.setdefault(place, f"{role} {value.why}")
            columns[role] = pa.array([v if isinstance(v, bytes) else None for v in column], pa.large_binary())
        elif is_text(column.type) and column.nbytes > MAX_BYTES:
            columns[role], sizes = _shortened(column)
            for place, size in sizes.items() if role in NEEDED else ():
                bad.setdefault(place, f"{role} of {size} bytes")
    for place, why in sorted(bad.items()):
        rejects.add(int(numbers[place]), "too_long", why)
    arrays = {**columns, _ROW: pa.array(numbers)}
    if not bad:
        return arrays
    keep = np.ones(len(numbers), dtype=bool)
    keep[list(bad)] = False
    return {name: array.filter(pa.array(keep)) for name, array in arrays.items()}


def _shortened(column: pa.Array) -> tuple[pa.Array, dict[int, int]]:
    """Return a column without its too long values, before each is copied further; and their places and bytes."""
    if pa.types.is_string_view(column.type) or pa.types.is_binary_view(column.type):
        return column, {}  # Arrow does not know their lengths
    lengths = pc.fill_null(pc.binary_length(column), 0)
    long = pc.greater(lengths, MAX_BYTES)
    places = pc.indices_nonzero(long)
    sizes = dict(zip(places.to_pylist(), lengths.take(places).to_pylist(), strict=True))
    return pc.if_else(long, pa.scalar(None, column.type), column) if sizes else column, sizes


def _decoded(
    file: pq.ParquetFile, raw: Any, group: Group, wanted: list[str], source: Source
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the columns of some rows at a time, and how many; what pyarrow cannot be trusted with as lists of Value."""
    step, long = _bounds(raw, group, source)
    plain = [name for name in wanted if name not in long]
    if not plain:
        batches: Iterable[Any] = repeat(None, -(-group.rows // step))
    else:
        batches = file.iter_batches(step, row_groups=[group.number], columns=plain, use_threads=False)
    singly = zip(*long.values(), strict=True)
    left = group.rows
    for batch in batches:
        rows = min(step, left) if batch is None else batch.num_rows
        left -= rows
        arrays = {name: _whole(batch.column(name)) for name in plain}
        if not long:
            yield arrays, rows
            continue
        done = 0
        for some in _cut(islice(singly, rows)):
            held = {name: array.slice(done, len(some)) for name, array in arrays.items()}
            done += len(some)
            yield (
                held | {name: list(column) for name, column in zip(long, zip(*some, strict=True), strict=True)},
                len(some),
            )
    if left:
        raise DamagedError("a row group has fewer rows than it says")


def _whole(array: pa.Array) -> pa.Array:
    """Return an array without a dictionary: a few rows of it are known to be small, many are not."""
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _cut(rows: Iterable[tuple[Value, ...]]) -> Iterator[list[tuple[Value, ...]]]:
    """Yield rows in lists of not too many bytes."""
    some: list[tuple[Value, ...]] = []
    size = 0
    for row in rows:
        some.append(row)
        size += sum(len(value) for value in row if isinstance(value, bytes))
        if size > PAGE:
            yield some
            some, size = [], 0
    if some:
        yield some


def _bounds(raw: Any, group: Group, source: Source) -> tuple[int, dict[str, Iterator[Value]]]:
    """Return how many rows to decode at a time, and the columns that must be read value by value."""
    # What a file says of its size says nothing of a dictionary's long texts that repeat; their pages do.
    step = max(1, min(_FEW, _PIECE * group.rows // max(1, group.size)))
    long: dict[str, Iterator[Value]] = {}
    bounds: list[Bounds] = []
    for chunk in group.chunks:
        if source.remote and chunk.size > _ASKED:
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
    limit = 2 * max([PAGE, *(bound.most for bound in bounds)])
    while step > 1 and sum(bound.of(step) for bound in bounds) > limit:
        step //= 2
    return step, long


def _pieces(batches: Iterable[tuple[pa.RecordBatch, Rejects]]) -> Iterator[tuple[pa.RecordBatch, Rejects]]:
    """Join small batches; no piece holds too many bytes for what is done with it."""
    waiting: list[pa.RecordBatch] = []
    rejects = Rejects()
    rows = size = 0
    for batch, bad in batches:
        if waiting and (rows + batch.num_rows > PIECE_ROWS or size + batch.nbytes > _PIECE):
            yield pa.concat_batches(waiting), rejects
            waiting, rejects, rows, size = [], Rejects(), 0, 0
        waiting.append(batch)
        rejects.extend(bad)
        rows, size = rows + batch.num_rows + len(bad.rows), size + batch.nbytes
    if waiting:
        yield pa.concat_batches(waiting), rejects


def _open(source: Source) -> pq.ParquetFile:
    # Columns are streamed by pages: a row group of a billion bytes must not be read whole.
    return pq.ParquetFile(source.open(), buffer_size=2**20, pre_buffer=False)
