"""Tests as they decide: every threshold a value, in a tree of any and all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import polars as pl

from align_data.common.errors import RecipeError
from align_data.recipes.conditions import Test, value_words
from align_data.recipes.operators import OPERATORS, Bound, Operator
from align_data.recipes.values import ELSE, UNSPECIFIED
from align_data.signals import Signal, find

PASSES = None
"""The value of a class in which every value passes."""
Coded = Mapping[str, Sequence[str]]
"""Column of text that is an Enum → its values by their codes."""


@dataclass(frozen=True)
class PlannedTest:
    """A comparison as it decides."""

    definition: Signal
    """The signal; a score or a rank as one."""
    op: str
    value: Any
    """What is compared with; where the value hangs on a class, that of all classes that are not named."""
    by: Signal | None = None
    classes: Mapping[str, Any] = field(default_factory=dict)
    """Class → what is compared with; PASSES where all values pass."""

    @property
    def signal(self) -> str:
        """The column that is compared."""
        return self.definition.name

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.signal,) if self.by is None else (self.signal, self.by.name)

    @property
    def operator(self) -> Operator:
        """Its operator."""
        return OPERATORS[self.op]

    @property
    def resolved(self) -> bool:
        """Whether it can decide: its threshold is not one that is still to be looked up, or to be set."""
        return not self.operator.relative and UNSPECIFIED not in (self.value, *self.classes.values())

    def of_class(self, name: str | None) -> PlannedTest:
        """Return the test as pairs of one class meet it; of None, those of no named class."""
        value = self.classes.get(name, self.value) if name is not None else self.value
        return PlannedTest(self.definition, self.op, value)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """The ends of what passes, the lower first, of a test whose value hangs on no class."""
        return (
            self.operator.bounds(self.value) if self.by is None and self.resolved and self.value is not PASSES else ()
        )

    def words(self) -> str:
        """Return what passes, in words."""
        if self.by is None:
            return value_words(self.operator, self.value)
        return value_words(self.operator, {**self.classes, ELSE: self.value}, self.by.name)

    def passes(self, column: pl.Expr) -> pl.Expr:
        """Return whether a column's values pass, of a test without classes or of_class: null where they are null."""
        test = self.operator.test
        if test is None or not self.resolved:
            raise RecipeError(f"{self.signal} {self.words()} must become a threshold before it decides")
        return test(column, self.value) if self.value is not PASSES else pl.when(column.is_not_null()).then(True)

    def verdict(self, measured: Collection[str], coded: Coded = MappingProxyType({})) -> pl.Expr:
        """Return whether pairs pass: null where a column has no value, or is not measured.

        `coded` has the columns of text that are an Enum, each with the values of its codes.
        """
        if not set(self.columns) <= set(measured):
            return pl.lit(None, pl.Boolean)
        column = pl.col(self.signal)
        if self.by is None:
            return self.passes(column)
        if self.signal in coded:
            column = column.cast(pl.String)  # an Enum is not compared with texts that it does not have
        by = ClassColumn(self.by.name, coded.get(self.by.name))
        return pl.when(by.column.is_not_null()).then(self._by_class(column, by))

    def _by_class(self, column: pl.Expr, by: ClassColumn) -> pl.Expr:
        test = self.operator.test
        if test is None or not self.resolved:
            raise RecipeError(f"{self.signal} {self.words()} must become a threshold before it decides")
        named = self.classes if not by.texts else {name: self.classes.get(name, self.value) for name in by.texts}
        alike: dict[Any, dict[str, Any]] = {}
        for name, value in named.items():
            alike.setdefault(_kind(value), {})[name] = value
        # Where a class is named its verdict is null with the value alone, and then that of all others is null too.
        verdicts = [self._looked_up(column, by, of) for of in alike.values()]
        return pl.coalesce(verdicts if by.texts else [*verdicts, self.of_class(None).passes(column)])

    def _looked_up(self, column: pl.Expr, by: ClassColumn, values: Mapping[str, Any]) -> pl.Expr:
        """Return whether pairs of these classes pass, whose values are alike: in one comparison; null for others."""
        test, first = self.operator.test, next(iter(values.values()))
        assert test is not None
        if len(set(values.values())) == 1:
            return pl.when(by.one_of(values)).then(PlannedTest(self.definition, self.op, first).passes(column))
        if not isinstance(first, tuple):
            return test(column, by.looked_up(values))
        ends = zip(*values.values(), strict=True)
        return test(column, [by.looked_up(dict(zip(values, singles, strict=True))) for singles in ends])


