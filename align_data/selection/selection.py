"""A selection in words: the names and values of an address, or of options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from align_data.data.ledger import DROPPED, KEPT, OUTCOMES
from align_data.recipes.plan import Plan, PlannedRule
from align_data.selection.conditions import Condition, ConditionError

WHERE, ONLY, BUT, OUTCOME, MOVED, NEAREST, SIDE, SORT, RANDOM = NAMES = (
    "where",
    "only",
    "but",
    "outcome",
    "moved",
    "nearest",
    "side",
    "sort",
    "random",
)
REPEATED = (WHERE, BUT)
"""Words of which there may be several."""
_ORDERS = (NEAREST, SORT, RANDOM)
TAKEN_DOWN = "taken down"
"""The outcome of pairs that are in no selection that does not ask for them."""
SELECTABLE = (*OUTCOMES, TAKEN_DOWN)
SIDES = (DROPPED, KEPT)


@dataclass(frozen=True)
class PairSelection:
    """Pairs for which all of this holds, in an order."""

    where: tuple[Condition, ...] = ()
    only: str | None = None
    """A rule that they fail, and no other."""
    but: tuple[str, ...] = ()
    """Rules of which they fail one or more, while they pass all others."""
    outcome: str | None = None
    moved: tuple[str, str] | None = None
    """Their outcome by the ledger and by the draft."""
    nearest: str | None = None
    """A rule, or one of its tests as RULE.SIGNAL: by distance from its threshold, the nearest first."""
    side: str | None = None
    """The side of that threshold: what the test drops, or what it keeps."""
    sort: str | None = None
    """A column, with - before it from the greatest; missing values come last."""
    random: int | None = None
    """The seed of a random order."""

    @staticmethod
    def from_words(words: Sequence[tuple[str, str]]) -> PairSelection:
        """Read a selection; ConditionError for a word that cannot be, or that another one contradicts."""
        entries = [(name, value.strip()) for name, value in words if name in NAMES and value.strip()]
        values = _singles(entries)
        outcome, moved, seed = values.get(OUTCOME), values.get(MOVED), values.get(RANDOM)
        ends = tuple(moved.split("-")) if moved is not None else ()
        for name, possible in ((outcome, SELECTABLE), *((end, OUTCOMES) for end in ends)):
            if name is not None and name not in possible:
                raise ConditionError(f"{name[:100]!r} is not an outcome: {', '.join(possible)}")
        if moved is not None and len(ends) != 2:
            raise ConditionError(f"{moved[:100]!r}: write the outcomes before and after, such as kept-dropped")
        if seed is not None and not (seed.isascii() and seed.isdecimal() and len(seed) < 19):
            raise ConditionError(f"{seed[:100]!r} is not a seed: write a whole number")
        if (side := values.get(SIDE)) is not None and side not in SIDES:
            raise ConditionError(f"{side[:100]!r} is not a side of a threshold: {' or '.join(SIDES)}")
        return PairSelection(
            where=tuple(Condition.parse(value) for name, value in entries if name == WHERE),
            only=values.get(ONLY),
            but=tuple(dict.fromkeys(value for name, value in entries if name == BUT)),
            outcome=outcome,
            moved=(ends[0], ends[1]) if ends else None,
            nearest=values.get(NEAREST),
            side=side,
            sort=values.get(SORT),
            random=int(seed) if seed is not None else None,
        )

    @property
    def words(self) -> list[tuple[str, str]]:
        """The names and values that say it."""
        singles = (
            (OUTCOME, self.outcome),
            (MOVED, "-".join(self.moved) if self.moved else None),
            (NEAREST, self.nearest),
            (SIDE, self.side),
            (SORT, self.sort),
            (RANDOM, None if self.random is None else str(self.random)),
        )
        return [
            *((WHERE, str(condition)) for condition in self.where),
            *([(ONLY, self.only)] if self.only is not None else []),
            *((BUT, name) for name in self.but),
            *((name, value) for name, value in singles if value is not None),
        ]

    @property
    def columns(self) -> list[str]:
        """The columns that it asks about, beside those that its rules compare."""
        order = [self.sort.removeprefix("-")] if self.sort else []
        return list(dict.fromkeys([*(condition.column for condition in self.where), *order]))

    @property
    def ordered(self) -> bool:
        """Whether it has an order of its own; without one it is in the dataset's, which is that of the uids."""
        return self.nearest is not None or self.sort is not None or self.random is not None

    def check_rules(self, plan: Plan) -> None:
        """Raise RecipeError for a rule that there is not, ConditionError for one that is taken out."""
        for word, names in ((ONLY, [self.only] if self.only is not None else []), (BUT, self.but)):
            for name in names:
                rule = plan.rule(name)
                check_in_force(rule, f"{word}={rule.name}")


def with_values(words: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return words that somebody wrote; ConditionError for one without a value, which would select other pairs.

    In the address of a form that was not filled in such words say nothing.
    """
    for name, value in words:
        if not value.strip():
            raise ConditionError(f"{name} is empty: give it a value, or leave it out")
    return list(words)


def _singles(entries: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the words of which there is one each; ConditionError for two, and for those that contradict each other."""
    values: dict[str, str] = {}
    for name, value in entries:
        if name in REPEATED:
            continue
        if values.setdefault(name, value) != value:
            raise ConditionError(f"{name} is asked twice, {values[name][:100]!r} and {value[:100]!r}: choose one")
    orders = [name for name in _ORDERS if name in values]
    if len(orders) > 1:
        raise ConditionError(f"{' and '.join(orders)} are two orders of the same pairs: choose one")
    if SIDE in values and NEAREST not in values:
        raise ConditionError("side is of a threshold: say of which rule by nearest")
    if ONLY in values and any(name == BUT for name, _ in entries):
        raise ConditionError("only and but exclude each other: but names each rule that may fail")
    return values


def check_in_force(rule: PlannedRule, words: str) -> None:
    """Raise ConditionError where the `words` of a selection are of a rule that is taken out."""
    if not rule.in_force:
        raise ConditionError(f"{words}: the rule is taken out, so no pair fails it; put it back to ask")
