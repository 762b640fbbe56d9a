"""align-data neighbours."""

from __future__ import annotations

import shlex
from typing import Any

import click

from align_data.cli.options import (
    Number,
    dataset_argument,
    json_option,
    note,
    print_json,
    progress,
    resource_options,
    resources,
    tell,
    typed_options,
)
from align_data.engines.resources import Resources
from align_data.stages.neighbours import ALIGN, Comparing, NeighboursReport, neighbours, threshold_of
from align_data.stages.neighbours.evaluation import compare_with_evaluation
from align_data.stages.session import session

_COSINE = Number(-1, 1)


@click.command("neighbours", short_help="Find near-duplicates by embedding, or copies of evaluation images.")
@click.argument("name", metavar="NAME")
@dataset_argument
@click.option(
    "--threshold",
    type=_COSINE,
    metavar="COSINE",
    help="Cosine from which two images are near-duplicates (default: what align-data calibrate proposes, else "
    f"{ALIGN}, which is ALIGN's).",
)
@click.option(
    "--floor",
    type=_COSINE,
    metavar="COSINE",
    help="Least cosine that is stored: no rule may ask for less (default: 0.9, or 0.05 below a lower threshold).",
)
@click.option(
    "--margin",
    type=Number(0, 16),
    default=Comparing.margin,
    show_default=True,
    help="How near the border of another cell an image is compared there too: more is slower and misses less.",
)
@click.option(
    "--sample",
    type=click.IntRange(0, 100_000),
    default=Comparing.sample,
    show_default=True,
    metavar="IMAGES",
    help="Images that are compared with all others, to measure the recall.",
)
@click.option("--cells", type=click.IntRange(1, 2**14), help="Cells of a new codebook (default: by the images).")
@click.option(
    "--eval-index",
    metavar="FILE",
    help="Compare with these evaluation images instead, which align-data eval-index --model embedded.",
)
@click.option("--new-codebook", is_flag=True, help="Train the codebook anew.")
@resource_options
@json_option
def command(name: str, dataset: str, eval_index: str | None, as_json: bool, **options: Any) -> None:
    """Find near-duplicates: how near each image's nearest, and nearest earlier, image is by embedded/NAME.

    Earlier is the larger image, then the one with the smaller SHA-256, then with the smaller key of its URL. So a rule
    {signal: earlier_similarity_NAME, lt: 0.975} keeps the first of near-duplicates. Every stored cosine is exact; of
    the pairs that are there a few can be missed, and how many is measured.

    With --eval-index each image is compared with all evaluation images: eval_similarity_NAME and eval_nearest_NAME.

    \b
    Examples:
      align-data embed MODEL laion --as clip
      align-data neighbours clip laion --threshold 0.96
      align-data neighbours clip laion --eval-index evaluation-clip.parquet
    """
    taken = resources(options)
    if eval_index is not None:
        if typed := typed_options(*options):
            raise click.UsageError(f"--eval-index compares with evaluation images alone, without {', '.join(typed)}")
        _compare_with_evaluation(name, dataset, eval_index, taken, as_json=as_json)
        return
    with session(dataset, taken, progress()) as (opened, engine, steps):
        if options["threshold"] is None:
            options["threshold"] = threshold_of(opened, name)
        report = neighbours(opened, name, engine, steps, Comparing(**options))
    if as_json:
        print_json(report.to_json())
        return
    tell(_sentence(report))
    for sentence in _recall(report):
        note(sentence)
    note(
        f"next: align-data filter {shlex.quote(dataset)} --recipe FILE, with a rule "
        f"{{signal: earlier_similarity_{name}, lt: {report.meta.threshold:g}}}"
    )


def _compare_with_evaluation(name: str, dataset: str, file: str, taken: Resources, *, as_json: bool) -> None:
    with session(dataset, taken, progress()) as (opened, engine, steps):
        report = compare_with_evaluation(opened, name, file, engine, steps)
    if as_json:
        print_json(report.to_json())
        return
    before = "" if report.computed else " (all compared before)"
    tell(f"eval.{name}: {report.images:,} images compared with {report.evaluation:,} evaluation images{before}")
    note(
        f"next: align-data filter {shlex.quote(dataset)} --recipe FILE, with a rule "
        f"{{signal: eval_similarity_{name}, lt: {ALIGN}}}"
    )


def _sentence(report: NeighboursReport) -> str:
    meta = report.meta
    before = "" if report.computed else " (all compared before)"
    return (
        f"near.{report.name}: {meta.late:,} of {meta.images:,} images have an earlier one within "
        f"{meta.threshold:g}{before}"
    )


def _recall(report: NeighboursReport) -> list[str]:
    meta, recall = report.meta, report.meta.recall
    if recall is None:
        return ["the recall was not measured"]
    sentences = []
    for least, among, pairs in (
        (meta.threshold, recall.among, recall.pairs),
        (meta.floor, recall.floor_among, recall.floor_pairs),
    ):
        share = f"recall {among / pairs:.4f}: " if pairs else ""
        sentences.append(
            f"{share}{among:,} of the {pairs:,} pairs within {least:g} were found, of {recall.images:,} sampled images"
        )
    return sentences
