"""What a recipe needs before all of its rules can decide: the text alone, images, lists or models of the user's."""

from __future__ import annotations

from collections.abc import Iterable

from align_data.recipes.model import Recipe
from align_data.recipes.plan import Plan
from align_data.signals import find
from align_data.signals.families import split

TEXT, IMAGES, LISTS, MODELS = "text alone", "images", "lists", "models"
NEEDS = (TEXT, IMAGES, LISTS, MODELS)
"""From what everybody has to what few have."""
_OF_IMAGES = ("image", "copies")
_SIZES = ("min_side", "aspect")
"""Of an image, though a list may declare them."""


def needs(recipe: Recipe) -> dict[str, list[str]]:
    """Return what a recipe needs, the rarest last; the names of lists, and the signals that are models'."""
    needed: dict[str, list[str]] = {}
    for signal in signals_of(recipe):
        need, name = _need(signal)
        needed.setdefault(need, []).append(name)
    names = {need: sorted(set(needed[need]) - {""}) for need in NEEDS if need in needed}
    return {need: of for need, of in names.items() if need != TEXT} or names


def hardest(recipe: Recipe) -> str:
    """Return the rarest thing that a recipe needs."""
    return [*needs(recipe)][-1]


def words(recipe: Recipe) -> str:
    """Return what a recipe needs, as in 'images; models: similarity_l14'."""
    return "; ".join(f"{need}: {', '.join(names)}" if names else need for need, names in needs(recipe).items())


def signals_of(recipe: Recipe) -> Iterable[str]:
    """Return the signals that a recipe looks at, each once."""
    plan = Plan.unresolved(recipe)
    return plan.signals_of(plan.rules)


def _need(name: str) -> tuple[str, str]:
    """Return what a signal needs, and the name of the list, or of itself."""
    signal = find(name)
    if signal.kind == "list":
        return LISTS, signal.group.partition(".")[2]
    if signal.kind != "derived" and split(name) is not None:
        return MODELS, name
    if name == "blocked":
        return LISTS, "blocklist"
    return (IMAGES if signal.group in _OF_IMAGES or name in _SIZES else TEXT), ""
