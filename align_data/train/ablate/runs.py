"""Runs: one arm at one seed, trained and judged in a child process; a finished one is a small file, and is taken again.

What a run computes follows from its pairs, its settings, the evaluation set and the versions of what computes; its
file is named by the digest of these, so two arms of the same pairs are one run.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from align_data.common.errors import EngineError, TrainError
from align_data.common.progress import NONE, Progress, Tick
from align_data.common.workers import Child, ChildDiedError, Handler, Send
from align_data.common.workers.pool import StopCheck, WorkerPool
from align_data.common.workers.values import of, plain
from align_data.storage.confined import folder
from align_data.storage.store import Store
from align_data.storage.tables import digest
from align_data.train.settings import TrainSettings

RUNS, MODELS = "runs", "_models"
_HANDLER = "align_data.train.ablate.runs:handler"
_ANSWER = 2**20
"""Bytes of a run's result, at most."""

Facts = dict[str, Any]
"""JSON data."""


@dataclass(frozen=True)
class Cell:
    """One arm at one seed."""

    arm: str
    uids: tuple[str, ...]
    settings: TrainSettings
    key: str

    @property
    def seed(self) -> int:
        """Return the seed."""
        return self.settings.seed

    def plain(self) -> dict[str, Any]:
        """Return what `of_plain` makes the same cell of, in another process."""
        return {**vars(self), "settings": self.settings.model_dump(mode="json")}

    @staticmethod
    def of_plain(plain: Mapping[str, Any]) -> Cell:
        """Return the cell from what `plain` returned."""
        return Cell(**{**plain, "settings": TrainSettings.model_validate(plain["settings"])})


@dataclass(frozen=True)
class RunOutcome:
    """What became of a run: its metrics, the first of which is the main one, or why it failed."""

    arm: str
    seed: int
    pairs: int
    metrics: Mapping[str, float]
    facts: Mapping[str, Any]
    """What the trainer reports of itself."""
    failure: str | None = None


class Fit(Protocol):
    """What trains: on the pairs `uids` of the shards in the folder `pool`, to a model in the folder `out`."""

    def __call__(self, job: AblationJob, cell: Cell, out: Path, progress: Progress, /) -> Facts:
        """Return what is to be known of the training; TrainError where it failed."""


class Judge(Protocol):
    """What evaluates the model in the folder `out`."""

    def __call__(self, job: AblationJob, out: Path, progress: Progress, /) -> dict[str, float]:
        """Return the metrics, the main one first; TrainError where the model is none."""


@dataclass(frozen=True)
class AblationJob:
    """What is the same for all runs. It travels to other processes, and `fit` and `judge` by their names."""

    pool: str
    """The folder of the pool's shards."""
    evaluation: str
    out: Path
    fit: Fit
    judge: Judge
    threads: int
    """For what computes, in each process."""

    def model(self, cell: Cell) -> Path:
        """Return the folder of a run's model, for as long as the run takes."""
        return self.out / MODELS / digest([cell.key, self.pool])[:16]

    def discard(self, model: str | None = None) -> None:
        """Remove the folder of one run's model, or all of them; a trainer may have put there what it likes."""
        folder, form = (f"{MODELS}/{model}", ".+") if model is not None else (MODELS, "[0-9a-f]{16}/.+")
        Store(self.out).clear(folder, re.compile(form))

    def plain(self) -> dict[str, Any]:
        """Return what `of_plain` makes the same job of, in another process: there is its code too."""
        named = {role: _name(getattr(self, role)) for role in ("fit", "judge")}
        return {**vars(self), "out": str(self.out), **named}

    @staticmethod
    def of_plain(plain: Mapping[str, Any]) -> AblationJob:
        """Return the job from what `plain` returned."""
        named = {role: _function(plain[role]) for role in ("fit", "judge")}
        return AblationJob(**{**plain, "out": Path(plain["out"]), **named})


def _name(function: Any) -> str:
    return f"{function.__module__}:{function.__qualname__}"


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def key(cell_settings: TrainSettings, uids: Sequence[str], facts: Mapping[str, Any]) -> str:
    """Return the name of a run's file; `rest` is all that decides besides."""
    return digest({"settings": cell_settings.model_dump(mode="json"), "uids": digest(list(uids)), **facts})


def handler(setup: Any) -> Handler:
    """Return what makes runs in a child: ticks out as numbers, and what was made at the end."""
    job = of(AblationJob, setup)

    def handle(task: Any, send: Send) -> None:
        cell = of(Cell, task)
        out = job.model(cell)
        with folder(str(job.out), f"{MODELS}/{out.name}", make=True):
            pass
        progress = _Forward(send)
        facts = job.fit(job, cell, out, progress)
        metrics = job.judge(job, out, progress)
        send((metrics, facts))

    return handle


