"""align-data recipes."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.markup import escape
from rich.table import Column, Table

from align_data.cli.options import former_names, json_option, print_json
from align_data.cli.tables import console
from align_data.recipes.model import Recipe
from align_data.recipes.needs import NEEDS, hardest, words
from align_data.recipes.reading import builtin, load


@click.command("recipes", short_help="List the built-in recipes, or show one.")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the built-in recipes by what they need, or show the rules of one, with their sources.

    NAME may also be a file that ends in .yaml: use it to check a recipe of your own.
    """
    recipes = [load(recipe, former_names) for recipe in ([name] if name else builtin())]
    if as_json:
        dumps = [recipe.model_dump(mode="json", by_alias=True, exclude_none=True) for recipe in recipes]
        print_json(dumps[0] if name else dumps)
    elif name:
        _show(recipes[0])
    else:
        _list(recipes)


def _list(recipes: Sequence[Recipe]) -> None:
    table = Table("recipe", "title", "rules", "needs")
    for need in NEEDS:
        for recipe in recipes:
            if hardest(recipe) == need:
                table.add_row(recipe.name, escape(recipe.title), str(len(recipe.rules)), escape(words(recipe)))
        table.add_section()
    console().print(table)


def _show(recipe: Recipe) -> None:
    out = console()
    out.print(f"[bold]{escape(recipe.title or recipe.name)}[/bold]")
    for line in (recipe.paper, recipe.note, f"Needs {words(recipe)}.", _to_set(recipe)):
        if line:
            out.print(escape(line))
    if recipe.scores:
        scores = Table(*map(_folded, ("score", "is", "source", "note")))
        for name, score in recipe.scores.items():
            scores.add_row(name, *map(escape, (score.words(), score.source, score.note or "")))
        out.print(scores)
    table = Table(*map(_folded, ("rule", "passes if", "source", "note")))
    for rule in recipe.rules:
        table.add_row(rule.name, *map(escape, (rule.sentence(), rule.source, rule.note or "")))
    out.print(table)


def _folded(header: str) -> Column:
    """Return a column that names are not cut off in."""
    return Column(header, overflow="fold")


def _to_set(recipe: Recipe) -> str:
    """Return how to set what the source leaves open; nothing where it does not."""
    open_rules = [rule.name for rule in recipe.rules if rule.unspecified]
    if not open_rules:
        return ""
    return f"Not in the source, so set each or take its rule out by --without: {', '.join(open_rules)}."
