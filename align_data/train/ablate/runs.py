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
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import polars as pl

from align_data.common.errors import EngineError, TrainError
from align_data.common.progress import NONE, Progress, Tick
from align_data.common.workers import Child, ChildDiedError, Handler, Send
from align_data.common.workers.pool import StopCheck, WorkerPool
from align_data.common.workers.values import of, plain
from align_data.storage.confined import folder
from align_data.storage.store import Store
from align_data.storage.tables import digest
from align_data.train.ablate.metrics import LABELLED
from align_data.train.ablate.similarities import write
from align_data.train.ablate.treatments import Treatment
from align_data.train.settings import TrainSettings
from align_data.train.zero_shot import Classes

RUNS, MODELS = "runs", "_models"
_KEYED = frozenset((
    "size", "init", "image_size", "batch", "samples", "optimizer", "learning_rate", "warm_up", "weight_decay", "clip",
    "objective", "temperature", "label_smoothing", "bias", "margin", "softmax_share", "vocabulary", "max_tokens",
    "flip", "seed", "memory", "checkpoint",
))  # fmt: skip
"""Settings that every key is of. One that came later is in keys only where it is not its default: the runs of before
have no other."""
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
    round: int = 1

    @property
    def seed(self) -> int:
        """Return the seed."""
        return self.settings.seed

    @property
    def treatment(self) -> Treatment:
        """What it is a run of, apart from the seed."""
        return Treatment(self.arm, self.settings.objective, self.round)

    @property
    def title(self) -> str:
        """What a message calls it."""
        round_ = f" (round {self.round})" if self.round > 1 else ""
        return f"{self.arm}{round_}, seed {self.seed}"

    @property
    def similarities(self) -> str:
        """The name of the file in which its model's similarities of the pool are."""
        return f"{RUNS}/{self.key}.parquet"

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
    objective: str = "softmax"
    round: int = 1

    @property
    def treatment(self) -> Treatment:
        """What it is a run of, apart from the seed."""
        return Treatment(self.arm, self.objective, self.round)


class Fit(Protocol):
    """What trains: on the pairs `uids` of the shards in the folder `pool`, to a model in the folder `out`."""

    def __call__(self, job: AblationJob, cell: Cell, out: Path, progress: Progress, /) -> Facts:
        """Return what is to be known of the training; TrainError where it failed."""


class Judge(Protocol):
    """What evaluates the model in the folder `out`."""

    def __call__(self, job: AblationJob, out: Path, progress: Progress, /) -> dict[str, float]:
        """Return the metrics, the main one first; TrainError where the model is none."""


class Rate(Protocol):
    """What tells the similarity of each pair of the pool, by the model in the folder `out`."""

    def __call__(self, job: AblationJob, out: Path, progress: Progress, /) -> pl.DataFrame:
        """Return the columns `uid` and `similarity`, without pairs that the model cannot read."""


class Trainer(NamedTuple):
    """What trains, evaluates and scores."""

    fit: Fit
    judge: Judge
    rate: Rate


@dataclass(frozen=True)
class AblationJob:
    """What is the same for all runs. It travels to other processes, and functions by their names."""

    pool: str
    """The folder of the pool's shards."""
    evaluation: str
    out: Path
    fit: Fit
    judge: Judge
    threads: int
    """For what computes, in each process."""
    rate: Rate | None = None
    """None where nobody wants to know how similar the pool's pairs are."""
    classes: Classes | None = None
    """Of the evaluation pairs, where they are known."""

    @cached_property
    def classes_digest(self) -> str | None:
        """What a run's labelled metrics are of."""
        if self.classes is None:
            return None
        # What is left at its default is in no digest, so that fields which come later change none.
        unused = Classes({})
        chosen = {field.name: getattr(self.classes, field.name) for field in fields(Classes)}
        return digest({name: plain(value) for name, value in chosen.items() if value != getattr(unused, name)})

    def model(self, cell: Cell) -> Path:
        """Return the folder of a run's model, for as long as the run takes."""
        return self.out / MODELS / digest([cell.key, self.pool])[:16]

    def discard(self, model: str | None = None) -> None:
        """Remove the folder of one run's model, or all of them; a trainer may have put there what it likes."""
        folder, form = (f"{MODELS}/{model}", ".+") if model is not None else (MODELS, "[0-9a-f]{16}/.+")
        Store(self.out).clear(folder, re.compile(form))

    def plain(self) -> dict[str, Any]:
        """Return what `of_plain` makes the same job of, in another process: there is its code too."""
        named = {role: _name(getattr(self, role)) for role in ("fit", "judge", "rate") if getattr(self, role)}
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**given, "out": str(self.out), "classes": plain(self.classes), **named}

    @staticmethod
    def of_plain(plain: Mapping[str, Any]) -> AblationJob:
        """Return the job from what `plain` returned."""
        named = {role: _function(plain[role]) for role in ("fit", "judge", "rate") if plain[role]}
        classes = None if plain["classes"] is None else of(Classes, plain["classes"])
        return AblationJob(**{**plain, "out": Path(plain["out"]), "classes": classes, **named})


