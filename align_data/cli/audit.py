"""align-data audit."""

from __future__ import annotations

import click

from align_data.cli import render
from align_data.cli.common import console, dataset_argument, json_option, ledger_option, print_json
from align_data.layout import Dataset
from align_data.stages.audit import audit, examples
from align_data.store import Store


@click.command("audit", short_help="Show what each rule of a recipe did.")
@dataset_argument
@ledger_option
@click.option("--overlap", is_flag=True, help="Also how many pairs fail both of two rules.")
@click.option(
    "--examples",
    "number",
    type=click.IntRange(0, 1_000_000),
    default=0,
    help="Also so many pairs that each rule alone drops.",
)
@json_option
def command(dataset: str, ledger: str, overlap: bool, number: int, as_json: bool) -> None:
    """Show what each rule of a recipe did, exactly, from the ledger alone.

    For each rule: its test, how many pairs fail it, how many fail it and nothing else, for how many it is unknown, and
    how many no rule so far fails. A star marks thresholds that were chosen and are not published.

    \b
    Examples:
      align-data audit laion --recipe align --examples 5
      align-data audit laion --recipe align --json
    """
    opened = Dataset(Store(dataset))
    result = audit(opened, ledger)
    samples = examples(opened, ledger, number) if number else {}
    if as_json:
        print_json({**result.to_json(), **({"examples": samples} if number else {})})
        return
    out = console()
    render.audit(out, result)
    if overlap:
        render.overlap(out, result)
    render.examples(out, samples)
