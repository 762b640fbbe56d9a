"""align-data ingest."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from align_data.cli import render
from align_data.cli.common import json_option, note, print_json, progress, resource_options, resources
from align_data.inputs import Choice
from align_data.pipeline import session
from align_data.stages.ingest import PART_ROWS, Parts, ingest


def intake_options(function: Any) -> Any:
    """Add the options that say how inputs are read."""
    for option in (
        click.option("--part-rows", type=click.IntRange(1), default=PART_ROWS, hidden=True),
        click.option(
            "--text-col",
            metavar="COLUMN",
            help="The column of the alt-texts; found by its usual names unless given.",
        ),
        click.option(
            "--url-col",
            metavar="COLUMN",
            help="The column of the image URLs; found by its usual names unless given.",
        ),
    ):
        function = option(function)
    return function


@click.command("ingest", short_help="Read lists of image URLs and alt-texts into a dataset.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", required=True, metavar="DATASET", help="The folder, or fsspec URL, of the new dataset.")
@intake_options
@resource_options
@json_option
def command(inputs: tuple[str, ...], out: str, as_json: bool, **options: Any) -> None:
    """Read lists of image URLs and alt-texts into a dataset.

    INPUT is a file, a folder, a pattern such as 'lists/*.parquet' or an fsspec URL; Parquet, CSV, TSV or JSON lines,
    the latter three also as .gz or .zst. Columns are found by their usual names; a list without a header line, such as
    Conceptual Captions', is recognised by its values.

    Every row becomes a pair, is merged with an equal one, or is rejected with a reason: the account is printed, and
    the rejected rows are in DATASET/rejected. The same inputs again are nothing to do.

    \b
    Examples:
      align-data ingest cc3m.tsv --out cc3m
      align-data ingest 'laion/*.parquet' --url-col URL --text-col TEXT --out laion
    """
    choice = Choice(options.pop("url_col"), options.pop("text_col"))
    parts = Parts(rows=options.pop("part_rows"))
    with session(out, resources(options), create=True) as (dataset, engine):
        account = ingest(inputs, dataset, engine, progress(), choice, parts)
    if as_json:
        print_json(asdict(account))
    else:
        click.echo(render.account(account))
        note(f"next: align-data measure {out}")
