"""align-data add."""

from __future__ import annotations

import shlex
from typing import Any

import click

from align_data.cli import render
from align_data.cli.list_options import list_options, reading
from align_data.cli.options import (
    dataset_argument,
    json_option,
    note,
    print_json,
    progress,
    resource_options,
    resources,
    tell,
)
from align_data.data.ledger import again
from align_data.recipes.plan import Plan
from align_data.sources.lists import Choice, registry
from align_data.stages.grow import grow
from align_data.stages.session import session


@click.command("add", short_help="Add another batch of lists to a dataset.")
@dataset_argument
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("--as", "name", metavar="BATCH", help="Name of the batch (default: the next number).")
@list_options
@resource_options
@json_option
def command(dataset: str, inputs: tuple[str, ...], name: str | None, as_json: bool, **options: Any) -> None:
    """Add another batch of lists to a dataset, and bring up to date what was measured.

    INPUT is a file, a folder, a pattern or an fsspec URL; FORMATS. Files that are in the dataset already are left
    out. The result is that of one ingest of all lists: equal pairs are merged, and what is known of old pairs and
    URLs stays: signals, images, embeddings. The column first_batch of pairs says which batch a pair was first in.

    What was taken down stays away: such rows are counted as refused_tombstone. Ledgers are stale until they are decided
    again, since verdicts of old pairs can change too; the command says how. Fetch then asks only for what is new.

    A run that was killed is finished by the same command, also without INPUT.

    \b
    Examples:
      align-data add laion 2026-12/*.parquet --as 2026-12
      align-data add laion
    """
    choice = Choice(options.pop("url_col"), options.pop("text_col"))
    text = reading(options)
    with session(dataset, resources(options), progress()) as (opened, engine, steps):
        growth = grow(inputs, opened, engine, steps, choice, text, name)
        ledgers = {ledger: opened.ledger(ledger).committed() for ledger in growth.stale}
        plans = {ledger: Plan.model_validate(m.meta.plan) for ledger, m in ledgers.items() if m is not None}
        fetched = opened.images.committed() is not None
    if as_json:
        print_json(growth.to_json())
        return
    report = growth.added
    tell(f"batch {report.batch}: {render.account(report.account)}; {report.pairs:,} pairs in all")
    for ledger, plan in plans.items():
        note(f"the ledger {ledger} is stale; {again(dataset, ledger, plan)}")
    if fetched:
        note(f"images of new URLs are to be fetched: align-data fetch {shlex.quote(dataset)} --recipe LEDGER")


command.help = (command.help or "").replace("FORMATS", registry.described())
