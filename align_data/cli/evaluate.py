"""align-data evaluate."""

from __future__ import annotations

from collections.abc import Callable

import click
from rich.console import Console
from rich.table import Table

from align_data.cli.model_options import device_option, load_model, lost, model_argument, shards_argument
from align_data.cli.options import (
    console,
    json_option,
    note,
    print_json,
    progress,
)
from align_data.train.evaluate import Classes, Evaluation, evaluate
from align_data.train.labels import TEMPLATES, read_classes, read_labels, read_templates
from align_data.train.metrics import Direction, Estimate
from align_data.train.shards import Shards


@click.command("evaluate", short_help="Say what a model is worth on the pairs of some shards.")
@model_argument
@shards_argument
@click.option(
    "--labels",
    metavar="FILE",
    help="Labels of pairs: Parquet, CSV, JSON or JSON lines; uid (SHARD/KEY in tars without) or url, label.",
)
@click.option("--classes", metavar="FILE", help="The classes for zero-shot classification, one a line; with --labels.")
@click.option("--templates", metavar="FILE", help=f"Prompts for each class, one a line; '{TEMPLATES[0]}' unless given.")
@device_option
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the intervals, and of shuffling."
)
@json_option
def command(model: str, shards: str, device: str | None, seed: int, as_json: bool, **files: str | None) -> None:
    """Say what a model is worth on the pairs of some shards.

    MODEL is a folder that align-data train wrote, a checkpoint of transformers, or its name on the hub; SHARDS is a
    folder that align-data export wrote, or one of WebDataset tars. Images find texts and texts find images, among all
    of SHARDS: R@1, R@5, R@10 and the median rank, by exact search, with 95 % intervals over the queries. Equal texts
    are one text and equal images one image, and the best of several right answers counts. Equal scores are in no
    order, so a model that always says the same is at chance.

    With --labels also how often the nearest other image is of the same class; with --classes also zero-shot
    classification by prompts.

    \b
    Examples:
      align-data evaluate model shards/test
      align-data evaluate model shards/test --labels truth.parquet --classes classes.txt --templates prompts.txt
    """
    asked = _classes(**files)
    opened = Shards.open(shards)
    found = evaluate(load_model(model, device), opened, progress(), classes=asked, seed=seed)
    if as_json:
        print_json(found.to_json())
    else:
        _print(console(), found)
    lost(found.undecodable, found.skipped)


def _classes(labels: str | None, classes: str | None, templates: str | None) -> Classes | None:
    """Read what was given for classification, before anything takes long."""
    if classes is not None and labels is None:
        raise click.UsageError("--classes says what there is, and not what each pair is: give --labels too")
    if templates is not None and classes is None:
        raise click.UsageError("--templates is for the names in --classes: give them too")
    if labels is None:
        return None
    names = read_classes(classes) if classes is not None else ()
    return Classes(read_labels(labels), names, read_templates(templates) if templates is not None else TEMPLATES)


def _print(out: Console, found: Evaluation) -> None:
    table = Table(title=f"{found.pairs:,} pairs; 95 % intervals over the queries", title_justify="left")
    columns = {
        "image to text": found.retrieval.image_to_text,
        "text to image": found.retrieval.text_to_image,
        "captions shuffled": found.shuffled,
    }
    for name in ("", *columns):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for figure, shown in _FIGURES.items():
        table.add_row(figure, *(shown(direction) for direction in columns.values()))
    out.print(table)
    if found.neighbours is not None:
        near = found.neighbours
        out.print(
            f"nearest other image of the same class: {_share(near.r_at_1)} of {near.images:,} images in "
            f"{near.classes:,} classes (chance {near.chance:.2%})"
        )
    if found.zero_shot is not None:
        shot = found.zero_shot
        out.print(
            f"zero-shot: top-1 {_share(shot.top_1)}, top-5 {_share(shot.top_5)} of {shot.images:,} images in "
            f"{shot.classes:,} classes, {shot.templates:,} templates (chance {shot.chance:.2%})"
        )
    shuffled = found.shuffled
    out.print(f"R@1 with captions shuffled: {_share(shuffled.r_at_1)}; chance is {shuffled.chance:.2%}")
    for line in found.notes:
        note(line)


def _share(some: Estimate) -> str:
    return f"{some.value:.1%} ({some.low:.1%} to {some.high:.1%})"


def _rank(some: Estimate) -> str:
    return f"{some.value:,.1f} ({some.low:,.1f} to {some.high:,.1f})"


_FIGURES: dict[str, Callable[[Direction], str]] = {
    "queries": lambda found: f"{found.queries:,}",
    "among": lambda found: f"{found.gallery:,}",
    "R@1": lambda found: _share(found.r_at_1),
    "R@5": lambda found: _share(found.r_at_5),
    "R@10": lambda found: _share(found.r_at_10),
    "median rank": lambda found: _rank(found.median_rank),
    "R@1 by chance": lambda found: f"{found.chance:.2%}",
}
