"""align-data measure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import click

from align_data.cli.dry_run import capacity, dry_run_option, print_dry_run
from align_data.cli.options import (
    dataset_argument,
    former_names,
    json_option,
    names,
    note,
    print_json,
    progress,
    resource_options,
    resources,
    settings,
    tell,
    together,
    typed_options,
)
from align_data.cli.sight import near_options, sight_of, sight_options
from align_data.common.secrets import mask
from align_data.content.plan import CHUNK, Sight
from align_data.data.columns import lacking, measurable, need
from align_data.data.layout import Dataset
from align_data.data.references import ReferenceFiles
from align_data.data.user_lists import PER, ListFiles
from align_data.engines.resources import Resources
from align_data.recipes.plan import Plan
from align_data.signals import find
from align_data.signals.families import check_name
from align_data.signals.user_lists import MATCHES
from align_data.stages.measure import MeasureReport, measure
from align_data.stages.session import session


def list_files(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Split NAME=FILE, and check the names."""
    pairs = settings(ctx, param, values)
    for name, file in pairs:
        check_name(name, "list")
        if not file:
            raise click.BadParameter(f"{name} has no file; write it as NAME=FILE", ctx, param)
    return pairs


reference_options = together(
    click.option("--eval-index", metavar="FILE", help="Index of evaluation images, written by align-data eval-index."),
    click.option(
        "--blocklist",
        metavar="FILE",
        help="File of lines with a kind (sha256, md5, phash, url or host) and the value to block.",
    ),
)
"""Options that say what images are compared with."""


def references_of(options: dict[str, Any]) -> ReferenceFiles:
    """Take these options out of a command's."""
    return ReferenceFiles(options.pop("eval_index"), options.pop("blocklist"))


list_options = together(
    click.option(
        "--list",
        "lists",
        multiple=True,
        metavar="NAME=FILE",
        callback=list_files,
        help="List of words, phrases, hosts, URLs or uids, one a line, for the signals list_NAME and others.",
    ),
    click.option(
        "--match",
        type=click.Choice(list(MATCHES)),
        default="word",
        show_default=True,
        help="How pairs are matched with the lists: " + "; ".join(f"{n}, {m.about}" for n, m in MATCHES.items()) + ".",
    ),
    click.option(
        "--per",
        type=click.Choice(PER),
        help="Take FILE for a folder with a list for each value of this signal, as en.txt; else.txt is for others.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0, 2**32 - 1),
        default=0,
        show_default=True,
        help="Seed of the numbers that balance_NAME draws.",
    ),
)
"""Options that say which lists pairs are matched with."""


@click.command("measure", short_help="Measure the signals that can be measured and are not yet.")
@dataset_argument
@click.option(
    "--signals",
    multiple=True,
    metavar="NAME[,NAME...]",
    callback=names,
    help="Measure only these signals, or a group of them such as caption; `align-data signals` lists them.",
)
@click.option("--recipe", metavar="NAME|FILE", help="Measure only what this recipe needs and can be measured.")
@reference_options
@list_options
@sight_options
@near_options
@click.option("--chunk", type=click.IntRange(1), default=CHUNK, hidden=True)
@dry_run_option
@resource_options
@json_option
def command(
    dataset: str,
    signals: tuple[str, ...],
    recipe: str | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure the signals that can be measured and are not yet.

    Nothing is measured twice: values stay unless their inputs or their definition have changed. Without --signals and
    --recipe, every signal that can be measured is, but for those on request; the command lists the others with what
    they need. An index, a blocklist or another list stays with the dataset once given.

    \b
    Examples:
      align-data measure laion
      align-data measure laion --signals n_words,images_per_text
      align-data measure laion --recipe coyo
      align-data measure laion --list metaclip=entries.txt --match padded
      align-data measure laion --eval-index coco.parquet --nsfw-model nsfw --only-open align
    """
    former_names(signals)
    sight, references = sight_of(options, options.pop("chunk")), references_of(options)
    lists = ListFiles(options.pop("lists"), options.pop("match"), options.pop("seed"), options.pop("per"))
    if dry_run and (typed := typed_options("eval_index", "blocklist", "lists")):
        raise click.UsageError(f"{typed[0]} is stored with the dataset, and --dry-run stores nothing: omit one")
    spent = resources(options)
    with session(dataset, spent, progress(), reads=dry_run) as (opened, engine, steps):
        opened.ingested()
        if not dry_run:
            references.give(opened)
            lists.give(opened)
        needed: list[str] = []
        if recipe is not None:
            from align_data.cli.recipe_argument import recipe_of  # noqa: PLC0415 - it knows how ledgers are decided

            needed = Plan.unresolved(recipe_of(recipe, dataset)).signals
        named = [*signals, *measurable(opened, needed, sight.chosen)]
        wanted = None if recipe is None and not signals else named
        if dry_run:
            _print_dry_run(opened, wanted, sight, spent, as_json=as_json)
            return
        result = measure(opened, engine, steps, wanted, sight=sight)
        absent = {name: lacking(opened, find(name), sight.chosen) for name in needed if name not in named}
        result = replace(result, missing=result.missing | {name: why for name, why in absent.items() if why})
    if as_json:
        missing = {name: mask(why) for name, why in result.missing.items()}
        print_json({**asdict(result), "missing": missing})
        return
    _print(result)
    note(f"next: align-data filter {shlex.quote(dataset)} --recipe {'NAME' if recipe is None else shlex.quote(recipe)}")


def _print_dry_run(
    dataset: Dataset, names: Sequence[str] | None, sight: Sight, spent: Resources, *, as_json: bool
) -> None:
    """Tell what would be measured, and what that takes."""
    from align_data.stages.forecast.of_dataset import forecast_measure  # noqa: PLC0415 - measuring needs none of it

    result, todo = forecast_measure(dataset, names, sight, capacity(spent))
    if as_json:
        print_json({**result.to_json(), "signals": [signal.name for signal in todo]})
        return
    tell("to be measured: " + (", ".join(signal.name for signal in todo) or "nothing new"))
    print_dry_run(result, as_json=False)


def _print(result: MeasureReport) -> None:
    tell("measured: " + (", ".join(result.measured) or "nothing new"))
    if result.before:
        tell("already measured: " + ", ".join(result.before))
    reasons: dict[str, list[str]] = {}
    for name, why in result.missing.items():
        reasons.setdefault(why, []).append(name)
    for why, missing in reasons.items():
        note(f"not measured: {need(missing, why)}")
