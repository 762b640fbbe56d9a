"""Score: what a model says of each pair, as a signal whose name its user chooses.

By MODEL each image is decoded, beside the model, and seen as it is. By NAME, that of a table of embeddings, none is
decoded: the images' side is then what is stored, rounded to float16, and the signal's identity says so.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from align_data.common.errors import SignalError
from align_data.common.progress import Progress
from align_data.data.embeddings import committed_embeddings
from align_data.data.layout import Dataset
from align_data.data.meta import EmbeddedMeta
from align_data.data.model_inputs import check_side, decodable_images, source_of
from align_data.engines.base import Engine
from align_data.models.sharing import SharedModel, scores_pairs
from align_data.models.text_classifiers import SharedClassifier
from align_data.signals import FAMILIES
from align_data.signals.families import check_name
from align_data.stages.score.by_model import EncoderScores, PairScores
from align_data.stages.score.by_name import EmbeddingHead, HeadScores, StoredScores, stored_texts
from align_data.stages.score.by_text import TextScores
from align_data.stages.score.run import Scored, ScoreRun, ScoreSource, run_scores

__all__ = [
    "Scored",
    "check",
    "check_model",
    "score",
    "score_by_head",
    "score_embedded",
    "score_texts",
    "texts_are_stored",
]


def check(dataset: Dataset, name: str) -> None:
    """Raise SignalError for a name that none can be scored under, DatasetError where no images are measured."""
    check_name(name)
    dataset.ingested()
    decodable_images(dataset, "score")


def score(
    shared: SharedModel, dataset: Dataset, name: str, engine: Engine, progress: Progress, children: int = 1
) -> Scored:
    """Write similarity_NAME of every pair, or itm_NAME by a pair scorer; null where no image can be decoded.

    What is stored of the same model and images stays. Part by part: what a killed run has finished stays too.
    """
    check(dataset, name)
    model = shared.model
    check_side(dataset, model.preparation.side, len(dataset.ingested().parts), "score")
    kind = PairScores if scores_pairs(model) else EncoderScores
    family = "itm" if scores_pairs(model) else "similarity"
    source: ScoreSource = kind(dataset, shared, children)
    return _run(dataset, family, name, source, {"model": shared.digest}, engine, progress)


def texts_are_stored(dataset: Dataset, embeddings: str) -> bool:
    """Tell whether the texts of a dataset have embeddings of the same model as its images, all of them."""
    return stored_texts(dataset, embeddings) is not None


def check_model(dataset: Dataset, embeddings: str, shared: SharedModel) -> None:
    """Raise SignalError where embeddings are not a model's."""
    meta = committed_embeddings(dataset, embeddings).meta
    if shared.digest != meta.model:
        raise SignalError(
            f"the embeddings {embeddings} are of another model than {shared.spec} (SHA-256 {meta.model[:12]}…, not "
            f"{shared.digest[:12]}…): their model was {meta.spec}; give it with --model where it lies now, or embed "
            "again under another name"
        )


def score_embedded(
    embeddings: str, shared: SharedModel | None, dataset: Dataset, name: str, engine: Engine, progress: Progress
) -> Scored:
    """Write similarity_NAME from embeddings that are stored; the texts are embedded by their model, where it is given.

    Without a model their embeddings are stored too.
    """
    check(dataset, name)
    manifest = committed_embeddings(dataset, embeddings)
    texts = stored_texts(dataset, embeddings) if shared is None else None
    if shared is not None:
        check_model(dataset, embeddings, shared)
    elif texts is None:
        raise SignalError(f"the texts have no embeddings {embeddings}, and there is no model to embed them")
    _say_what_is_outdated(dataset, embeddings, manifest.meta, progress)
    source = StoredScores(dataset, embeddings, manifest, shared, texts)
    said = {"model": manifest.meta.model, "vectors": source.vectors}
    return _run(dataset, "similarity", name, source, said, engine, progress)


def score_by_head(
    embeddings: str, head: EmbeddingHead, dataset: Dataset, name: str, engine: Engine, progress: Progress
) -> Scored:
    """Write head_NAME, what a head says of each image's embedding; null where there is none."""
    check(dataset, name)
    manifest = committed_embeddings(dataset, embeddings)
    head.check_encoder(manifest.meta.model, manifest.meta.dim)
    _say_what_is_outdated(dataset, embeddings, manifest.meta, progress)
    source = HeadScores(dataset, embeddings, manifest, head)
    said = {"model": manifest.meta.model, "vectors": source.vectors, "head": head.identity.digest}
    return _run(dataset, "head", name, source, said, engine, progress)


def score_texts(shared: SharedClassifier, dataset: Dataset, name: str, engine: Engine, progress: Progress) -> Scored:
    """Write head_NAME, what a classifier says of each text, of which no image need be there."""
    said = {"model": shared.digest, "labels": list(shared.labels)}
    signal, source = FAMILIES["head"].named(name), TextScores(dataset, shared)
    return run_scores(ScoreRun(dataset, signal, said, source, dataset.ingested(), None), engine, progress)


def _say_what_is_outdated(dataset: Dataset, embeddings: str, meta: EmbeddedMeta, progress: Progress) -> None:
    """Say where there have been other images since they were embedded: those that are new get no score."""
    if {key: value for key, value in meta.source.items() if key != "open"} != source_of(dataset):
        again = f"align-data embed {shlex.quote(meta.spec)} {shlex.quote(dataset.store.url)} --as {embeddings}"
        progress.say(
            f"the embeddings {embeddings} are older than the last fetch or measure: pairs of images that are new get "
            f"no score before {again}"
        )


def _run(
    dataset: Dataset,
    family: str,
    name: str,
    source: ScoreSource,
    said: Mapping[str, Any],
    engine: Engine,
    progress: Progress,
) -> Scored:
    images = decodable_images(dataset, "score")
    run = ScoreRun(dataset, FAMILIES[family].named(name), said, source, dataset.ingested(), images)
    return run_scores(run, engine, progress)
