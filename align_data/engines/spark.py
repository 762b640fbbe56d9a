"""The Spark engine: one task a part, the same functions as everywhere, messages in binary columns between them.

Spark moves and repeats; what a signal means it never learns. This module alone imports pyspark.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from align_data import __version__
from align_data.common.errors import AlignDataError, EngineError, arrived, departing
from align_data.common.progress import Progress, Tick, ignore
from align_data.common.secrets import secret
from align_data.engines.base import A, Exchange, K, Shuffle, T, U
from align_data.engines.executor import Counting, Message, Moved, Moving, batches, messages
from align_data.engines.java import in_a_file, java_home

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

MEMORY = 2**29
"""Bytes that one task may hold."""
_MARK = "align-data-error:"
_COLUMNS = "to int, place array<bigint>, keys binary, values binary"
_POLL = 0.5
"""Seconds between two looks at how many tasks are done."""

_TOLD = 100_000
"""Accounts that are told to parts at most: of each unit to each part."""

SETTINGS = {
    "spark.sql.adaptive.enabled": "false",  # a partition is a part: none may be joined with another
    "spark.sql.execution.arrow.maxBytesPerBatch": str(16 * 2**20),
    "spark.sql.execution.arrow.maxRecordsPerBatch": "1000",
    "spark.ui.showConsoleProgress": "false",
    "spark.ui.enabled": "false",
    "spark.log.level": "WARN",
    # A JVM that moves bytes for a minute spends more on compiling twice than it wins; a user's extraJavaOptions win.
    "spark.driver.defaultJavaOptions": "-XX:TieredStopAtLevel=1",
    # One task, one core: what is parallel are the tasks.
    "spark.executorEnv.POLARS_MAX_THREADS": "1",
    "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
    "spark.executorEnv.OMP_NUM_THREADS": "1",
}
"""Set unless the user or spark-submit says otherwise."""

Step = Callable[[int, Iterator[Message]], Iterable[Message]]


class SparkEngine:
    """Runs everything on Spark; `memory` bytes is what one task may hold."""

    def __init__(self, conf: Mapping[str, str], memory: int = MEMORY) -> None:
        self.memory = memory
        self._conf = conf
        self._session: SparkSession | None = None

    @cached_property
    def _log(self) -> Path:
        """The file for Spark's own messages, with a name that no other user can have taken."""
        handle, path = tempfile.mkstemp(prefix="align-data-spark-", suffix=".log")
        os.close(handle)
        return Path(path)

    @property
    def flush(self) -> int:
        """How many keys a task may hold before it hands them on."""
        return max(1, self.memory // 64)

    def map_parts(
        self,
        title: str,
        function: Callable[[int, Tick], T],
        rows: Sequence[int],
        progress: Progress,
        unit: str = "pairs",  # noqa: ARG002 - Spark counts tasks
    ) -> list[T]:
        """Call `function` for every part, one task each."""

        def step(part: int, _: Iterator[Message]) -> Iterator[Message]:
            yield Message(0, (0, part), pickle.dumps(function(part, ignore)))

        results = self._collect(title, self._tasks(len(rows), step), len(rows), progress)
        return [results[0, part] for part in range(len(rows))]

    def share(self, tasks: int) -> int:  # noqa: ARG002 - each has its own
        """Return how many bytes each of `tasks` tasks may hold."""
        return self.memory

    def children(self, parts: int) -> int:  # noqa: ARG002 - a task has one core
        """Return how many child processes each task may start."""
        return 1

    def at_once(self, parts: int) -> int:  # noqa: ARG002 - Spark alone knows
        """Return how many tasks run at once on one machine: one, as far as is known here."""
        return 1

    @property
    def spread(self) -> bool:
        """Whether tasks may run on several machines, as they do wherever Spark has a cluster."""
        return not str(self.session.sparkContext.master).startswith("local")

    def exchange(
        self, exchange: Exchange[K, T], rows: Sequence[int], ranges: Mapping[str, int], progress: Progress
    ) -> tuple[dict[str, list[K]], list[T]]:
        """Run an exchange as one job of three stages: ask, count, answer."""
        counting = Counting(exchange, len(rows), dict(ranges), self.memory)
        number = len(counting.tasks)

        def ask(part: int, _: Iterator[Message]) -> Iterable[Message]:
            return counting.ask(part)

        questions = self._tasks(len(rows), ask)
        counted = self._sent(questions, number, counting.count)
        answered = self._sent(counted, len(rows) + 1, counting.answer)
        results = self._collect("measure", answered, 2 * len(rows) + number + 1, progress)
        summaries = {kind: [results[1, i] for i, (k, _) in enumerate(counting.tasks) if k == kind] for kind in ranges}
        return summaries, [results[0, part] for part in range(len(rows))]

    def shuffle(self, shuffle: Shuffle[U, A, T], units: Sequence[U], progress: Progress) -> tuple[list[A], list[T]]:
        """Run a shuffle: send rows to the parts that are foreseen, or that a first reading, for the accounts, tells."""
        moving = Moving(shuffle, list(units), self.memory)
        told = len(units) * (len(shuffle.foreseen or ()) + 1)
        if shuffle.foreseen is not None and (shuffle.is_certain or 0 < told <= _TOLD):
            moved = self._moved(moving, [0, *shuffle.foreseen, 2**64], progress, tell=True)
            accounts = list(moved[0].accounts)
            if not any(part.misplaced for part in moved):
                return accounts, [part.written for part in moved]
        else:

            def account(unit: int, _: Iterator[Message]) -> Iterator[Message]:
                yield Message(0, (0, unit), pickle.dumps(moving.account(unit)))

            read = self._collect(f"{shuffle.title}: account", self._tasks(len(units), account), len(units), progress)
            accounts = [read[0, unit] for unit in range(len(units))]
        moved = self._moved(moving, [0, *shuffle.split(accounts), 2**64], progress)
        return accounts, [part.written for part in moved]

    def _moved(self, moving: Moving, edges: Sequence[int], progress: Progress, *, tell: bool = False) -> list[Moved]:
        """Send all rows to their parts, and write these."""
        units, parts = len(moving.units), len(edges) - 1

        def send(unit: int, _: Iterator[Message]) -> Iterable[Message]:
            return moving.send(unit, edges, tell=tell)

        def write(part: int, sent: Iterator[Message]) -> Iterator[Message]:
            yield Message(0, (0, part), pickle.dumps(moving.write(part, sent, edges)))

        sent = self._tasks(units, send)
        moved = self._collect(f"{moving.shuffle.title}: write", self._sent(sent, parts, write), units + parts, progress)
        return [moved[0, part] for part in range(parts)]

    def _tasks(self, number: int, step: Step) -> DataFrame:
        """Run a step in `number` tasks whose only input is their number."""
        return self.session.range(0, number, 1, max(1, number)).mapInArrow(_Tasks(step), _COLUMNS)

    def _sent(self, rows: DataFrame, number: int, step: Step) -> DataFrame:
        """Send messages to the tasks that they are for, and run a step there."""
        return rows.repartitionById(max(1, number), "to").mapInArrow(_Receivers(step), _COLUMNS)

    def _collect(self, title: str, rows: DataFrame, tasks: int, progress: Progress) -> dict[tuple[int, int], Any]:
        """Run the job; return what its last messages hold, by their place."""
        with progress.step(title, tasks, "tasks") as tick, self._watched(title, tick), self._sentence():
            collected = rows.select("place", "keys").collect()
        return {tuple(row.place): pickle.loads(bytes(row.keys)) for row in collected}  # noqa: S301 - made by our own tasks

    @contextmanager
    def _watched(self, title: str, tick: Tick) -> Iterator[None]:
        """Tick for every task done while the context is open."""
        context = self.session.sparkContext
        group = f"align-data {title} {id(tick)}"
        context.setJobGroup(group, title, interruptOnCancel=True)
        over = threading.Event()

        def look() -> int:
            tracker = context.statusTracker()
            jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup(group)]
            stages = {stage for job in jobs if job is not None for stage in job.stageIds}
            infos = [tracker.getStageInfo(stage) for stage in stages]
            return sum(info.numCompletedTasks for info in infos if info is not None)

        def watch() -> None:
            reported = 0
            while not over.wait(_POLL):
                completed = look()
                tick(max(0, completed - reported))
                reported = max(reported, completed)
            tick(max(0, look() - reported))

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    @property
    def session(self) -> SparkSession:
        """The Spark session, started when it is first needed."""
        if self._session is None:
            self._session = self._start()
        return self._session

    def _start(self) -> SparkSession:
        try:
            from pyspark import SparkContext  # noqa: PLC0415 - an extra
            from pyspark.sql import SparkSession  # noqa: PLC0415
        except ImportError:
            raise EngineError("the Spark engine needs pyspark: pip install 'align-data[spark]'") from None
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        home = java_home()
        if home is not None:
            os.environ["JAVA_HOME"] = home
        builder = SparkSession.builder.appName("align-data")
        submitted = "PYSPARK_GATEWAY_PORT" in os.environ
        settings = {**({} if submitted else {"spark.master": "local[*]"}), **SETTINGS, **self._conf}
        # A JVM that pyspark starts has settings on its command line. One that is there is told through a socket,
        # and reads no file any more.
        running = submitted or SparkContext._gateway is not None
        hidden = {} if running else {key: value for key, value in settings.items() if secret(key)}
        for key, value in settings.items():
            builder = builder if key in hidden else builder.config(key, value)
        with self._sentence(), _errors_to(self._log), in_a_file(hidden):
            return builder.getOrCreate()

    def stop(self) -> None:
        """End the session, if there is one."""
        if self._session is not None:
            self._session.stop()
            self._session = None

    @contextmanager
    def _sentence(self) -> Iterator[None]:
        """Turn what Spark says of a failure into one sentence; all of it goes to a log file."""
        try:
            yield
        except AlignDataError:
            raise
        except Exception as error:
            text = str(error)
            with self._log.open("a", encoding="utf-8") as log:
                log.write(text + "\n")
            raise _translated(text, self._log) from None


