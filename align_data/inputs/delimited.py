"""CSV and TSV, with a header line or without."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain

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
_LOOK = 2**20
_LOOK_ROWS = 100


@dataclass(frozen=True)
class Layout:
    """Which column is what: by position, as text, from '0'; `names` are all positions."""

    columns: dict[str, str]
    header: bool
    names: tuple[str, ...] = field(default=())
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
    rows = [row for row in _rows(text, source) if row][: _LOOK_ROWS + 1]
    if not rows:
        raise InputError(f"{source.path} has no rows")
    first = rows[0]
    names = tuple(str(i) for i in range(len(first)))
    if not knows(first, choice):
        places = by_value(rows)
        if places is not None:
            where = ", ".join(f"{role} is column {place + 1}" for role, place in places.items())
            said = f"{source.name} has no header line; by its values {where}"
            return Layout({role: str(place) for role, place in places.items()}, header=False, names=names, said=said)
    found, said = by_name([name.strip() for name in first], choice, source.path)
    stripped = [name.strip() for name in first]
    return Layout(
        {role: str(stripped.index(name)) for role, name in found.items()}, header=True, names=names, said=said
    )


def _rows(text: str, source: Source) -> list[list[str]]:
    # TSV has no quotes (IANA text/tab-separated-values): a quotation mark is a character.
    lines = io.StringIO(text, newline="")
    try:
        if source.format == "tsv":
            return list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
        return list(csv.reader(lines))
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

    numbers = _Numbers(1 if layout.header else 0)
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
    reader = pacsv.open_csv(
        stream,
        # One thread: the parser knows the number of a row that it skips only then.
        read_options=pacsv.ReadOptions(
            use_threads=False,
            block_size=_BLOCK,
            skip_rows=int(layout.header),
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
    with reader:
        yield from reader
