"""A trainer and an evaluator that take no time: a model is as good as its pairs, and a little better by its seed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import polars as pl

from align_data.common.errors import TrainError
from align_data.common.progress import Progress
from align_data.train.ablate.runs import AblationJob, Cell, Facts
from align_data.train.shards import Shards

DIVERGES = "ABLATE_DIVERGES"
"""In the environment: ARM:SEED that fails."""
DIES = "ABLATE_DIES"
"""In the environment: ARM:SEED whose process ends."""


def fit(job: AblationJob, cell: Cell, out: Path, progress: Progress) -> Facts:
    """Remember the share of good texts, and that it was trained."""
    texts = {sample.uid: sample.alt_text for sample in Shards.open(job.pool, cell.uids)}
    assert sorted(texts) == list(cell.uids)
    if os.environ.get(DIVERGES) == f"{cell.arm}:{cell.seed}":
        raise TrainError("the loss is no number (nan) at step 3")
    if os.environ.get(DIES) == f"{cell.arm}:{cell.seed}":
        os._exit(9)
    good = sum(text.startswith("good") for text in texts.values()) / len(texts)
    (out / "model.json").write_text(
        json.dumps({"good": good, "seed": cell.seed, "arm": cell.arm, "objective": cell.settings.objective})
    )
    with (job.out / "trained.txt").open("a") as file:
        file.write(f"{cell.arm} {cell.seed} {len(texts)}\n")
    with progress.step("train", cell.settings.samples, "pairs") as tick:
        tick(cell.settings.samples)
    return {"steps": cell.settings.steps, "threads": job.threads}


def judge(job: AblationJob, out: Path, progress: Progress) -> dict[str, float]:
    """Return half the share of good texts, more by a tenth a seed, and by up to a hundredth of it either way."""
    assert list(Shards.open(job.evaluation))
    model = json.loads((out / "model.json").read_text())
    better = model["good"] / 2 * (1 + (model["seed"] % 3 - 1) / 100)  # arms differ by other amounts from seed to seed
    return {"R@1": better + model["seed"] / 10 + len(model["arm"]) % 3 / 100, "median rank": 3.0}


def rate(job: AblationJob, out: Path, progress: Progress) -> pl.DataFrame:
    """Return what any model says of the pool: good texts score higher, but for some of each."""
    model = json.loads((out / "model.json").read_text())
    with (job.out / "rated.txt").open("a") as file:
        file.write(f"{model['arm']} {model['seed']}\n")
    samples = list(Shards.open(job.pool))
    scores = [similarity(sample.uid, sample.alt_text, model["seed"]) for sample in samples]
    return pl.DataFrame({"uid": [sample.uid for sample in samples], "similarity": scores})


def similarity(uid: str, text: str, seed: int) -> float:
    """Return a number of few values, so that some are equal."""
    return text.startswith("good") * 3 + int(uid[:8], 16) * (seed + 1) % 7


def side(_: object) -> int:
    """Return the pixels of the images."""
    return 16