def _name(function: Any) -> str:
    return f"{function.__module__}:{function.__qualname__}"


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def key(cell_settings: TrainSettings, uids: Sequence[str], facts: Mapping[str, Any]) -> str:
    """Return the name of a run's file; `facts` are all that decides besides."""
    defaults = {name: field.default for name, field in type(cell_settings).model_fields.items()}
    settings = {
        name: value
        for name, value in cell_settings.model_dump(mode="json").items()
        if name in _KEYED or value != defaults[name]
    }
    return digest({"settings": settings, "uids": digest(list(uids)), **facts})


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
        if job.rate is not None:  # before the run's own file: where that is, they are
            write(Store(job.out), cell.similarities, job.rate(job, out, progress))
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


def stored(job: AblationJob, cell: Cell) -> RunOutcome | None:
    """Return a run that is finished; without metrics by other classes than the job's."""
    out = Store(job.out)
    content = out.read_bytes(f"{RUNS}/{cell.key}.json")
    if content is None:
        return None
    try:
        run = json.loads(content)
        metrics = {str(name): float(value) for name, value in run["metrics"].items()}
        if run.get("classes") != job.classes_digest:
            metrics = {name: value for name, value in metrics.items() if not name.endswith(LABELLED)}
        return RunOutcome(
            cell.arm, cell.seed, len(cell.uids), metrics, dict(run["facts"]), None, cell.settings.objective, cell.round
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        where = out.path(f"{RUNS}/{cell.key}.json")
        raise TrainError(f"{where} is not a run's result: {error!r}; remove it to repeat the run") from error


def run_all(
    job: AblationJob, cells: Sequence[Cell], jobs: int, progress: Progress, *, rated: bool = False
) -> list[RunOutcome]:
    """Return what became of all cells, in their order; those that are finished are not run again.

    With `rated` one is finished only where its model's similarities of the pool are there.
    """
    out = Store(job.out)
    todo = {
        cell.key: cell for cell in cells if stored(job, cell) is None or (rated and not out.exists(cell.similarities))
    }
    if len(todo) < len(cells):
        taken = len(cells) - len(todo)
        progress.say(f"{taken:,} of {len(cells):,} runs are finished, or have the same pairs as another")
    failures: dict[str, str] = {}
    if todo:
        failures = _train(job, list(todo.values()), jobs, progress)
    if not failures:
        job.discard()
    return [failed(cell, failures[cell.key]) if cell.key in failures else _stored(job, cell) for cell in cells]


def failed(cell: Cell, failure: str) -> RunOutcome:
    """Return the outcome of a run that has no model."""
    return RunOutcome(cell.arm, cell.seed, len(cell.uids), {}, {}, failure, cell.settings.objective, cell.round)


def _train(job: AblationJob, todo: Sequence[Cell], jobs: int, progress: Progress) -> dict[str, str]:
    """Train cells, `jobs` at a time; return why some failed, by their key."""
    failures: dict[str, str] = {}
    pairs = sum(cell.settings.steps * cell.settings.batch for cell in todo)
    models = "a model" if len(todo) == 1 else f"{len(todo):,} models"
    with progress.step(f"train {models}", pairs, "pairs") as tick:

        def work(child: Child, cell: Cell, check: StopCheck) -> None:
            failure = _train_cell(job, child, cell, check, tick)
            if failure is None:
                job.discard(job.model(cell).name)
                return
            failures[cell.key] = failure  # its folder stays to be looked at
            progress.say(f"{cell.title}: failed: {failure}")

        pool: WorkerPool[Cell, Child] = WorkerPool(
            jobs, lambda _: closing(Child(_HANDLER, plain(job), max_bytes=_ANSWER, environment=True))
        )
        pool.run(todo, work)
    return failures


def _stored(job: AblationJob, cell: Cell) -> RunOutcome:
    run = stored(job, cell)
    assert run is not None
    return run


def _answer(answer: Any) -> tuple[dict[str, float], Facts]:
    return of(tuple[dict[str, float], dict[str, Any]], answer)


def _train_cell(job: AblationJob, child: Child, cell: Cell, check: Callable[[], None], tick: Tick) -> str | None:
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
            record = {
                **asdict(cell.treatment), "seed": cell.seed, "pairs": len(cell.uids), "metrics": metrics,
                "classes": job.classes_digest, "facts": facts,
            }  # fmt: skip
            Store(job.out).write_bytes(f"{RUNS}/{cell.key}.json", (json.dumps(record, indent=1) + "\n").encode())
    except TrainError as error:
        tick(cell.settings.steps * cell.settings.batch - ticked)
        return str(error)
    except ChildDiedError as died:
        raise EngineError(
            f"the process that trained {cell.title}, ended with {died.how}: there may be too "
            "little memory for so many; use fewer --jobs. Finished work is kept: run the same command again to continue"
        ) from None
    return None
