"""A dataset opened for a command: under lock, with an engine, and in the log."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime

from align_data import __version__
from align_data.common.secrets import mask_command
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.engines.local import MEMORY, LocalEngine
from align_data.engines.resources import Resources
from align_data.storage.manifests import checked
from align_data.storage.store import Store


@contextmanager
def session(
    url: str, resources: Resources, *, create: bool = False, reads: bool = False
) -> Iterator[tuple[Dataset, Engine]]:
    """Open a dataset to write to it: no other process does meanwhile, and the log says when and with what.

    One that is only read, `reads`, is neither locked nor logged.
    """
    store = Store(url, resources.work)
    writes = create or (store.exists("") and not reads)
    with writing(store, sys.argv[1:]) if writes else nullcontext(), _engine(resources, store) as engine:
        yield Dataset(store), engine


@contextmanager
def writing(store: Store, command: Sequence[str]) -> Iterator[None]:
    """Lock a dataset while it is written to; the log says when, and by which command."""
    began = datetime.now(UTC)
    with store.lock():
        yield
        _log(store, began, command)


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


def _log(store: Store, began: datetime, command: Sequence[str]) -> None:
    """Write a line of history: dates are here, and nowhere else in a dataset."""
    ended = datetime.now(UTC)
    entry = {
        "command": mask_command(command),  # a dataset is handed on, with its log
        "began": began.isoformat(timespec="milliseconds"),
        "seconds": round((ended - began).total_seconds(), 3),
        "align_data": __version__,
    }
    store.write_bytes(f"_log/{began:%Y%m%dT%H%M%S.%f}.json", checked(entry))
