"""Rounds: train, score the pool, keep the most similar of it, and train anew on these, as data filtering networks do.

The first round trains on an arm's pairs, each later one on the pairs that the model of the round before keeps (DFN,
arXiv 2309.17425, where there is one such round).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from align_data.common.progress import Progress
from align_data.storage.store import Store
from align_data.train.ablate.metrics import GOOD, NOISE
from align_data.train.ablate.pool import Pool
from align_data.train.ablate.runs import AblationJob, Cell, RunOutcome, failed, key, run_all
from align_data.train.ablate.similarities import best, noise_detected, read


@dataclass(frozen=True)
class Rounds:
    """How often to train, and what is kept in between."""

    number: int
    keep: float
    """Share of the pool."""
    facts: Mapping[str, object]
    """What a run's key is of, beside its settings and its pairs."""


def run_rounds(
    rounds: Rounds, job: AblationJob, cells: Sequence[Cell], pool: Pool, jobs: int, progress: Progress
) -> list[RunOutcome]:
    """Return what became of the cells of the first round, and of those that follow from them."""
    out, outcomes, cells = Store(job.out), list[RunOutcome](), list(cells)
    for number in range(1, rounds.number + 1):
        again = number < rounds.number
        if rounds.number > 1:
            progress.say(f"round {number:,} of {rounds.number:,}")
        asked = job if again or pool.truth is not None else replace(job, rate=None)
        finished = run_all(asked, cells, jobs, progress, rated=again)
        outcomes += [_with_truth(outcome, cell, out, pool) for outcome, cell in zip(finished, cells, strict=True)]
        if not again:
            break
        ended = [failed(replace(cell, round=later), f"its round {number:,} failed")
                 for outcome, cell in zip(finished, cells, strict=True) if outcome.failure is not None
                 for later in range(number + 1, rounds.number + 1)]  # fmt: skip
        outcomes += ended
        cells = [
            _next(cell, rounds, out, pool)
            for outcome, cell in zip(finished, cells, strict=True)
            if outcome.failure is None
        ]
    return outcomes


def _next(cell: Cell, rounds: Rounds, out: Store, pool: Pool) -> Cell:
    """Return the run on what the model of this one keeps."""
    similarities = read(out, cell.similarities)
    assert similarities is not None
    kept = tuple(best(similarities, pool.rows["uid"], rounds.keep))
    return Cell(cell.arm, kept, cell.settings, key(cell.settings, kept, rounds.facts), cell.round + 1)


def _with_truth(outcome: RunOutcome, cell: Cell, out: Store, pool: Pool) -> RunOutcome:
    """Return an outcome with what is known of it where good pairs are known."""
    if pool.truth is None or outcome.failure is not None:
        return outcome
    metrics = {**outcome.metrics, GOOD: len(pool.truth.intersection(cell.uids)) / len(cell.uids)}
    similarities = read(out, cell.similarities)
    if similarities is not None:
        detected = noise_detected(similarities, pool.rows["uid"], pool.truth)
        metrics |= {} if detected is None else {NOISE: detected}
    return replace(outcome, metrics=metrics)
