"""align-data evaluate."""

from __future__ import annotations

import click

from align_data.cli.evaluation_tables import print_evaluation
from align_data.cli.model_options import device_option, load_model, lost, model_argument, shards_argument
from align_data.cli.options import json_option, note, print_json, progress
from align_data.cli.tables import console
from align_data.train.attributes import read_attributes
from align_data.train.descriptions import read_descriptions
from align_data.train.evaluate import evaluate
from align_data.train.labels import TEMPLATES, checked_templates, read_classes, read_labels, read_templates
from align_data.train.shards import Shards
from align_data.train.zero_shot import Classes


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
@click.option(
    "--template",
    "prompts",
    multiple=True,
    metavar="PROMPT",
    help=f"Prompt for each class, with {{}} for its name; '{TEMPLATES[0]}' unless given. Can be repeated.",
)
@click.option("--templates", metavar="FILE", help="More prompts for each class, one per line.")
@click.option(
    "--descriptions",
    metavar="FILE",
    help="Descriptions of classes without their names, one per line: what the model knows of them; requires --classes.",
)
@click.option(
    "--languages",
    metavar="FILE",
    help="Languages of pairs, for recall by language: a file as for --labels, with a column language.",
)
@click.option(
    "--attributes",
    metavar="FILE",
    help="Words of one kind on each line, such as red, green, blue: captions with one of them wrong are made of these.",
)
@device_option
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed for the intervals and for shuffling."
)
@json_option
def command(
    model: str,
    shards: str,
    languages: str | None,
    attributes: str | None,
    device: str | None,
    seed: int,
    as_json: bool,
    prompts: tuple[str, ...],
    **files: str | None,
) -> None:
    """Evaluate a model on the pairs of exported shards.

    MODEL is a folder that align-data train wrote, a checkpoint of transformers, or org/name@COMMIT of the Hugging
    Face hub; SHARDS is a folder that align-data export wrote, or a folder of WebDataset tars. Retrieval among all
    of SHARDS, in both directions: R@1, R@5, R@10 and the median rank, by exact search, with 95 % intervals over the
    queries. Equal texts count as one text and equal images as one image; the best of several correct answers
    counts. Ties are broken by chance, so a model that gives every pair the same score is at chance level.

    --labels adds how often the nearest other image is of the same class; --classes adds zero-shot classification: a
    class is the mean of its prompts' embeddings, of unit length, and the expected calibration error says whether the
    model is as often right as confident. --descriptions sweeps the weight of the prompts beside descriptions that tell
    the likely classes apart. --languages adds retrieval among the pairs of each language, --attributes how often the
    true caption is preferred to one with a single attribute wrong, as Winoground has it.

    \b
    Examples:
      align-data evaluate model shards/test
      align-data evaluate model shards/test --labels truth.parquet --classes classes.txt --templates prompts.txt
      align-data evaluate model shards/test --languages truth.parquet
    """
    classification = classes_of(prompts, **files)
    spoken = read_labels(languages, "language") if languages is not None else None
    kinds = read_attributes(attributes) if attributes is not None else None
    opened = Shards.open(shards)
    evaluation = evaluate(
        load_model(model, device),
        opened,
        progress(),
        classes=classification,
        languages=spoken,
        attributes=kinds,
        seed=seed,
    )
    if as_json:
        print_json(evaluation.to_json())
    else:
        print_evaluation(console(), evaluation)
        for line in evaluation.notes:
            note(line)
    lost(evaluation.undecodable, evaluation.skipped)


def classes_of(
    prompts: tuple[str, ...],
    labels: str | None,
    classes: str | None,
    templates: str | None,
    descriptions: str | None = None,
) -> Classes | None:
    """Read what was given for classification, before anything takes long."""
    if classes is not None and labels is None:
        raise click.UsageError("--classes lists the classes, not the class of each pair: give --labels too")
    for option, given in (("--template", prompts), ("--templates", templates), ("--descriptions", descriptions)):
        if given and classes is None:
            raise click.UsageError(f"{option} needs the names of the classes: give --classes too")
    if labels is None:
        return None
    names = read_classes(classes) if classes is not None else ()
    all_prompts = (*checked_templates(prompts), *(read_templates(templates) if templates is not None else ()))
    without_names = read_descriptions(descriptions, names) if descriptions is not None else ()
    return Classes(read_labels(labels), names, tuple(dict.fromkeys(all_prompts)) or TEMPLATES, without_names)