class _Forward:
    """Tells the parent how many pairs have been trained on, and of other steps only that there is life."""

    def __init__(self, send: Send) -> None:
        self._send = send

    @contextmanager
    def step(self, title: str, total: int | None, unit: str) -> Iterator[Tick]:  # noqa: ARG002
        """Forward what is trained."""

        def tick(pairs: int, _: Mapping[str, int] = NONE, __: Mapping[str, int] = NONE, /) -> None:
            self._send(pairs if title == "train" else 0)

        yield tick

    def say(self, sentence: str) -> None:
        """Say nothing: all runs would say the same."""


def stored(out: Store, cell: Cell) -> RunOutcome | None:
    """Return a run that is finished."""
    content = out.read_bytes(f"{RUNS}/{cell.key}.json")
    if content is None:
        return None
    try:
        run = json.loads(content)
        metrics = {str(name): float(value) for name, value in run["metrics"].items()}
        return RunOutcome(cell.arm, cell.seed, len(cell.uids), metrics, dict(run["facts"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        where = out.path(f"{RUNS}/{cell.key}.json")
        raise TrainError(f"{where} is not a run's result: {error!r}; remove it to repeat the run") from error


def run_all(job: AblationJob, cells: Sequence[Cell], jobs: int, progress: Progress) -> list[RunOutcome]:
    """Return what became of all cells, in their order; those that are finished are not run again."""
    out = Store(job.out)
    todo = {cell.key: cell for cell in cells if stored(out, cell) is None}
    if len(todo) < len(cells):
        taken = len(cells) - len(todo)
        progress.say(f"{taken:,} of {len(cells):,} runs are finished, or have the same pairs as another")
    failures: dict[str, str] = {}
    if todo:
        failures = _train(job, list(todo.values()), jobs, progress)
    if not failures:
        job.discard()
    return [
        RunOutcome(cell.arm, cell.seed, len(cell.uids), {}, {}, failures[cell.key])
        if cell.key in failures
        else _stored(out, cell)
        for cell in cells
    ]


def _train(job: AblationJob, todo: Sequence[Cell], jobs: int, progress: Progress) -> dict[str, str]:
    """Train cells, `jobs` at a time; return why some failed, by their key."""
    out, failures = Store(job.out), {}
    pairs = sum(cell.settings.steps * cell.settings.batch for cell in todo)
    models = "a model" if len(todo) == 1 else f"{len(todo):,} models"
    with progress.step(f"train {models}", pairs, "pairs") as tick:

        def work(child: Child, cell: Cell, check: StopCheck) -> None:
            failure = _train_cell(child, cell, out, check, tick)
            if failure is None:
                job.discard(job.model(cell).name)
                return
            failures[cell.key] = failure  # its folder stays to be looked at
            progress.say(f"{cell.arm}, seed {cell.seed}: failed: {failure}")

        pool: WorkerPool[Cell, Child] = WorkerPool(
            jobs, lambda _: closing(Child(_HANDLER, plain(job), max_bytes=_ANSWER, environment=True))
        )
        pool.run(todo, work)
    return failures


def _stored(out: Store, cell: Cell) -> RunOutcome:
    run = stored(out, cell)
    assert run is not None
    return run


def _answer(answer: Any) -> tuple[dict[str, float], Facts]:
    return of(tuple[dict[str, float], dict[str, Any]], answer)


def _train_cell(child: Child, cell: Cell, out: Store, check: Callable[[], None], tick: Tick) -> str | None:
    """Make one run and keep it; return why it failed, if it did."""
    ticked = 0
    try:
        for message in child.ask(plain(cell)):
            check()
            if isinstance(message, int):
                ticked += message
                tick(message)
                continue
            metrics, facts = child.checked(_answer, message)
            record = {"arm": cell.arm, "seed": cell.seed, "pairs": len(cell.uids), "metrics": metrics, "facts": facts}
            out.write_bytes(f"{RUNS}/{cell.key}.json", (json.dumps(record, indent=1) + "\n").encode())
    except TrainError as error:
        tick(cell.settings.steps * cell.settings.batch - ticked)
        return str(error)
    except ChildDiedError as died:
        raise EngineError(
            f"the process that trained {cell.arm}, seed {cell.seed}, ended with {died.how}: there may be too "
            "little memory for so many; use fewer --jobs. Finished work is kept: run the same command again to continue"
        ) from None
    return None
