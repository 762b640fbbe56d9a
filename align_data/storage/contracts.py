"""The contract of every table: a YAML in schemas/ that says each column's type, null and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import polars as pl
import pyarrow as pa
import yaml

from align_data.common import resources
from align_data.common.errors import DatasetError

# Signed integers only: Spark has no unsigned ones. Strings have 64-bit offsets in memory; on disk all are the same.
TYPES: Mapping[str, pa.DataType] = {
    "string": pa.large_string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
}


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
    """Stored as it is: of random characters a codec makes little, and a ledger should cost next to nothing."""


@dataclass(frozen=True)
class Contract:
    """What a table must look like; `partial` ones, the measured groups, may hold any subset of their columns."""

    table: str
    about: str
    columns: tuple[Column, ...]
    partial: bool = False

    def arrow(self, names: list[str] | None = None) -> pa.Schema:
        """Return the Arrow schema of all columns, or of the named ones, in the contract's order."""
        return pa.schema(
            [
                pa.field(c.name, TYPES[c.type], nullable=c.nullable)
                for c in self.columns
                if names is None or c.name in names
            ]
        )

    def polars(self, *names: str) -> pl.Schema:
        """Return the Polars schema of all columns, or of the named ones, in the order of the names."""
        every = pl.Schema(self.arrow())
        return pl.Schema({name: every[name] for name in names or every})

    def check(self, table: pa.Table) -> pa.Table:
        """Return `table` with the contract's column order and string width.

        Raises DatasetError with every mismatch at once: columns missing, unknown, of another type, forbidden nulls.
        """
        known = {c.name: c for c in self.columns}
        wrong = [f"column {name} is not in the contract" for name in table.column_names if name not in known]
        if not self.partial:
            wrong += [f"column {c.name} is missing" for c in self.columns if c.name not in table.column_names]
        for name in set(table.column_names) & set(known):
            column, want = table[name], known[name]
            if _plain(column.type) != TYPES[want.type]:
                wrong.append(f"column {name} is {column.type}, not {want.type}")
            if not want.nullable and column.null_count:
                wrong.append(f"column {name} has {column.null_count} nulls")
        if wrong:
            raise DatasetError(f"table {self.table} breaks its contract: " + "; ".join(sorted(wrong)))
        return table.select([n for n in known if n in table.column_names]).cast(self.arrow(table.column_names))


def same_type(stored: pa.DataType, wanted: pa.DataType) -> bool:
    """Tell whether a column's type in a file is what a contract asks for, but for the width of its offsets."""
    return bool(_plain(stored) == _plain(wanted))


def _plain(type_: pa.DataType) -> pa.DataType:
    return pa.large_string() if type_ in (pa.string(), pa.string_view()) else type_


@cache
def contract(table: str) -> Contract:
    """Load the contract called `table` from schemas/."""
    data = yaml.safe_load(resources.text("schemas", f"{table}.yaml"))
    columns = tuple(
        Column(name, c["type"], c.get("nullable", False), c["about"], c.get("erased", False), c.get("plain", False))
        for name, c in data["columns"].items()
    )
    return Contract(data["table"], data["about"], columns, bool(data.get("partial", False)))


def contracts() -> list[Contract]:
    """Load every contract there is."""
    return [contract(name) for name in resources.names("schemas", ".yaml")]
