"""The options that select pairs, in the words of the explorer's addresses, and the pairs as a table or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from align_data.cli.lines import counted
from align_data.cli.options import names, together
from align_data.cli.render import visible
from align_data.common.secrets import mask_url
from align_data.data.layout import Dataset
from align_data.data.ledger import open_current
from align_data.recipes.operators import figure
from align_data.selection import PairSelection, Selected, SelectedPair
from align_data.selection.draft import SET, WITH, WITHOUT, Draft, Words
from align_data.selection.selection import NAMES, REPEATED, SELECTABLE, SIDES, with_values

_LONGEST = 200
"""Characters of a text, or a URL, that a table shows."""
DRAFTED = (SET, WITHOUT, WITH)
_REPEATED = (*REPEATED, *DRAFTED)

selection_options = together(
    click.option(
        "--where",
        multiple=True,
        metavar="CONDITION",
        help="Condition on a column, such as 'n_words>=3', 'host=a.example|b.example', 'alt_text~cat' (contains), "
        "'alt_text~~^a' (matches), 'min_side=null'. Repeatable: all hold.",
    ),
    click.option("--only", metavar="RULE", help="Pairs that fail this rule and no other."),
    click.option(
        "--but", multiple=True, metavar="RULE[,RULE...]", callback=names, help="Pairs that pass all rules but these."
    ),
    click.option("--outcome", type=click.Choice(SELECTABLE), help="What becomes of the pairs."),
    click.option(
        "--moved",
        metavar="BEFORE-AFTER",
        help="Pairs whose outcome changes so by --set, --without or --with, such as kept-dropped.",
    ),
    click.option("--nearest", metavar="RULE", help="Order by distance from this rule's threshold (or RULE.SIGNAL)."),
    click.option("--side", type=click.Choice(SIDES), help="Of --nearest: only what the test drops, or keeps."),
    click.option("--sort", metavar="COLUMN", help="Order by a column; -COLUMN from the greatest."),
    click.option("--random", type=click.IntRange(0, 10**18 - 1), metavar="SEED", help="Order at random, by this seed."),
    click.option("--set", multiple=True, metavar="RULE.OP=VALUE", help="Decide with this threshold instead."),
    click.option("--without", multiple=True, metavar="RULE[,RULE...]", callback=names, help="Decide without these."),
    click.option("--with", multiple=True, metavar="RULE[,RULE...]", callback=names, help="Put back rules taken out."),
)
"""Options that select pairs of a ledger, or of what it would be with thresholds moved."""


def words_of(options: dict[str, Any]) -> list[tuple[str, str]]:
    """Take the options that select out of a command's, as the names and values of an address.

    ConditionError for one that is empty.
    """
    entries: list[tuple[str, str]] = []
    for name in (*NAMES, *DRAFTED):
        value = options.pop(name)
        entries += [(name, of) for of in value] if name in _REPEATED else [] if value is None else [(name, str(value))]
    return with_values(entries)


def draft_of(dataset: Dataset, ledger: str, words: Words) -> tuple[Draft, PairSelection]:
    """Return what decides, and what is selected."""
    return Draft.of(open_current(dataset, ledger), words), PairSelection.from_words(words)


def pair_json(pair: SelectedPair) -> Mapping[str, Any]:
    """Return a pair as JSON data."""
    return {
        "uid": pair.uid,
        "url": mask_url(pair.url),
        "alt_text": pair.alt_text,
        "outcome": pair.outcome,
        "fails": list(pair.fails),
        "unknown": list(pair.unknown),
        "values": dict(pair.values),
    }


def render_selected(out: Console, selected: Selected) -> None:
    """Print the pairs of a selection, and how many there are of which these are the first."""
    table = Table(show_lines=True)
    table.add_column("pair", ratio=3, overflow="fold")
    table.add_column("outcome", ratio=1, overflow="fold")
    for pair in selected.pairs:
        # Text and not markup, in which a backslash at the end of a URL would take the next tag for itself
        texts = Text(f"{_cut(pair.alt_text) or '(no text)'}\n").append(f"{_cut(mask_url(pair.url))}\n{pair.uid}", "dim")
        reasons = [pair.outcome, *(f"fails {name}" for name in pair.fails), *(f"{name} ?" for name in pair.unknown)]
        values = [f"{name} {'-' if of is None else figure(of)}" for name, of in pair.values.items()]
        table.add_row(texts, Text("\n".join([*reasons, *map(visible, values)])))
    if selected.pairs:
        out.print(table)
    shown, total = len(selected.pairs), selected.total
    out.print(counted(total, "pairs") + (f", the first {shown:,} of them shown" if 0 < shown < total else ""))


def _cut(text: str) -> str:
    return visible(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
