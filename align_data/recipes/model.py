"""Recipes: lists of rules, as data with a citation; and rules as two bit masks over stored columns.

A rule compares one signal with one value. On a pair it passes, fails or is unknown, which is when the signal is not
measured for it. Rule i's bit is 1 << i, by its place in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
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
    ValidationError,
    model_validator,
)

from align_data.common import resources
from align_data.common.errors import RecipeError, SignalError, encodable, nearest
from align_data.common.yaml_lines import load_yaml, sentences
from align_data.signals import SIGNALS, Signal, find
from align_data.signals.score import NAME as SCORE
from align_data.signals.score import SHOWN, SIMILARITY

MAX_RULES = 63
"""Bits of a signed 64-bit mask that are not its sign."""
CHOSEN = "chosen"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

Number = StrictInt | Annotated[StrictFloat, AllowInfNan(False)]
Value = StrictBool | Number | StrictStr

_PHRASES = {
    "gt": "more than {}",
    "ge": "at least {}",
    "lt": "less than {}",
    "le": "at most {}",
    "eq": "{}",
    "in": "one of {}",
    "between": "{} to {}",
    "top_k": "one of the {} most frequent",
    "top_fraction": "among the highest {}",
}
OPERATORS = tuple(_PHRASES)
RESOLVED = ("top_k", "top_fraction")
"""Operators whose threshold is found in the pool: there they are a ge."""


class Rule(BaseModel):
    """One rule: a signal, exactly one test, and where the test comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    signal: str = Field(description="The signal that is compared: a column of the measured tables.")
    name: str = Field(default="", pattern=NAME, description="The rule's name; the signal's unless given.")
    gt: Number | None = Field(default=None, description="Passes if the value is greater.")
    ge: Number | None = Field(default=None, description="Passes if the value is greater or equal.")
    lt: Number | None = Field(default=None, description="Passes if the value is less.")
    le: Number | None = Field(default=None, description="Passes if the value is less or equal.")
    eq: Value | None = Field(default=None, description="Passes if the value is equal.")
    in_: tuple[Value, ...] | None = Field(
        default=None, alias="in", min_length=1, description="Passes if the value is one of these."
    )
    between: tuple[Number, Number] | None = Field(
        default=None, description="Passes if the value is between these two, both ends included."
    )
    top_k: Annotated[StrictInt, Field(ge=1)] | None = Field(
        default=None,
        description="Passes if every n-gram is among about so many most frequent ones of the raw pool: n-grams of "
        "equal count pass together, so the size nearest to it is taken, which may be more.",
    )
    top_fraction: Annotated[StrictFloat, AllowInfNan(False), Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Passes if the value is among this share of the highest, of the pairs that have one and that no "
        "other rule in force fails. A rule that is unknown for a pair does not fail it; other rules of top_fraction "
        "are not asked, nor is it whether a pair was taken down. Equal values pass together.",
    )
    source: str = Field(
        default=CHOSEN,
        min_length=1,
        description=f"Where the threshold is published; '{CHOSEN}' if no source states it.",
    )
    note: str | None = Field(default=None, description="What a reader should know.")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("name") and isinstance(data.get("signal"), str):
            return {**data, "name": data["signal"]}
        return data

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        try:
            signal = find(self.signal)
        except SignalError as error:
            raise ValueError(str(error)) from None
        tests = [op for op in OPERATORS if self._value(op) is not None]
        if len(tests) != 1:
            found = f"has {len(tests)} tests ({', '.join(tests)})" if tests else "has no test"
            raise ValueError(f"{found}; it takes exactly one of {', '.join(OPERATORS)}")
        self._check_value(signal, tests[0])
        if self.source != CHOSEN and self.source.strip().lower() in ("", CHOSEN):
            raise ValueError(f"source {self.source!r}: say where the threshold is published, or {CHOSEN}")
        return self

    def _check_value(self, signal: Signal, op: str) -> None:
        number = signal.type in ("int32", "int64", "float64")
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        if op == "top_k" and signal.name != "rarest_ngram":
            raise ValueError("top_k is a test of rarest_ngram alone")
        if op == "top_fraction" and signal.kind != "score":
            raise ValueError(f"top_fraction is a test of {SHOWN.name} alone")
        if op not in ("eq", "in") and not number:
            raise ValueError(f"{op} compares numbers, but {signal.name} is {signal.unit}; use eq or in")
        kind = {"string": str, "bool": bool}.get(signal.type, (int, float))
        wrong = [v for v in values if not isinstance(v, kind) or (number and isinstance(v, bool))]
        if wrong:
            hint = " (YAML reads a bare true or false as no text: quote it)" if signal.type == "string" else ""
            raise ValueError(f"{signal.name} is {signal.unit}, and cannot be compared with {wrong[0]!r}{hint}")
        self._check_range(values)
        if self.between is not None and self.between[0] > self.between[1]:
            raise ValueError(f"between takes the lower end first, not {self.between[0]}, {self.between[1]}")

    def _check_range(self, values: Sequence[Any]) -> None:
        for value in values:
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise ValueError(f"{value:.3g} is beyond what 64 bits hold" if abs(value) < 1e300 else "too large")
            if isinstance(value, str) and not encodable(value):
                raise ValueError("a text has half of a surrogate pair, which is no character")

    def _value(self, op: str) -> Any:
        return getattr(self, "in_" if op == "in" else op)

    @property
    def op(self) -> str:
        """The operator of the rule's test."""
        return next(op for op in OPERATORS if self._value(op) is not None)

    @property
    def value(self) -> Any:
        """The value of the rule's test: one, two for between, any number for in."""
        return self._value(self.op)

    @property
    def test(self) -> str:
        """The test as `--set` takes it, with a space for the '=': 'between 3,20'."""
        return f"{self.op} {_shown(self.value, ',')}"

    @property
    def chosen(self) -> bool:
        """Whether the threshold was chosen, by the recipe's author or by an override, and is not published."""
        return self.source == CHOSEN

    def phrase(self) -> str:
        """Return what the rule asks for, in words: '3 to 20'."""
        if self.between is not None:
            return _PHRASES["between"].format(*map(_shown, self.between))
        if self.top_fraction is not None:
            return _PHRASES[self.op].format(f"{100 * self.top_fraction:.6g}%")
        return _PHRASES[self.op].format(f"{self.top_k:,}" if self.top_k else _shown(self.value, ", "))

    def with_test(self, op: str, value: Any, source: str | None = None) -> Rule:
        """Return the same rule with another test, of another source if one is given."""
        kept = self.model_dump(include={"signal", "name", "source", "note"})
        return Rule.model_validate({**kept, op: value, "source": source or self.source})

    def passes(self, column: pl.Expr) -> pl.Expr:
        """Return whether the column's values pass: null where they are null."""
        value = self.value
        if self.op == "between":
            return column.is_between(*value)
        if self.op == "in":
            return pl.any_horizontal([column == each for each in value])
        if self.op in RESOLVED:
            raise RecipeError(f"rule {self.name}: {self.op} must be resolved to a threshold before it decides")
        return {"gt": column.gt, "ge": column.ge, "lt": column.lt, "le": column.le, "eq": column.eq}[self.op](value)


