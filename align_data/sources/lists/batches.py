"""Rows on their way in: from columns of bytes or of anything to text columns, without losing a row silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from align_data.common.errors import InputError
from align_data.sources.lists.column_names import NEEDED, PROVENANCE

COLUMNS: dict[str, Any] = {
    "url": pl.String,
    "alt_text": pl.String,
    "declared_width": pl.Int32,
    "declared_height": pl.Int32,
    "page_url": pl.String,
    "declared_language": pl.String,
    "license": pl.String,
    "source_uid": pl.String,
    "crawl_file": pl.String,
    "crawl_offset": pl.Int64,
    "text_from": pl.String,
    "robots": pl.String,
    "score": pl.Float64,
}
"""What is read of an input."""
MAX_BYTES = 8 * 2**20
"""A longer URL or text is not an alt-text but an accident, and is rejected; any other value is left out."""
DETAIL = 200
"""Characters of a rejected row's detail."""
_EMPTY_SAYS = ("robots",)
"""Columns whose empty text says something: that there is nothing of it."""


@dataclass
class Rejects:
    """Rows that did not become pairs, and why."""

    rows: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    emptied: Counter[str] = field(default_factory=Counter)
    """Of each column how many values were left out, their rows kept."""

    def add(self, row: int, reason: str, detail: str) -> None:
        """Add one row, counted from 1."""
        self.rows.append(row)
        self.reasons.append(reason)
        self.details.append(detail[:DETAIL])

    def extend(self, rejects: Rejects) -> None:
        """Add the rows of another."""
        self.rows += rejects.rows
        self.reasons += rejects.reasons
        self.details += rejects.details
        self.emptied += rejects.emptied


@dataclass
class Batch:
    """Columns under our names, as the file has them, and each row's number."""

    columns: dict[str, pa.Array]
    rows: Any


def texts(batch: Batch, rejects: Rejects, *, nulls: bool = True) -> pl.DataFrame:
    """Return the batch as a frame of text and size columns; rows whose URL or text is not UTF-8 go to `rejects`.

    `nulls` tells whether its format has a null beside the empty text.
    """
    columns = {name: _stored(column, name) for name, column in batch.columns.items()}
    rejected: set[int] = set()
    for name, column in columns.items():
        invalid = _invalid(column)
        if invalid and name not in NEEDED:  # a pair is not worse for it
            columns[name] = _emptied(column, [place for place, _ in invalid])
            rejects.emptied[name] += len(invalid)
            continue
        for place, value in invalid:
            if place not in rejected:
                text = value.decode("utf-8", "backslashreplace")
                rejects.add(int(batch.rows[place]), "invalid_utf8", f"{name}: {text}")
            rejected.add(place)
    rows = np.asarray(batch.rows, dtype=np.int64)
    if rejected:
        keep = np.ones(len(rows), dtype=bool)
        keep[list(rejected)] = False
        rows = rows[keep]
        columns = {name: column.filter(pl.Series(keep).to_arrow()) for name, column in columns.items()}
    plain = {n: _text(c) if COLUMNS[n] == pl.String or is_text(c.type) else c for n, c in columns.items()}
    frame = pl.from_arrow(pa.table({"row": pl.Series(rows).to_arrow(), **plain}))
    assert isinstance(frame, pl.DataFrame)
    declared = [name for name in columns if COLUMNS[name] == pl.String and name not in NEEDED]
    return frame.with_columns(
        *numbers(columns),
        # In CSV nothing and the empty text are one; so they are everywhere.
        *(
            pl.when(pl.col(name).str.len_bytes().is_between(0 if nulls and name in _EMPTY_SAYS else 1, MAX_BYTES))
            .then(pl.col(name))
            .alias(name)
            for name in declared
        ),
    )


def _stored(column: Any, name: str) -> pa.Array:
    """Return the column as one array of what a value can be here: bytes, text, numbers or nothing."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if name in NEEDED:
        not_text(kind, name)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if is_text(kind) or pa.types.is_null(kind) or number:
        return array
    try:
        return array.cast(pa.large_string())  # a date, a decimal
    except pa.ArrowException:
        return pa.nulls(len(array), pa.large_string())


def not_text(kind: pa.DataType, role: str) -> None:
    """Refuse a URL or text that is of a type that cannot be one."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (is_text(kind) or pa.types.is_null(kind)):
        raise InputError(f"the column for {role} holds {kind}, not text; choose another with --url-col or --text-col")


def fits(role: str, kind: pa.DataType) -> bool:
    """Tell whether a type can be a declared column: a size, an id or the like, not a list, a struct or a map.

    What a crawl says is of one type: a column that is only called so may say anything.
    """
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if role in PROVENANCE:
        right = pa.types.is_integer(kind) if COLUMNS[role] == pl.Int64 else is_text(kind)
        return right or pa.types.is_null(kind)
    return not pa.types.is_nested(kind)


def is_text(kind: pa.DataType) -> bool:
    """Tell whether a type is text, or bytes that may be."""
    strings = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return bool(strings or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _invalid(column: pa.Array) -> list[tuple[int, bytes]]:
    """Return position and bytes of the values that are not UTF-8."""
    if not is_text(column.type):
        return []
    column = column.cast(pa.large_binary())
    try:
        column.cast(pa.large_string())  # checks every byte, at memory speed
    except pa.ArrowInvalid:
        values = enumerate(column.to_pylist())
        return [(place, raw) for place, raw in values if raw is not None and not valid_utf8(raw)]
    return []


def _emptied(column: pa.Array, places: list[int]) -> pa.Array:
    """Return a column with null at some places."""
    mask = np.zeros(len(column), dtype=bool)
    mask[places] = True
    column = column.cast(pa.large_binary())
    return pc.if_else(pl.Series(mask).to_arrow(), pa.scalar(None, column.type), column)


def valid_utf8(raw: bytes) -> bool:
    """Tell whether bytes are UTF-8."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _text(column: pa.Array) -> pa.Array:
    if pa.types.is_floating(column.type):
        # Ids that went through pandas beside a null: 12.0 was 12.
        column = pc.if_else(pc.is_nan(column.cast(pa.float64())), None, column.cast(pa.float64()))
        whole = column.cast(pa.int64(), safe=False)
        same = pc.fill_null(pc.equal(whole.cast(column.type, safe=False), column), False)
        return pc.if_else(same, whole.cast(pa.large_string()), column.cast(pa.large_string()))
    return (
        column.cast(pa.large_binary()).cast(pa.large_string())
        if is_text(column.type)
        else column.cast(pa.large_string())
    )


def numbers(names: Iterable[str]) -> Iterator[pl.Expr]:
    """Yield those of our columns that are numbers, from what stands for them."""
    for name in names:
        if COLUMNS[name] == pl.Int32:
            yield _size(name)
        elif COLUMNS[name] == pl.Int64:
            place = pl.col(name).cast(pl.Int64, strict=False)
            yield pl.when(place >= 0).then(place).alias(name)


def _size(name: str) -> pl.Expr:
    """Return a declared size as a positive Int32, null if it is none."""
    pixels = pl.col(name).cast(pl.Float64, strict=False).cast(pl.Int32, strict=False)
    return pl.when(pixels > 0).then(pixels).alias(name)
