"""align-data audit."""

from __future__ import annotations

from typing import Any

import click

from align_data.cli import render
from align_data.cli.marked import render_marked
from align_data.cli.options import (
    dataset_argument,
    json_option,
    ledger_option,
    print_json,
    progress,
    resource_options,
    resources,
)
from align_data.cli.pages import before_page, page_options, write_page
from align_data.cli.tables import console
from align_data.report import audit_html
from align_data.stages.audit import audit, examples, marked, near_duplicates, survey
from align_data.stages.session import session


@click.command("audit", short_help="Show what each rule of a recipe did.")
@dataset_argument
@ledger_option
@click.option("--overlap", is_flag=True, help="Also show how many pairs fail both of two rules.")
@click.option(
    "--examples",
    "number",
    type=click.IntRange(0, 1_000_000),
    default=0,
    help="Number of pairs to show for each rule that only that rule drops.",
)
@click.option("--near", is_flag=True, help="Also show near-duplicates: what thresholds drop, and the largest groups.")
@click.option(
    "--labels",
    "label",
    metavar="NAME",
    help="Also show how right each rule is by the marks of this label (align-data label): precision and recall.",
)
@page_options
@resource_options
@json_option
def command(dataset: str, ledger: str, overlap: bool, number: int, near: bool, as_json: bool, **options: Any) -> None:
    """Show what each rule of a recipe did, exactly, from the ledger alone.

    For each rule: its test, how many pairs fail it, how many fail only it, for how many it is unknown, and how many
    pairs pass all rules up to it. A star marks thresholds that were chosen rather than published.

    --html writes a page, one file that works offline: the funnel, how rules overlap, what other thresholds would keep,
    samples with pictures, who is removed, the pool's extremes, the largest groups of near-duplicates, how it was made.
    It needs the extra report.

    \b
    Examples:
      align-data audit laion --recipe align --examples 5
      align-data audit laion --recipe align --html report.html
      align-data audit laion --recipe align --json
    """
    label: str | None = options.pop("label")
    html, pictures = options.pop("html"), options.pop("pictures")
    samples, seed = options.pop("samples"), options.pop("seed")
    if html is not None:
        before_page(html, charts=True)
    with session(dataset, resources(options), reads=True) as (opened, engine):
        result = audit(opened, ledger)
        dropped_alone = examples(opened, ledger, number) if number else {}
        by_hand = marked(opened, ledger, label, engine, progress()) if label is not None else None
        methods = near_duplicates(opened, engine, progress()) if near else []
        if html is not None:
            surveyed = survey(opened, ledger, engine, progress(), samples, seed)
            write_page(html, audit_html(surveyed, opened, progress(), pictures=pictures))
    if as_json:
        also: dict[str, Any] = {"examples": dropped_alone} if number else {}
        also |= {"near_duplicates": [method.to_json() for method in methods]} if near else {}
        also |= {"labels": by_hand.to_json()} if by_hand is not None else {}
        print_json({**result.to_json(), **also})
        return
    out = console()
    render.audit(out, result)
    if overlap:
        render.overlap(out, result)
    if by_hand is not None:
        render_marked(out, by_hand)
    if near:
        render.near_duplicates(out, methods)
    render.examples(out, dropped_alone)
