"""align-data recipes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
from rich.markup import escape
from rich.table import Table

from align_data.cli.options import former_names, json_option, print_json
from align_data.cli.tables import WIDE, console
from align_data.data.columns import need
from align_data.recipes.model import Recipe
from align_data.recipes.needs import NEEDS, hardest, signals_of, words
from align_data.recipes.reading import builtin, load
from align_data.signals import find

_NAME = 22
"""Characters of a name that a table gives room to before it breaks it."""


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
    for rarest in NEEDS:
        for recipe in recipes:
            if hardest(recipe) == rarest:
                table.add_row(recipe.name, escape(recipe.title), str(len(recipe.rules)), escape(words(recipe)))
        table.add_section()
    console().print(table)


def _show(recipe: Recipe) -> None:
    out = console()
    out.print(f"[bold]{escape(recipe.title or recipe.name)}[/bold]")
    for line in (recipe.paper, recipe.note, f"Needs {words(recipe)}.", *_not_here(recipe), _to_set(recipe)):
        if line:
            out.print(escape(line))
    if recipe.scores:
        scores = [(name, score.words(), score.source, score.note or "") for name, score in recipe.scores.items()]
        out.print(_table(out.width, ("score", "is", "source", "note"), scores))
    rules = [(rule.name, rule.sentence(), rule.source, rule.note or "") for rule in recipe.rules]
    out.print(_table(out.width, ("rule", "passes if", "source", "note"), rules))


def _table(width: int, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table with whole names; on a narrow terminal, or where nothing is noted, notes have no column."""
    narrow = width < WIDE or not any(row[-1] for row in rows)
    table = Table()
    for at, header in enumerate(headers[:-1] if narrow else headers):
        # Of what is not prose the longest word should fit: it is the name of a rule or of a signal.
        longest = max(len(word) for row in rows for word in row[at].split()) if at < 2 else 0
        table.add_column(header, overflow="fold", min_width=min(longest, _NAME))
    for *cells, note in rows:
        texts = [*map(escape, cells)]
        if narrow and note:
            texts[-1] += f"\n[dim]note: {escape(note)}[/dim]"
        table.add_row(*texts, *([] if narrow else [escape(note)]))
    return table


def _not_here(recipe: Recipe) -> Iterator[str]:
    """Say what must be installed or put in place here before all of a recipe's signals can be measured."""
    lacks: dict[str, list[str]] = {}
    for name in signals_of(recipe):
        if (why := find(name).missing()) is not None:
            lacks.setdefault(why, []).append(name)
    if lacks:
        yield f"To measure here: {'; '.join(need(names, why) for why, names in lacks.items())}."


def _to_set(recipe: Recipe) -> str:
    """Return how to set what the source leaves open; nothing where it does not."""
    open_rules = [rule.name for rule in recipe.rules if rule.unspecified]
    if not open_rules:
        return ""
    return f"Not in the source, so set each or take its rule out by --without: {', '.join(open_rules)}."
