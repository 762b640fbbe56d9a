"""align-data embed."""

from __future__ import annotations

import shlex
from typing import Any

import click

from align_data.cli.model_options import device_option, model_argument, model_run, model_run_options, open_shared
from align_data.cli.options import dataset_argument, json_option, note, print_json, progress, tell
from align_data.models.sharing import embeds_texts
from align_data.stages.embed import EmbedReport, check_embeddable, embed
from align_data.stages.session import session


@click.command("embed", short_help="Store an embedding of each image, for scores and near-duplicates.")
@model_argument
@dataset_argument
@click.option("--as", "name", required=True, metavar="NAME", help="Name of the embeddings: embedded/NAME.")
@click.option("--texts", is_flag=True, help="Embed the texts too, so that scores need the model no more.")
@click.option(
    "--only-open", metavar="LEDGER", help="Embed only images of pairs that this ledger does not drop; others stay."
)
@device_option
@model_run_options
@json_option
def command(
    model: str,
    dataset: str,
    name: str,
    texts: bool,
    only_open: str | None,
    device: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Embed each fetched image once, as float16, into the table embedded/NAME.

    MODEL is a folder with image.onnx and card.yaml, a folder of transformers or of align-data train, a name that
    align-data model has added, a model of the Hugging Face hub at a commit (org/name@COMMIT), or
    open_clip:ARCHITECTURE@FILE. An image is embedded once, whatever pairs have
    it. What is there of the same model and images stays, so a killed run goes on, and after another fetch only what is
    new is embedded; embeddings of another model need another NAME.

    \b
    Examples:
      align-data embed clip-b32 laion --as clip
      align-data score clip laion                       # similarity_clip, without decoding an image
      align-data embed clip-b32 laion --as clip --only-open align --engine spark
    """
    resources, children = model_run(options)
    with session(dataset, resources, progress()) as (opened, engine, steps):
        check_embeddable(opened, name, only_open)
        shared = open_shared(model, device)
        report = embed(shared, opened, name, engine, steps, children, only_open=only_open, texts=texts)
    if as_json:
        print_json(report.to_json())
        return
    _tell(report)
    step = "score" if texts or embeds_texts(shared.encoder) else "neighbours"
    note(f"next: align-data {step} {name} {shlex.quote(dataset)}")


def _tell(report: EmbedReport) -> None:
    before = "" if report.embedded else " (all embedded before)"
    texts = "" if report.texts is None else f", {report.texts:,} texts"
    tell(
        f"embedded/{report.name}: {report.images:,} images{texts}, {report.dim:,} numbers each, {report.embedded:,} "
        f"images embedded now on {report.device}{before}"
    )
    if report.left_out:
        note(f"{report.left_out:,} images left out: they cannot be decoded after all, or ended what decodes them")
