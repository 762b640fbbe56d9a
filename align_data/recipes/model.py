"""Recipes: lists of rules, as data with a citation. A rule compares one signal with one value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

import polars as pl
from pydantic import (
    AllowInfNan,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from align_data.common.errors import RecipeError, SignalError, encodable, nearest
from align_data.recipes.operators import OPERATORS, Bound, Operator, text
from align_data.signals import Signal, current_name, find

MAX_RULES = 63
"""Bits of a signed 64-bit mask that are not its sign."""
CHOSEN = "chosen"
_NUMERIC = ("int32", "int64", "float64")
"""The types of signals that are numbers."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

Number = StrictInt | Annotated[StrictFloat, AllowInfNan(False)]
Value = StrictBool | Number | StrictStr


def _test(name: str, **constraints: Any) -> Any:
    """Return the field of an operator."""
    return Field(default=None, description=OPERATORS[name].about, **constraints)


class Rule(BaseModel):
    """One rule: a signal, exactly one test, and where the test comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    signal: str = Field(description="The signal that is compared: a column of the measured tables.")
    name: str = Field(default="", pattern=NAME, description="The rule's name; the signal's by default.")
    gt: Number | None = _test("gt")
    ge: Number | None = _test("ge")
    lt: Number | None = _test("lt")
    le: Number | None = _test("le")
    eq: Value | None = _test("eq")
    in_: tuple[Value, ...] | None = _test("in", alias="in", min_length=1)
    between: tuple[Number, Number] | None = _test("between")
    top_k: Annotated[StrictInt, Field(ge=1)] | None = _test("top_k")
    top_fraction: Annotated[StrictFloat, AllowInfNan(False), Field(gt=0, le=1)] | None = _test("top_fraction")
    source: str = Field(
        default=CHOSEN,
        min_length=1,
        description=f"Where the threshold is published; '{CHOSEN}' if no source states it.",
    )
    note: str | None = Field(default=None, description="A note for readers.")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        """Call the signal as it is called now, and the rule by default like its signal."""
        if not isinstance(data, dict) or not isinstance(data.get("signal"), str):
            return data
        signal = current_name(data["signal"])
        by_default = data.get("name") in (None, "", data["signal"])
        return {**data, "signal": signal, "name": signal if by_default else data["name"]}

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        try:
            signal = find(self.signal)
        except SignalError as error:
            raise ValueError(str(error)) from None
        tests = [name for name in OPERATORS if self._value(name) is not None]
        if len(tests) != 1:
            problem = f"has {len(tests)} tests ({', '.join(tests)})" if tests else "has no test"
            raise ValueError(f"{problem}; it takes exactly one of {', '.join(OPERATORS)}")
        self._check_value(signal, OPERATORS[tests[0]])
        if self.source != CHOSEN and self.source.strip().lower() in ("", CHOSEN):
            raise ValueError(f"source {self.source!r}: say where the threshold is published, or {CHOSEN}")
        return self

    def _check_value(self, signal: Signal, operator: Operator) -> None:
        number = signal.type in _NUMERIC
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        if not operator.accepts(signal):
            raise ValueError(f"{operator.name} is a test of {operator.signal} alone")
        if operator.numeric and not number:
            raise ValueError(f"{operator.name} compares numbers, but {signal.name} is {signal.unit}; use eq or in")
        types = {"string": str, "bool": bool}.get(signal.type, (int, float))
        mismatches = [v for v in values if not isinstance(v, types) or (number and isinstance(v, bool))]
        if mismatches:
            hint = " (YAML reads a bare true or false as no text: quote it)" if signal.type == "string" else ""
            raise ValueError(f"{signal.name} is {signal.unit}, and cannot be compared with {mismatches[0]!r}{hint}")
        self._check_range(values)
        if self.between is not None and self.between[0] > self.between[1]:
            raise ValueError(f"between takes the lower end first, not {self.between[0]}, {self.between[1]}")

    def _check_range(self, values: Sequence[Any]) -> None:
        for value in values:
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise ValueError(f"{value:.3g} is beyond what 64 bits hold" if abs(value) < 1e300 else "too large")
            if isinstance(value, str) and not encodable(value):
                raise ValueError("a text has half of a surrogate pair, which is not a character")

    def _value(self, name: str) -> Any:
        return getattr(self, "in_" if name == "in" else name)

    @property
    def operator(self) -> Operator:
        """The operator of the rule's test."""
        return next(operator for name, operator in OPERATORS.items() if self._value(name) is not None)

    @property
    def op(self) -> str:
        """The name of the operator of the rule's test."""
        return self.operator.name

    @property
    def value(self) -> Any:
        """The value of the rule's test: one, two for between, any number for in."""
        return self._value(self.op)

    @property
    def test(self) -> str:
        """The test as `--set` takes it, with a space for the '=': 'between 3,20'."""
        return f"{self.op} {text(self.value, ',')}"

    @property
    def chosen(self) -> bool:
        """Whether the threshold was chosen, by the recipe's author or by an override, and is not published."""
        return self.source == CHOSEN

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """The ends of what passes, the lower first; none for eq, in and a threshold that is not resolved."""
        return self.operator.bounds(self.value)

    def phrase(self) -> str:
        """Return what the rule asks for, in words: '3 to 20'."""
        return self.operator.words(self.value)

    def with_test(self, op: str, value: Any, source: str | None = None) -> Rule:
        """Return the same rule with another test, and another source if there is one."""
        identity = self.model_dump(include={"signal", "name", "source", "note"})
        return Rule.model_validate({**identity, op: value, "source": source or self.source})

    def passes(self, column: pl.Expr) -> pl.Expr:
        """Return whether the column's values pass: null where they are null."""
        test = self.operator.test
        if test is None:
            raise RecipeError(f"rule {self.name}: {self.op} must be resolved to a threshold before it decides")
        return test(column, self.value)


class Recipe(BaseModel):
    """A published set of rules, or one's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME, description="The recipe's name, and by default its ledger's.")
    title: str = Field(default="", description="Its title in reports.")
    paper: str = Field(default="", description="Where it is published.")
    note: str | None = Field(default=None, description="A note for readers.")
    rules: tuple[Rule, ...] = Field(
        description="The rules, in the funnel's order.",
        json_schema_extra={"minItems": 1, "maxItems": MAX_RULES},
    )

    @model_validator(mode="after")
    def _unique(self) -> Self:
        # Not as bounds of the field: pydantic would report a broken rule as a missing one too.
        if not 1 <= len(self.rules) <= MAX_RULES:
            raise ValueError(f"a recipe has 1 to {MAX_RULES} rules, not {len(self.rules)}")
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"two rules are named {', '.join(twice)}; give one of them another name, as in name: few_words"
            )
        return self

    def position(self, name: str) -> int:
        """Return the position of the rule `name`; RecipeError lists the names of the rules."""
        names = [rule.name for rule in self.rules]
        for spelling in (name, current_name(name)):
            if spelling in names:
                return names.index(spelling)
        raise RecipeError(f"{self.name} has no rule {name}{nearest(name, names)}; it has: {', '.join(names)}")

    def rule_name(self, name: str) -> str:
        """Return the name of a rule that may be spelled as earlier versions did; RecipeError for none."""
        return self.rules[self.position(name)].name

    def with_test(self, name: str, op: str, value: Any) -> Recipe:
        """Return the recipe with the test of one rule replaced; what its source states it no longer is."""
        at = self.position(name)
        return self.model_copy(
            update={"rules": (*self.rules[:at], self.rules[at].with_test(op, value, CHOSEN), *self.rules[at + 1 :])}
        )
