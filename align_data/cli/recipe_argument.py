"""The recipe that a command names."""

from __future__ import annotations

from align_data.common.errors import RecipeError
from align_data.data.layout import Dataset
from align_data.data.ledger import as_recipe
from align_data.recipes.model import Recipe
from align_data.recipes.reading import load
from align_data.storage.store import Store


def recipe_of(name: str, dataset: str) -> Recipe:
    """Load a recipe; where only a ledger of the dataset is called so, say how it was decided."""
    try:
        return load(name)
    except RecipeError:
        if (explanation := as_recipe(Dataset(Store(dataset)), name)) is None:
            raise
        raise RecipeError(explanation) from None
