"""align-data measure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from align_data.cli.common import (
    dataset_argument,
    json_option,
    names,
    note,
    print_json,
    progress,
    resource_options,
    resources,
)
from align_data.pipeline import session
from align_data.stages.measure import measure


@click.command("measure", short_help="Measure what has become measurable and is not measured yet.")
@dataset_argument
@click.option(
    "--signals",
    multiple=True,
    metavar="NAME[,NAME...]",
    callback=names,
    help="Only these; see: align-data signals",
)
@resource_options
@json_option
def command(dataset: str, signals: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Measure what has become measurable and is not measured yet.

    Nothing is measured twice: what is there stays, unless its inputs or its definition have changed. Without --signals
    everything is measured that can be; what cannot is named, with what it needs.

    \b
    Examples:
      align-data measure laion
      align-data measure laion --signals n_words,images_per_text
    """
    with session(dataset, resources(options)) as (opened, engine):
        result = measure(opened, engine, progress(), list(signals) or None)
    if as_json:
        print_json(asdict(result))
        return
    click.echo("measured: " + (", ".join(result.measured) or "nothing, all was there"))
    if result.before:
        click.echo("measured before: " + ", ".join(result.before))
    reasons: dict[str, list[str]] = {}
    for name, why in result.missing.items():
        reasons.setdefault(why, []).append(name)
    for why, missing in reasons.items():
        note(f"not measured: {', '.join(missing)} {why}")
