"""Conditions on one column of pairs, in a line: `host=x`, `n_words>=3`, `alt_text~cat`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from align_data.common.errors import AlignDataError

_LINE = re.compile(r"([^!=<>~]+)(!=|<=|>=|~~|=|<|>|~)(.*)", re.DOTALL)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ALTERNATIVE = re.compile(rf"\s*(?:({_QUOTED.pattern})\s*(\||\Z)|([^|]*)(\||\Z))", re.DOTALL)
"""One of several values: a JSON string, or what stands before the next bar."""
_CONTROL = re.compile(r"[\x00-\x1f]")
_REASON = re.compile(r".*error: ([^\n]+)", re.DOTALL)
"""What the engine says of a pattern last, without where that was in the pattern and in its own query."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?inf(?:inity)?", re.IGNORECASE)
_INT64 = 2**63
_TOO_LARGE = "size limit"
NULL = "null"
_EQUAL = ("=", "!=")
_ORDER: Mapping[str, Callable[[pl.Expr, Any], pl.Expr]] = {
    "<": pl.Expr.lt,
    "<=": pl.Expr.le,
    ">": pl.Expr.gt,
    ">=": pl.Expr.ge,
}
FORMS = "NAME=V, NAME=V|V, NAME!=V, NAME<V, NAME<=V, NAME>V, NAME>=V, NAME~TEXT or NAME~~REGEX"


class ConditionError(AlignDataError):
    """A condition cannot be understood, or not be asked of its column."""


@dataclass(frozen=True)
class Condition:
    """What holds of a column of a pair; nothing is known of a missing value, but for `NAME=null`."""

    column: str
    op: str
    value: str
    """As it is written: alternatives with bars between them, and in double quotes what is to be taken as it stands."""

    @staticmethod
    def parse(line: str) -> Condition:
        """Read a condition; ConditionError for what is none."""
        match = _LINE.fullmatch(line.strip())
        if match is None or not match[1].strip():
            raise ConditionError(f"{line[:200]!r} is not a condition: write {FORMS}")
        column, op, value = match[1].strip(), match[2], match[3].strip()
        if op in ("~", "~~") and not value:  # which every text has: a variable of a shell that is not set, perhaps
            raise ConditionError(f"{column[:200]}{op}: no text to look for")
        return Condition(column, op, value)

    @staticmethod
    def equal(column: str, *values: str | None) -> Condition:
        """Return the condition that a column has one of these values, whatever signs they have; None for no value."""
        return Condition(column, "=", "|".join(NULL if value is None else _written(value) for value in values))

    def __str__(self) -> str:
        """Return it as it is written."""
        return f"{self.column}{self.op}{self.value}"

    @property
    def _excerpt(self) -> str:
        """As much of it as a sentence has room for."""
        return str(self)[:200]

    @property
    def values(self) -> tuple[str | None, ...]:
        """What the column is compared with: several of = and !=, else one; None for `null`."""
        if self.op == "~~":
            return (self.value,)
        if self.op not in _EQUAL:
            return (_read(self.value) if _QUOTED.fullmatch(self.value) else self.value,)
        values, at, bar = list[str | None](), 0, "|"
        while bar:
            match = _ALTERNATIVE.match(self.value, at)
            assert match is not None
            bare, bar, at = match[3], match[2] or match[4], match.end()
            values.append(_read(match[1]) if match[1] else None if bare.strip() == NULL else bare.strip())
        return tuple(values)

    def holds(self, dtype: pl.DataType) -> pl.Expr:
        """Return whether it holds, of a column of this type; ConditionError for what cannot be compared with it."""
        column = pl.col(self.column)
        if self.op in ("~", "~~"):
            return self._matches(column, dtype)
        if self.op in _ORDER:
            (written,) = self.values
            assert written is not None
            value = self._typed(written, dtype)
            if isinstance(value, bool):
                raise ConditionError(f"{self._excerpt}: {self.column} is true or false, which has no order")
            holds: pl.Expr = _ORDER[self.op](column, pl.lit(value))
            return holds.fill_null(False)
        typed = [self._typed(value, dtype) for value in self.values if value is not None]
        if dtype == pl.String:  # of thousands of hosts one by one each would cost a comparison
            equal = column.is_in(pl.Series(typed, dtype=pl.String).implode())
        else:
            equal = pl.any_horizontal([column == value for value in typed]) if typed else pl.lit(False)
        if self.op == "=":
            return equal.fill_null(False) | (column.is_null() if None in self.values else pl.lit(False))
        return column.is_not_null() & ~equal.fill_null(False)

    def _matches(self, column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        if dtype != pl.String:
            raise ConditionError(f"{self._excerpt}: {self.column} is not a text, so it can only be compared")
        (value,) = self.values
        assert value is not None
        _check_encodable(value)
        # `(?i)` folds letters one by one as Unicode says; lower case would tell a final sigma from any other.
        pattern = value if self.op == "~~" else f"(?i){pl.escape_regex(value)}"
        try:  # by the engine that will look: it takes time in proportion to the text, whatever the pattern
            pl.Series([""]).str.contains(pattern)
        except pl.exceptions.PolarsError as error:
            raise ConditionError(f"{self._excerpt}: {_not_searched(str(error))}") from error
        return column.str.contains(pattern).fill_null(False)

    def _typed(self, value: str, dtype: pl.DataType) -> Any:
        if dtype == pl.String:
            _check_encodable(value)
            return value
        if dtype == pl.Boolean:
            truths = {"true": True, "false": False}
            if value.lower() not in truths:
                raise ConditionError(f"{self._excerpt}: {self.column} is true, false or null")
            return truths[value.lower()]
        if _NUMBER.fullmatch(value) is None:
            raise ConditionError(f"{self._excerpt}: {self.column} is a number, and {value[:100]!r} is none")
        whole = re.fullmatch(r"[+-]?[0-9]{1,19}", value) is not None and -_INT64 <= int(value) < _INT64
        return int(value) if whole else float(value)  # a pHash has more digits than a float


def _not_searched(error: str) -> str:
    """Say why a text cannot be searched for, by what the engine says."""
    if _TOO_LARGE in error:
        return "too long, or repeats too much, to be searched for"
    found = _REASON.match(error)
    reason = found[1].strip().rstrip(".") if found is not None else "it cannot be compiled"
    return f"not a regular expression that can be searched: {reason}"


def _check_encodable(value: str) -> None:
    """Raise ConditionError for a text that no pair can have: half a character, or bytes that are not UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConditionError(f"{value[:100]!a} is no text in UTF-8, so no pair has it") from None


def _written(value: str) -> str:
    """Return a value as a condition has it: in quotes where something of it would be read otherwise."""
    plain = value == value.strip() and value != NULL and "|" not in value and not value.startswith('"')
    plain = plain and not _CONTROL.search(value)  # which a shell, or a field of one line, would leave out
    return value if plain else json.dumps(value, ensure_ascii=False)


def _read(quoted: str) -> str:
    """Return what stands in quotes; as it is where that is no JSON."""
    try:
        return str(json.loads(quoted, strict=False))
    except ValueError:
        return quoted
