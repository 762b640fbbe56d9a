"""A plan: a recipe as it decides, with each rule's bit, whether it is in force, and the threshold that was resolved."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, model_validator

from align_data.recipes.model import Recipe, Rule
from align_data.recipes.operators import Bound
from align_data.recipes.overrides import overridden_rule
from align_data.recipes.planned import PASSES, Coded, Planned, PlannedTest, leaves, planned
from align_data.recipes.scores import RANK, TermScale, in_order
from align_data.recipes.thresholds import FirstOf, Threshold, TopFraction, TopFractions, Vocabulary
from align_data.signals import Signal, current_name, find, is_signal


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
    def bit(self) -> int:
        """The rule's bit in both masks of a ledger."""
        return 1 << self.position

    @cached_property
    def planned(self) -> Planned:
        """The rule as it decides: with a threshold in place of a relative one."""
        if self.rule.first_of is not None:
            return PlannedTest(rank_signal(self.rule), "le", self.rule.keep or 1)
        if self.rule.relative and self.threshold is not None:
            becomes = self.rule.operator.becomes
            assert becomes is not None
            if isinstance(self.threshold, TopFractions):
                classes = {name: top.threshold if top.pool else PASSES for name, top in self.threshold.by_class.items()}
                return PlannedTest(self.rule.definition, becomes, PASSES, find(self.threshold.per), classes)
            return PlannedTest(self.rule.definition, becomes, self.threshold.threshold)
        if self.rule.per is not None:  # which it waits for, where that is not measured
            return PlannedTest(self.rule.definition, self.rule.op, self.rule.value, find(self.rule.per))
        return planned(self.rule)

    @cached_property
    def tests(self) -> tuple[PlannedTest, ...]:
        """The comparisons that it is made of, in the order of the file."""
        return leaves(self.planned)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads: signals, scores, its ranks."""
        return tuple(dict.fromkeys(column for test in self.tests for column in test.columns))

    @property
    def plain(self) -> bool:
        """Whether it compares one column with one value, whatever the pair."""
        return len(self.tests) == 1 and self.tests[0].by is None

    @property
    def signal(self) -> str:
        """The column that it tests, of a rule of one test."""
        (test,) = self.tests
        return test.signal

    @property
    def definition(self) -> Signal:
        """The signal, score or rank that it tests, of a rule of one test."""
        (test,) = self.tests
        return test.definition

    @cached_property
    def deciding(self) -> Rule:
        """The rule as it decides, of one that compares a signal: with a threshold in place of a relative one."""
        if self.rule.signal is None or self.threshold is None or isinstance(self.threshold, TopFractions):
            return self.rule
        return self.rule.with_test(self.tests[0].op, self.threshold.threshold)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """The ends of the values that pass, the lower first, of a plain rule."""
        return self.tests[0].bounds if self.plain else ()

    @property
    def request(self) -> str:
        """What the rule asks for in this pool, in words."""
        phrase = self.rule.phrase()
        return phrase if self.threshold is None else f"{phrase}, here {self.threshold.words}"

    def passes(self, column: pl.Expr) -> pl.Expr:
        """Return whether the column's values pass, of a plain rule: null where they are null."""
        return self.tests[0].passes(column)

    def verdict(self, measured: Collection[str], coded: Coded = MappingProxyType({})) -> pl.Expr:
        """Return whether pairs pass, of columns that are named as the signals: null where that is unknown.

        `coded` has the columns of text that are an Enum, each with the values of its codes.
        """
        return self.planned.verdict(measured, coded)


