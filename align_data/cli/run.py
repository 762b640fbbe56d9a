"""align-data run."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Any

import click

from align_data.cli import render
from align_data.cli.crawl import archive_options, crawled_json, intake_of, print_crawled
from align_data.cli.dry_run import capacity, dry_run_option, print_dry_run
from align_data.cli.ingest import intake_options, rewriting
from align_data.cli.list_options import reading
from align_data.cli.options import (
    decision_options,
    json_option,
    note,
    print_json,
    progress,
    resource_options,
    resources,
    tell,
)
from align_data.cli.recipe_argument import decision_of
from align_data.cli.tables import console
from align_data.data.layout import Dataset
from align_data.engines.resources import Resources
from align_data.sources.lists import Choice
from align_data.stages.decision import Decision
from align_data.stages.ingest import Parts, example
from align_data.stages.pipeline import Intake, run
from align_data.stages.session import session
from align_data.storage.store import Store


@click.command("run", short_help="Ingest, measure, filter and audit in one go.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", required=True, metavar="DATASET", help="The dataset's folder or fsspec URL.")
@intake_options
@archive_options
@decision_options
@dry_run_option
@resource_options
@json_option
def command(
    inputs: tuple[str, ...],
    out: str,
    recipe: str,
    overrides: tuple[str, ...],
    off: tuple[str, ...],
    name: str | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Ingest, measure what the recipe needs, filter and audit, in one go.

    If it is stopped, repeat the command: it continues where it was, and the output is identical to the byte.

    \b
    Example:
      align-data run 'laion/*.parquet' --recipe align --out laion
    """
    choice = Choice(options.pop("url_col"), options.pop("text_col"))
    parts = Parts(rows=options.pop("part_rows"))
    intake = intake_of(inputs, choice, parts, reading(options), rewriting(options), options)
    decision = decision_of(recipe, out, overrides, off, name)
    spent = resources(options)
    if dry_run:
        _print_dry_run(intake, decision, out, spent, as_json=as_json)
        return
    with session(out, spent, progress(), create=True) as (dataset, engine, steps):
        summary = run(intake, decision, dataset, engine, steps)
        rejected = example(dataset, summary.account)
    if as_json:
        crawled = {} if summary.crawled is None else {"crawl": crawled_json(summary.crawled)}
        print_json({**crawled, "account": asdict(summary.account), "audit": summary.audit.to_json()})
        return
    if summary.crawled is not None:
        print_crawled(summary.crawled.total)
    tell(render.account(summary.account))
    if rejected is not None:
        note(render.rejected(out, summary.account, rejected))
    render.audit(console(), summary.audit, told=summary.crawled is not None)
    note(f"next: align-data audit {shlex.quote(out)} --recipe {decision.ledger} --examples 5")


def _print_dry_run(intake: Intake, decision: Decision, out: str, spent: Resources, *, as_json: bool) -> None:
    """Tell what the run would come to and what it takes; what is there already is told, and not taken off."""
    from align_data.stages.forecast import Forecasting, Prices, forecast  # noqa: PLC0415 - a run needs none of it

    request = Forecasting(intake.inputs, intake.choice, intake.reading, intake.rewriting, intake.selection)
    result = forecast(request, decision, capacity(spent), Prices(), progress(), spent.work)
    before = Dataset(Store(out, spent.work)).pairs.committed()
    if before is not None:
        result.notes.append(
            f"{out} has {before.rows:,} pairs already: what is done of the same inputs is not done again, and others "
            "need another --out"
        )
    print_dry_run(result, as_json=as_json)
