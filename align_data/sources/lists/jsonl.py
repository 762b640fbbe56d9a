"""JSON: an object a line, or one array of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow as pa

from align_data.common.errors import InputError
from align_data.sources.lists.batches import Batch, Rejects, valid_utf8
from align_data.sources.lists.column_names import NAMES, PROVENANCE, SCORE, Choice, by_name, usual
from align_data.sources.lists.encodings import Reading
from align_data.sources.lists.input_format import InputFormat, Unit
from align_data.sources.lists.json_elements import TooLong, lines
from align_data.sources.lists.source import Source
from align_data.storage.tables import PIECE_ROWS

_PIECE = 2**23
"""Bytes of rows that are handed on at once."""
_LOOK = 100
_LAYOUTS = 1_000
"""Sets of keys that are remembered, none of more keys than a list has columns."""
_KEYS = 100
_SHOWN = 1_000
"""Bytes of a line that a rejected row's detail is made of."""
Row = dict[str, bytes | None]


def look(source: Source, choice: Choice) -> tuple[dict[str, str], str]:
    """Return which key is what, by the first lines' keys, and a sentence that says so."""
    keys: dict[str, None] = {}
    several, opening = "", b""
    for line in islice(lines(source), _LOOK):
        record = _parse(line)
        if isinstance(record, dict):
            keys.update(dict.fromkeys(record))
            text = _keys(tuple(record), choice.named()).get("alt_text", "")
            several = several or (text if isinstance(record.get(text), list) else "")
        elif not opening and isinstance(line, bytes):
            opening = line.lstrip()[:1]
    if not keys and opening == b"[":
        raise InputError(f"{source.path} has rows that are arrays; write each row as an object, one a line")
    if not keys and opening == b"{":
        raise InputError(
            f"{source.path} is not JSON lines: none of its first lines is a whole object; write one row a line, "
            "for example with: jq -c '.[]' FILE > FILE.jsonl"
        )
    roles, note = by_name(list(keys), choice, source.path)
    if several:
        note += f" ({several} is a list: each of its captions is a row)"
    # Lines further down may have other keys: each line's own are looked at, but for those that the user names.
    # Lists that are of no crawl do not pay for its columns; where a few lines have some, others may have more.
    crawled = {*PROVENANCE} - {"text_from"} if roles.keys() & PROVENANCE else set()
    usually = {*NAMES} - {*PROVENANCE, SCORE} if choice.score is None else set()
    sought = [role for role in NAMES if role in roles.keys() | crawled | usually]
    return {role: choice.named().get(role, "") for role in sought}, note


def read(source: Source, named: dict[str, str]) -> Iterator[tuple[Batch, Rejects]]:
    """Yield the rows of the file; a line that is not a JSON object, or whose URL or text is not text, is rejected.

    What is what is told line by line, by the best of the usual names that the line has, so that neither other lines
    nor the number of files matter. `named` are the keys that the user gives, '' for the others. A line with a list of
    captions is a row for each of them.
    """
    piece = _Piece(list(named))
    layouts: dict[tuple[str, ...], dict[str, str]] = {}
    for number, line in enumerate(lines(source), 1):
        record = _parse(line)
        columns: dict[str, str] = {}
        if isinstance(record, dict):
            shape = tuple(record)
            if shape not in layouts and len(layouts) < _LAYOUTS and len(shape) < _KEYS:
                layouts[shape] = _keys(shape, named)
            columns = layouts.get(shape) or _keys(shape, named)
        fault = _fault(line, record, columns)
        if fault:
            piece.rejects.add(number, *fault)
            piece.size += 64
            if piece.full:
                yield piece.taken()
            continue
        for text in _texts(record.get(columns["alt_text"])):
            piece.add(number, {role: _bytes(record.get(columns[role])) for role in named} | {"alt_text": _bytes(text)})
            if piece.full:
                yield piece.taken()
    yield piece.taken()


class _Piece:
    """Rows that wait to be handed on."""

    def __init__(self, roles: list[str]) -> None:
        self._roles = roles
        self._values: dict[str, list[bytes | None]] = {role: [] for role in roles}
        self._rows: list[int] = []
        self.rejects, self.size = Rejects(), 0

    def taken(self) -> tuple[Batch, Rejects]:
        """Return what has waited, and begin anew."""
        arrays = {role: pa.array(column, pa.large_binary()) for role, column in self._values.items()}
        batch, rejects = Batch(arrays, self._rows), self.rejects
        self._values = {role: [] for role in self._roles}
        self._rows, self.rejects, self.size = [], Rejects(), 0
        return batch, rejects

    def add(self, number: int, row: Row) -> None:
        """Add a row of line `number`."""
        self._rows.append(number)
        for role, column in self._values.items():
            value = row[role]
            column.append(value)
            self.size += 8 if value is None else len(value)

    @property
    def full(self) -> bool:
        """Whether so much waits that it should be handed on."""
        return self.size > _PIECE or len(self._rows) + len(self.rejects.rows) >= PIECE_ROWS


def _keys(keys: tuple[str, ...], named: dict[str, str]) -> dict[str, str]:
    """Return which of a line's keys is what, '' for what it has not."""
    matches = usual(keys)
    return {role: named.get(role) or matches.get(role, "") for role in NAMES}


def _parse(line: bytes | TooLong) -> Any:
    """Return the line's value, or None if it has none."""
    if not isinstance(line, bytes):
        return None
    for parse_int in (None, str):  # Python makes no number of more than 4,300 digits: such an id is text
        try:
            return json.loads(line, parse_int=parse_int)
        except RecursionError:
            return None
        except ValueError:
            continue
    return None


def _fault(line: bytes | TooLong, record: Any, columns: dict[str, str]) -> tuple[str, str] | None:
    """Return reason and detail for a line that is not a row."""
    if isinstance(line, TooLong):
        return "too_long", f"a line of {line.size} bytes"
    fault = None
    if not valid_utf8(line):
        fault = "invalid_utf8", "not UTF-8"
    elif not isinstance(record, dict):
        fault = "bad_row", "not a JSON object"
    elif not isinstance(record.get(columns["url"]), str | None):
        fault = "bad_row", f"{columns['url']} is not text"
    elif not all(isinstance(text, str | None) for text in _texts(record.get(columns["alt_text"]))):
        fault = "bad_row", f"{columns['alt_text']} is not text"
    return fault and (fault[0], f"{fault[1]}: {line[:_SHOWN].decode('utf-8', 'backslashreplace')}")


def _texts(value: Any) -> list[Any]:
    """Return the captions of a row: one, or those of a list; a row of none has one that is missing."""
    return (value or [None]) if isinstance(value, list) else [value]


def _bytes(value: Any) -> bytes | None:
    """Return a value's text as bytes: an escaped lone surrogate makes them not UTF-8, which is seen later."""
    if value is None or isinstance(value, dict | list):
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")


def _units(source: Source, choice: Choice, _: Reading) -> tuple[list[Unit], str]:
    columns, note = look(source, choice)
    return [Unit(source, columns)], note


def _read(unit: Unit) -> Iterator[tuple[Batch, Rejects]]:
    return read(unit.source, unit.columns)


FORMAT = InputFormat(
    "jsonl",
    "JSON",
    (".jsonl", ".ndjson", ".json"),
    _units,
    _read,
    options=frozenset({"encoding"}),
    compressed=True,
    ambiguous=(".json",),
)
