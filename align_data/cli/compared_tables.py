"""A comparison of two datasets in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from align_data.data.ledger import OUTCOMES
from align_data.stages.compare.comparison import ByValue, DatasetComparison, LinkRot, StillAlive

ROWS = 10
"""Values of a signal in a table of the terminal; the page and JSON have more."""


def print_comparison(out: Console, comparison: DatasetComparison) -> None:
    """Print what two sides have in common."""
    for which, side in (("A", comparison.a), ("B", comparison.b)):
        out.print(escape(f"{which}: {side.sentence}"), soft_wrap=True)
    _numbers(out, "", ("where", "pairs", "URLs"), _in_both(comparison))
    other = comparison.urls["other_texts"]
    out.print(f"{other:,} of the URLs in both have not the same texts", soft_wrap=True)
    if comparison.images is not None:
        _numbers(out, "URLs in both, asked for by both", ("image", "URLs"), comparison.images.items())
        for title, of in (("Gone in B, by its status", comparison.gone), ("Came in B, by A's status", comparison.came)):
            _numbers(out, title, ("status", "URLs"), list(of.items())[:ROWS])
    if comparison.verdicts is not None:
        rows: list[list[str | int]] = [[name, *row] for name, row in zip(OUTCOMES, comparison.verdicts, strict=True)]
        _numbers(out, "Pairs in both, by verdict", ("A, down; B, across", *OUTCOMES), rows)
    for name, values in comparison.by.items():
        _by_value(out, name, values, comparison)
    if comparison.rot is not None and comparison.rot.urls:
        _rot(out, comparison.rot)
    for line in comparison.notes:
        out.print(escape(line), style="dim", soft_wrap=True)


def _in_both(comparison: DatasetComparison) -> list[tuple[str, int, int]]:
    names = {"both": "in both", "only_a": "only in A", "only_b": "only in B"}
    return [(words, comparison.pairs[name], comparison.urls[name]) for name, words in names.items()]


def _rot(out: Console, rot: LinkRot) -> None:
    since = f", {rot.days:,} days later" if rot.days is not None else ""
    out.print(f"link rot: of {rot.urls:,} URLs alive in A, {rot.still:,} are alive in B{since}", soft_wrap=True)
    for of, still in (("host", rot.by_host), ("batch of A", rot.by_batch)):
        _numbers(out, f"Still alive, by {of}", (of, "alive in A", "alive in B"), _still(still[:ROWS]))


def _still(still: Sequence[StillAlive]) -> list[tuple[str, int, int]]:
    return [(row.of or "(none)", row.urls, row.still) for row in still]


def _by_value(out: Console, name: str, values: ByValue, comparison: DatasetComparison) -> None:
    heads = [name, "in both", "only in A", "only in B"]
    columns = ["both", "only_a", "only_b"]
    if comparison.images is not None:
        heads += ["same image", "another", "gone"]
        columns += ["same", "other", "gone"]
    if comparison.verdicts is not None:
        heads, columns = [*heads, "verdict changed"], [*columns, "changed"]
    rows = [(row.value or "(none)", *(getattr(row, of) for of in columns)) for row in values.values[:ROWS]]
    _numbers(out, f"Pairs by {name}", heads, rows)
    if values.error:
        out.print(f"each has at most {values.error:,} pairs more than that", style="dim")


def _numbers(out: Console, title: str, heads: Sequence[str], rows: Iterable[Sequence[str | int]]) -> None:
    listed = list(rows)
    if not listed:
        return
    table = Table(title=title or None, title_justify="left")
    for place, head in enumerate(heads):
        table.add_column(escape(head), justify="right" if place else "left", overflow="fold")
    for row in listed:
        table.add_row(*(escape(cell) if isinstance(cell, str) else f"{cell:,}" for cell in row))
    out.print(table)
