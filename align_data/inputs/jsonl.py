"""JSON lines: an object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow as pa

from align_data.errors import InputError
from align_data.inputs.columns import NAMES, Choice, by_name
from align_data.inputs.find import Source
from align_data.inputs.rows import Batch, Rejects, valid_utf8
from align_data.inputs.text import Utf8
from align_data.tables import PIECE_BYTES

_BLOCK = 2**23
_LINE = 2**26
_LOOK = 100
_LAYOUTS = 1_000
"""Sets of keys that are remembered."""


def look(source: Source, choice: Choice) -> tuple[dict[str, str], str]:
    """Return which key is what, by the first lines' keys, and a sentence that says so."""
    keys: dict[str, None] = {}
    for line in islice(_lines(source), _LOOK):
        record = _parse(line)
        if isinstance(record, dict):
            keys.update(dict.fromkeys(record))
    _, said = by_name(list(keys), choice, source.path)
    # Lines further down may have other keys: each line's own are looked at, but for those that the user names.
    return {role: choice.given().get(role, "") for role in NAMES}, said


def read(source: Source, named: dict[str, str]) -> Iterator[tuple[Batch, Rejects]]:
    """Yield the rows of the file; a line that is no JSON object, or whose URL or text is none, is rejected.

    What is what is told line by line, by the best of the usual names that the line has, so that neither other lines
    nor the number of files matter. `named` are the keys that the user gives, '' for the others.
    """
    rejects, rows, size = Rejects(), list[int](), 0
    values: dict[str, list[Any]] = {role: [] for role in named}
    layouts: dict[tuple[str, ...], dict[str, str]] = {}
    for number, line in enumerate(_lines(source), 1):
        record = _parse(line)
        columns = {}
        if isinstance(record, dict):
            shape = tuple(record)
            if shape not in layouts and len(layouts) < _LAYOUTS:
                layouts[shape] = _keys(shape, named)
            columns = layouts.get(shape) or _keys(shape, named)
        wrong = _wrong(line, record, columns)
        if wrong:
            rejects.add(number, wrong[0], f"{wrong[1]}: {line.decode('utf-8', 'backslashreplace')}")
        else:
            rows.append(number)
            for role in named:
                values[role].append(_bytes(record.get(columns[role])))
        size += len(line)
        if size > PIECE_BYTES:
            yield Batch({r: pa.array(v, pa.large_binary()) for r, v in values.items()}, rows), rejects
            rejects, rows, size = Rejects(), [], 0
            values = {role: [] for role in named}
    yield Batch({r: pa.array(v, pa.large_binary()) for r, v in values.items()}, rows), rejects


def _keys(keys: tuple[str, ...], named: dict[str, str]) -> dict[str, str]:
    """Return which of a line's keys is what."""
    lower = {key.lower(): key for key in reversed(keys)}
    return {
        role: named[role] or next((lower[name] for name in usual if name in lower), "") for role, usual in NAMES.items()
    }


def _lines(source: Source) -> Iterator[bytes]:
    """Yield the lines that are not blank."""
    rest = b""
    with Utf8(source) as stream:
        block = stream.read(_BLOCK)
        while block:
            *lines, rest = (rest + block).split(b"\n")
            yield from (line for line in lines if line.strip())
            if len(rest) > _LINE:
                raise InputError(f"{source.path} has a line of more than {_LINE // 2**20} MB: it is no JSON lines")
            block = stream.read(_BLOCK)
    if rest.strip():
        yield rest


def _parse(line: bytes) -> Any:
    """Return the line's value, or None if it has none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _wrong(line: bytes, record: Any, columns: dict[str, str]) -> tuple[str, str] | None:
    """Return reason and detail for a line that is no row."""
    if not valid_utf8(line):
        return "invalid_utf8", "not UTF-8"
    if not isinstance(record, dict):
        return "bad_row", "not a JSON object"
    for role in ("url", "alt_text"):
        value = record.get(columns[role])
        if value is not None and not isinstance(value, str):
            return "bad_row", f"{columns[role]} is not text"
    return None


def _bytes(value: Any) -> bytes | None:
    """Return a value's text as bytes: an escaped lone surrogate makes them no UTF-8, which is seen later."""
    if value is None or isinstance(value, dict | list):
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")
