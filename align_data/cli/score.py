"""align-data score."""

from __future__ import annotations

import os
import shlex

import click

from align_data.cli.model_options import device_option, load_model, model_argument
from align_data.cli.options import dataset_argument, json_option, note, print_json, progress, tell
from align_data.engines.resources import Resources
from align_data.stages.session import session
from align_data.train.score import check, score


@click.command("score", short_help="Score each fetched pair with a model, for use in a rule.")
@model_argument
@dataset_argument
@click.option("--as", "name", required=True, metavar="NAME", help="Name of the signal: similarity_NAME.")
@device_option
@click.option(
    "--workers", type=click.IntRange(1, 1024), help="Threads that decode images (default: one per processor)."
)
@json_option
def command(model: str, dataset: str, name: str, device: str | None, workers: int | None, as_json: bool) -> None:
    """Score each fetched pair: similarity_NAME is the cosine similarity of its image and its text under MODEL.

    MODEL is a folder that align-data train wrote, a checkpoint of transformers' AlignModel, or its name on the Hugging
    Face hub. Pairs without a decodable image have no score. Nothing is scored twice: scores stay unless the model, the
    pairs or the images change.

    \b
    Examples:
      align-data score my-model laion --as base
      align-data filter laion --recipe mine.yaml    # with a rule {signal: similarity_base, top_fraction: 0.3}
    """
    with session(dataset, Resources(workers=1)) as (opened, engine):
        check(opened, name)
        loaded = load_model(model, device)
        scored = score(loaded, opened, name, engine, progress(), workers or len(os.sched_getaffinity(0)))
    if as_json:
        print_json(scored.to_json())
        return
    before = "" if scored.computed else " (all scored before)"
    tell(
        f"{scored.signal}: {scored.scored:,} of {scored.pairs:,} pairs have a score, "
        f"{scored.pairs - scored.scored:,} have no decodable image{before}"
    )
    note(
        f"next: align-data filter {shlex.quote(dataset)} --recipe FILE, with a rule "
        f"{{signal: {scored.signal}, top_fraction: 0.3}}"
    )