def rank_signal(rule: Rule) -> Signal:
    """Return a rule's ranks as a signal: what its test compares."""
    columns = " and ".join(rule.first_of or ())
    return Signal(
        name=f"{RANK}{rule.name}",
        kind="derived",
        group="derived",
        type="int64",
        unit="rank",
        about=f"The pair's place, from 1, among those with the same {columns} that the rule {rule.name} chooses from.",
        source=rule.source,
        needs=(),
        nullable=True,
        null=f"they have no {columns}",
    )


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
    tops: Mapping[str, TopFraction | TopFractions] = {}
    """Rule → what its top_fraction became, or would become of a rule that is taken out."""
    firsts: Mapping[str, FirstOf] = {}
    """Rule → what its first_of became."""
    scales: Mapping[str, tuple[TermScale, ...]] = {}
    """Score → what the scales of its terms became, one a term; of scores that have a scale and are measured."""

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
            name = overridden_rule(assignment, names)
            return now(name) + assignment.removeprefix(name)

        spelled: dict[str, Any] = {**data, "recipe": recipe}
        for field, spelling in (("overrides", test), ("off", now), ("unmeasured", current_name)):
            if isinstance(of := data.get(field), list | tuple) and all(isinstance(name, str) for name in of):
                spelled[field] = tuple(map(spelling, of))
        for field in ("vocabularies", "tops", "firsts"):
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
        tops = {name: of for name, of in thresholds.items() if isinstance(of, TopFraction | TopFractions)}
        firsts = {name: of for name, of in thresholds.items() if isinstance(of, FirstOf)}
        return self._with(
            vocabularies={**self.vocabularies, **vocabularies},
            tops={**self.tops, **tops},
            firsts={**self.firsts, **firsts},
        )

    def with_scales(self, scales: Mapping[str, tuple[TermScale, ...]]) -> Plan:
        """Return the plan with the scales of these scores too."""
        return self._with(scales={**self.scales, **scales})

    def _with(self, **fields: Any) -> Plan:
        # Not model_copy, which would copy the rules that were made of the old fields.
        return Plan(**{**{name: getattr(self, name) for name in Plan.model_fields}, **fields})

    @property
    def thresholds(self) -> dict[str, Threshold]:
        """Rule → what its relative threshold became."""
        return {**self.vocabularies, **self.tops, **self.firsts}

    @cached_property
    def rules(self) -> tuple[PlannedRule, ...]:
        """The rules, in the recipe's order."""
        names, thresholds = [rule.name for rule in self.recipe.rules], self.thresholds
        overridden = {overridden_rule(assignment, names) for assignment in self.overrides}
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
        """The signals that the rules in force follow from: what they compare, and what their choices hang on."""
        return self.signals_of(self.in_force)

    def signals_of(self, rules: Iterable[PlannedRule]) -> list[str]:
        """Return the signals that rules follow from, those behind scores too; without columns of `pairs`."""
        names = [name for rule in rules for name in (*rule.columns, *chosen_by(rule.rule))]
        return [name for name in self.behind(names) if is_signal(name)]

    def behind(self, columns: Iterable[str]) -> list[str]:
        """Return what columns follow from, in place of scores their terms; other columns are themselves."""
        scores, behind = self.recipe.scores or {}, dict[str, None]()
        stack = [*columns][::-1]
        while stack:  # each score once: of scores of scores the ways to a signal double with each
            column = stack.pop()
            if column not in behind and column in scores:
                stack += [term.signal for term in scores[column].terms][::-1]
            behind[column] = None
        return [column for column in behind if column not in scores]

    @cached_property
    def definitions(self) -> Mapping[str, Signal]:
        """The columns that rules compare and that are derived from others, each as a signal: scores and ranks."""
        ranks = {f"{RANK}{rule.name}": rank_signal(rule) for rule in self.recipe.rules if rule.first_of is not None}
        return {**self.recipe.definitions, **ranks}

    def scores(self, columns: Iterable[str]) -> list[str]:
        """Return the scores that these columns are or follow from, each behind those it is made of."""
        scores = self.recipe.scores or {}
        needed, stack = set[str](), list(columns)
        while stack:
            if (name := stack.pop()) in scores and name not in needed:
                needed.add(name)
                stack += [term.signal for term in scores[name].terms]
        return [name for name in in_order(scores) if name in needed]

    def known(self, measured: Collection[str]) -> set[str]:
        """Return the columns that there are where these signals are measured: with scores and ranks."""
        known = set(measured) | {f"{RANK}{name}" for name in self.firsts}
        scores = self.recipe.scores or {}
        for name in in_order(scores):
            resolved = not scores[name].scaled or name in self.scales
            if resolved and all(term.signal in known for term in scores[name].terms):
                known.add(name)
        return known

    def scales_in_force(self) -> Iterator[str]:
        """Yield what the scales of each score behind a rule in force became in the pool, as a sentence a score."""
        for name in self.scores([column for rule in self.in_force for column in rule.columns]):
            if name in self.scales:
                terms = zip((self.recipe.scores or {})[name].terms, self.scales[name], strict=True)
                yield f"{name}: {'; '.join(f'{term.signal} {scale.words}' for term, scale in terms)}"

    def score(self, name: str) -> pl.Expr:
        """Return a score of columns that are named as its terms; its scales are resolved."""
        score = (self.recipe.scores or {})[name]
        return score.value(self.scales.get(name) or [None] * len(score.terms)).alias(name)

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
        data["recipe"] = self.recipe.dump()
        for newer in ("tops", "firsts", "scales"):
            if not data[newer]:
                del data[newer]
        return data


def chosen_by(rule: Rule) -> list[str]:
    """Return the columns, beside the one that it compares, that a rule's choice of pairs hangs on."""
    return [*(rule.first_of or ()), *(column for column, _ in rule.ordering), *([rule.per] if rule.per else [])]


def masks(rules: Iterable[PlannedRule], measured: Iterable[str]) -> tuple[pl.Expr, pl.Expr]:
    """Return the masks `failed` and `unknown` over columns that are named as the signals.

    A rule that is not in force sets no bit; where a column is not in `measured` its tests are unknown everywhere.
    """
    failed, unknown = pl.lit(0, pl.Int64), pl.lit(0, pl.Int64)
    measured = set(measured)
    for rule in rules:
        if not rule.in_force:
            continue
        if rule.plain and rule.signal not in measured:
            unknown = unknown | rule.bit
            continue
        verdict = rule.verdict(measured)
        is_unknown = pl.col(rule.signal).is_null() if rule.plain else verdict.is_null()
        unknown = unknown | pl.when(is_unknown).then(rule.bit).otherwise(0).cast(pl.Int64)
        failed = failed | pl.when(verdict == False).then(rule.bit).otherwise(0).cast(pl.Int64)  # noqa: E712
    return failed.alias("failed"), unknown.alias("unknown")
