"""The design of an ablation: one pool, arms of it, the same model and seeds for all, one evaluation set outside all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

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
from align_data.train.ablate.rounds import Rounds, run_rounds
from align_data.train.ablate.runs import AblationJob, Cell, Trainer, key
from align_data.train.ablate.truth import good_pairs
from align_data.train.labels import numbers, of_images
from align_data.train.run_folder import VERSION
from align_data.train.settings import OWNERS, TrainSettings
from align_data.train.shards import Shards
from align_data.train.zero_shot import Classes

RESULTS = "results.json"
_COMPUTE = ("torch", "transformers", "tokenizers", "pillow", "numpy")


@dataclass(frozen=True)
class AblationRequest:
    """What is to be compared, and with what."""

    ledger: str
    evaluation: str
    """The folder of the evaluation shards."""
    arms: Sequence[str]
    settings: Sequence[TrainSettings]
    """One for each objective; but for it and what belongs to it, all are the same."""
    side: int
    """Pixels of the model's images."""
    fractions: Sequence[float] = ()
    """Shares of none and of recipe to train on."""
    seeds: int = 5
    truth: str | None = None
    classes: Classes | None = None
    """Of the evaluation pairs, for zero-shot classification and nearest neighbours."""
    drop_pending: bool = False
    rounds: int = 1
    keep: float = 1.0
    """The share of the pool, the most similar pairs, that a round's model keeps for the next."""
    jobs: int = 1


def ablate(
    dataset: Dataset, request: AblationRequest, out: Path, engine: Engine, progress: Progress, trainer: Trainer
) -> Ablation:
    """Train every arm at every seed and evaluate it; what is finished in `out` is not done again.

    Writes results.json there. Raises RecipeError, DatasetError and InputError for what cannot be, before anything is
    trained.
    """
    plan = open_current(dataset, request.ledger).plan
    arms = parse(request.arms, plan, request.fractions)
    store = Store(out)
    with store.lock():
        held_out = _evaluation(request)
        pool, leaks = _pool(dataset, request, arms, held_out, progress)
        facts = {**identity(dataset, request.side), "evaluation": held_out.digest, "versions": _versions()}
        cells = _cells(arms, pool, request, facts)
        shards = export_pool(dataset, request.ledger, store, request.side, engine, progress)
        threads = max(1, len(os.sched_getaffinity(0)) // request.jobs)
        job = AblationJob(
            shards, request.evaluation, out.absolute(), trainer.fit, trainer.judge, threads, trainer.rate,
            request.classes,
        )  # fmt: skip
        runs = run_rounds(Rounds(request.rounds, request.keep, facts), job, cells, pool, request.jobs, progress)
        result = Ablation(_setup(dataset, request, held_out, pool, leaks), [arm.name for arm in arms], runs)
        store.write_bytes(RESULTS, (json.dumps(result.to_json(), indent=1) + "\n").encode())
    return result


def _setup(dataset: Dataset, request: AblationRequest, held_out: EvaluationSet, pool: Pool, leaks: Leaks) -> Setup:
    settings, *variants = (variant.model_dump(mode="json", exclude={"seed"}) for variant in request.settings)
    objectives = [variant.objective for variant in request.settings]
    for variant in variants:
        settings |= {name: variant[name] for name, owner in OWNERS.items() if owner == variant["objective"]}
    if variants:
        settings["objective"] = ", ".join(objectives)
    return Setup(
        mask(dataset.store.url), request.ledger, mask(request.evaluation), held_out.pairs, pool.pairs, len(pool.rows),
        pool.unfetched, leaks, request.seeds, settings, _versions(), pool.untested, objectives, request.rounds,
        request.keep, request.truth is not None, request.classes is not None,
    )  # fmt: skip


def _evaluation(request: AblationRequest) -> EvaluationSet:
    shards = Shards.open(request.evaluation)
    held_out = evaluation(shards, request.evaluation)
    if shards.skipped:
        name, why = next(iter(shards.skipped.items()))
        raise DatasetError(f"{request.evaluation}: {name} is damaged, and an evaluation set must be whole: {why}")
    if request.classes is not None:
        _fitting(request.classes, held_out)
    return held_out


def _fitting(classes: Classes, held_out: EvaluationSet) -> None:
    """Raise InputError where labels are of no evaluation pair, or are none of the classes, as evaluating would."""
    met = [name for name in (*held_out.uids, *held_out.urls) if name in classes.labels]
    labels = of_images(classes.labels, met, met, range(len(met)))
    if classes.names:
        numbers(labels.values(), classes.names)


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


def _cells(arms: Sequence[Arm], pool: Pool, request: AblationRequest, facts: Mapping[str, object]) -> list[Cell]:
    """Return all runs of the first round, seed by seed, so that what a killed run leaves compares all arms."""
    cells = []
    batch = request.settings[0].batch
    kept = round(request.keep * len(pool.rows))
    if request.rounds > 1 and kept < batch:
        raise DatasetError(
            f"{request.keep:g} of the pool are {kept:,} pairs, fewer than a batch of {batch:,}: give a larger --keep "
            "or a smaller --batch"
        )
    first_seed = request.settings[0].seed
    for seed in range(first_seed, first_seed + request.seeds):
        for arm in arms:
            chosen = tuple(uids(arm, pool, seed))
            if len(chosen) < batch:
                raise DatasetError(
                    f"the arm {arm.name} has {len(chosen):,} pairs, fewer than a batch of {batch:,}: take it out of "
                    "--arms, or give a smaller --batch"
                )
            for variant in request.settings:  # of the same pairs, and batches of the same seed
                settings = variant.model_copy(update={"seed": seed})
                cells.append(Cell(arm.name, chosen, settings, key(settings, chosen, facts)))
    return cells


def _versions() -> dict[str, str]:
    """Return the versions of what decides the numbers."""
    versions = {"align_data": VERSION}
    for name in _COMPUTE:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # then nothing of it is used
            continue
    return versions
