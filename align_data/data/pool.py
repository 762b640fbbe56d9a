"""What is counted of a pool: the values of its pairs as codes, of those that a rule chooses among, class by class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from align_data.common.errors import RecipeError
from align_data.common.progress import Tick
from align_data.data.columns import available
from align_data.data.derived import planned_columns
from align_data.data.grouping import MEMBER
from align_data.data.layout import Dataset
from align_data.data.order_statistics import (
    BITS,
    MILLION,
    MILLIONTHS,
    WHOLE,
    CodeRange,
    Codes,
    Coding,
    Group,
    divided,
)
from align_data.data.tombstones import of_part
from align_data.recipes.model import KEPT, POOL
from align_data.recipes.plan import Plan, PlannedRule
from align_data.recipes.scores import OF_PAIRS
from align_data.signals import Signal, find, is_signal

MOST_CLASSES = 10_000
"""Classes of one signal that thresholds are looked up in."""
FARTHEST = 2**51 / 10**6
"""Beyond this a float64 cannot tell six decimals."""


def measured_by(dataset: Dataset, plan: Plan) -> frozenset[str]:
    """Return the signals of a plan that are measured, and were when it was decided."""
    return frozenset(available(dataset, dataset.ingested(), plan.signals)) - {*plan.unmeasured}


def choosing(plan: Plan, rule: PlannedRule) -> tuple[PlannedRule, ...]:
    """Return the rules whose failing leaves a pair out of those that a rule chooses among: rules in force.

    Of the pairs that are kept, rules that choose pairs themselves are left out of account.
    """
    if rule.rule.choice == POOL:
        return ()
    if rule.rule.choice != KEPT:
        return tuple(other for other in plan.in_force if other.name in rule.rule.choice)
    return tuple(other for other in plan.in_force if other.name != rule.name and not other.rule.chooses)


def definition(plan: Plan, name: str) -> Signal:
    """Return a signal, or a score of the plan as one."""
    return plan.definitions.get(name) or find(name)


def coding(signal: Signal) -> Coding:
    """Return how values are coded: of scores, which have six decimals, in millionths."""
    if signal.type != "float64":
        return WHOLE
    return MILLIONTHS if signal.kind == "score" or not is_signal(signal.name) else BITS


_REACHES = {"cosine": (-MILLION, MILLION), "0 to 1": (0, MILLION)}
"""Unit → the least and the greatest millionth that a score can have."""
_USUAL = {WHOLE: (0, 2**12 - 1), MILLIONTHS: (-(2**24), 2**24), BITS: (BITS.code(2.0**-12), BITS.code(2.0**12))}
"""Where values mostly are: others cost another scan."""


def first_range(plan: Plan, of: Counted, limit: int) -> CodeRange:
    """Return the range in which the first scan counts values, in about `limit` steps at most."""
    signal = definition(plan, of.column)
    usual = _REACHES.get(signal.unit) if signal.kind == "score" else None
    return divided(*(usual or _USUAL[of.coding]), limit)


@dataclass(frozen=True)
class Counted:
    """Values that are counted, and of which pairs."""

    column: str
    coding: Coding
    rules: tuple[str, ...] = ()
    """The rules whose failing leaves a pair out."""
    per: str | None = None
    """The signal whose values are the classes."""


@dataclass(frozen=True)
class PoolScan:
    """A source of codes: groups are numbers of what is counted, with the class. It travels to other machines."""

    dataset: Dataset
    plan: Plan
    measured: frozenset[str]
    counted: tuple[Counted, ...]

    def codes(self, part: int, tick: Tick) -> Iterator[dict[Group, Codes]]:
        """Yield the codes of each piece of a part."""
        members = {of.rules: _not_failed(self.plan, of.rules, self._readable) for of in self.counted if of.rules}
        rules = [self.plan.rule(name) for of in members for name in of]
        names = {of.column for of in self.counted} | {of.per for of in self.counted if of.per is not None}
        for piece in _pieces(self.dataset, self.plan, part, [], self._readable, names, rules):
            among = {rules: piece.select(member).to_series() for rules, member in members.items()}
            groups: dict[Group, Codes] = {}
            for number, of in enumerate(self.counted):
                columns = [piece[name] for name in (of.column, of.per) if name is not None]
                if of.rules:
                    columns = [column.filter(among[of.rules]) for column in columns]
                of_classes: dict[Group, Codes] = {
                    (number, name): self._encoded(of, values) for name, values in _by_class(columns)
                }
                check_classes(of, len(of_classes))  # of one piece already: thousands of parts may have a million
                groups |= of_classes
            yield groups
            tick(len(piece))

    @cached_property
    def _readable(self) -> set[str]:
        return self.plan.known(self.measured)

    @cached_property
    def _unbounded(self) -> set[str]:
        """The columns whose millionths may be beyond what can be told."""
        signals = (definition(self.plan, of.column) for of in self.counted if of.coding == MILLIONTHS)
        return {signal.name for signal in signals if signal.kind != "score"}

    def _encoded(self, of: Counted, values: pl.Series) -> Codes:
        if of.column in self._unbounded and len(values):
            outside = values.filter(~(values.abs() <= FARTHEST))
            if len(outside):
                raise RecipeError(
                    f"{of.column} has the value {outside[0]:g}, and six decimals can be told up to {FARTHEST:.3g} "
                    "alone: give its terms a scale, or smaller weights"
                )
        return of.coding.encode(values)


def _by_class(columns: list[pl.Series]) -> Iterator[tuple[str | None, pl.Series]]:
    """Yield the values of the first of some columns that are not missing, by those of a second one if there is one."""
    values, *per = columns
    if not per:
        yield None, values.drop_nulls() if values.null_count() else values
        return
    rows = pl.DataFrame([values.alias("value"), per[0].cast(pl.String).alias("class")]).drop_nulls()
    for (name,), of_class in rows.group_by("class"):
        yield str(name), of_class["value"]


def check_classes(of: Counted, number: int) -> None:
    """Raise RecipeError for more classes than thresholds are looked up in."""
    if of.per is not None and number > MOST_CLASSES:
        raise RecipeError(f"per {of.per}: it has more than {MOST_CLASSES:,} classes; take a signal that has fewer")


def _not_failed(plan: Plan, names: Iterable[str], readable: set[str]) -> pl.Expr:
    """Return whether pairs fail none of these rules; what is unknown does not fail."""
    failed = [plan.rule(name).verdict(readable).not_().fill_null(False) for name in names]
    return ~pl.any_horizontal(failed) if failed else pl.lit(True)


def _pieces(
    dataset: Dataset,
    plan: Plan,
    part: int,
    pairs: Sequence[str],
    readable: set[str],
    names: Iterable[str],
    rules: Iterable[PlannedRule],
) -> Iterator[pl.DataFrame]:
    """Yield the pieces of a part: columns of `pairs`, these signals and scores, and what is readable of rules."""
    of_rules = readable.intersection(column for rule in rules for column in rule.columns)
    yield from planned_columns(dataset, plan, part, pairs, sorted(of_rules.union(names).difference(OF_PAIRS)))


@dataclass(frozen=True)
class PoolCandidates:
    """The pairs of a pool, with what a rule of first_of compares of them. It travels to other machines."""

    dataset: Dataset
    plan: Plan
    measured: frozenset[str]
    rule: str
    among: tuple[str, ...]
    """The rules whose failing leaves a pair out."""
    taken: bool
    """Whether pairs were taken down."""

    def pieces(self, part: int, tick: Tick) -> Iterator[pl.DataFrame]:
        """Yield the pieces of a part with which pairs the rule chooses among; those taken down are in no group."""
        rule, readable = self.plan.rule(self.rule), self.plan.known(self.measured)
        rules = [self.plan.rule(name) for name in self.among]
        compared = [*self._group, *(name for name, _ in rule.rule.ordering)]
        member = _not_failed(self.plan, self.among, readable).alias(MEMBER)
        dead = self._dead(part)
        for piece in _pieces(self.dataset, self.plan, part, self._pairs(compared), readable, compared, rules):
            rows = piece.with_columns(member)
            yield rows if dead is None else rows.with_columns(self._without(dead))
            tick(len(piece))

    def grouped(self, part: int) -> Iterator[pl.Series]:
        """Yield for each piece of a part which pairs are in a group."""
        readable, dead = self.plan.known(self.measured), self._dead(part)
        for piece in _pieces(self.dataset, self.plan, part, self._pairs(self._group), readable, self._group, ()):
            rows = piece if dead is None else piece.with_columns(self._without(dead))
            yield rows.select(pl.all_horizontal(pl.col(name).is_not_null() for name in self._group)).to_series()

    @property
    def _group(self) -> tuple[str, ...]:
        return self.plan.rule(self.rule).rule.first_of or ()

    def _pairs(self, names: Iterable[str]) -> list[str]:
        """Return the columns of `pairs` to read: of these names, and those that tell who was taken down."""
        of_pairs = [name for name in dict.fromkeys(names) if name in OF_PAIRS and name != "uid"]
        return [*of_pairs, "uid"] if self.taken else of_pairs or ["copies"]

    def _dead(self, part: int) -> pl.Series | None:
        return of_part(self.dataset, self.dataset.ingested(), part).implode() if self.taken else None

    def _without(self, dead: pl.Series) -> pl.Expr:
        first = self._group[0]
        return pl.when(pl.col("uid").is_in(dead)).then(None).otherwise(first).alias(first)