class Recipe(BaseModel):
    """A published set of rules, or one's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME, description="The recipe's name, and its ledger's unless another is given.")
    title: str = Field(default="", description="What to call it in a report.")
    paper: str = Field(default="", description="Where it is published.")
    note: str | None = Field(default=None, description="What a reader should know.")
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
                f"two rules are called {', '.join(twice)}; give one of them another name, as in name: few_words"
            )
        return self

    def position(self, name: str) -> int:
        """Return the place of the rule called `name`; RecipeError names those there are."""
        names = [rule.name for rule in self.rules]
        if name not in names:
            raise RecipeError(f"{self.name} has no rule {name}{nearest(name, names)}; it has: {', '.join(names)}")
        return names.index(name)

    def with_test(self, name: str, op: str, value: Any) -> Recipe:
        """Return the recipe with the test of one rule replaced; what its source states it no longer is."""
        at = self.position(name)
        return self.model_copy(
            update={"rules": (*self.rules[:at], self.rules[at].with_test(op, value, CHOSEN), *self.rules[at + 1 :])}
        )


def masks(rules: Sequence[Rule], off: Iterable[str], measured: Iterable[str]) -> tuple[pl.Expr, pl.Expr]:
    """Return the masks `failed` and `unknown` over columns called as the signals.

    A rule in `off` sets no bit; one whose signal is not in `measured` is unknown everywhere.
    """
    failed, unknown = pl.lit(0, pl.Int64), pl.lit(0, pl.Int64)
    off, measured = set(off), set(measured)
    for place, rule in enumerate(rules):
        bit = 1 << place
        if rule.name in off:
            continue
        if rule.signal not in measured:
            unknown = unknown | bit
            continue
        column = pl.col(rule.signal)
        unknown = unknown | pl.when(column.is_null()).then(bit).otherwise(0).cast(pl.Int64)
        failed = failed | pl.when(rule.passes(column) == False).then(bit).otherwise(0).cast(pl.Int64)  # noqa: E712
    return failed.alias("failed"), unknown.alias("unknown")


def load(name: str) -> Recipe:
    """Load a recipe by the name it has in filters/, or from a file.

    Raises RecipeError with file, line, what is wrong and what is allowed.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
        try:
            return parse(path.read_text(encoding="utf-8"), name)
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise RecipeError(f"cannot read the recipe {name}: {why}") from error
    there = builtin()
    if name not in there:
        raise RecipeError(
            f"there is no recipe {name}{nearest(name, there)}; there are: {', '.join(there)}; "
            "a file of your own is given by a path that ends in .yaml"
        )
    return parse(resources.text("filters", f"{name}.yaml"), f"{name}.yaml")


