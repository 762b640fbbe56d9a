"""A plan: a recipe as it decides, with each rule's bit, whether it is in force, and the threshold that was resolved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, model_validator

from align_data.recipes.model import Recipe, Rule
from align_data.recipes.operators import Bound
from align_data.recipes.reading import overridden_rule
from align_data.recipes.thresholds import Threshold, TopFraction, Vocabulary
from align_data.signals import current_name


@dataclass(frozen=True)
class PlannedRule:
    """A rule as a plan applies it."""

    position: int
    rule: Rule
    """As the recipe has it, overrides applied."""
    in_force: bool = True
    overridden: bool = False
    threshold: Threshold | None = None
    """What a threshold that is relative to the pool became; None for any other, and where it is not resolved."""

    @property
    def name(self) -> str:
        """The rule's name."""
        return self.rule.name

    @property
    def signal(self) -> str:
        """The signal that it tests."""
        return self.rule.signal

    @property
    def bit(self) -> int:
        """The rule's bit in both masks of a ledger."""
        return 1 << self.position

    @cached_property
    def deciding(self) -> Rule:
        """The rule as it decides: with a threshold in place of a relative one."""
        becomes = self.rule.operator.becomes
        if becomes is None or self.threshold is None:
            return self.rule
        return self.rule.with_test(becomes, self.threshold.threshold)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """The ends of the values that pass, the lower first."""
        return self.deciding.bounds

    @property
    def request(self) -> str:
        """What the rule asks for in this pool, in words."""
        phrase = self.rule.phrase()
        return phrase if self.threshold is None else f"{phrase}, here {self.threshold.words}"

    def passes(self, column: pl.Expr) -> pl.Expr:
        """Return whether the column's values pass: null where they are null."""
        return self.deciding.passes(column)


class Plan(BaseModel):
    """A recipe as it is applied: overrides in force, rules taken out, relative thresholds resolved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe
    overrides: tuple[str, ...]
    off: tuple[str, ...]
    """Rules that are taken out."""
    vocabularies: Mapping[str, Vocabulary]
    """Rule → what its top_k became."""
    unmeasured: tuple[str, ...]
    """Signals of the rules in force that are not measured."""
    tops: Mapping[str, TopFraction] = {}
    """Rule → what its top_fraction became, or would become of a rule that is taken out."""

    @model_validator(mode="before")
    @classmethod
    def _spelled_as_now(cls, data: Any) -> Any:
        """Call the rules as the recipe calls them now: a plan may be an earlier version's, or overrides a user's."""
        if not isinstance(data, dict) or "recipe" not in data:
            return data
        recipe = Recipe.model_validate(data["recipe"])
        names = {rule.name for rule in recipe.rules}

        def now(name: str) -> str:
            return name if name in names else current_name(name)

        def test(assignment: str) -> str:
            name = overridden_rule(assignment)
            return now(name) + assignment.removeprefix(name)

        spelled: dict[str, Any] = {**data, "recipe": recipe}
        for field, spelling in (("overrides", test), ("off", now), ("unmeasured", current_name)):
            if isinstance(of := data.get(field), list | tuple) and all(isinstance(name, str) for name in of):
                spelled[field] = tuple(map(spelling, of))
        for field in ("vocabularies", "tops"):
            if isinstance(of := data.get(field), dict):
                spelled[field] = {now(rule): threshold for rule, threshold in of.items()}
        return spelled

    @staticmethod
    def unresolved(recipe: Recipe, overrides: Sequence[str] = (), off: Iterable[str] = ()) -> Plan:
        """Return the plan of a recipe before its thresholds are resolved."""
        return Plan(
            recipe=recipe, overrides=tuple(overrides), off=tuple(dict.fromkeys(off)), vocabularies={}, unmeasured=()
        )

    def with_unmeasured(self, signals: Iterable[str]) -> Plan:
        """Return the plan with signals of rules in force that are not measured."""
        return self._with(unmeasured=tuple(signals))

    def with_thresholds(self, thresholds: Mapping[str, Threshold]) -> Plan:
        """Return the plan with these thresholds too, by rule."""
        vocabularies = {name: of for name, of in thresholds.items() if isinstance(of, Vocabulary)}
        tops = {name: of for name, of in thresholds.items() if isinstance(of, TopFraction)}
        return self._with(vocabularies={**self.vocabularies, **vocabularies}, tops={**self.tops, **tops})

    def _with(self, **fields: Any) -> Plan:
        # Not model_copy, which would copy the rules that were made of the old fields.
        return Plan(**{**{name: getattr(self, name) for name in Plan.model_fields}, **fields})

    @property
    def thresholds(self) -> dict[str, Threshold]:
        """Rule → what its relative threshold became."""
        return {**self.vocabularies, **self.tops}

    @cached_property
    def rules(self) -> tuple[PlannedRule, ...]:
        """The rules, in the recipe's order."""
        overridden, thresholds = {overridden_rule(assignment) for assignment in self.overrides}, self.thresholds
        return tuple(
            PlannedRule(position, rule, rule.name not in self.off, rule.name in overridden, thresholds.get(rule.name))
            for position, rule in enumerate(self.recipe.rules)
        )

    @property
    def in_force(self) -> tuple[PlannedRule, ...]:
        """The rules that are not taken out."""
        return tuple(rule for rule in self.rules if rule.in_force)

    @property
    def signals(self) -> list[str]:
        """The signals of the rules in force."""
        return [rule.signal for rule in self.in_force]

    def rule(self, name: str) -> PlannedRule:
        """Return the rule `name`; RecipeError lists the names of the rules."""
        return self.rules[self.recipe.position(name)]

    def bits(self, names: Iterable[str]) -> int:
        """Return the bits of these rules."""
        mask = 0
        for name in names:
            mask |= self.rule(name).bit
        return mask

    def names(self, mask: int) -> tuple[str, ...]:
        """Return the rules whose bits are set."""
        return tuple(rule.name for rule in self.rules if mask & rule.bit)

    def dump(self) -> dict[str, Any]:
        """Return the plan as JSON data."""
        data = self.model_dump(mode="json", by_alias=True)
        data["recipe"] = self.recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
        if not self.tops:
            del data["tops"]
        return data


def masks(rules: Iterable[PlannedRule], measured: Iterable[str]) -> tuple[pl.Expr, pl.Expr]:
    """Return the masks `failed` and `unknown` over columns that are named as the signals.

    A rule that is not in force sets no bit; one whose signal is not in `measured` is unknown everywhere.
    """
    failed, unknown = pl.lit(0, pl.Int64), pl.lit(0, pl.Int64)
    measured = set(measured)
    for rule in rules:
        if not rule.in_force:
            continue
        if rule.signal not in measured:
            unknown = unknown | rule.bit
            continue
        column = pl.col(rule.signal)
        unknown = unknown | pl.when(column.is_null()).then(rule.bit).otherwise(0).cast(pl.Int64)
        failed = failed | pl.when(rule.passes(column) == False).then(rule.bit).otherwise(0).cast(pl.Int64)  # noqa: E712
    return failed.alias("failed"), unknown.alias("unknown")
