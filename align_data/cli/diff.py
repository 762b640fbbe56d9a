"""align-data diff."""

from __future__ import annotations

from typing import Any

import click

from align_data.cli import render
from align_data.cli.options import dataset_argument, json_option, print_json, progress, resource_options, resources
from align_data.cli.pages import before_page, page_options, write_page
from align_data.cli.tables import console
from align_data.report import diff_html
from align_data.stages.audit import diff
from align_data.stages.session import session


@click.command("diff", short_help="Compare two ledgers: which pairs differ, and by which rules.")
@dataset_argument
@click.argument("ledger_a", metavar="LEDGER_A")
@click.argument("ledger_b", metavar="LEDGER_B")
@page_options
@resource_options
@json_option
def command(dataset: str, ledger_a: str, ledger_b: str, as_json: bool, **options: Any) -> None:
    """Compare two ledgers: the pairs that both, only one, or neither of them keeps, by which rules, with samples.

    A table counts the pairs that are kept, pending or dropped in each of the two ledgers.

    \b
    Examples:
      align-data diff laion align align-strict
      align-data diff laion align datacomp-basic --html diff.html
    """
    html: str | None = options.pop("html")
    pictures, samples, seed = options.pop("pictures"), options.pop("samples"), options.pop("seed")
    with session(dataset, resources(options), progress(), reads=True) as (opened, engine, steps):
        if html is not None:
            before_page(html)
        difference = diff(opened, ledger_a, ledger_b, engine, steps, samples, seed)
        if html is not None:
            write_page(html, diff_html(difference, opened, steps, pictures=pictures))
    if as_json:
        print_json(difference.to_json())
        return
    render.diff(console(), difference)