def _translated(text: str, log: Path) -> AlignDataError:
    """Return the error that a user can do something about."""
    ours = re.search(re.escape(_MARK) + r"([A-Za-z0-9+/=]+)", text)
    if ours:
        # Not pickled: what an error names, a file or a URL, can have the mark itself.
        with suppress(ValueError, TypeError, RecursionError):
            return arrived(*json.loads(base64.b64decode(ours[1])))
    for sign, sentence in _SIGNS:
        if re.search(sign, text):
            return EngineError(f"{sentence}; Spark's own message is in {log}")
    return EngineError(f"Spark failed: {text.strip().splitlines()[0][:200]}; its full message is in {log}")


_SIGNS = (
    (
        r"No module named 'align_data",
        "the executors lack the package align_data: ship it with --py-files (make job-zip), or install it there",
    ),
    (
        r"No module named '",
        "the executors lack a package that align-data needs: ship a packed virtual environment (docs/how-to/spark.md)",
    ),
    (
        r"No space left on device|File too large|Disk quota exceeded",
        "an executor's disk is full: give Spark more room with spark.local.dir",
    ),
    (r"OutOfMemoryError|Java heap space", "a JVM ran out of memory: raise spark.executor.memory"),
    (r"PYTHON_VERSION_MISMATCH", "the executors run another Python than the driver: set PYSPARK_PYTHON"),
    (r"JAVA_GATEWAY_EXITED", "Java could not start Spark"),
)
"""Patterns in Spark's messages, and the advice for each."""


