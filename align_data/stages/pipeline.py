"""The stages in order, each under lock and in the log: what the command line, a cluster job and Python call alike."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from align_data import __version__
from align_data.common.progress import Progress
from align_data.common.secrets import mask_command
from align_data.data.columns import lacking
from align_data.data.layout import Dataset
from align_data.data.meta import LedgerMeta
from align_data.data.thresholds import resolve
from align_data.engines.base import Engine
from align_data.engines.local import MEMORY, LocalEngine
from align_data.engines.spark import MEMORY as TASK_MEMORY
from align_data.engines.spark import SparkEngine
from align_data.recipes.model import Recipe
from align_data.recipes.reading import override_all
from align_data.signals import find
from align_data.sources.lists import Choice, Reading
from align_data.stages.audit import Audit, audit
from align_data.stages.filter import decide
from align_data.stages.ingest import Account, Parts, ingest
from align_data.stages.measure import MeasureReport, measure
from align_data.storage.manifests import checked
from align_data.storage.store import Store
from align_data.storage.tables import Manifest


@dataclass(frozen=True)
class Resources:
    """Which engine works, and what it may use."""

    engine: Literal["local", "spark"] = "local"
    workers: int | None = None
    """Threads of the local engine; None for one a processor."""
    memory: int | None = None
    """Bytes that may be held: by all local tasks together (None for 4 GB), by each task on Spark (None for 512 MB)."""
    work: str | None = None
    """Where the local engine spills; None for a folder inside the dataset."""
    spark_conf: Sequence[tuple[str, str]] = ()
    """Settings of Spark, which go before ours."""


@contextmanager
def session(
    url: str, resources: Resources, *, create: bool = False, reads: bool = False
) -> Iterator[tuple[Dataset, Engine]]:
    """Open a dataset to write to it: no other process does meanwhile, and the log says when and with what.

    One that is only read, `reads`, is neither locked nor logged.
    """
    store = Store(url, resources.work)
    began = datetime.now(UTC)
    writes = create or (store.exists("") and not reads)
    with store.lock() if writes else nullcontext(), _engine(resources, store) as engine:
        yield Dataset(store), engine
        if writes:
            _log(store, began)


@contextmanager
def _engine(resources: Resources, store: Store) -> Iterator[Engine]:
    if resources.engine == "local":
        yield LocalEngine(store.work, resources.workers, resources.memory or MEMORY)
        return
    spark = SparkEngine(dict(resources.spark_conf), resources.memory or TASK_MEMORY)
    try:
        yield spark
    finally:
        spark.stop()


def _log(store: Store, began: datetime) -> None:
    """Write a line of history: dates are here, and nowhere else in a dataset."""
    ended = datetime.now(UTC)
    entry = {
        "command": mask_command(sys.argv[1:]),  # a dataset is handed on, with its log
        "began": began.isoformat(timespec="milliseconds"),
        "seconds": round((ended - began).total_seconds(), 3),
        "align_data": __version__,
    }
    store.write_bytes(f"_log/{began:%Y%m%dT%H%M%S.%f}.json", checked(entry))


@dataclass(frozen=True)
class Decision:
    """How a ledger is decided."""

    recipe: Recipe
    overrides: Sequence[str] = ()
    off: Sequence[str] = ()
    name: str | None = None

    @property
    def ledger(self) -> str:
        """The ledger's name: the recipe's unless given."""
        return self.recipe.name if self.name is None else self.name


def decide_ledger(decision: Decision, dataset: Dataset, engine: Engine, progress: Progress) -> Manifest[LedgerMeta]:
    """Apply a recipe and write its ledger."""
    plan = resolve(dataset, decision.recipe, engine, progress, decision.overrides, decision.off)
    return decide(dataset, plan, decision.ledger, engine, progress)


@dataclass(frozen=True)
class PipelineResult:
    """What each stage of the main job returned."""

    account: Account
    measured: MeasureReport
    audit: Audit


@dataclass(frozen=True)
class Intake:
    """What goes into a dataset."""

    inputs: Sequence[str]
    choice: Choice = field(default_factory=Choice)
    parts: Parts = field(default_factory=Parts)
    reading: Reading = field(default_factory=Reading)


def run(intake: Intake, decision: Decision, dataset: Dataset, engine: Engine, progress: Progress) -> PipelineResult:
    """Ingest, measure what the recipe needs, filter, audit; finished work is not repeated."""
    override_all(decision.recipe, decision.overrides, decision.off)  # before hours of work
    dataset.ledger(decision.ledger)
    account = ingest(intake.inputs, dataset, engine, progress, intake.choice, intake.parts, intake.reading)
    signals = [rule.signal for rule in decision.recipe.rules if rule.name not in decision.off]
    able = [name for name in signals if lacking(dataset, find(name)) is None]
    measured = measure(dataset, engine, progress, able)
    decide_ledger(decision, dataset, engine, progress)
    return PipelineResult(account, measured, audit(dataset, decision.ledger))
