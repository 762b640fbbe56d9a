"""align-data measure."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Any

import click

from align_data.cli.options import (
    Number,
    dataset_argument,
    json_option,
    names,
    note,
    print_json,
    progress,
    resource_options,
    resources,
    tell,
    together,
)
from align_data.common.errors import SignalError
from align_data.common.secrets import mask
from align_data.data.columns import need
from align_data.data.references import give_blocklist, give_evaluation
from align_data.decoding.inspected import MAX_PIXELS, SECONDS
from align_data.decoding.nsfw import NsfwModel
from align_data.stages.measure import MeasureReport, Sight, measure
from align_data.stages.measure.content import CHUNK
from align_data.stages.pipeline import session

sight_options = together(
    click.option("--nsfw-model", metavar="FILE|nudenet", help="What scores nsfw: an ONNX classifier, or nudenet."),
    click.option("--nsfw-card", metavar="NAME|FILE", help="How the model is used: gantman, opennsfw or a YAML file."),
    click.option(
        "--only-open",
        metavar="LEDGER",
        help="Measure what is costly (nsfw) only on pairs that this ledger does not drop.",
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(1),
        default=MAX_PIXELS,
        show_default=True,
        help="A larger image is not decoded, and not decodable.",
    ),
    click.option(
        "--image-seconds",
        type=Number(0.1, 3600),
        default=SECONDS,
        show_default=True,
        help="How long one image may take to decode.",
    ),
    click.option("--chunk", type=click.IntRange(1), default=CHUNK, hidden=True),
)
"""Options that say how images are looked at."""


@click.command("measure", short_help="Measure what has become measurable and is not measured yet.")
@dataset_argument
@click.option(
    "--signals",
    multiple=True,
    metavar="NAME[,NAME...]",
    callback=names,
    help="Only these; see: align-data signals",
)
@click.option("--eval-index", metavar="FILE", help="The index of evaluation images that align-data eval-index wrote.")
@click.option("--blocklist", metavar="FILE", help="Lines of sha256, md5, phash, url or host, and what is blocked.")
@sight_options
@resource_options
@json_option
def command(
    dataset: str,
    signals: tuple[str, ...],
    eval_index: str | None,
    blocklist: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure what has become measurable and is not measured yet.

    Nothing is measured twice: what is there stays, unless its inputs or its definition have changed. Without --signals
    everything is measured that can be; what cannot is named, with what it needs. An index or a blocklist that was given
    once stays with the dataset.

    \b
    Examples:
      align-data measure laion
      align-data measure laion --signals n_words,images_per_text
      align-data measure laion --eval-index coco.parquet --nsfw-model nudenet --only-open align
    """
    sight = _sight(options)
    with session(dataset, resources(options)) as (opened, engine):
        opened.ingested()
        if eval_index is not None:
            give_evaluation(opened, eval_index)
        if blocklist is not None:
            give_blocklist(opened, blocklist)
        result = measure(opened, engine, progress(), list(signals) or None, sight=sight)
    if as_json:
        missing = {name: mask(why) for name, why in result.missing.items()}
        print_json({**asdict(result), "missing": missing})
        return
    _print(result)
    note(f"next: align-data filter {shlex.quote(dataset)} --recipe NAME")


def _sight(options: dict[str, Any]) -> Sight:
    model, card = options.pop("nsfw_model"), options.pop("nsfw_card")
    if card is not None and model is None:
        raise SignalError("--nsfw-card says how --nsfw-model is used: give that too")
    choice = NsfwModel(model, card) if model is not None else None
    if choice is not None:
        choice.check()
    return Sight(
        nsfw=choice,
        only_open=options.pop("only_open"),
        max_pixels=options.pop("max_pixels"),
        seconds=options.pop("image_seconds"),
        chunk=options.pop("chunk"),
    )


def _print(result: MeasureReport) -> None:
    tell("measured: " + (", ".join(result.measured) or "nothing, all was there"))
    if result.before:
        tell("measured before: " + ", ".join(result.before))
    reasons: dict[str, list[str]] = {}
    for name, why in result.missing.items():
        reasons.setdefault(why, []).append(name)
    for why, missing in reasons.items():
        note(f"not measured: {need(missing, why)}")
