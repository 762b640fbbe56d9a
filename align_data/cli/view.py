"""align-data view."""

from __future__ import annotations

from typing import Any

import click

from align_data.cli.options import dataset_argument, json_option, print_json, progress, resource_options, resources
from align_data.common.secrets import mask
from align_data.explorer import serve
from align_data.stages.session import session


@click.command("view", short_help="Open a dataset in the browser: move thresholds, look at pairs, take them along.")
@dataset_argument
@click.option("--recipe", "ledger", metavar="LEDGER", help="Ledger to begin with (default: the first).")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="Port; 0 takes a free one.")
@click.option("--browser/--no-browser", default=True, help="Whether to open the browser.")
@resource_options
@json_option
def command(dataset: str, ledger: str | None, port: int, browser: bool, as_json: bool, **options: Any) -> None:
    """Open a dataset in the browser: move thresholds together, look at pairs and groups, compare, mark, take along.

    It is for this machine alone: it listens on 127.0.0.1, its link has a token, and it loads nothing from elsewhere.
    Pairs and signals are only read; what a button writes is a new ledger, a recipe's file, or labels. Each page says
    the command that does the same.

    \b
    Examples:
      align-data view laion
      align-data view laion --recipe align --port 8080 --no-browser
    """

    def ready(link: str) -> None:
        if as_json:
            print_json({"link": link})
        else:
            click.echo(f"{mask(dataset)} is at {link} for this machine alone; Ctrl-C stops it")

    with session(dataset, resources(options), progress(), reads=True) as (_, engine, _):
        serve(dataset, engine, ledger, port, ready, browser=browser)
