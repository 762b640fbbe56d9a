"""What a command did to a dataset, while it runs and afterwards: figures for a dashboard, and a line of history."""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from align_data import __version__
from align_data.common.errors import OutputError
from align_data.common.metrics import RunFigures, exposition
from align_data.common.progress import Progress
from align_data.common.secrets import mask, mask_command
from align_data.common.steps import NotedSteps
from align_data.storage.manifests import checked
from align_data.storage.output_file import OutputFile
from align_data.storage.store import Store

EVERY = 10.0
"""Seconds between two writings of the metrics while a command runs."""


class RunRecord:
    """A command on a dataset, from its beginning; its `progress` notes steps and passes them on.

    With `metrics` the figures are written to that file when it begins, at most every ten seconds while it runs, and
    when it ends. Raises OutputError for a file that cannot be written, before there is work to lose.
    """

    def __init__(self, store: Store, command: Sequence[str], progress: Progress, metrics: str | None = None) -> None:
        self._store, self._command = store, mask_command(command)  # a dataset is handed on, with its log
        self._began, self._clock = datetime.now(UTC), time.monotonic()
        self._progress, self._lock = progress, Lock()
        self.progress = NotedSteps(progress, self._tell)
        self._metrics = None if metrics is None else OutputFile(metrics)
        if self._metrics is not None:
            self._metrics.check()
            self._write("running")
        self._written = time.monotonic()

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Write the metrics for the last time."""
        if self._metrics is not None:
            self._try_to_write(_state(error))

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Log the command when it ends; one that fails only where there is a log, for what is no dataset gets none."""
        self._store.committed.clear()  # of what was done through it before
        try:
            yield
        except BaseException as error:
            with suppress(OutputError):  # a full disk is told already
                if self._store.names("_log"):
                    self._log(error)
            raise
        self._log(None)

    def _log(self, error: BaseException | None) -> None:
        """Write a line of history: dates are here, and nowhere else in a dataset.

        Of an error it has the kind alone: a sentence may have a text or an address that is taken down one day.
        """
        ended = datetime.now(UTC)
        entry: dict[str, Any] = {
            "command": self._command,
            "began": self._began.isoformat(timespec="milliseconds"),
            "seconds": round((ended - self._began).total_seconds(), 3),
            "align_data": __version__,
            "outcome": _state(error),
            **({} if error is None else {"error": type(error).__name__}),
            "steps": [step.to_json() for step in self.progress.figures],
            "tables": {name: {"rows": rows, "bytes": size} for name, (rows, size) in self._store.committed.items()},
            "peak_memory": peak_memory(),
            "versions": _versions(),
        }
        self._store.write_bytes(f"_log/{self._began:%Y%m%dT%H%M%S.%f}.json", checked(entry))

    def _tell(self) -> None:
        """Write the figures again, if it is time to."""
        if self._metrics is None or time.monotonic() - self._written < EVERY or not self._lock.acquire(blocking=False):
            return
        try:
            self._written = time.monotonic()
            self._try_to_write("running")
        finally:
            self._lock.release()

    def _try_to_write(self, state: str) -> None:
        """Write the figures; hours of work do not end because a dashboard's file cannot be written any more."""
        try:
            self._write(state)
        except OutputError as error:
            self._metrics = None
            self._progress.say(f"no more metrics: {error}")

    def _write(self, state: str) -> None:
        assert self._metrics is not None
        name = next((word for word in self._command if not word.startswith("-")), "")
        run = RunFigures(
            self._store.root if self._store.local else mask(self._store.url),
            name,
            state,
            self._began.timestamp(),
            time.monotonic() - self._clock,
            peak_memory(),
            self.progress.figures,
        )
        self._metrics.write(exposition(run).encode("utf-8", "replace"))


def peak_memory() -> dict[str, int]:
    """Return the largest resident bytes that this process had, and the largest of its children that ended."""
    unit = 1 if sys.platform == "darwin" else 1024
    who = {"process": resource.RUSAGE_SELF, "child": resource.RUSAGE_CHILDREN}
    return {name: resource.getrusage(of).ru_maxrss * unit for name, of in who.items()}


def _versions() -> dict[str, str]:
    packages = {"numpy": np.__version__, "polars": pl.__version__, "pyarrow": pa.__version__}
    return {"python": platform.python_version(), **packages}


def _state(error: BaseException | None) -> str:
    if error is None:
        return "done"
    return "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
