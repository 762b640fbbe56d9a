"""align-data sweep."""

from __future__ import annotations

from typing import Any

import click

from align_data.cli import render
from align_data.cli.options import (
    dataset_argument,
    former_names,
    json_option,
    ledger_option,
    names,
    note,
    print_json,
    progress,
    resource_options,
    resources,
)
from align_data.cli.tables import console
from align_data.stages.audit import SweepRequest, sweep
from align_data.stages.session import session


@click.command("sweep", short_help="Count what other thresholds would keep, without measuring or filtering again.")
@dataset_argument
@ledger_option
@click.option("--signal", required=True, help="Signal whose rule to vary.")
@click.option(
    "--values",
    multiple=True,
    metavar="V[,V...]",
    callback=names,
    help="Thresholds to try: vocabulary sizes for top_k, shares for top_fraction (default: a selection).",
)
@click.option("--rule", help="Rule to vary, if several test the signal.")
@click.option(
    "--end",
    type=click.Choice(["lower", "upper"]),
    help="End of the range to vary, for a rule with a range (default: upper).",
)
@click.option(
    "--moved",
    type=click.IntRange(0, 10_000),
    default=0,
    help="Number of pairs to show whose outcome changes between the first and the last of --values.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed that selects the pairs of --moved."
)
@resource_options
@json_option
def command(dataset: str, ledger: str, as_json: bool, **options: Any) -> None:
    """Count what other thresholds of one rule would keep, with every other rule in force, in one scan.

    \b
    Examples:
      align-data sweep laion --recipe align --signal images_per_text --values 5,10,20
      align-data sweep laion --recipe align --signal n_words --end lower --values 2,3,4 --moved 5
    """
    former_names(filter(None, (options["signal"], options["rule"])))
    request = SweepRequest(
        options.pop("signal"), options.pop("values"), options.pop("rule"), (end := options.pop("end")) != "lower"
    )
    moved, seed = options.pop("moved"), options.pop("seed")
    with session(dataset, resources(options), reads=True) as (opened, engine):
        swept = sweep(opened, ledger, request, engine, progress(), moved, seed)
    if as_json:
        print_json(swept.to_json())
        return
    render.swept(console(), swept)
    if end is not None and not swept.ranged:
        note(f"{swept.rule} has no range, so --end {end} has no effect")
    elif swept.ranged:
        note(f"the {'upper' if request.upper else 'lower'} end of {swept.rule} was varied; --end selects the other")
