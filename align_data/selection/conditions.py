"""Conditions on one column of pairs, in a line: `host=x`, `n_words>=3`, `alt_text~cat`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from align_data.common.errors import AlignDataError, nearest

_LINE = re.compile(r"([A-Za-z_][\w.]*)\s*(!=|<=|>=|~~|=|<|>|~)(.*)", re.DOTALL)
NULL = "null"
_ORDER: Mapping[str, Callable[[pl.Expr, Any], pl.Expr]] = {
    "<": pl.Expr.lt,
    "<=": pl.Expr.le,
    ">": pl.Expr.gt,
    ">=": pl.Expr.ge,
}
FORMS = "NAME=V, NAME!=V, NAME<V, NAME<=V, NAME>V, NAME>=V, NAME~TEXT or NAME~~REGEX"


class ConditionError(AlignDataError):
    """A condition cannot be understood, or not be asked of its column."""


@dataclass(frozen=True)
class Condition:
    """What holds of a column of a pair; nothing is known of a missing value, but for `NAME=null`."""

    column: str
    op: str
    value: str

    @staticmethod
    def parse(line: str) -> Condition:
        """Read a condition; ConditionError for what is none."""
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ConditionError(f"{line[:200]!r} is not a condition: write {FORMS}")
        return Condition(match[1], match[2], match[3].strip())

    def __str__(self) -> str:
        """Return it as it is written."""
        return f"{self.column}{self.op}{self.value}"

    def check(self, columns: Collection[str]) -> None:
        """Raise ConditionError for a column that there is not."""
        if self.column not in columns:
            raise ConditionError(f"{self}: no column {self.column}{nearest(self.column, list(columns))}")

    def holds(self, dtype: pl.DataType) -> pl.Expr:
        """Return whether it holds, of a column of this type; ConditionError for what cannot be compared with it."""
        column = pl.col(self.column)
        if self.value == NULL and self.op in ("=", "!="):
            return column.is_null() if self.op == "=" else column.is_not_null()
        if self.op in ("~", "~~"):
            return self._matches(column, dtype)
        value = self._typed(dtype)
        if self.op in _ORDER:
            if isinstance(value, bool):
                raise ConditionError(f"{self}: {self.column} is true or false, which has no order")
            holds: pl.Expr = _ORDER[self.op](column, pl.lit(value))
        else:
            holds = column == value if self.op == "=" else column != value
        return holds.fill_null(False)

    def _matches(self, column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        if dtype != pl.String:
            raise ConditionError(f"{self}: {self.column} is not a text, so it can only be compared")
        if self.op == "~":
            return column.str.to_lowercase().str.contains(self.value.lower(), literal=True).fill_null(False)
        try:  # by the engine that will look: it takes time in proportion to the text, whatever the pattern
            pl.Series([""]).str.contains(self.value)
        except pl.exceptions.PolarsError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ConditionError(f"{self.value[:200]!r} is not a regular expression: {reason}") from error
        return column.str.contains(self.value).fill_null(False)

    def _typed(self, dtype: pl.DataType) -> Any:
        if dtype == pl.String:
            return self.value
        if dtype == pl.Boolean:
            truths = {"true": True, "false": False}
            if self.value.lower() not in truths:
                raise ConditionError(f"{self}: {self.column} is true or false")
            return truths[self.value.lower()]
        try:
            number = int(self.value) if re.fullmatch(r"[+-]?[0-9]{1,18}", self.value) else float(self.value)
        except ValueError:
            raise ConditionError(f"{self}: {self.column} is a number, and {self.value[:100]!r} is none") from None
        if math.isnan(number):  # which is neither below nor above anything
            raise ConditionError(f"{self}: not a number to compare with")
        return number