def builtin() -> list[str]:
    """Return the names of the recipes in filters/."""
    return resources.names("filters", ".yaml")


def parse(text: str, file: str) -> Recipe:
    """Make a recipe of YAML text; `file` is what an error calls it."""
    data, line = load_yaml(text, file)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        allowed = {"Recipe": _keys(Recipe), "Rule": _keys(Rule)}
        raise RecipeError("\n".join(sentences(error, file, line, allowed))) from None


def overridden(assignment: str) -> str:
    """Return the rule whose test a RULE.OP=VALUE replaces."""
    return assignment.partition("=")[0].rpartition(".")[0]


def override(recipe: Recipe, assignment: str) -> Recipe:
    """Apply one RULE.OP=VALUE, which replaces that rule's test whole."""
    left, equals, text = assignment.partition("=")
    name, dot, op = left.rpartition(".")
    if not (equals and dot and name and text):
        raise RecipeError(f"--set {assignment}: it takes RULE.OP=VALUE, such as n_words.between=2,30")
    recipe.position(name)
    if op not in OPERATORS:
        raise RecipeError(
            f"--set {assignment}: no operator {op}{nearest(op, OPERATORS)}; allowed: {', '.join(OPERATORS)}"
        )
    scalars = [scalar(part, f"--set {text}") for part in (text.split(",") if op in ("between", "in") else [text])]
    try:
        return recipe.with_test(name, op, scalars if op in ("between", "in") else scalars[0])
    except ValidationError as error:
        raise RecipeError("\n".join(sentences(error, f"--set {assignment}", lambda _: None, {}))) from None


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the recipe format, for editors."""
    schema = Recipe.model_json_schema()
    rule = schema["$defs"]["Rule"]
    open_names = {"pattern": rf"^{SIMILARITY}\.{SCORE}$"}
    rule["properties"]["signal"]["anyOf"] = [{"enum": list(SIGNALS)}, open_names]
    rule["oneOf"] = [{"required": [op]} for op in OPERATORS]
    for op in OPERATORS:  # null is how the model says 'not given'; in a file it would be a mistake
        choices = [c for c in rule["properties"][op].pop("anyOf") if c != {"type": "null"}]
        rule["properties"][op].update({"anyOf": choices} if len(choices) > 1 else choices[0])
        rule["properties"][op].pop("default")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def scalar(text: str, where: str) -> Any:
    """Read one value the way the YAML of a recipe would; `where` is what an error calls it."""
    value, _ = load_yaml(text.strip(), where)
    return value


def _shown(value: Any, between: str = ", ") -> str:
    if isinstance(value, tuple):
        return between.join(_shown(v) for v in value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
