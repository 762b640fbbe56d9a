"""align-data score."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from align_data.cli.model_options import device_option, extra, model_run, model_run_options, open_shared
from align_data.cli.options import dataset_argument, json_option, names, note, print_json, progress, tell
from align_data.common.errors import AlignDataError
from align_data.common.progress import Progress
from align_data.data.embeddings import committed_embeddings
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.models.heads import open_head
from align_data.models.sharing import scores_pairs
from align_data.models.text_classifiers import SharedClassifier, is_text_classifier
from align_data.signals.families import NAME, check_name
from align_data.stages.score import Scored, check, score, score_by_head, score_embedded, score_texts, texts_are_stored
from align_data.stages.session import session


@click.command("score", short_help="Score how well image and text match, or the image alone by a head.")
@click.argument("model", metavar="NAME|MODEL")
@dataset_argument
@click.option(
    "--as",
    "name",
    metavar="NAME",
    help="Name of the signal: similarity_NAME, itm_NAME or head_NAME (default: that of the embeddings).",
)
@click.option("--head", metavar="FILE", help="Score the images' embeddings by this head: the signal head_NAME.")
@click.option(
    "--model", "text_model", metavar="MODEL", help="Where the model of the embeddings lies now, to embed the texts."
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="LABEL[,LABEL...]",
    callback=names,
    help="Of a classifier of texts, the labels whose greatest probability is the score (default: all).",
)
@device_option
@model_run_options
@json_option
def command(model: str, dataset: str, as_json: bool, **options: Any) -> None:
    """Score each fetched pair: similarity_NAME is the cosine similarity of its image and its text.

    By NAME, that of embeddings that align-data embed wrote, no image is decoded; their image side is rounded to
    float16. By MODEL (its forms are those of align-data embed) each image is decoded; --as names the signal. A
    pair scorer such as BLIP's writes itm_NAME, a head with its card head_NAME. Pairs without a decodable image have no
    score. A classifier of texts, a folder of transformers such as Detoxify's, writes head_NAME of every pair, whose
    images need not be there. Nothing is scored twice: scores stay unless the model, the pairs or the images change.

    \b
    Examples:
      align-data score clip laion                       # after align-data embed MODEL laion --as clip
      align-data score clip laion --head aesthetics.safetensors --as aesthetics
      align-data score my-model laion --as base
      align-data score multilingual-toxic-xlm-roberta laion --as detoxify
      align-data filter laion --recipe mine.yaml    # with a rule {signal: similarity_base, top_fraction: 0.3}
    """
    resources, children = model_run(options)
    labels = options.pop("labels")
    with session(dataset, resources) as (opened, engine):
        by_name = _embedded(opened, model)
        if not by_name and is_text_classifier(model):
            scored, lacks = _by_text(opened, model, engine, progress(), labels, **options), "text"
        elif labels:
            raise click.UsageError(f"--label goes with a classifier of texts, and {model} is not one")
        elif by_name:
            scored, lacks = _by_name(opened, model, engine, progress(), **options), "image that is embedded"
        else:
            scored, lacks = _by_model(opened, model, engine, progress(), children, **options), "decodable image"
    if as_json:
        print_json(scored.to_json())
        return
    before = "" if scored.computed else " (all scored before)"
    tell(
        f"{scored.signal}: {scored.scored:,} of {scored.pairs:,} pairs have a score, "
        f"{scored.pairs - scored.scored:,} have no {lacks}{before}"
    )
    note(
        f"next: align-data filter {shlex.quote(dataset)} --recipe FILE, with a rule "
        f"{{signal: {scored.signal}, top_fraction: 0.3}}"
    )


def _embedded(dataset: Dataset, name: str) -> bool:
    """Tell whether a dataset has embeddings of this name."""
    return re.fullmatch(NAME, name) is not None and dataset.embedded(name).committed() is not None


def _no_embeddings(dataset: Dataset, name: str) -> str:
    """Say that there are no embeddings of this name, where one can have been meant; '' where a model must be."""
    if re.fullmatch(NAME, name) is None or Path(name).exists():
        return ""
    try:
        committed_embeddings(dataset, name)
    except AlignDataError as error:
        return f" Or, if not a model: {error}"
    return ""


def _by_name(
    dataset: Dataset,
    embeddings: str,
    engine: Engine,
    progress: Progress,
    *,
    name: str | None,
    head: str | None,
    text_model: str | None,
    device: str | None,
) -> Scored:
    signal = check_name(name or embeddings)
    check(dataset, signal)
    if head is not None:
        if name is None:
            raise click.UsageError("Missing option '--as': the name of the head's signal, head_NAME.")
        return score_by_head(embeddings, open_head(head), dataset, signal, engine, progress)
    if text_model is None and texts_are_stored(dataset, embeddings):
        return score_embedded(embeddings, None, dataset, signal, engine, progress)
    spec = text_model or committed_embeddings(dataset, embeddings).meta.spec
    return score_embedded(embeddings, open_shared(spec, device), dataset, signal, engine, progress)


def _by_text(
    dataset: Dataset,
    model: str,
    engine: Engine,
    progress: Progress,
    labels: Sequence[str],
    *,
    name: str | None,
    head: str | None,
    text_model: str | None,
    device: str | None,
) -> Scored:
    _check_alone(dataset, model, head, text_model)
    if name is None:
        raise click.UsageError("Missing option '--as': the name of the classifier's signal, head_NAME.")
    check_name(name)
    dataset.ingested()
    with extra():
        shared = SharedClassifier.open(model, device, labels)
    return score_texts(shared, dataset, name, engine, progress)


def _check_alone(dataset: Dataset, model: str, head: str | None, text_model: str | None) -> None:
    """Raise click's usage error for options that go with embeddings."""
    if alone := "--head" if head is not None else "--model" if text_model is not None else None:
        raise click.UsageError(
            f"{alone} goes with embeddings, and {dataset.store.url} has none called {model!r}: run align-data embed"
        )


def _by_model(
    dataset: Dataset,
    model: str,
    engine: Engine,
    progress: Progress,
    children: int,
    *,
    name: str | None,
    head: str | None,
    text_model: str | None,
    device: str | None,
) -> Scored:
    _check_alone(dataset, model, head, text_model)
    if name is None:
        raise click.UsageError(
            f"Missing option '--as': the name of the signal, similarity_NAME.{_no_embeddings(dataset, model)}"
        )
    check(dataset, name)
    shared = open_shared(model, device)
    if not scores_pairs(shared.model):
        shared.encoder.texts([""])  # an encoder of images alone is told before minutes of images
    return score(shared, dataset, name, engine, progress, children)
