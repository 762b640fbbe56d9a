"""A draft: a ledger's recipe with thresholds moved and rules taken out or put back, in the words of the command line.

It lives in the address of a page: `recipe=LEDGER&set=RULE.OP=V&without=RULE&with=RULE`, so that a link is a view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlencode

from align_data.data.ledger import Ledger
from align_data.recipes.overrides import overridden_rule, override_all
from align_data.recipes.plan import Plan

Words = Sequence[tuple[str, str]]
"""Names and values of an address, in order."""
RECIPE, SET, WITHOUT, WITH = NAMES = ("recipe", "set", "without", "with")


@dataclass(frozen=True)
class Draft:
    """What is moved, against a ledger."""

    ledger: Ledger
    sets: tuple[str, ...] = ()
    """RULE.OP=VALUE, as `--set` takes it."""
    without: tuple[str, ...] = ()
    """Rules that the ledger has in force, taken out."""
    restored: tuple[str, ...] = ()
    """Rules that the ledger took out, put back."""

    @staticmethod
    def of(ledger: Ledger, words: Words) -> Draft:
        """Return the draft that an address asks for; RecipeError for a rule that there is not."""
        values = {name: tuple(dict.fromkeys(v for n, v in words if n == name and v)) for name in NAMES}
        off = set(ledger.plan.off)
        recipe = ledger.plan.recipe
        without = tuple(recipe.rule_name(name) for name in values[WITHOUT])
        restored = tuple(recipe.rule_name(name) for name in values[WITH])
        return Draft(
            ledger,
            values[SET],
            tuple(name for name in without if name not in off),
            tuple(name for name in restored if name in off),
        )

    @property
    def moved(self) -> bool:
        """Whether it differs from the ledger."""
        return bool(self.sets or self.without or self.restored)

    @property
    def words(self) -> list[tuple[str, str]]:
        """The names and values of its address."""
        changes = ((SET, self.sets), (WITHOUT, self.without), (WITH, self.restored))
        return [(RECIPE, self.ledger.name), *((name, value) for name, values in changes for value in values)]

    @property
    def query(self) -> str:
        """Its part of an address."""
        return urlencode(self.words)

    @cached_property
    def plan(self) -> Plan:
        """The plan, thresholds that are relative to the pool unresolved; RecipeError for what cannot be set."""
        if not self.moved:
            return self.ledger.plan
        before = self.ledger.plan
        off = [*(name for name in before.off if name not in self.restored), *self.without]
        recipe = override_all(before.recipe, self.sets, self.without)
        return Plan.unresolved(recipe, [*self._still(before), *self.sets], off)

    def _still(self, before: Plan) -> list[str]:
        """Return the ledger's own overrides that the draft leaves as they are."""
        rules = {rule.name: rule for rule in before.recipe.rules}

        def places(assignment: str) -> tuple[str, ...]:
            """Return rule, signal, operator and class, as far as it names them."""
            name = overridden_rule(assignment, rules)
            place = assignment.partition("=")[0].removeprefix(f"{name}.").split(".")
            signal, test = (place[0], place[1:]) if rules[name].parts else ("", place)
            return (name, signal, *([test[0], ".".join(test[1:])] if len(test) > 1 else []))

        moved = {places(assignment) for assignment in self.sets}
        return [o for o in before.overrides if not any(_hides(new, places(o)) for new in moved)]


def _hides(new: tuple[str, ...], old: tuple[str, ...]) -> bool:
    """Tell whether an assignment replaces an earlier one: of the same class, or of the whole test."""
    return new == old[: len(new)]
