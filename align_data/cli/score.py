"""align-data score."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from align_data.cli import render
from align_data.cli.list_options import list_options, reading
from align_data.cli.model_options import device_option, extra, model_run, model_run_options, open_shared
from align_data.cli.options import dataset_argument, json_option, names, note, print_json, progress, tell
from align_data.common.errors import AlignDataError
from align_data.common.progress import Progress
from align_data.data.embeddings import committed_embeddings
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.engines.resources import Resources
from align_data.models.heads import open_head
from align_data.models.sharing import scores_pairs
from align_data.models.text_classifiers import SharedClassifier, is_text_classifier
from align_data.signals.families import NAME, check_name
from align_data.signals.score import FAMILIES as SCORES
from align_data.signals.score import SIMILARITY
from align_data.sources.lists import Reading
from align_data.stages.score import Scored, check, score, score_by_head, score_embedded, score_texts, texts_are_stored
from align_data.stages.score.by_list import ScoreList, score_by_list
from align_data.stages.session import session


@click.command("score", short_help="Score how well image and text match, or the image alone by a head.")
@click.argument("models", nargs=-1, required=True, metavar="NAME|MODEL|FILE...")
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
@click.option(
    "--column",
    metavar="COLUMN",
    help="Take the scores from this column of FILE..., lists as align-data ingest takes them.",
)
@click.option(
    "--family",
    type=click.Choice([family.prefix for family in SCORES]),
    help="With --column, what the scores are: the signal FAMILY_NAME (default: similarity).",
)
@click.option(
    "--by",
    type=click.Choice(["pair", "url", "uid"]),
    help="With --column, what tells whose a row is (default: URL and text, or the URL where FILE has no texts).",
)
@list_options
@device_option
@model_run_options
@json_option
def command(models: tuple[str, ...], dataset: str, as_json: bool, **options: Any) -> None:
    """Score each fetched pair: similarity_NAME is the cosine similarity of its image and its text.

    By a hyperbolic model of align-data train it is minus their Lorentzian distance.

    By NAME, that of embeddings that align-data embed wrote, no image is decoded; their image side is rounded to
    float16. By MODEL (its forms are those of align-data embed) each image is decoded; --as names the signal. A
    pair scorer such as BLIP's writes itm_NAME, a head with its card head_NAME. Pairs without a decodable image have no
    score. A classifier of texts, a folder of transformers such as Detoxify's, writes head_NAME of every pair, whose
    images need not be there. Nothing is scored twice: scores stay unless the model, the pairs or the images change.

    With --column the scores are those that somebody has published: FILE... are lists, and each row's number is the
    score of the pair of its URL and text. The command says what became of every row and every pair.

    \b
    Examples:
      align-data score clip laion                       # after align-data embed MODEL laion --as clip
      align-data score clip laion --head aesthetics.safetensors --as aesthetics
      align-data score my-model laion --as base
      align-data score multilingual-toxic-xlm-roberta laion --as detoxify
      align-data score 'metadata/*.parquet' laion --column clip_l14_similarity_score --as l14
      align-data filter laion --recipe mine.yaml    # with a rule {signal: similarity_base, top_fraction: 0.3}
    """
    resources, children = model_run(options)
    listed = {name: options.pop(name) for name in ("column", "family", "by", "url_col", "text_col")}
    text, labels = reading(options), options.pop("labels")
    if listed["column"] is not None:
        _alone(options, labels)
        scores = ScoreList(models, listed["column"], listed["by"], listed["url_col"], listed["text_col"], text)
        _by_list(
            scores,
            dataset,
            replace(resources, workers=children),
            options["name"],
            listed["family"] or SIMILARITY,
            as_json,
        )
        return
    model = _only(models, listed, text)
    with session(dataset, resources, progress()) as (opened, engine, steps):
        by_name = _embedded(opened, model)
        if not by_name and is_text_classifier(model):
            scored, lacks = _by_text(opened, model, engine, steps, labels, **options), "text"
        elif labels:
            raise click.UsageError(f"--label goes with a classifier of texts, and {model} is not one")
        elif by_name:
            scored, lacks = _by_name(opened, model, engine, steps, **options), "image that is embedded"
        else:
            scored, lacks = _by_model(opened, model, engine, steps, children, **options), "decodable image"
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


def _only(models: Sequence[str], listed: Mapping[str, str | None], text: Reading) -> str:
    """Return the one model; click's usage error for several, and for options that go with lists."""
    chosen = [name for name, value in {**listed, **text.named()}.items() if value is not None]
    if chosen:
        option = chosen[0].replace("_", "-")
        raise click.UsageError(f"--{option} goes with lists: give --column COLUMN too, where they have the scores")
    if len(models) > 1:
        raise click.UsageError(
            f"{len(models)} models: score by one at a time; or, if they are lists, name where they have the scores: "
            "--column COLUMN"
        )
    return models[0]


def _alone(options: Mapping[str, Any], labels: Sequence[str]) -> None:
    """Raise click's usage error for options that go with models, and where there is no name."""
    given = {"head": options["head"], "model": options["text_model"], "device": options["device"], "label": labels}
    if given_for_models := [name for name, value in given.items() if value]:
        raise click.UsageError(f"--{given_for_models[0]} goes with models, and --column with lists: omit one")
    if options["name"] is None:
        raise click.UsageError("Missing option '--as': the name of the signal, similarity_NAME.")


def _by_list(scores: ScoreList, dataset: str, resources: Resources, name: str, family: str, as_json: bool) -> None:
    """Score by the column of a list, and say what became of it."""
    check_name(name)
    with session(dataset, resources, progress()) as (opened, engine, steps):
        scored = score_by_list(scores, opened, name, family, engine, steps)
    if as_json:
        print_json(scored.to_json())
        return
    tell("\n".join(render.listed_scores(scored)))
    for example in scored.examples:
        note(f"rejected, for example: {example.source}, row {example.row}: {example.reason} {example.detail}".rstrip())
    note(f"next: align-data filter {shlex.quote(dataset)} --recipe FILE, with a rule on {scored.signal}")


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
