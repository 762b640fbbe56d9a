"""align-data eval-index."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict

import click

from align_data.cli.model_options import device_option, open_shared
from align_data.cli.options import json_option, note, print_json, progress, tell
from align_data.stages.eval_index import embedding_index, index

_MAX_LISTED = 10


@click.command("eval-index", short_help="Hash or embed evaluation images, so that copies can be kept out.")
@click.argument("inputs", nargs=-1, required=True, metavar="FOLDER|TAR...")
@click.option("--out", required=True, metavar="FILE", help="Parquet file to write, or fsspec URL.")
@click.option("--workers", type=click.IntRange(1, 1024), help="Child processes (default: one per processor).")
@click.option("--model", metavar="MODEL", help="Embed them with this model, for align-data neighbours --eval-index.")
@device_option
@json_option
def command(
    inputs: tuple[str, ...], out: str, workers: int | None, model: str | None, device: str | None, as_json: bool
) -> None:
    """Hash or embed evaluation images, so that copies of them can be kept out of training.

    The signals eval_distance and eval_nearest compare the pHash of each fetched image with this index. With --model it
    has embeddings in place of pHashes, for eval_similarity_NAME and eval_nearest_NAME.

    \b
    Examples:
      align-data eval-index coco/val2017 flickr30k.tar --out evaluation.parquet
      align-data measure laion --eval-index evaluation.parquet
      align-data eval-index coco/val2017 --model clip-b32 --out evaluation-clip.parquet
      align-data neighbours clip laion --eval-index evaluation-clip.parquet
    """
    children = workers or len(os.sched_getaffinity(0))
    if model is None:
        result = index(inputs, out, children, progress())
    else:
        result = embedding_index(inputs, out, open_shared(model, device), children, progress())
    if as_json:
        print_json(asdict(result))
        return
    tell(f"{result.images:,} images in {out}" + (f", {len(result.skipped):,} skipped" if result.skipped else ""))
    for name, why in list(result.skipped.items())[:_MAX_LISTED]:
        note(f"skipped: {name}: {why}")
    stage = "measure" if model is None else "neighbours NAME"
    note(f"next: align-data {stage} DATASET --eval-index {shlex.quote(str(out))}")
