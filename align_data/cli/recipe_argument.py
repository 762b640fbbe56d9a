"""The recipe that a command names."""

from __future__ import annotations

from collections.abc import Sequence

from align_data.cli.options import former_names
from align_data.common.errors import RecipeError
from align_data.data.layout import Dataset
from align_data.data.ledger import as_recipe
from align_data.recipes.model import Recipe
from align_data.recipes.overrides import overridden_rule
from align_data.recipes.reading import load
from align_data.stages.decision import Decision
from align_data.storage.store import Store


def decision_of(
    recipe: str, dataset: str | None, overrides: Sequence[str], off: Sequence[str], name: str | None
) -> Decision:
    """Return how a ledger is to be decided, by the options of a command."""
    decision = Decision(recipe_of(recipe, dataset), overrides, off, name)
    rules = {rule.name for rule in decision.recipe.rules}
    changed = [overridden_rule(assignment, rules) for assignment in overrides]
    former_names(rule for rule in (*changed, *off) if rule not in rules)
    return decision


def recipe_of(name: str, dataset: str | None) -> Recipe:
    """Load a recipe; where only a ledger of the dataset, if there is one, is called so, say how it was decided."""
    try:
        return load(name, former_names)
    except RecipeError:
        if dataset is None or (explanation := as_recipe(Dataset(Store(dataset)), name)) is None:
            raise
        raise RecipeError(explanation) from None