@dataclass(frozen=True)
class ClassColumn:
    """A column whose values are classes, and how a pair's class is looked up: by its text, or by its code."""

    name: str
    texts: Sequence[str] | None = None
    """The classes by their codes, where the column is an Enum."""

    @property
    def column(self) -> pl.Expr:
        """The column, as text or as codes."""
        column = pl.col(self.name)
        return column.cast(pl.String) if self.texts is None else column.to_physical()

    def one_of(self, classes: Collection[str]) -> pl.Expr:
        """Return whether pairs are of one of these classes."""
        if self.texts is None:
            return self.column.is_in(list(classes))
        return self._gathered([text in classes for text in self.texts], pl.Boolean)

    def looked_up(self, values: Mapping[str, Any]) -> pl.Expr:
        """Return the value of each pair's class, of values of one type; null for a class that has none."""
        dtype = _DTYPES[type(next(iter(values.values())))]
        if self.texts is None:
            return self.column.replace_strict(list(values), list(values.values()), default=None, return_dtype=dtype)
        return self._gathered([values.get(text) for text in self.texts], dtype)

    def _gathered(self, of_codes: Sequence[Any], dtype: Any) -> pl.Expr:
        return pl.lit(pl.Series(of_codes, dtype=dtype)).gather(self.column)


_DTYPES: Mapping[type, Any] = {bool: pl.Boolean, int: pl.Int64, float: pl.Float64, str: pl.String}


def _kind(value: Any) -> Any:
    """Return what values of classes share that are compared at once: of other types each is compared by itself."""
    return tuple(map(type, value)) if isinstance(value, tuple) else type(value)


@dataclass(frozen=True)
class AnyOf:
    """Passes if one of these passes; unknown if none does and one is unknown."""

    parts: tuple[Planned, ...]

    def verdict(self, measured: Collection[str], coded: Coded = MappingProxyType({})) -> pl.Expr:
        """Return whether pairs pass: null where that is unknown."""
        return pl.any_horizontal([part.verdict(measured, coded) for part in self.parts])


@dataclass(frozen=True)
class AllOf:
    """Passes if all of these pass; unknown if none fails and one is unknown."""

    parts: tuple[Planned, ...]

    def verdict(self, measured: Collection[str], coded: Coded = MappingProxyType({})) -> pl.Expr:
        """Return whether pairs pass: null where that is unknown."""
        return pl.all_horizontal([part.verdict(measured, coded) for part in self.parts])


Planned = PlannedTest | AnyOf | AllOf


def leaves(planned: Planned) -> tuple[PlannedTest, ...]:
    """Return the comparisons of a test, in the order of the file."""
    if isinstance(planned, PlannedTest):
        return (planned,)
    return tuple(leaf for part in planned.parts for leaf in leaves(part))


def planned(test: Test) -> Planned:
    """Return a recipe's test as it decides, but for thresholds that are relative to the pool."""
    if test.any_:
        return AnyOf(tuple(map(planned, test.any_)))
    if test.all_:
        return AllOf(tuple(map(planned, test.all_)))
    if test.by is None:
        return PlannedTest(test.definition, test.op, test.value)
    classes = {name: value for name, value in test.value.items() if name != ELSE}
    return PlannedTest(test.definition, test.op, test.value[ELSE], find(test.by), classes)


def decidable(planned: Planned, lacking: Collection[str]) -> bool:
    """Tell whether a test can pass where these of its columns have no values."""
    if isinstance(planned, PlannedTest):
        return not set(planned.columns) & set(lacking)
    return (any if isinstance(planned, AnyOf) else all)(decidable(part, lacking) for part in planned.parts)
