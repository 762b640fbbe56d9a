"""Arrow IPC: files (Feather version 2) and streams, as Hugging Face's datasets, Polars and DuckDB write them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from align_data.sources.files.damage import DamagedError
from align_data.sources.lists.arrow_columns import BatchColumns
from align_data.sources.lists.arrow_messages import (
    BATCH,
    DICTIONARY,
    FILE_MAGIC,
    ArrowFile,
    ArrowMessage,
    opened,
    stored_batch,
)
from align_data.sources.lists.batches import Batch, Rejects, is_text
from align_data.sources.lists.column_names import Choice
from align_data.sources.lists.encodings import Reading
from align_data.sources.lists.input_format import InputFormat, Unit
from align_data.sources.lists.pieces import bounded, columns_of, numbered
from align_data.sources.lists.source import Source

_ROWS = 2**14
"""Rows that are read at once, at most."""
_WORDS = 64 * 2**20
"""Bytes of a dictionary that are held."""


def _units(source: Source, choice: Choice, _: Reading) -> tuple[list[Unit], str]:
    with source.open() as file:
        schema = opened(file).schema
    columns, note = columns_of(schema, choice, source.path)
    return [Unit(source, columns)], note


def _read(unit: Unit) -> Iterator[tuple[Batch, Rejects]]:
    source = unit.source
    with source.open() as file:
        yield from bounded(_batches(file, unit.columns), unit.columns, source, source.size)


def _batches(file: Any, columns: dict[str, str]) -> Iterator[tuple[pa.RecordBatch, Rejects]]:
    """Yield a few rows at a time, under our names and with their numbers."""
    layout, size = opened(file), file.size()
    names = set(columns.values())
    words: dict[int, pa.Array] = {}
    row = 0
    for message in layout.messages:
        if message.kind == DICTIONARY:
            _learn(file, message, layout, names, words)
            continue
        if message.kind != BATCH:
            raise DamagedError("it has a second schema")
        for arrays, rows in _rows(file, message, layout, names, words, size):
            numbers = np.arange(row + 1, row + 1 + rows)
            row += rows
            yield from numbered({role: arrays[name] for role, name in columns.items()}, numbers)


def _rows(
    file: Any, message: ArrowMessage, layout: ArrowFile, names: set[str], words: dict[int, pa.Array], size: int
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the columns of some rows of a record batch at a time, and how many they are."""
    batch = stored_batch(message, message.header, size)
    parts = BatchColumns(file, batch)
    chosen = {}
    for field, number in zip(layout.schema, layout.dictionaries, strict=True):
        if field.name in names:
            dictionary = None if number is None else words.get(number)
            chosen[field.name] = parts.column(field.type, batch.rows, dictionary)
        else:
            parts.skip(field.type)
    parts.finish()
    remaining = batch.rows
    while remaining:
        rows = min(remaining, _ROWS)
        for column in chosen.values():
            rows = column.room(rows)
        yield {name: column.take(rows) for name, column in chosen.items()}, rows
        remaining -= rows


def _learn(file: Any, message: ArrowMessage, layout: ArrowFile, names: set[str], words: dict[int, pa.Array]) -> None:
    """Read the values of a dictionary that a column needs."""
    number, values = message.header.number(0, "q"), message.header.table(1)
    fields = [f for f, own in zip(layout.schema, layout.dictionaries, strict=True) if own == number and f.name in names]
    if not fields:
        return
    if values is None:
        raise DamagedError("a dictionary has no values")
    batch = stored_batch(message, values, file.size())
    parts = BatchColumns(file, batch)
    column = parts.column(fields[0].type.value_type, batch.rows)
    parts.finish()
    pieces = [words[number]] if number in words and message.header.number(2, "?") else []
    remaining, size = batch.rows, 0
    while remaining:
        rows = column.room(min(remaining, _ROWS))
        piece = column.take(rows)
        size += _WORDS if isinstance(piece, list) else piece.nbytes
        if size >= _WORDS:
            raise DamagedError(f"a dictionary has more than {_WORDS // 2**20} MB, or a value of more than 8 MB")
        pieces.append(piece)
        remaining -= rows
    kind = fields[0].type.value_type
    words[number] = pa.concat_arrays(pieces or [pa.array([], pa.large_binary() if is_text(kind) else kind)])


FORMAT = InputFormat("arrow", "Arrow IPC", (".arrow", ".arrows", ".feather", ".ipc"), _units, _read, (FILE_MAGIC,))
