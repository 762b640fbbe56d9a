"""From columns as a file stores them to batches under our names: for formats whose values have types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from align_data.common.errors import InputError
from align_data.sources.lists.batches import MAX_BYTES, Batch, Rejects, fits, is_text, not_text
from align_data.sources.lists.captions import is_list, spread
from align_data.sources.lists.column_names import NEEDED, SCORE, Choice, by_name
from align_data.sources.lists.source import Source
from align_data.storage.tables import PIECE_ROWS

_DECODED = 2**32
_DECODED_RATIO = 64
"""A list may decode to so many bytes, and so many times what is stored of it."""
_PIECE = 2**23
"""Bytes that are handed on at once: each is copied some times on the way."""
_ROW = "row"
# By Polars between numpy and Arrow: Arrow imports pandas for that where it is installed, for a fifth of a second.


@dataclass(frozen=True)
class Unread:
    """A value that was not read, and why."""

    why: str


Value = bytes | Unread | None


def columns_of(schema: pa.Schema, choice: Choice, where: str) -> tuple[dict[str, str], str]:
    """Return which column is what, and a sentence that says so; InputError where URL or text cannot be had."""
    columns, note = by_name(schema.names, choice, where)
    types = {role: schema.field(name).type for role, name in columns.items()}
    if "alt_text" in types and is_list(types["alt_text"]):
        note += f" ({columns['alt_text']} is a list: each of its captions is a row)"
    if SCORE in types and not fits(SCORE, types[SCORE]):
        raise InputError(f"{where}: the column {columns[SCORE]} holds {types[SCORE]}, not a number for each row")
    for role in types.keys() & NEEDED:
        if not (is_list(types[role]) and role == "alt_text"):
            not_text(types[role], role)
    for role in [role for role, kind in types.items() if role not in NEEDED and not fits(role, kind)]:
        note += f" ({columns.pop(role)} is {types[role]}, so {role} is left empty)"
    return columns, note


def numbered(arrays: Mapping[str, Any], numbers: Any) -> Iterator[tuple[pa.RecordBatch, Rejects]]:
    """Yield some rows under our names with their numbers, a row a caption; beside them what is too long to be read.

    `arrays` are our column → an array, or a list of `Value` for each row.
    """
    rejects = Rejects()
    batch = pa.RecordBatch.from_pydict(_readable(dict(arrays), numbers, rejects))
    if "alt_text" not in arrays or not is_list(batch.schema.field("alt_text").type):
        yield batch, rejects
        return
    pieces = spread(batch, "alt_text")
    yield next(pieces), rejects
    yield from zip(pieces, iter(Rejects, None), strict=False)


def _readable(columns: dict[str, Any], numbers: Any, rejects: Rejects) -> dict[str, Any]:
    """Return columns as arrays, with the rows' numbers; what is too long is rejected, or left out where not needed."""
    reasons: dict[int, str] = {}
    for role, column in columns.items():
        if isinstance(column, list):
            if role in NEEDED:
                for place, value in enumerate(column):
                    if isinstance(value, Unread):
                        reasons.setdefault(place, f"{role} {value.why}")
            columns[role] = pa.array([v if isinstance(v, bytes) else None for v in column], pa.large_binary())
        elif is_text(column.type) and column.nbytes > MAX_BYTES:
            columns[role], sizes = _shortened(column)
            for place, size in sizes.items() if role in NEEDED else ():
                reasons.setdefault(place, f"{role} of {size} bytes")
    for place, why in sorted(reasons.items()):
        rejects.add(int(numbers[place]), "too_long", why)
    arrays = {**columns, _ROW: pl.Series(numbers, dtype=pl.Int64).to_arrow()}
    if not reasons:
        return arrays
    keep = np.ones(len(numbers), dtype=bool)
    keep[list(reasons)] = False
    return {name: array.filter(pl.Series(keep).to_arrow()) for name, array in arrays.items()}


def _shortened(column: pa.Array) -> tuple[pa.Array, dict[int, int]]:
    """Return a column without its too long values, before each is copied further; and their places and bytes."""
    if pa.types.is_string_view(column.type) or pa.types.is_binary_view(column.type):
        return column, {}  # Arrow does not know their lengths
    lengths = pc.fill_null(pc.binary_length(column), 0)
    long = pc.greater(lengths, MAX_BYTES)
    places = pc.indices_nonzero(long)
    sizes = dict(zip(places.to_pylist(), lengths.take(places).to_pylist(), strict=True))
    return pc.if_else(long, pa.scalar(None, column.type), column) if sizes else column, sizes


def bounded(
    batches: Iterable[tuple[pa.RecordBatch, Rejects]], columns: Mapping[str, str], source: Source, stored: int
) -> Iterator[tuple[Batch, Rejects]]:
    """Yield the batches, small ones joined; InputError where they are far more than the bytes `stored` of them."""
    budget = _DECODED + _DECODED_RATIO * stored
    for batch, rejects in _joined(batches):
        budget -= batch.nbytes
        if budget < 0:
            raise InputError(
                f"{source.path} is {source.size:,} bytes, and decodes to more than {_DECODED // 2**30} GB: "
                "it is not a list but a bomb; leave it out"
            )
        yield Batch({role: batch.column(role) for role in columns}, pl.Series(batch.column(_ROW)).to_numpy()), rejects


def _joined(batches: Iterable[tuple[pa.RecordBatch, Rejects]]) -> Iterator[tuple[pa.RecordBatch, Rejects]]:
    """Join small batches of one schema; no piece holds too many bytes for what is done with it."""
    waiting: list[pa.RecordBatch] = []
    rejects = Rejects()
    rows = size = 0
    for batch, rejected in batches:
        full = rows + batch.num_rows > PIECE_ROWS or size + batch.nbytes > _PIECE
        # What is read value by value comes as bytes, whatever its type in the file.
        if waiting and (full or batch.schema != waiting[-1].schema):
            yield pa.concat_batches(waiting), rejects
            waiting, rejects, rows, size = [], Rejects(), 0, 0
        waiting.append(batch)
        rejects.extend(rejected)
        rows, size = rows + batch.num_rows + len(rejected.rows), size + batch.nbytes
    if waiting:
        yield pa.concat_batches(waiting), rejects
