"""Tests of a rule: a signal or a score compared with a value, or several tests of which any or all must pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from align_data.common.errors import SignalError
from align_data.recipes.operators import OPERATORS, Operator, text
from align_data.recipes.values import (
    ELSE,
    UNSPECIFIED,
    Fraction,
    Number,
    Pair,
    Size,
    Value,
    Values,
    check_storable,
    each,
    threshold,
    unspecified,
)
from align_data.signals import Signal, current_name, find

_SCORES: ContextVar[Mapping[str, Signal]] = ContextVar("_SCORES")
"""The scores of the recipe whose rules are being read."""
_CLASSES = ("string", "bool", "int32", "int64")
"""The types of signals whose values can be classes."""


@contextmanager
def scores_in_scope(scores: Mapping[str, Signal]) -> Iterator[None]:
    """Let tests that are read meanwhile compare these scores, by name, beside all signals."""
    before = _SCORES.set(scores)
    try:
        yield
    finally:
        _SCORES.reset(before)


def compared(name: str) -> Signal:
    """Return the signal, or the score in scope, of this name; SignalError for none."""
    scores = _SCORES.get({})
    try:
        return scores[name] if name in scores else find(name)
    except SignalError as error:
        if not scores:
            raise
        raise SignalError(f"{error}; and the scores {', '.join(scores)}") from None


def _test(name: str, alias: str | None = None) -> Any:
    """Return the field of an operator."""
    return Field(default=None, alias=alias, description=OPERATORS[name].about)


class Test(BaseModel):
    """One test: a signal or a score, and what it is compared with; or several tests, of which any or all must pass."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    signal: str | None = Field(default=None, description="The signal, or the recipe's score, that is compared.")
    by: str | None = Field(
        default=None,
        description="A signal whose values are classes, such as a language: the test then has a value for each class "
        f"that it names, and one for all others under {ELSE}.",
    )
    any_: tuple[Test, ...] | None = Field(
        default=None,
        alias="any",
        json_schema_extra={"minItems": 1},
        description="Passes if one of these tests passes.",
    )
    all_: tuple[Test, ...] | None = Field(
        default=None,
        alias="all",
        json_schema_extra={"minItems": 1},
        description="Passes if all of these tests pass.",
    )
    gt: threshold(Number) = _test("gt")  # type: ignore[valid-type]
    ge: threshold(Number) = _test("ge")  # type: ignore[valid-type]
    lt: threshold(Number) = _test("lt")  # type: ignore[valid-type]
    le: threshold(Number) = _test("le")  # type: ignore[valid-type]
    eq: threshold(Value) = _test("eq")  # type: ignore[valid-type]
    in_: threshold(Values) = _test("in", "in")  # type: ignore[valid-type]
    between: threshold(Pair) = _test("between")  # type: ignore[valid-type]
    top_k: threshold(Size) = _test("top_k")  # type: ignore[valid-type]
    top_fraction: threshold(Fraction) = _test("top_fraction")  # type: ignore[valid-type]
    _scores: Mapping[str, Signal] = PrivateAttr(default_factory=dict)
    """The scores that were in scope when it was read."""

    @model_validator(mode="before")
    @classmethod
    def _spelled_as_now(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {
            key: current_name(name) if key in ("signal", "by", "per") and isinstance(name, str) else name
            for key, name in data.items()
        }

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        self._scores = dict(_SCORES.get({}))
        forms = self._forms()
        taken = [name for name, of in forms.items() if of]
        if len(taken) != 1:
            problem = f"has {len(taken)} ({', '.join(taken)})" if taken else "has none"
            raise ValueError(f"a {self._noun} takes exactly one of {', '.join(forms)}; this one {problem}")
        tests = [name for name in OPERATORS if self._value(name) is not None]
        if () in (self.any_, self.all_):
            # Not as a bound of the field: pydantic would report a broken test as a missing one too.
            raise ValueError(f"{taken[0]} takes at least one test")
        if self.signal is None:
            if beside := [*tests, *(["by"] if self.by is not None else [])]:
                raise ValueError(f"{beside[0]} goes with a signal, not with {taken[0]}")
            return self
        if len(tests) != 1:
            problem = f"has {len(tests)} tests ({', '.join(tests)})" if tests else "has no test"
            raise ValueError(f"{problem}; it takes exactly one of {', '.join(OPERATORS)}")
        self._check_value(OPERATORS[tests[0]])
        return self

    @property
    def _noun(self) -> str:
        return "test"

    def _forms(self) -> dict[str, bool]:
        """Return what a test can be, and whether this one is."""
        return {"signal": self.signal is not None, "any": self.any_ is not None, "all": self.all_ is not None}

    def _check_value(self, operator: Operator) -> None:
        try:
            signal = self.definition
        except SignalError as error:
            raise ValueError(str(error)) from None
        if not operator.accepts(signal):
            raise ValueError(f"{operator.name} is a test of {operator.signal} alone")
        if operator.numeric and not signal.number:
            raise ValueError(f"{operator.name} compares numbers, but {signal.name} is {signal.unit}; use eq or in")
        self._check_classes(operator)
        types = {"string": str, "bool": bool}.get(signal.type, (int, float))
        values = [value for value in each(self.value) if value != UNSPECIFIED]
        mismatches = [v for v in values if not isinstance(v, types) or (signal.number and isinstance(v, bool))]
        if mismatches:
            hint = " (YAML reads a bare true or false as no text: quote it)" if signal.type == "string" else ""
            raise ValueError(f"{signal.name} is {signal.unit}, and cannot be compared with {mismatches[0]!r}{hint}")
        check_storable(self.value)
        for of in self.value.values() if isinstance(self.value, dict) else [self.value]:
            if operator.name == "between" and of != UNSPECIFIED and of[0] > of[1]:
                raise ValueError(f"between takes the lower end first, not {of[0]}, {of[1]}")

    def _check_classes(self, operator: Operator) -> None:
        """Raise ValueError for a value by class without `by`, and for `by` without one."""
        classes = isinstance(self.value, dict)
        if self.by is None:
            if classes:
                raise ValueError(f"{operator.name} has a value for each class: say by which signal, as in by: language")
            return
        if operator.relative:
            raise ValueError(f"{operator.name} takes no by; for a threshold in each class use top_fraction with per")
        if not classes or ELSE not in self.value:
            raise ValueError(f"by takes a value for each class, such as {operator.name}: {{en: …, {ELSE}: …}}")
        check_class_signal("by", self.by)

    def _value(self, name: str) -> Any:
        return getattr(self, "in_" if name == "in" else name)

    @property
    def definition(self) -> Signal:
        """The signal that is compared, or the score as one."""
        assert self.signal is not None
        with scores_in_scope(self._scores or _SCORES.get({})):
            return compared(self.signal)

    def identity(self, op: str) -> dict[str, Any]:  # noqa: ARG002 - a rule keeps more for some
        """Return what it keeps where its test becomes one of the operator `op`."""
        return self.model_dump(include={"signal"})

    @property
    def plain(self) -> bool:
        """Whether it compares one signal with one value, whatever the pair."""
        return self.signal is not None and self.by is None

    @property
    def operator(self) -> Operator:
        """The operator, of one that compares a signal."""
        return next(operator for name, operator in OPERATORS.items() if self._value(name) is not None)

    @property
    def op(self) -> str:
        """The name of the operator."""
        return self.operator.name

    @property
    def value(self) -> Any:
        """What is compared with: one value, two for between, any number for in; with `by` one of these a class."""
        return self._value(self.op)

    @property
    def parts(self) -> tuple[Test, ...]:
        """The tests that it is made of; none where it compares a signal."""
        return self.any_ or self.all_ or ()

    @property
    def leaves(self) -> tuple[Test, ...]:
        """The tests in it that compare a signal, in the order of the file."""
        return tuple(leaf for part in self.parts for leaf in part.leaves) if self.parts else (self,)

    @property
    def unspecified(self) -> bool:
        """Whether a value is still to be set by who uses the recipe."""
        return any(leaf.signal is not None and unspecified(leaf.value) for leaf in self.leaves)

    def phrase(self) -> str:
        """Return what passes, in words: '3 to 20'; of several tests 'nsfw is at most 0.5, or n_faces is 0'."""
        if self.parts:
            tests = [f"({part.sentence()})" if part.parts else part.sentence() for part in self.parts]
            return (", or " if self.any_ else ", and ").join(tests)
        return value_words(self.operator, self.value, self.by)

    def sentence(self) -> str:
        """Return the test as a sentence's end: 'n_words is 3 to 20'."""
        return self.phrase() if self.signal is None else f"{self.signal} is {self.phrase()}"


def check_class_signal(key: str, name: str) -> None:
    """Raise ValueError for a signal whose values cannot be classes."""
    try:
        signal = find(name)
    except SignalError as error:
        raise ValueError(f"{key}: {error}") from None
    if signal.type not in _CLASSES:
        raise ValueError(
            f"{key} takes a signal whose values are classes, such as language, but {name} is {signal.unit}"
        )


def value_words(operator: Operator, value: Any, by: str | None = None) -> str:
    """Return what an operator asks for with this value, in words."""
    if isinstance(value, dict):
        of_classes = [
            f"{value_words(operator, of)} {'otherwise' if name == ELSE else f'where {by} is {name}'}"
            for name, of in sorted(value.items(), key=lambda item: item[0] == ELSE)
        ]
        return ", ".join(of_classes)
    if value == UNSPECIFIED:
        return operator.open_words
    return operator.words(value)


def test_words(op: str, value: Any) -> str:
    """Return a test as `--set` takes it, with a space for the '=': 'between 3,20'."""
    if isinstance(value, dict):
        return ", ".join(f"{op}.{name} {text(of, ',')}" for name, of in value.items())
    return f"{op} {text(value, ',')}"
