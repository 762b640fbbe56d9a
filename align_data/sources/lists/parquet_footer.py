"""A Parquet file's footer, read strictly: pyarrow is given only files whose footer holds together.

It ends the process over some damaged ones, and fills the memory over others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from align_data.common.errors import encodable
from align_data.sources.files.damage import DamagedError
from align_data.sources.lists.thrift import structure

_MAGIC = b"PAR1"
_FOOTER = 2**28
_SCHEMA = 100_000
_DEPTH = 64
_ROWS = 10_000_000
"""Rows that a file of any size may claim; one of more must have a byte for each."""
_OPTIONAL, _REPEATED = 1, 2
BYTE_ARRAY, FIXED = 6, 7


@dataclass(frozen=True)
class Leaf:
    """A column as it is stored: its path in the schema, its physical type and how deep its levels go."""

    path: tuple[str, ...]
    type: int
    width: int
    """Bytes of a value of fixed length."""
    definition: int
    repetition: int


@dataclass(frozen=True)
class Chunk:
    """What a row group stores of one leaf: where, in how many bytes, in which codec, and how many values."""

    leaf: Leaf
    offset: int
    size: int
    codec: int
    values: int


@dataclass(frozen=True)
class Group:
    """A row group: its number, its rows and its chunks, in the order of the leaves."""

    number: int
    rows: int
    size: int
    """Bytes of all its columns, as the file says."""
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class Footer:
    """What a file says of itself."""

    leaves: tuple[Leaf, ...]
    groups: tuple[Group, ...]


def read(file: Any) -> Footer:
    """Return the footer of an open file; DamagedError for one that does not hold together, or claims too many rows."""
    size = file.size()
    file.seek(max(0, size - 8))
    tail = file.read(8)
    if tail[4:] != _MAGIC:
        raise DamagedError("it does not end as a Parquet file does")
    length = int.from_bytes(tail[:4], "little")
    if length > min(size - 12, _FOOTER):
        raise DamagedError(f"its footer of {length:,} bytes is too long")
    file.seek(size - 8 - length)
    fields, _ = structure(file.read(length))
    leaves = _leaves(_sequence(fields, 2))
    groups = [_group(number, group, leaves, size) for number, group in enumerate(_sequence(fields, 4))]
    rows = sum(group.rows for group in groups)
    if rows != _number(fields, 3):
        raise DamagedError("its row groups do not add up to its rows")
    if rows > _ROWS + size:
        raise DamagedError(f"it claims {rows:,} rows in {size:,} bytes")
    return Footer(leaves, tuple(groups))


def _leaves(schema: Sequence[Any]) -> tuple[Leaf, ...]:
    """Return the leaves of a schema, which is a tree written down from the root."""
    if not 1 <= len(schema) <= _SCHEMA:
        raise DamagedError(f"its schema has {len(schema):,} fields")
    elements = iter(schema)
    root = next(elements)
    leaves = list(_below(elements, _number(root, 5, 0), (), 0, 0))
    if next(elements, None) is not None:
        raise DamagedError("its schema does not add up")
    return tuple(leaves)


def _below(
    elements: Iterator[Any], children: int, path: tuple[str, ...], defined: int, repeated: int
) -> Iterator[Leaf]:
    if len(path) > _DEPTH:
        raise DamagedError("its schema is nested too deeply")
    for _ in range(children):
        element = next(elements, None)
        if not isinstance(element, dict):
            raise DamagedError("its schema does not add up")
        name = _name(element.get(4))
        kind = _number(element, 3, 0)
        if kind > _REPEATED:
            raise DamagedError(f"its column {name} is repeated in an unknown way")
        deep = defined + (kind in (_OPTIONAL, _REPEATED)), repeated + (kind == _REPEATED)
        if 5 in element and 1 not in element:
            yield from _below(elements, _number(element, 5), (*path, name), *deep)
        elif _number(element, 1) > FIXED:
            raise DamagedError(f"its column {name} is of an unknown type")
        else:
            yield Leaf((*path, name), element[1], _number(element, 2, 0), *deep)


def _group(number: int, group: Any, leaves: Sequence[Leaf], size: int) -> Group:
    columns = _sequence(group, 1)
    if len(columns) != len(leaves):
        raise DamagedError("a row group does not have as many columns as the schema")
    rows = _number(group, 3)
    chunks = tuple(_chunk(column, leaf, size) for column, leaf in zip(columns, leaves, strict=True))
    if any(chunk.values != rows for chunk in chunks if not chunk.leaf.repetition):
        raise DamagedError("a row group does not have as many values as rows")
    if any(chunk.values > _ROWS + size for chunk in chunks):
        raise DamagedError(f"a row group claims {max(c.values for c in chunks):,} values in {size:,} bytes")
    return Group(number, rows, _number(group, 2, 0), chunks)


def _chunk(column: Any, leaf: Leaf, size: int) -> Chunk:
    facts = column.get(3) if isinstance(column, dict) else None
    if not isinstance(facts, dict) or 1 in column:
        raise DamagedError("the metadata of a column is missing, encrypted or in another file")
    path = tuple(_name(part) for part in _sequence(facts, 3))
    if path != leaf.path or _number(facts, 1) != leaf.type:
        raise DamagedError(f"a row group has {'.'.join(path)} where the schema has {'.'.join(leaf.path)}")
    start, dictionary, stored = _number(facts, 9), _number(facts, 11, 0), _number(facts, 7)
    _number(facts, 6)
    start = dictionary if 0 < dictionary < start else start
    if start + stored > size:
        raise DamagedError(f"its column {'.'.join(path)} lies past its end")
    return Chunk(leaf, start, stored, _number(facts, 4), _number(facts, 5))


def _number(fields: Any, field: int, default: int | None = None) -> int:
    """Return a field that must be a number, not less than zero."""
    value = fields.get(field, default) if isinstance(fields, dict) else None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise DamagedError(f"a number of its footer is {value}")
    return value


def _sequence(fields: Any, field: int) -> list[Any]:
    value = fields.get(field) if isinstance(fields, dict) else None
    if not isinstance(value, list):
        raise DamagedError("a list of its footer is missing")
    return value


def _name(value: Any) -> str:
    try:
        name = value.decode() if isinstance(value, bytes) else None
    except UnicodeDecodeError:
        name = None
    if name is None or not encodable(name):
        raise DamagedError("the name of a column is not UTF-8")
    return name
