"""A selection in words: the names and values of an address, or of options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from align_data.data.ledger import OUTCOMES
from align_data.recipes.plan import Plan
from align_data.selection.conditions import Condition, ConditionError

WHERE, ONLY, OUTCOME, MOVED, SORT, RANDOM = NAMES = ("where", "only", "outcome", "moved", "sort", "random")


NOT_YET = ("but", "nearest", "side")


@dataclass(frozen=True)
class PairSelection:
    """Pairs for which all of this holds, in an order."""

    where: tuple[Condition, ...] = ()
    only: str | None = None
    """A rule that they fail, and no other."""
    outcome: str | None = None
    moved: tuple[str, str] | None = None
    """Their outcome by the ledger and by the draft."""
    sort: str | None = None
    """A column, with - before it from the greatest; missing values come last."""
    random: int | None = None
    """The seed of a random order."""

    @staticmethod
    def from_words(words: Sequence[tuple[str, str]]) -> PairSelection:
        """Read a selection; ConditionError for a word that cannot be."""
        for name, value in words:
            if name in NOT_YET and value.strip():  # ignored, it would show other pairs than were asked for
                raise ConditionError(f"{name} cannot be asked yet: ask with {', '.join(NAMES)}")
        entries = [(name, value.strip()) for name, value in words if name in NAMES and value.strip()]
        values = dict(entries)
        outcome, moved, seed = values.get(OUTCOME), values.get(MOVED), values.get(RANDOM)
        ends = tuple(moved.split("-")) if moved is not None else ()
        for name in (*([outcome] if outcome else []), *ends):
            if name not in OUTCOMES:
                raise ConditionError(f"{name[:100]!r} is not an outcome: {', '.join(OUTCOMES)}")
        if moved is not None and len(ends) != 2:
            raise ConditionError(f"{moved[:100]!r}: write the outcomes before and after, such as kept-dropped")
        if seed is not None and not (seed.isdecimal() and len(seed) < 19):
            raise ConditionError(f"{seed[:100]!r} is not a seed: write a whole number")
        return PairSelection(
            where=tuple(Condition.parse(value) for name, value in entries if name == WHERE),
            only=values.get(ONLY),
            outcome=outcome,
            moved=(ends[0], ends[1]) if ends else None,
            sort=values.get(SORT),
            random=int(seed) if seed is not None else None,
        )

    @property
    def words(self) -> list[tuple[str, str]]:
        """The names and values that say it."""
        singles = (
            (ONLY, self.only),
            (OUTCOME, self.outcome),
            (MOVED, "-".join(self.moved) if self.moved else None),
            (SORT, self.sort),
            (RANDOM, None if self.random is None else str(self.random)),
        )
        return [
            *((WHERE, str(condition)) for condition in self.where),
            *((n, value) for n, value in singles if value is not None),
        ]

    @property
    def columns(self) -> list[str]:
        """The columns that it asks about."""
        order = [self.sort.removeprefix("-")] if self.sort else []
        return list(dict.fromkeys([*(condition.column for condition in self.where), *order]))

    def check(self, plan: Plan, columns: Sequence[str]) -> None:
        """Raise ConditionError for columns that there are not, RecipeError for a rule."""
        if self.only is not None:
            plan.rule(self.only)
        for condition in self.where:
            condition.check(columns)
        if self.sort:
            Condition(self.sort.removeprefix("-"), "", "").check(columns)
