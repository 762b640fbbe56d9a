"""align-data sweep."""

from __future__ import annotations

from typing import Any

import click

from align_data.cli import render
from align_data.cli.options import (
    console,
    dataset_argument,
    json_option,
    ledger_option,
    names,
    note,
    print_json,
    progress,
    resource_options,
    resources,
)
from align_data.stages.audit import SweepRequest, sweep
from align_data.stages.pipeline import session


@click.command("sweep", short_help="Count what other thresholds would keep, without measuring or filtering again.")
@dataset_argument
@ledger_option
@click.option("--signal", required=True, help="The signal whose rule is moved.")
@click.option(
    "--values",
    multiple=True,
    metavar="V[,V...]",
    callback=names,
    help="Thresholds to try; for top_k sizes of the vocabulary, for top_fraction shares. Some of ours unless given.",
)
@click.option("--rule", help="Which rule, where several test the signal.")
@click.option(
    "--end",
    type=click.Choice(["lower", "upper"]),
    help="Of a rule that asks for a range, the end that is moved: the upper one unless given.",
)
@click.option(
    "--moved",
    type=click.IntRange(0, 10_000),
    default=0,
    help="Also so many pairs whose outcome changes between the first and the last of --values.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Where --moved begins to look.")
@resource_options
@json_option
def command(dataset: str, ledger: str, as_json: bool, **options: Any) -> None:
    """Count what other thresholds of one rule would keep, with every other rule in force: one scan, nothing measured.

    \b
    Examples:
      align-data sweep laion --recipe align --signal images_per_text --values 5,10,20
      align-data sweep laion --recipe align --signal n_words --end lower --values 2,3,4 --moved 5
    """
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
        note(f"{swept.rule} asks for no range, so --end {end} says nothing of it")
    elif swept.ranged:
        note(f"the {'upper' if request.upper else 'lower'} end of {swept.rule} was moved, the other left: --end")
