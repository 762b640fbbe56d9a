"""CSV and TSV, with a header line or without."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from align_data.errors import InputError
from align_data.inputs.columns import Choice, by_name, by_value, knows
from align_data.inputs.find import Source
from align_data.inputs.rows import Batch, Rejects
from align_data.tables import PIECE_ROWS

_BLOCK = 2**24
"""Bytes parsed at once; no row may be longer."""
_ENCODING = "latin-1"
"""Every byte is a character, so that pyarrow never stops at one that is no UTF-8; the bytes are taken back from it."""
csv.field_size_limit(2**24)
_LOOK = 2**20
_LOOK_ROWS = 100


@dataclass(frozen=True)
class Layout:
    """Which column is what: by position, as text, from '0'; `names` are all positions."""

    columns: dict[str, str]
    names: tuple[str, ...]
    skip: int
    """Lines of the file up to the end of the header; 0 for a list without one."""
    said: str = ""
    """What the user is told of it."""


def look(source: Source, choice: Choice) -> Layout:
    """Find out about header and columns from the file's first rows."""
    with source.stream() as stream:
        head = stream.read(_LOOK)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{source.path} is UTF-16; convert it to UTF-8 first")
    text = head.decode("utf-8-sig", "replace")
    if len(head) == _LOOK:  # the last line is cut
        text = text[: text.rfind("\n") + 1] or text
    rows, lines = _rows(text, source)
    if not rows:
        raise InputError(f"{source.path} has no rows")
    first = rows[0]
    names = tuple(str(i) for i in range(len(first)))
    if not knows(first, choice):
        places = by_value(rows)
        if places is not None:
            where = ", ".join(f"{role} is column {place + 1}" for role, place in places.items())
            said = f"{source.name} has no header line; by its values {where}"
            return Layout({role: str(place) for role, place in places.items()}, names, 0, said)
    found, said = by_name([name.strip() for name in first], choice, source.path)
    stripped = [name.strip() for name in first]
    places_ = {role: str(stripped.index(name)) for role, name in found.items()}
    return Layout(places_, names, lines, said)


def _rows(text: str, source: Source) -> tuple[list[list[str]], int]:
    """Return the first rows, and how many lines the first of them ends behind."""
    lines = io.StringIO(text, newline="")
    # TSV has no quotes (IANA text/tab-separated-values): a quotation mark is a character.
    tabs = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    reader = tabs if source.format == "tsv" else csv.reader(lines)
    rows: list[list[str]] = []
    first = 0
    try:
        for row in reader:
            if row:
                first = first or reader.line_num
                rows.append(row)
            if len(rows) > _LOOK_ROWS:
                break
        return rows, first
    except csv.Error as error:
        raise InputError(f"{source.path} cannot be read as {source.format}: {error}") from error


def _delimiter(source: Source) -> str:
    return "\t" if source.format == "tsv" else ","


def read(source: Source, layout: Layout) -> Iterator[tuple[Batch, Rejects]]:
    """Yield the rows of the file; a row with too few or too many fields is rejected."""
    ragged: list[pacsv.InvalidRow] = []

    def skip(row: pacsv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    numbers = _Numbers(layout.skip)
    empty = pa.record_batch({name: pa.array([], pa.string()) for name in layout.names})
    # The empty batch at the end takes the ragged rows that follow the last good one.
    for batch in chain(_open(source, layout, skip), [empty]):
        rejects = Rejects()
        for bad in ragged:
            text = bad.text.encode(_ENCODING).decode("utf-8", "backslashreplace")
            fields = f"{bad.actual_columns} fields, not {bad.expected_columns}"
            rejects.add(numbers.skip(bad.number), "bad_row", f"{fields}: {text}")
        ragged.clear()
        for start in range(0, max(1, batch.num_rows), PIECE_ROWS):
            piece = batch.slice(start, PIECE_ROWS)
            columns = {role: _bytes(piece.column(name)) for role, name in layout.columns.items()}
            yield Batch(columns, numbers.take(piece.num_rows)), rejects
            rejects = Rejects()


def _bytes(column: pa.Array) -> pa.Array:
    """Return a column's values as the bytes that stand in the file."""
    if pc.all(pc.string_is_ascii(column)).as_py() is not False:
        return column.cast(pa.binary())
    return pa.array([value.encode(_ENCODING) for value in column.to_pylist()], pa.binary())


class _Numbers:
    """Numbers the rows of a file from 1, over those that the parser skipped."""

    def __init__(self, header: int) -> None:
        self._header = header
        self._next = 1
        self._skipped: list[int] = []

    def skip(self, line: int) -> int:
        """Leave out the row at a line of the parser's count, which has the header in it."""
        self._skipped.append(line - self._header)
        return line - self._header

    def take(self, rows: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return the next `rows` numbers."""
        span = np.arange(self._next, self._next + rows + len(self._skipped))
        kept = span[~np.isin(span, self._skipped)][:rows]
        if rows:
            self._next = int(kept[-1]) + 1
            self._skipped = [row for row in self._skipped if row >= self._next]
        return kept


def _open(source: Source, layout: Layout, skip: Callable[[pacsv.InvalidRow], str]) -> Iterator[pa.RecordBatch]:
    stream = source.stream()
    if stream.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
        stream = source.stream()
    try:
        reader = _reader(stream, source, layout, skip)
    except pa.ArrowInvalid as error:
        if "Could not skip initial" in str(error):  # a header without an end of line, and no rows
            return
        raise
    with reader:
        yield from reader


def _reader(stream: Any, source: Source, layout: Layout, skip: Callable[[pacsv.InvalidRow], str]) -> Any:
    return pacsv.open_csv(
        stream,
        # One thread: the parser knows the number of a row that it skips only then.
        read_options=pacsv.ReadOptions(
            use_threads=False,
            block_size=_BLOCK,
            skip_rows=layout.skip,
            column_names=list(layout.names),
            encoding=_ENCODING,
        ),
        parse_options=pacsv.ParseOptions(
            delimiter=_delimiter(source),
            quote_char=False if source.format == "tsv" else '"',
            newlines_in_values=source.format != "tsv",
            invalid_row_handler=skip,
        ),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(layout.names, pa.string()),
            include_columns=sorted(set(layout.columns.values())),
        ),
    )
