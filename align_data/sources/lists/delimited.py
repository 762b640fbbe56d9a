"""CSV and TSV, with a header line or without.

A file is read in blocks of whole lines; every line is in a row, in the header or blank. Lines that are rows by
themselves are parsed together; the others are read one by one, by the grammar of quotation marks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from align_data.common.errors import InputError
from align_data.sources.lists.batches import Batch, Rejects
from align_data.sources.lists.column_names import Choice, by_name, by_value, knows
from align_data.sources.lists.csv_blocks import CsvBlock
from align_data.sources.lists.csv_lines import Lines, cut
from align_data.sources.lists.csv_quotes import LONGEST, Grammar, RunsOnError
from align_data.sources.lists.encodings import Reading, Utf8
from align_data.sources.lists.input_format import InputFormat, Unit
from align_data.sources.lists.source import Source

_BLOCK = 2**22
"""Bytes parsed at once."""
_LONGEST = 2**24
"""Bytes that a row may have."""
_LOOK = 2**20
_LOOK_ROWS = 100
_SIGNS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
_URL = re.compile(r"\s*https?://\S+\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """How the rows of a file are laid out, and which column is what: by position, as text, from '0'."""

    columns: dict[str, str]
    width: int
    skip: int
    """Lines of the file up to the end of the header; 0 for a list without one."""
    delimiter: str
    quotes: bool
    """Whether values may be quoted; in TSV a quotation mark is a character (IANA text/tab-separated-values)."""
    multiline: bool | None
    note: str = ""
    """What the user is told of it."""


@dataclass(frozen=True)
class _Table:
    """A file's first rows, cut at one delimiter."""

    delimiter: str
    quotes: bool
    rows: list[list[str]]
    skip: int
    """Lines up to the end of the first row."""

    @cached_property
    def even(self) -> list[list[str]]:
        """The rows of the most frequent width."""
        width, _ = Counter(len(row) for row in self.rows).most_common(1)[0]
        return [row for row in self.rows if len(row) == width]

    @property
    def urls(self) -> float:
        """How many of the rows have a URL, whole and nothing else, where it is by their values."""
        places = by_value(self.even)
        if places is None:
            return 0
        return sum(bool(_URL.fullmatch(row[places["url"]])) for row in self.even) / len(self.rows)

    def header(self, choice: Choice, where: str) -> bool:
        """Tell whether the first row names all the columns that are needed."""
        try:
            by_name([name.strip() for name in self.rows[0]], choice, where)
        except InputError:
            return False
        return True


def look(source: Source, choice: Choice, reading: Reading = Reading()) -> Layout:  # noqa: B008 - frozen
    """Find out about delimiter, header and columns from the file's first rows."""
    own = "\t" if source.format == "tsv" else ","
    signs = [reading.delimiter] if reading.delimiter else [own, *(sign for sign in _SIGNS if sign != own)]
    head, final = _head(source)
    tables = [_table(head, final, sign, quotes=sign != "\t" or source.format != "tsv") for sign in signs]
    if not tables[0].rows:
        raise InputError(f"{source.path} has no rows")
    table = _separated(tables, choice, source)
    columns, width, skip, note = _columns(table, choice, source)
    if table.delimiter != signs[0]:
        note += f"; its fields are separated by {_SIGNS[table.delimiter]}"
    return Layout(columns, width, skip, table.delimiter, table.quotes, reading.multiline, note)


def _head(source: Source) -> tuple[Lines, bool]:
    """Return a file's first lines, and whether they are all."""
    head = b""
    with Utf8(source) as stream:
        while len(head) < _LOOK and (chunk := stream.read(_LOOK - len(head))):
            head += chunk
    final = len(head) < _LOOK
    lines = cut(head, final)
    return (lines, final) if len(lines) else (cut(head, True), final)


def _table(lines: Lines, final: bool, delimiter: str, quotes: bool) -> _Table:
    grammar = Grammar(delimiter.encode())
    rows: list[list[str]] = []
    number = skip = 0
    while number < len(lines) and len(rows) <= _LOOK_ROWS:
        line, end = lines.line(number), number
        fields = line.split(delimiter.encode()) if line else []
        if line and quotes:
            record = grammar.record(lines, number, final)
            if record is None:
                break
            fields, end = record.fields, record.end
            if record.fault and not rows:
                fields = grammar.loosely(line)
        number = end + 1
        if fields:
            skip = skip or number
            rows.append([field.decode("utf-8", "replace") for field in fields])
    return _Table(delimiter, quotes, rows, skip)


