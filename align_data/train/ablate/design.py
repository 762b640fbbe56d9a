"""The design of an ablation: one pool, arms of it, the same model and seeds for all, one evaluation set outside all."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from align_data import __version__
from align_data.common.errors import DatasetError
from align_data.common.progress import Progress
from align_data.common.secrets import mask
from align_data.data.layout import Dataset
from align_data.data.ledger import open_current
from align_data.engines.base import Engine
from align_data.storage.store import Store
from align_data.train.ablate.arms import Arm, parse, uids
from align_data.train.ablate.leaks import Evaluation, Leaks, allowed, evaluation, leaking
from align_data.train.ablate.pool import Pool, export_pool, identity, read
from align_data.train.ablate.results import Ablation, Setup
from align_data.train.ablate.runs import Cell, Fit, Job, Judge, key, run_all
from align_data.train.ablate.truth import good_pairs
from align_data.train.settings import TrainSettings
from align_data.train.shards import Shards

RESULTS = "results.json"
_COMPUTE = ("torch", "transformers", "tokenizers", "pillow", "numpy")


@dataclass(frozen=True)
class Asked:
    """What is to be compared, and with what."""

    ledger: str
    evaluation: str
    """The folder of the evaluation shards."""
    arms: Sequence[str]
    settings: TrainSettings
    side: int
    """Pixels of the model's images."""
    fractions: Sequence[float] = ()
    """Of none and of recipe, so much of each."""
    seeds: int = 5
    truth: str | None = None
    drop_pending: bool = False
    jobs: int = 1


def ablate(
    dataset: Dataset, asked: Asked, out: Path, engine: Engine, progress: Progress, *, fit: Fit, judge: Judge
) -> Ablation:
    """Train every arm at every seed and evaluate it; what is finished in `out` is not done again.

    Writes results.json there. Raises RecipeError and DatasetError for arms that cannot be, before anything is trained.
    """
    plan = open_current(dataset, asked.ledger).plan
    arms = parse(asked.arms, plan, asked.fractions)
    store = Store(out)
    with store.lock():
        found = _evaluation(asked.evaluation)
        pool, leaks = _pool(dataset, asked, arms, found, progress)
        cells = _cells(arms, pool, asked, {**identity(dataset, asked.side), "evaluation": found.digest})
        shards = export_pool(dataset, asked.ledger, store, asked.side, engine, progress)
        threads = max(1, len(os.sched_getaffinity(0)) // asked.jobs)
        job = Job(shards, asked.evaluation, out.absolute(), fit, judge, threads)
        runs = run_all(job, cells, asked.jobs, progress)
        setup = Setup(
            mask(dataset.store.url), asked.ledger, mask(asked.evaluation), found.pairs, pool.pairs, len(pool.rows),
            pool.unfetched, leaks, asked.seeds, asked.settings.model_dump(mode="json", exclude={"seed"}), _versions(),
        )  # fmt: skip
        result = Ablation(setup, [arm.name for arm in arms], runs)
        store.write_bytes(RESULTS, (json.dumps(result.to_json(), indent=1) + "\n").encode())
    return result


def _evaluation(url: str) -> Evaluation:
    shards = Shards.open(url)
    found = evaluation(shards, url)
    if shards.skipped:
        name, why = next(iter(shards.skipped.items()))
        raise DatasetError(f"{url}: {name} is damaged, and an evaluation set must be whole: {why}")
    return found


def _pool(
    dataset: Dataset, asked: Asked, arms: Sequence[Arm], found: Evaluation, progress: Progress
) -> tuple[Pool, Leaks]:
    """Return the pool without what is in the evaluation set."""
    others = [arm.of for arm in arms if arm.kind == "ledger"]
    pool = read(dataset, asked.ledger, others)
    leaks, counted = leaking(pool.rows, found, allowed(pool.plan))
    if pool.unfetched:
        progress.say(
            f"{pool.unfetched:,} of {pool.pairs:,} pairs are in no arm: their images are not fetched and measured; "
            "none is the whole pool only after align-data fetch --all"
        )
    if counted.pairs:
        progress.say(
            f"{counted.pairs:,} pairs are in the evaluation set and taken out of every arm: {counted.uid:,} by uid, "
            f"{counted.url:,} by URL, {counted.phash:,} by pHash (at most {counted.distance} bits apart)"
        )
    good = good_pairs(asked.truth) if asked.truth is not None else None
    return replace(pool.less(leaks), drop_pending=asked.drop_pending, good=good), counted


def _cells(arms: Sequence[Arm], pool: Pool, asked: Asked, rest: dict[str, object]) -> list[Cell]:
    """Return all runs, seed by seed, so that what a killed run leaves compares all arms."""
    rest = {**rest, "versions": _versions()}
    cells = []
    for seed in range(asked.settings.seed, asked.settings.seed + asked.seeds):
        settings = asked.settings.model_copy(update={"seed": seed})
        for arm in arms:
            chosen = tuple(uids(arm, pool, seed))
            if len(chosen) < settings.batch:
                raise DatasetError(
                    f"the arm {arm.name} has {len(chosen):,} pairs, fewer than a batch of {settings.batch:,}: take it "
                    "out of --arms, or give a smaller --batch"
                )
            cells.append(Cell(arm.name, chosen, settings, key(settings, chosen, rest)))
    return cells


def _versions() -> dict[str, str]:
    """Return the versions of what decides the numbers."""
    found = {"align_data": __version__}
    for name in _COMPUTE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # then nothing of it is used
            continue
    return found
