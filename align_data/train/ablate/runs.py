"""Runs: one arm at one seed, trained and judged in a child process; a finished one is a small file, and is taken again.

What a run computes follows from its pairs, its settings, the evaluation set and the versions of what computes; its
file is called by the digest of these, so two arms of the same pairs are one run.
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
from align_data.common.workers import Child, ChildDiedError, Handler, Send, shared
from align_data.common.workers.values import of, plain
from align_data.storage.confined import folder
from align_data.storage.store import Store
from align_data.storage.tables import digest
from align_data.train.settings import TrainSettings

RUNS, MODELS = "runs", "_models"
_HANDLER = "align_data.train.ablate.runs:handler"
_ANSWER = 2**20
"""Bytes of what a run says of itself, at most."""

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
        """Return the cell that `plain` told of."""
        return Cell(**{**plain, "settings": TrainSettings.model_validate(plain["settings"])})


@dataclass(frozen=True)
class Done:
    """What became of a run: its metrics, the first of which is the main one, or why it failed."""

    arm: str
    seed: int
    pairs: int
    metrics: Mapping[str, float]
    facts: Mapping[str, Any]
    """What the trainer says of itself."""
    failure: str | None = None


class Fit(Protocol):
    """What trains: on the pairs `uids` of the shards in the folder `pool`, to a model in the folder `out`."""

    def __call__(self, job: Job, cell: Cell, out: Path, progress: Progress, /) -> Facts:
        """Return what is to be known of the training; TrainError where it failed."""


class Judge(Protocol):
    """What evaluates the model in the folder `out`."""

    def __call__(self, job: Job, out: Path, progress: Progress, /) -> dict[str, float]:
        """Return the metrics, the main one first; TrainError where the model is none."""


@dataclass(frozen=True)
class Job:
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
        named = {each: _name(getattr(self, each)) for each in ("fit", "judge")}
        return {**vars(self), "out": str(self.out), **named}

    @staticmethod
    def of_plain(plain: Mapping[str, Any]) -> Job:
        """Return the job that `plain` told of."""
        named = {each: _function(plain[each]) for each in ("fit", "judge")}
        return Job(**{**plain, "out": Path(plain["out"]), **named})


def _name(function: Any) -> str:
    return f"{function.__module__}:{function.__qualname__}"


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def key(cell_settings: TrainSettings, uids: Sequence[str], rest: Mapping[str, Any]) -> str:
    """Return the name of a run's file; `rest` is all that decides besides."""
    return digest({"settings": cell_settings.model_dump(mode="json"), "uids": digest(list(uids)), **rest})


def handler(setup: Any) -> Handler:
    """Return what makes runs in a child: ticks out as numbers, and what was made at the end."""
    job = of(Job, setup)

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

        def tick(done: int, _: Mapping[str, int] = NONE, /) -> None:
            self._send(done if title == "train" else 0)

        yield tick

    def say(self, sentence: str) -> None:
        """Say nothing: so many would say the same."""


def stored(out: Store, cell: Cell) -> Done | None:
    """Return a run that is finished."""
    content = out.read_bytes(f"{RUNS}/{cell.key}.json")
    if content is None:
        return None
    try:
        found = json.loads(content)
        metrics = {str(name): float(value) for name, value in found["metrics"].items()}
        return Done(cell.arm, cell.seed, len(cell.uids), metrics, dict(found["facts"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        where = out.path(f"{RUNS}/{cell.key}.json")
        raise TrainError(f"{where} is not a run's result: {error!r}; remove it to repeat the run") from error


def run_all(job: Job, cells: Sequence[Cell], jobs: int, progress: Progress) -> list[Done]:
    """Return what became of all cells, in their order; those that are finished are not run again."""
    out = Store(job.out)
    todo = {cell.key: cell for cell in cells if stored(out, cell) is None}
    if len(todo) < len(cells):
        taken = len(cells) - len(todo)
        progress.say(f"{taken:,} of {len(cells):,} runs are finished already, or have the same pairs as another")
    failures: dict[str, str] = {}
    if todo:
        failures = _train(job, list(todo.values()), jobs, progress)
    if not failures:
        job.discard()
    return [
        Done(cell.arm, cell.seed, len(cell.uids), {}, {}, failures[cell.key])
        if cell.key in failures
        else _there(out, cell)
        for cell in cells
    ]


def _train(job: Job, todo: Sequence[Cell], jobs: int, progress: Progress) -> dict[str, str]:
    """Make runs, so many at a time; return why some failed, by their key."""
    out, failures = Store(job.out), {}
    pairs = sum(cell.settings.steps * cell.settings.batch for cell in todo)
    models = "a model" if len(todo) == 1 else f"{len(todo):,} models"
    with progress.step(f"train {models}", pairs, "pairs") as tick:

        def work(some: Iterator[Cell], check: Callable[[], None]) -> None:
            with closing(Child(_HANDLER, plain(job), max_bytes=_ANSWER, environment=True)) as child:
                for cell in some:
                    failure = _made(child, cell, out, check, tick)
                    if failure is None:
                        job.discard(job.model(cell).name)
                        continue
                    failures[cell.key] = failure  # its folder stays to be looked at
                    progress.say(f"{cell.arm}, seed {cell.seed}: failed: {failure}")

        shared(work, todo, jobs)
    return failures


def _there(out: Store, cell: Cell) -> Done:
    done = stored(out, cell)
    assert done is not None
    return done


def _told(said: Any) -> tuple[dict[str, float], Facts]:
    return of(tuple[dict[str, float], dict[str, Any]], said)


def _made(child: Child, cell: Cell, out: Store, check: Callable[[], None], tick: Tick) -> str | None:
    """Make one run and keep it; return why it failed, if it did."""
    seen = 0
    try:
        for told in child.ask(plain(cell)):
            check()
            if isinstance(told, int):
                seen += told
                tick(told)
                continue
            metrics, facts = child.checked(_told, told)
            kept = {"arm": cell.arm, "seed": cell.seed, "pairs": len(cell.uids), "metrics": metrics, "facts": facts}
            out.write_bytes(f"{RUNS}/{cell.key}.json", (json.dumps(kept, indent=1) + "\n").encode())
    except TrainError as error:
        tick(cell.settings.steps * cell.settings.batch - seen)
        return str(error)
    except ChildDiedError as died:
        raise EngineError(
            f"the process that trained {cell.arm}, seed {cell.seed}, ended with {died.how}: there may be too little "
            "memory for so many; use fewer --jobs. Finished work is kept: run the same command again to continue"
        ) from None
    return None
