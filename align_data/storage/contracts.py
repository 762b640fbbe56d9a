"""The contract of a table: each column's type, null and meaning.

Where the columns are signals it follows from these (`signals.contracts`); of the other tables it is a YAML in schemas/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import pyarrow as pa
import yaml

from align_data.common import resources
from align_data.common.errors import DatasetError

if TYPE_CHECKING:
    import polars as pl

# Signed integers only: Spark has no unsigned ones. Strings have 64-bit offsets in memory; on disk all are the same.
TYPES: Mapping[str, pa.DataType] = {
    "string": pa.large_string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "binary": pa.large_binary(),
}
_PACKED = ("int32", "int64", "bool")


@dataclass(frozen=True)
class Column:
    """One column of a contract."""

    name: str
    type: str
    nullable: bool
    about: str
    erased: bool = False
    """Whether a takedown takes the value out: it holds, or tells, what identifies the pair."""
    plain: bool = False
    """Stored as it is, where a codec would cost more time than its bytes are worth. Whole numbers always are."""
    dictionary: bool = True
    """Whether a dictionary is written: of values that hardly repeat it would only cost time."""
    differences: bool = False
    """Whether whole numbers are stored as differences, in as few bits as these take: for many values that lie near."""
    statistics: bool = False
    """Whether each row group says its least and greatest value: where rows are sorted, so that readers skip some."""
    former: str | None = None
    """What earlier versions called it."""
    optional: bool = False
    """Whether a table may be without it: it is written only where an input has it."""

    @property
    def compressed(self) -> bool:
        """Whether a codec is used: in whole numbers that are packed already it finds little."""
        return not self.plain and self.type not in _PACKED


@dataclass(frozen=True)
class Contract:
    """What a table must look like; a `partial` one, of signals, may hold any subset of its columns."""

    table: str
    about: str
    columns: tuple[Column, ...]
    partial: bool = False
    former: tuple[str, ...] = ()
    """Columns that earlier versions wrote beside these."""

    def arrow(self, names: list[str] | None = None) -> pa.Schema:
        """Return the Arrow schema of all columns, or of the named ones, in the contract's order."""
        return pa.schema(
            [
                pa.field(c.name, TYPES[c.type], nullable=c.nullable)
                for c in self.columns
                if names is None or c.name in names
            ]
        )

    @cached_property
    def renamed(self) -> frozenset[str]:
        """The columns that earlier versions called otherwise."""
        return frozenset(column.name for column in self.columns if column.former is not None)

    def stored(self, names: Iterable[str]) -> dict[str, str]:
        """Return the columns of a file by their names of now, in the file's order."""
        now = {column.former: column.name for column in self.columns if column.former is not None}
        return {now.get(name, name): name for name in names}

    def polars(self, *names: str) -> pl.Schema:
        """Return the Polars schema of all columns, or of the named ones, in the order of the names."""
        import polars as pl  # noqa: PLC0415 - a process that reads archives needs none

        types = pl.Schema(self.arrow())
        return pl.Schema({name: types[name] for name in names or types})

    def check(self, table: pa.Table) -> pa.Table:
        """Return `table` with the contract's column order and string width.

        Raises DatasetError with every mismatch at once: columns missing, unknown, of another type, forbidden nulls.
        """
        defined = {c.name: c for c in self.columns}
        mismatches = [f"column {name} is not in the contract" for name in table.column_names if name not in defined]
        if not self.partial:
            needed = [c.name for c in self.columns if not c.optional]
            mismatches += [f"column {name} is missing" for name in needed if name not in table.column_names]
        for name in set(table.column_names) & set(defined):
            column, definition = table[name], defined[name]
            if _plain(column.type) != TYPES[definition.type]:
                mismatches.append(f"column {name} is {column.type}, not {definition.type}")
            if not definition.nullable and column.null_count:
                mismatches.append(f"column {name} has {column.null_count} nulls")
        if mismatches:
            raise DatasetError(f"table {self.table} breaks its contract: " + "; ".join(sorted(mismatches)))
        return table.select([n for n in defined if n in table.column_names]).cast(self.arrow(table.column_names))


def same_type(stored: pa.DataType, defined: pa.DataType) -> bool:
    """Tell whether a column's type in a file is what a contract says, but for the width of its offsets."""
    return bool(_plain(stored) == _plain(defined))


def _plain(type_: pa.DataType) -> pa.DataType:
    if type_ in (pa.string(), pa.string_view()):
        return pa.large_string()
    return pa.large_binary() if type_ in (pa.binary(), pa.binary_view()) else type_


@cache
def contract(table: str) -> Contract:
    """Load the contract called `table` from schemas/."""
    schema = yaml.safe_load(resources.text("schemas", f"{table}.yaml"))
    columns = tuple(Column(name, **{"nullable": False, **options}) for name, options in schema["columns"].items())
    return Contract(schema["table"], schema["about"], columns, former=tuple(schema.get("former", ())))


def contracts() -> list[Contract]:
    """Load all contracts that are in schemas/."""
    return [contract(name) for name in resources.names("schemas", ".yaml")]
