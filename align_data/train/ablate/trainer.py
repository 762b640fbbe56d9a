"""The bundled trainer as an ablation calls it; any other with the same signatures can take its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from align_data.common.errors import AlignDataError, DatasetError, TrainError
from align_data.common.progress import Progress
from align_data.train.ablate.metrics import CHANCE, CHANCE_OF, LABELLED
from align_data.train.ablate.runs import AblationJob, Cell, Facts
from align_data.train.embed import batches
from align_data.train.evaluate import evaluate
from align_data.train.settings import TrainSettings
from align_data.train.shards import Shards

_FACTS = ("steps", "seconds", "waiting", "first_loss", "last_loss", "temperature", "parameters", "undecodable")
_K = (1, 5, 10)


def side(settings: TrainSettings) -> int:
    """Return the pixels of the model's images."""
    from align_data.train.model import SIZES, open_checkpoint  # noqa: PLC0415 - torch

    if settings.image_size is not None:
        return settings.image_size
    return SIZES[settings.size].side if settings.init is None else open_checkpoint(settings.init)[2]


def fit(job: AblationJob, cell: Cell, out: Path, progress: Progress) -> Facts:
    """Train on the pairs of a cell; TrainError where the loss is not a number."""
    from align_data.train.loop import train  # noqa: PLC0415 - torch

    settings = cell.settings
    threads = None if settings.size == "tiny" and settings.init is None else job.threads  # it knows what tiny needs
    shards = Shards.open(job.pool, cell.uids)
    trained = train(shards, out, settings, progress, workers=job.threads, threads=threads)
    assert trained is not None  # no torchrun here
    if trained.skipped:  # it is a model of fewer pairs than its arm
        job.discard(out.name)
        raise _damaged(job, trained.skipped)
    facts = asdict(trained)
    return {name: facts[name] for name in _FACTS}


def _damaged(job: AblationJob, skipped: Mapping[str, str]) -> DatasetError:
    return DatasetError(
        f"the ablation's own shards are damaged ({'; '.join(skipped.values())}): remove {job.pool} and run it again; "
        "what is finished stays"
    )


def judge(job: AblationJob, out: Path, progress: Progress) -> dict[str, float]:
    """Return how well the model retrieves, the mean of both directions first; TrainError if it cannot be evaluated.

    Where classes are known also how well it classifies.
    """
    from align_data.train.model import Dual  # noqa: PLC0415 - torch

    try:
        found = evaluate(Dual.load(str(out)), Shards.open(job.evaluation), progress, classes=job.classes)
    except AlignDataError as error:
        raise TrainError(str(error)) from error
    metrics, shot, near = _metrics(found.to_json()["retrieval"]), found.zero_shot, found.neighbours
    zero_shot, knn = LABELLED
    if shot is not None:
        metrics |= {zero_shot: shot.top_1.value, CHANCE_OF + zero_shot: shot.chance}
    if near is not None:
        metrics |= {knn: near.r_at_1.value, CHANCE_OF + knn: near.chance}
    return metrics


def rate(job: AblationJob, out: Path, progress: Progress) -> pl.DataFrame:
    """Return the similarity of each pair of the pool by the model; TrainError where it gives no numbers."""
    from align_data.train.model import Dual  # noqa: PLC0415 - torch

    shards = Shards.open(job.pool)
    uids: list[str] = []
    similarities: list[float] = []
    try:
        model = Dual.load(str(out))
        for batch in batches(model, shards, progress):
            uids += [sample.uid for sample in batch.samples]
            similarities += model.space.paired(batch.images, batch.texts).tolist()
    except AlignDataError as error:
        raise TrainError(str(error)) from error
    if shards.skipped:
        raise _damaged(job, shards.skipped)
    return pl.DataFrame({"uid": uids, "similarity": similarities}, {"uid": pl.String, "similarity": pl.Float64})


def _metrics(retrieval: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    directions = {direction: retrieval[direction] for direction in ("image_to_text", "text_to_image")}

    def mean(name: str) -> float:
        return sum(float(direction[name]["value"]) for direction in directions.values()) / len(directions)

    return {
        "R@1": mean("r_at_1"),
        **{f"{direction.replace('_', ' ')} R@1": values["r_at_1"]["value"] for direction, values in directions.items()},
        **{f"R@{k}": mean(f"r_at_{k}") for k in _K[1:]},
        "median rank": mean("median_rank"),
        CHANCE: sum(float(direction["chance"]) for direction in directions.values()) / len(directions),
    }
