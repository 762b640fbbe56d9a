"""align-data build."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import click

from align_data.cli import render
from align_data.cli.crawl import archive_options, crawled_json, intake_of, print_crawled
from align_data.cli.export import form_of, format_option, print_exported, shard_options
from align_data.cli.fetch import print_fetched
from align_data.cli.fetch_policy import limits_of, policy_of, policy_options
from align_data.cli.ingest import intake_options, rewriting
from align_data.cli.list_options import reading
from align_data.cli.measure import reference_options, references_of
from align_data.cli.options import (
    decision_options,
    json_option,
    print_json,
    progress,
    resource_options,
    resources,
    tell,
)
from align_data.cli.recipe_argument import decision_of
from align_data.cli.sight import near_options, sight_of, sight_options
from align_data.cli.tables import console
from align_data.cli.verify import check_json, print_check, readers, require_whole
from align_data.decoding.inspected import Smaller
from align_data.exports.formats import FORMATS
from align_data.fetching.keeping import Keeping
from align_data.sources.lists import Choice
from align_data.stages.build import Exporting, Fetching, build
from align_data.stages.export import Form
from align_data.stages.ingest import Parts
from align_data.stages.session import session
from align_data.storage.store import Store


@click.command("build", short_help="Go from lists to verified shards in one go.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", required=True, metavar="DATASET", help="The dataset's folder or fsspec URL.")
@click.option("--shards", required=True, metavar="FOLDER", help="New or empty folder, or fsspec URL, for the shards.")
@intake_options
@archive_options
@decision_options
@reference_options
@policy_options
@sight_options
@near_options
@format_option(*(name for name, each in FORMATS.items() if each.images))
@shard_options
@resource_options
@json_option
def command(
    inputs: tuple[str, ...],
    out: str,
    shards: str,
    recipe: str,
    overrides: tuple[str, ...],
    off: tuple[str, ...],
    name: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Go from lists to verified shards in one go: ingest, measure, filter, fetch, filter again, export, verify.

    Images are measured as they arrive, and stored no larger than the shards need them: with --resize shortest, shrunk
    to --size. Pairs whose image cannot be had are left out. If it is stopped, repeat the command: it continues where it
    was.

    \b
    Example:
      align-data build 'laion/*.parquet' --recipe align --without nsfw,eval_distance --out laion \\
        --shards shards --resize shortest --size 256
    """
    if shards.rstrip("/") == out.rstrip("/"):
        raise click.UsageError("--shards needs a folder of its own, not the dataset's")
    choice = Choice(options.pop("url_col"), options.pop("text_col"))
    parts = Parts(rows=options.pop("part_rows"))
    intake = intake_of(inputs, choice, parts, reading(options), rewriting(options), options)
    decision = decision_of(recipe, out, overrides, off, name)
    form = form_of(options)
    options.pop("chunk")
    fetching = Fetching(
        policy_of(options), limits_of(options), sight_of(options), _keeping(form), references_of(options)
    )
    spent = resources(options)
    exporting = Exporting(Store(shards, spent.work), form, readers(spent.workers))
    with session(out, spent, progress(), create=True) as (dataset, engine, steps):
        built = build(intake, decision, fetching, exporting, dataset, engine, steps)
    if as_json:
        stages = asdict(replace(built, crawled=None)) | {"audit": built.audit.to_json()}
        crawled = None if built.crawled is None else crawled_json(built.crawled)
        print_json({**stages, "crawled": crawled, "check": check_json(built.check)})
    else:
        if built.crawled is not None:
            print_crawled(built.crawled.total)
        tell(render.account(built.account))
        print_fetched(built.fetched)
        render.audit(console(), built.audit, told=built.crawled is not None)
        print_exported(built.exported, form, shards)
        print_check(built.check)
    require_whole(built.check, shards)


def _keeping(form: Form) -> Keeping:
    """Return what is stored of images: no more than the shards need."""
    how = form.how
    # What is cut out of an image afterwards would be encoded twice.
    smaller = how.resize == "shortest"
    return Keeping(Smaller(how.size, how.encoder, how.quality, how.resampling)) if smaller else Keeping()
