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
from align_data.train.ablate.leaks import EvaluationSet, Leaks, allowed, evaluation, leaking
from align_data.train.ablate.pool import Pool, export_pool, identity, read
from align_data.train.ablate.results import Ablation, Setup
from align_data.train.ablate.runs import AblationJob, Cell, Fit, Judge, key, run_all
from align_data.train.ablate.truth import good_pairs
from align_data.train.settings import TrainSettings
from align_data.train.shards import Shards

RESULTS = "results.json"
_COMPUTE = ("torch", "transformers", "tokenizers", "pillow", "numpy")


@dataclass(frozen=True)
class AblationRequest:
    """What is to be compared, and with what."""

    ledger: str
    evaluation: str
    """The folder of the evaluation shards."""
    arms: Sequence[str]
    settings: TrainSettings
    side: int
    """Pixels of the model's images."""
    fractions: Sequence[float] = ()
    """Shares of none and of recipe to train on."""
    seeds: int = 5
    truth: str | None = None
    drop_pending: bool = False
    jobs: int = 1


def ablate(
    dataset: Dataset, request: AblationRequest, out: Path, engine: Engine, progress: Progress, *, fit: Fit, judge: Judge
) -> Ablation:
    """Train every arm at every seed and evaluate it; what is finished in `out` is not done again.

    Writes results.json there. Raises RecipeError and DatasetError for arms that cannot be, before anything is trained.
    """
    plan = open_current(dataset, request.ledger).plan
    arms = parse(request.arms, plan, request.fractions)
    store = Store(out)
    with store.lock():
        held_out = _evaluation(request.evaluation)
        pool, leaks = _pool(dataset, request, arms, held_out, progress)
        cells = _cells(arms, pool, request, {**identity(dataset, request.side), "evaluation": held_out.digest})
        shards = export_pool(dataset, request.ledger, store, request.side, engine, progress)
        threads = max(1, len(os.sched_getaffinity(0)) // request.jobs)
        job = AblationJob(shards, request.evaluation, out.absolute(), fit, judge, threads)
        runs = run_all(job, cells, request.jobs, progress)
        settings = request.settings.model_dump(mode="json", exclude={"seed"})
        setup = Setup(
            mask(dataset.store.url), request.ledger, mask(request.evaluation), held_out.pairs, pool.pairs,
            len(pool.rows), pool.unfetched, leaks, request.seeds, settings, _versions(),
            pool.untested,
        )  # fmt: skip
        result = Ablation(setup, [arm.name for arm in arms], runs)
        store.write_bytes(RESULTS, (json.dumps(result.to_json(), indent=1) + "\n").encode())
    return result


def _evaluation(url: str) -> EvaluationSet:
    shards = Shards.open(url)
    held_out = evaluation(shards, url)
    if shards.skipped:
        name, why = next(iter(shards.skipped.items()))
        raise DatasetError(f"{url}: {name} is damaged, and an evaluation set must be whole: {why}")
    return held_out


def _pool(
    dataset: Dataset, request: AblationRequest, arms: Sequence[Arm], held_out: EvaluationSet, progress: Progress
) -> tuple[Pool, Leaks]:
    """Return the pool without what is in the evaluation set."""
    ledgers = [arm.of for arm in arms if arm.kind == "ledger"]
    pool = read(dataset, request.ledger, ledgers)
    leaking_rows, leaks = leaking(pool.rows, held_out, allowed(pool.plan))
    if pool.unfetched:
        progress.say(
            f"{pool.unfetched:,} of {pool.pairs:,} pairs are in no arm: their images are not fetched and measured; "
            "the arm none is the whole pool only after align-data fetch --all"
        )
    if leaks.pairs:
        progress.say(
            f"{leaks.pairs:,} pairs are in the evaluation set and taken out of every arm: {leaks.uid:,} by uid, "
            f"{leaks.url:,} by URL, {leaks.phash:,} by pHash (at most {leaks.distance} bits apart)"
        )
    truth = good_pairs(request.truth) if request.truth is not None else None
    return replace(pool.less(leaking_rows), drop_pending=request.drop_pending, truth=truth), leaks


def _cells(arms: Sequence[Arm], pool: Pool, request: AblationRequest, facts: dict[str, object]) -> list[Cell]:
    """Return all runs, seed by seed, so that what a killed run leaves compares all arms."""
    facts = {**facts, "versions": _versions()}
    cells = []
    for seed in range(request.settings.seed, request.settings.seed + request.seeds):
        settings = request.settings.model_copy(update={"seed": seed})
        for arm in arms:
            chosen = tuple(uids(arm, pool, seed))
            if len(chosen) < settings.batch:
                raise DatasetError(
                    f"the arm {arm.name} has {len(chosen):,} pairs, fewer than a batch of {settings.batch:,}: take it "
                    "out of --arms, or give a smaller --batch"
                )
            cells.append(Cell(arm.name, chosen, settings, key(settings, chosen, facts)))
    return cells


def _versions() -> dict[str, str]:
    """Return the versions of what decides the numbers."""
    versions = {"align_data": __version__}
    for name in _COMPUTE:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # then nothing of it is used
            continue
    return versions
