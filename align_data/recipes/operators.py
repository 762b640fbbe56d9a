"""The operators of a rule's test, in one table: what each asks for, which values pass, and between which bounds."""

from __future__ import annotations

import math
import operator
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from align_data.signals import Signal
from align_data.signals.corpus import RAREST_NGRAM

Test = Callable[[pl.Expr, Any], pl.Expr]
_ORDERINGS: dict[str, Test] = {"gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}


@dataclass(frozen=True)
class Bound:
    """One end of the values that pass: gt, ge, lt or le, and its threshold."""

    op: str
    value: float

    @property
    def lower(self) -> bool:
        """Whether the values above it pass."""
        return self.op in ("gt", "ge")

    @property
    def inclusive(self) -> bool:
        """Whether the threshold itself passes."""
        return self.op in ("ge", "le")

    @property
    def cuts_above(self) -> bool:
        """Whether the threshold is on the side of the values below it, so that the cut is just above."""
        return self.lower != self.inclusive

    def cut(self, *, whole: bool) -> float | None:
        """Return the least value above the cut at the bound, of integers if `whole`; None where 64 bits hold none."""
        if not whole:
            return math.nextafter(self.value, math.inf) if self.cuts_above else float(self.value)
        # A rule compares integers with a float as floats: of 64 bits, up to 512 round to the float beside them.
        near = range(math.floor(self.value) - 1024, math.floor(self.value) + 1025)
        search = bisect_right if self.cuts_above else bisect_left
        least = near.start + search(near, self.value, key=type(self.value))
        return max(least, -(2**63)) if least < 2**63 else None

    def passes(self, column: pl.Expr) -> pl.Expr:
        """Return whether the column's values are on the side that passes: null where they are null."""
        return _ORDERINGS[self.op](column, self.value)


def figure(value: Any) -> str:
    """Return a value as a reader takes it in: a fraction to six decimals."""
    return str(round(value, 6)) if isinstance(value, float) else text(value)


def text(value: Any, separator: str = ", ") -> str:
    """Return a test's value as a recipe writes it."""
    if isinstance(value, tuple):
        return separator.join(text(element) for element in value)
    if isinstance(value, Mapping):
        return separator.join(f"{name}: {text(element)}" for name, element in value.items())
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


@dataclass(frozen=True)
class Operator:
    """One operator."""

    name: str
    about: str
    """Its description in the schema of the recipe format."""
    words: Callable[[Any], str]
    """A value → what a rule asks for, in words."""
    open_words: str
    """What a rule asks for whose value is unspecified, in words."""
    test: Test | None = None
    """A column and a value → whether the column passes: null where it is null. None for an operator that is relative to
    the pool: another decides in its place."""
    bounds: Callable[[Any], tuple[Bound, ...]] = lambda _: ()
    """A value → the ends of what passes, the lower first; none where values are compared one by one."""
    numeric: bool = True
    """Whether it orders numbers; the others compare text and truth too."""
    multiple: bool = False
    """Whether its value is a list."""
    becomes: str | None = None
    """The operator that decides in its place, once its threshold has been looked up in the pool."""
    signal: str | None = None
    """What it is a test of, where it is not one of any signal."""
    accepts: Callable[[Signal], bool] = lambda _: True

    @property
    def relative(self) -> bool:
        """Whether its threshold follows from the pool."""
        return self.test is None


def _ordering(name: str, about: str, words: str) -> Operator:
    return Operator(
        name,
        about,
        lambda value: f"{words} {_limit(value)}",
        f"{words} an unspecified value",
        _ORDERINGS[name],
        lambda value: (Bound(name, value),),
    )


def _limit(value: float) -> str:
    """Return a threshold in words: a big whole number in groups of three."""
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else text(value)


def _any_of(column: pl.Expr, values: Sequence[Any]) -> pl.Expr:
    return pl.any_horizontal([column == value for value in values])


_TABLE = (
    _ordering("gt", "Passes if the value is greater.", "more than"),
    _ordering("ge", "Passes if the value is greater or equal.", "at least"),
    _ordering("lt", "Passes if the value is less.", "less than"),
    _ordering("le", "Passes if the value is less or equal.", "at most"),
    Operator(
        "eq",
        "Passes if the value is equal.",
        text,
        "an unspecified value",
        test=lambda column, value: column == value,
        numeric=False,
    ),
    Operator(
        "in",
        "Passes if the value is one of these.",
        lambda values: f"one of {text(values)}",
        "one of unspecified values",
        test=_any_of,
        numeric=False,
        multiple=True,
    ),
    Operator(
        "between",
        "Passes if the value is between these two, both ends included.",
        lambda ends: f"{_limit(ends[0])} to {_limit(ends[1])}",
        "in an unspecified range",
        test=lambda column, ends: column.is_between(*ends),
        bounds=lambda ends: (Bound("ge", ends[0]), Bound("le", ends[1])),
        multiple=True,
    ),
    Operator(
        "top_k",
        "Passes if every n-gram is among about this many most frequent ones of the raw pool: n-grams of equal count "
        "pass together, so the nearest possible size is taken, which may be larger.",
        lambda size: f"one of the {size:,} most frequent",
        "one of an unspecified number of the most frequent",
        becomes="ge",
        signal=RAREST_NGRAM,
        accepts=lambda signal: signal.name == RAREST_NGRAM,
    ),
    Operator(
        "top_fraction",
        "Passes if the value is among this share of the highest, of the pairs that have one and that are among those "
        "that the rule chooses from: by default the pairs that no other rule in force fails. A rule that is unknown "
        "for a pair does not fail it, and whether a pair was taken down is left out of account. Equal values pass "
        "together.",
        lambda fraction: f"among the highest {100 * fraction:.6g}%",
        "among an unspecified share of the highest",
        becomes="ge",
    ),
)
OPERATORS = {row.name: row for row in _TABLE}
