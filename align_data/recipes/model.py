"""Recipes: lists of rules, as data with a citation. A rule compares signals, or scores made of them, with values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidatorFunctionWrapHandler, model_validator

from align_data.common.errors import RecipeError, SignalError, nearest
from align_data.recipes.conditions import Test, check_class_signal, compared, scores_in_scope, test_words
from align_data.recipes.graph import in_order
from align_data.recipes.operators import OPERATORS, Bound
from align_data.recipes.scores import OF_PAIRS, Score, check_scores, definition
from align_data.recipes.values import Size
from align_data.signals import Signal, current_name

MAX_RULES = 63
"""Bits of a signed 64-bit mask that are not its sign."""
CHOSEN = "chosen"
FORMAT = 2
"""The format of recipes: 2 has scores, any, all, by, first_of, among and unspecified beside all that 1 has."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
POOL, KEPT = "pool", "kept"


class Rule(Test):
    """One rule: a test, several tests, or the first of each group of pairs; and where that is published."""

    name: str = Field(default="", pattern=NAME, description="The rule's name; the signal's by default.")
    first_of: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Signals, url or alt_text: of the pairs that are equal in these the first few pass.",
    )
    order: tuple[str, ...] | None = Field(
        default=None,
        description="What puts the pairs of a group in order: signals, the greatest first where a - stands before "
        "one; then uid.",
    )
    keep: Size | None = Field(default=None, description="How many of each group pass: 1 by default.")
    among: Literal["pool", "kept"] | tuple[str, ...] | None = Field(
        default=None,
        description="Which pairs top_fraction and first_of choose from: pool, all; kept, which is the default, those "
        "that no other rule fails, but for rules that choose from the pool themselves; or the names of rules, those "
        "that none of these fails.",
    )
    of: Literal["pool", "among"] | None = Field(
        default=None,
        description="What top_fraction is a share of: the pairs that it chooses among, or all of the pool that have "
        "a value.",
    )
    per: str | None = Field(
        default=None, description="A signal whose values are classes: top_fraction is then of each class by itself."
    )
    source: str = Field(
        default=CHOSEN,
        min_length=1,
        description=f"Where the threshold is published; '{CHOSEN}' if no source states it.",
    )
    note: str | None = Field(default=None, description="A note for readers.")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        """Call the rule by default like its signal, as that is called now."""
        if not isinstance(data, dict) or not isinstance(data.get("signal"), str):
            return data
        signal = current_name(data["signal"])
        by_default = data.get("name") in (None, "", data["signal"])
        return {**data, "signal": signal, "name": signal if by_default else data["name"]}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.name:
            form = next(name for name, taken in self._forms().items() if taken)
            raise ValueError(f"a rule of {form} takes a name, as in name: one_of_each")
        if self.first_of is not None:
            self._check_group()
        elif self.order is not None or self.keep is not None:
            raise ValueError(f"{'keep' if self.order is None else 'order'} goes with first_of alone")
        self._check_choice()
        if self.source != CHOSEN and self.source.strip().lower() in ("", CHOSEN):
            raise ValueError(f"source {self.source!r}: say where the threshold is published, or {CHOSEN}")
        return self

    @property
    def _noun(self) -> str:
        return "rule"

    def _forms(self) -> dict[str, bool]:
        return {**super()._forms(), "first_of": self.first_of is not None}

    def _check_group(self) -> None:
        try:
            for name in (*(self.first_of or ()), *(column for column, _ in self.ordering)):
                if name not in OF_PAIRS:
                    compared(name)
        except SignalError as error:
            raise ValueError(str(error)) from None
        if "uid" in (self.first_of or ()):
            raise ValueError("first_of takes no uid: no two pairs have the same")

    def _check_choice(self) -> None:
        if self.among is not None and not self.chooses:
            raise ValueError("among goes with top_fraction and first_of alone")
        fraction = self.chooses and self.first_of is None
        for key, value in (("of", self.of), ("per", self.per)):
            if value is not None and not fraction:
                raise ValueError(f"{key} goes with top_fraction alone")
        if self.per is not None:
            check_class_signal("per", self.per)
        nested = [leaf.op for leaf in self.leaves if leaf is not self and leaf.signal is not None]
        if relative := [op for op in nested if OPERATORS[op].relative]:
            raise ValueError(f"{relative[0]} is a rule of its own, and no test of any or all")

    @property
    def ordering(self) -> tuple[tuple[str, bool], ...]:
        """The columns that put a group in order, each with whether the greatest is first."""
        return tuple((current_name(column.removeprefix("-")), column.startswith("-")) for column in self.order or ())

    @property
    def relative(self) -> bool:
        """Whether what passes follows from the pool."""
        return self.first_of is not None or (self.signal is not None and self.operator.relative)

    @property
    def chooses(self) -> bool:
        """Whether it chooses pairs of the pool. A test of a score does not: its scales are of all pairs."""
        return self.first_of is not None or (self.signal is not None and self.op == "top_fraction")

    @property
    def choice(self) -> Literal["pool", "kept"] | tuple[str, ...]:
        """The pairs that it chooses from."""
        return self.among if self.among is not None else "kept"

    @property
    def test(self) -> str:
        """The test as `--set` takes it, with a space for the '=': 'between 3,20'."""
        if self.first_of is not None:
            return f"keep {self.keep or 1}"
        return self.phrase() if self.signal is None else test_words(self.op, self.value)

    @property
    def named_test(self) -> str:
        """The test, behind its signal where the rule's name is another: 'random_7 lt 0.5'."""
        return self.test if self.signal in (None, self.name) else f"{self.signal} {self.test}"

    @property
    def chosen(self) -> bool:
        """Whether the threshold was chosen, by the recipe's author or by an override, and is not published."""
        return self.source == CHOSEN

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """The ends of what passes, the lower first; none for eq, in, a value by class or one that is not resolved."""
        return self.operator.bounds(self.value) if self.plain and not self.unspecified else ()

    def phrase(self) -> str:
        """Return what the rule asks for, in words: '3 to 20'."""
        if self.first_of is not None:
            many = "the first" if self.keep in (None, 1) else f"the first {self.keep:,}"
            columns = [f"the {'greatest' if down else 'least'} {name} first" for name, down in self.ordering]
            order = f", {', then '.join(columns)}" if columns else ""
            return f"{many} of the pairs with the same {' and '.join(self.first_of)}{order}{self._choice_words()}"
        return f"{super().phrase()}{self._choice_words()}"

    def _choice_words(self) -> str:
        words = ""
        if self.among == POOL:
            words = " of all pairs"
        elif self.among not in (None, KEPT):
            words = f" of the pairs that pass {' and '.join(self.among or ())}"
        words += f" of each {self.per}" if self.per is not None else ""
        return f"{words}, counted against the whole pool" if self.of == POOL and self.among != POOL else words

    def with_test(self, op: str, value: Any, source: str | None = None) -> Rule:
        """Return the same rule with another test, and another source if there is one."""
        with scores_in_scope(self._scores):
            return Rule.model_validate({**self.identity(op), op: value, "source": source or self.source})

    def identity(self, op: str) -> dict[str, Any]:
        """Return what the rule keeps where its test becomes one of the operator `op`."""
        kept = {"signal", "name", "source", "note"} | ({"among", "of", "per"} if op == "top_fraction" else set())
        return self.model_dump(include=kept, exclude_none=True)

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
    format: Literal[1, 2] | None = Field(
        default=None, description=f"The format that it is written in: {FORMAT}, or 1 for one without the newer forms."
    )
    title: str = Field(default="", description="Its title in reports.")
    paper: str = Field(default="", description="Where it is published.")
    note: str | None = Field(default=None, description="A note for readers.")
    scores: Mapping[str, Score] | None = Field(
        default=None, description="Values that are derived from signals when the recipe decides, by name."
    )
    rules: tuple[Rule, ...] = Field(
        description="The rules, in the funnel's order.",
        json_schema_extra={"minItems": 1, "maxItems": MAX_RULES},
    )

    @model_validator(mode="wrap")
    @classmethod
    def _with_scores(cls, data: Any, read: ValidatorFunctionWrapHandler) -> Self:
        """Read the rules where the names of the scores are known."""
        scores: dict[str, Signal] = {}
        if isinstance(data, Mapping) and isinstance(data.get("scores"), Mapping):
            scores = dict(_definitions(data["scores"]))
        with scores_in_scope(scores):
            recipe: Self = read(data)
        return recipe

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        # Not as bounds of the field: pydantic would report a broken rule as a missing one too.
        if not 1 <= len(self.rules) <= MAX_RULES:
            raise ValueError(f"a recipe has 1 to {MAX_RULES} rules, not {len(self.rules)}")
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"two rules are named {', '.join(twice)}; give one of them another name, as in name: few_words"
            )
        check_scores(self.scores or {})
        for rule in self.rules:
            unknown = [name for name in among(rule) if name not in names]
            if unknown:
                raise ValueError(
                    f"{rule.name} chooses among the pairs of {unknown[0]}, which is not a rule"
                    f"{nearest(unknown[0], names)}; there are: {', '.join(names)}"
                )
        in_order({rule.name: among(rule) for rule in self.rules}, "rules choose among each other's pairs in a circle")
        return self

    @property
    def definitions(self) -> dict[str, Signal]:
        """The scores, each as a signal."""
        return {name: definition(name, score) for name, score in (self.scores or {}).items()}

    def position(self, name: str) -> int:
        """Return the position of the rule `name`; RecipeError lists the names of the rules."""
        names = [rule.name for rule in self.rules]
        for spelling in (name, current_name(name)):
            if spelling in names:
                return names.index(spelling)
        raise RecipeError(f"{self.name} has no rule {name[:200]}{nearest(name, names)}; it has: {', '.join(names)}")

    def rule_name(self, name: str) -> str:
        """Return the name of a rule that may be spelled as earlier versions did; RecipeError for none."""
        return self.rules[self.position(name)].name

    def with_rule(self, name: str, rule: Rule) -> Recipe:
        """Return the recipe with another rule in the place of `name`."""
        at = self.position(name)
        return self.model_copy(update={"rules": (*self.rules[:at], rule, *self.rules[at + 1 :])})

    def dump(self) -> dict[str, Any]:
        """Return the recipe as JSON data, as its file would have it."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def among(rule: Rule) -> tuple[str, ...]:
    """Return the rules that a rule names, whose pairs it chooses among."""
    return () if rule.choice in (POOL, KEPT) else tuple(rule.choice)


_BROKEN = Score.model_validate({"sum": [{"signal": "n_words"}]})
"""In place of a score that cannot be read, while the rules are."""


def _definitions(scores: Mapping[Any, Any]) -> Iterator[tuple[str, Signal]]:
    """Yield the scores, each as a signal: what is wrong with one is said where it stands, and not at its rules too."""
    for name, data in scores.items():
        try:
            yield str(name), definition(str(name), Score.model_validate(data))
        except ValueError:
            yield str(name), definition(str(name), _BROKEN)