def _separated(tables: Sequence[_Table], choice: Choice, source: Source) -> _Table:
    """Return the table that is cut at the right delimiter: the format's own, unless another alone makes sense."""
    own, *alternatives = tables
    for fits in (lambda table: table.header(choice, source.path), lambda table: knows(table.rows[0], choice)):
        if fits(own):
            return own
        fitting = [table for table in alternatives if fits(table)]
        if fitting:
            return _only(fitting, source)
    best = max(table.urls for table in tables)
    if own.urls == best:
        return own
    return _only([table for table in alternatives if table.urls == best], source)


def _only(tables: Sequence[_Table], source: Source) -> _Table:
    if len(tables) > 1:
        signs = " or ".join(_SIGNS[table.delimiter] for table in tables)
        raise InputError(f"{source.path}: its fields may be separated by {signs}; choose one with --delimiter")
    return tables[0]


def _columns(table: _Table, choice: Choice, source: Source) -> tuple[dict[str, str], int, int, str]:
    """Return which column is what, how many there are, the lines of the header, and a sentence that says so."""
    header = [name.strip() for name in table.rows[0]]
    if choice.score is None and not knows(header, choice):
        places = by_value(table.even)
        if places is not None:
            where = ", ".join(f"{role} is column {place + 1}" for role, place in places.items())
            note = f"{source.name} has no header line; by its values {where}"
            return {role: str(place) for role, place in places.items()}, len(table.even[0]), 0, note
    roles, note = by_name(header, choice, source.path)
    return {role: str(header.index(name)) for role, name in roles.items()}, len(header), table.skip, note


def read(source: Source, layout: Layout) -> Iterator[tuple[Batch, Rejects]]:
    """Yield the rows of the file; a row with too few or too many fields, or a stray quotation mark, is rejected."""
    columns = {role: int(place) for role, place in layout.columns.items()}
    grammar = Grammar(layout.delimiter.encode(), layout.width, columns.get("url"), layout.multiline)
    tail, final = b"", False
    line = row = 1
    with Utf8(source) as stream:
        while not final:
            fresh = stream.read(_BLOCK)
            final = not fresh
            lines = cut(tail + fresh, final)
            start = min(len(lines), max(0, layout.skip + 1 - line))
            try:
                records, consumed = grammar.scan(lines, start, final) if layout.quotes else ([], len(lines))
            except RunsOnError as error:
                raise _refusal(source, lines, line, error) from error
            block = CsvBlock(lines, start, consumed, records, row)
            yield from block.batches(columns, layout.width, layout.delimiter, layout.quotes)
            line, row = line + consumed, block.behind_row
            tail = lines.data[lines.stops[consumed - 1] if consumed else 0 :]
            if len(tail) > _LONGEST:
                much = f"line {line:,} begins a row of more than {_LONGEST // 2**20} MB"
                raise InputError(f"cannot read {source.path} to its end: {much}; repair the file or leave it out")


def _units(source: Source, choice: Choice, reading: Reading) -> tuple[list[Unit], str]:
    layout = look(source, choice, reading)
    return [Unit(source, layout.columns, layout)], layout.note


def _read(unit: Unit) -> Iterator[tuple[Batch, Rejects]]:
    return read(unit.source, unit.section)


_OPTIONS = frozenset({"delimiter", "encoding", "multiline"})
CSV = InputFormat("csv", "CSV", (".csv",), _units, _read, options=_OPTIONS, compressed=True, nulls=False)
TSV = InputFormat("tsv", "TSV", (".tsv", ".tab"), _units, _read, options=_OPTIONS, compressed=True, nulls=False)


def _refusal(source: Source, lines: Lines, line: int, error: RunsOnError) -> InputError:
    """Say where a quotation mark opens a value that runs over lines which look like rows."""
    over = f"over more than {LONGEST} lines"
    if error.sample is not None:
        sample = lines.line(error.sample)[:100].decode("utf-8", "backslashreplace")
        rowlike = f"line {line + error.sample:,} looks like a row ({sample})"
        over = f"to line {line + error.end:,} or further, though {rowlike}"
    return InputError(
        f"{source.path}: a quotation mark on line {line + error.start:,} opens a value that runs {over}; "
        "give --multiline if values of this list contain line breaks, or --no-multiline if not: only "
        "lines with an open quotation mark are then rejected"
    )