class _Tasks:
    """A step as Spark calls it where a task gets nothing but its number."""

    def __init__(self, step: Step) -> None:
        self._step, self._version = step, __version__

    def __call__(self, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Run the step for each number given."""
        with _reported(self._version):
            for batch in rows:
                for number in batch.column(0).to_pylist():
                    yield from batches(self._step(number, iter(())))


class _Receivers:
    """A step as Spark calls it where a task gets messages; it learns its number from its own partition."""

    def __init__(self, step: Step) -> None:
        self._step, self._version = step, __version__

    def __call__(self, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Run the step on what came."""
        from pyspark import TaskContext  # noqa: PLC0415 - an extra

        context = TaskContext.get()
        assert context is not None
        with _reported(self._version):
            yield from batches(self._step(context.partitionId(), messages(rows)))


@contextmanager
def _reported(version: str) -> Iterator[None]:
    """Check that driver and executor are of one version; send an error for the user through Spark's words."""
    try:
        if version != __version__:
            raise EngineError(f"the driver has align-data {version}, an executor {__version__}: install one version")
        yield
    except AlignDataError as error:
        raise RuntimeError(
            f"{error} {_MARK}{base64.b64encode(json.dumps(departing(error)).encode()).decode()} "
        ) from error


@contextmanager
def _errors_to(log: Path) -> Iterator[None]:
    """Send the standard error of processes started in the block to `log`: a JVM writes much that is not an error."""
    stderr = os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
