"""align-data plan."""

from __future__ import annotations

import os
from typing import Any

import click

from align_data.cli.fetch_policy import limits_of, policy_of, policy_options
from align_data.cli.forecast_tables import print_forecast
from align_data.cli.ingest import intake_options, rewriting
from align_data.cli.list_options import reading
from align_data.cli.options import (
    ByteSize,
    Number,
    decision_options,
    json_option,
    local_folder,
    print_json,
    progress,
    together,
)
from align_data.cli.recipe_argument import decision_of
from align_data.engines.local import MEMORY
from align_data.sources.crawl.inputs import ArchiveSelection
from align_data.sources.crawl.settings import KINDS
from align_data.sources.lists import Choice
from align_data.stages.forecast import SAMPLE, Capacity, Forecasting, Prices, Probe, forecast

price_options = together(
    click.option("--core-hour", type=Number(0, 1e6), metavar="DOLLARS", help="Price of a core for an hour."),
    click.option("--gb-month", type=Number(0, 1e6), metavar="DOLLARS", help="Price of a GB kept for a month."),
    click.option(
        "--gb-egress", type=Number(0, 1e6), metavar="DOLLARS", help="Price of a GB sent out: the shards, once."
    ),
)
"""Options that say what things cost."""


@click.command("plan", short_help="Forecast what a run will come to and cost, before it.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@intake_options
@decision_options
@click.option(
    "--sample",
    type=click.IntRange(1, 100_000_000),
    default=SAMPLE,
    show_default=True,
    help="Pairs to sample by hash of the URL, and as many by hash of the text; smaller inputs are counted.",
)
@click.option(
    "--probe",
    type=click.IntRange(1, 1_000_000),
    metavar="URLS",
    help="Fetch so many URLs of the sample, as align-data fetch would, for how many answer, their bytes and seconds.",
)
@click.option("--from", "kind", type=click.Choice(KINDS), help="What the archives are (default: told by their names).")
@click.option("--prefix", metavar="URL", help="Where the paths of a list such as warc.paths.gz begin.")
@policy_options
@click.option("--executors", type=click.IntRange(1, 100_000), help="Also tell what so many executors of Spark take.")
@click.option("--shard-size", type=click.IntRange(1), default=10_000, show_default=True, help="Pairs per shard.")
@price_options
@click.option("--workers", type=click.IntRange(1, 1024), help="Cores of the run (default: all of this machine).")
@click.option("--memory", type=ByteSize(), help="Memory limit of the run (default: 4GB).")
@click.option(
    "--work",
    metavar="FOLDER",
    callback=local_folder,
    help="Local folder for the sample, which is removed afterwards (default: the system's temporary folder).",
)
@json_option
def command(inputs: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Forecast what a run will come to and cost, before it.

    INPUT is what align-data run takes: lists, or archives of a crawl. All rows are read once and counted; distinct
    pairs and URLs, what each rule drops and the seconds of each stage are told by a sample that is measured and decided
    in a temporary folder. Every number says whether it is counted, sampled (with half of a 95 % interval), probed or
    assumed, and then from where.

    \b
    Examples:
      align-data plan 'laion/*.parquet' --recipe align
      align-data plan list.csv --recipe align --probe 500 --core-hour 0.05 --gb-month 0.02
      align-data plan wat.paths.gz --prefix https://data.commoncrawl.org --recipe align
    """
    recipe, overrides, off, name = (options.pop(each) for each in ("recipe", "overrides", "off", "name"))
    decision = decision_of(recipe, None, overrides, off, name)
    prices = Prices(*(options.pop(each) for each in ("core_hour", "gb_month", "gb_egress")))
    choice = Choice(options.pop("url_col"), options.pop("text_col"))
    archives = ArchiveSelection(options.pop("kind"), options.pop("prefix"))
    text, html, limits = reading(options), rewriting(options), limits_of(options)
    probe, policy = options.pop("probe"), policy_of(options)
    request = Forecasting(
        inputs,
        choice,
        text,
        html,
        None if archives == ArchiveSelection() else archives,
        options.pop("sample"),
        None if probe is None else Probe(probe, policy, limits),
    )
    cores = options.pop("workers") or len(os.sched_getaffinity(0))
    machine = Capacity(
        cores,
        options.pop("memory") or MEMORY,
        options.pop("executors"),
        limits.connections or limits.in_process * cores,
        limits.per_host,
        options.pop("shard_size"),
    )
    result = forecast(request, decision, machine, prices, progress(), options.pop("work"))
    if as_json:
        print_json(result.to_json())
    else:
        print_forecast(result)
