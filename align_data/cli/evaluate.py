"""align-data evaluate."""

from __future__ import annotations

from collections.abc import Callable

import click
from rich.console import Console
from rich.table import Table

from align_data.cli.model_options import device_option, load_model, lost, model_argument, shards_argument
from align_data.cli.options import json_option, note, print_json, progress
from align_data.cli.tables import console
from align_data.train.evaluate import Classes, ModelEvaluation, evaluate
from align_data.train.labels import TEMPLATES, read_classes, read_labels, read_templates
from align_data.train.metrics import BootstrapEstimate, Direction
from align_data.train.shards import Shards


@click.command("evaluate", short_help="Evaluate a model on the pairs of exported shards.")
@model_argument
@shards_argument
@click.option(
    "--labels",
    metavar="FILE",
    help=(
        "Labels of pairs as Parquet, CSV, JSON or JSON lines: a column label, and uid or url (SHARD/KEY for "
        "tars without uids)."
    ),
)
@click.option(
    "--classes", metavar="FILE", help="Classes for zero-shot classification, one per line; requires --labels."
)
@click.option("--templates", metavar="FILE", help=f"Prompts for each class, one a line; '{TEMPLATES[0]}' unless given.")
@device_option
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed for the intervals and for shuffling."
)
@json_option
def command(model: str, shards: str, device: str | None, seed: int, as_json: bool, **files: str | None) -> None:
    """Evaluate a model on the pairs of exported shards.

    MODEL is a folder that align-data train wrote, a checkpoint of transformers, or org/name@COMMIT of the Hugging
    Face hub; SHARDS is a folder that align-data export wrote, or a folder of WebDataset tars. Retrieval among all
    of SHARDS, in both directions: R@1, R@5, R@10 and the median rank, by exact search, with 95 % intervals over the
    queries. Equal texts count as one text and equal images as one image; the best of several correct answers
    counts. Ties are broken by chance, so a model that gives every pair the same score is at chance level.

    --labels adds how often the nearest other image is of the same class; --classes adds zero-shot classification by
    prompts.

    \b
    Examples:
      align-data evaluate model shards/test
      align-data evaluate model shards/test --labels truth.parquet --classes classes.txt --templates prompts.txt
    """
    classification = _classes(**files)
    opened = Shards.open(shards)
    evaluation = evaluate(load_model(model, device), opened, progress(), classes=classification, seed=seed)
    if as_json:
        print_json(evaluation.to_json())
    else:
        _print(console(), evaluation)
    lost(evaluation.undecodable, evaluation.skipped)


def _classes(labels: str | None, classes: str | None, templates: str | None) -> Classes | None:
    """Read what was given for classification, before anything takes long."""
    if classes is not None and labels is None:
        raise click.UsageError("--classes lists the classes, not the class of each pair: give --labels too")
    if templates is not None and classes is None:
        raise click.UsageError("--templates needs the names of the classes: give --classes too")
    if labels is None:
        return None
    names = read_classes(classes) if classes is not None else ()
    return Classes(read_labels(labels), names, read_templates(templates) if templates is not None else TEMPLATES)


def _print(out: Console, evaluation: ModelEvaluation) -> None:
    table = Table(title=f"{evaluation.pairs:,} pairs; 95 % intervals over the queries", title_justify="left")
    columns = {
        "image to text": evaluation.retrieval.image_to_text,
        "text to image": evaluation.retrieval.text_to_image,
        "captions shuffled": evaluation.shuffled,
    }
    for name in ("", *columns):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for figure, cell in _FIGURES.items():
        table.add_row(figure, *(cell(direction) for direction in columns.values()))
    out.print(table)
    if evaluation.neighbours is not None:
        near = evaluation.neighbours
        out.print(
            f"nearest other image of the same class: {_share(near.r_at_1)} of {near.images:,} images in "
            f"{near.classes:,} classes (chance {near.chance:.2%})"
        )
    if evaluation.zero_shot is not None:
        shot = evaluation.zero_shot
        out.print(
            f"zero-shot: top-1 {_share(shot.top_1)}, top-5 {_share(shot.top_5)} of {shot.images:,} images in "
            f"{shot.classes:,} classes, {shot.templates:,} templates (chance {shot.chance:.2%})"
        )
    shuffled = evaluation.shuffled
    out.print(f"R@1 with captions shuffled: {_share(shuffled.r_at_1)}; chance is {shuffled.chance:.2%}")
    for line in evaluation.notes:
        note(line)


def _share(estimate: BootstrapEstimate) -> str:
    return f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"


def _rank(estimate: BootstrapEstimate) -> str:
    return f"{estimate.value:,.1f} ({estimate.low:,.1f} to {estimate.high:,.1f})"


_FIGURES: dict[str, Callable[[Direction], str]] = {
    "queries": lambda direction: f"{direction.queries:,}",
    "among": lambda direction: f"{direction.gallery:,}",
    "R@1": lambda direction: _share(direction.r_at_1),
    "R@5": lambda direction: _share(direction.r_at_5),
    "R@10": lambda direction: _share(direction.r_at_10),
    "median rank": lambda direction: _rank(direction.median_rank),
    "R@1 by chance": lambda direction: f"{direction.chance:.2%}",
}
