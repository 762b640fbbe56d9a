"""A dataset opened for a command: under lock, with an engine, and in the log."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from align_data.common.progress import Progress, Silent
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.engines.local import MEMORY, LocalEngine
from align_data.engines.resources import Resources
from align_data.stages.run_log import RunRecord
from align_data.storage.store import Store


@contextmanager
def session(
    url: str, resources: Resources, progress: Progress, *, create: bool = False, reads: bool = False
) -> Iterator[tuple[Dataset, Engine, Progress]]:
    """Open a dataset to write to it: no other process does meanwhile, and the log says when and with what.

    Steps are reported to the Progress that is returned, which shows and notes them. A dataset that is only read,
    `reads`, is neither locked nor logged.
    """
    store = Store(url, resources.work)
    writes = create or (store.exists("") and not reads)
    record = RunRecord(store, sys.argv[1:], progress, resources.metrics)
    locked, logged = (store.lock(), record.logged()) if writes else (nullcontext(), nullcontext())
    with record, locked, logged, _engine(resources, store) as engine:
        yield Dataset(store), engine, record.progress


@contextmanager
def writing(store: Store, command: Sequence[str]) -> Iterator[None]:
    """Lock a dataset while it is written to; the log says when, and by which command."""
    with store.lock(), RunRecord(store, command, Silent()).logged():
        yield


@contextmanager
def _engine(resources: Resources, store: Store) -> Iterator[Engine]:
    if resources.engine == "local":
        yield LocalEngine(store.work, resources.workers, resources.memory or MEMORY)
        return
    from align_data.engines.spark import MEMORY as TASK_MEMORY  # noqa: PLC0415 - for those who have Spark
    from align_data.engines.spark import SparkEngine  # noqa: PLC0415

    spark = SparkEngine(dict(resources.spark_conf), resources.memory or TASK_MEMORY)
    try:
        yield spark
    finally:
        spark.stop()
