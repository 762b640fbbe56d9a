"""The local engine: threads over parts on this machine, and a work folder for what does not fit in memory.

Threads, because the work is done inside Polars, numpy and pyarrow, which let go of the interpreter's lock.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from align_data.common.errors import AlignDataError
from align_data.common.progress import NONE, Progress, Tick
from align_data.common.workers.pool import BLINK
from align_data.engines import local_exchange, local_shuffle
from align_data.engines.base import A, Exchange, K, Shuffle, T, U
from align_data.engines.exchange import SLICE, bounds
from align_data.engines.local_exchange import SpilledRun, answers, expect, sum_range
from align_data.engines.spill import Batches, Budget
from align_data.engines.step_pool import StepPool
from align_data.storage import confined
from align_data.storage.store import make_work, writing

MEMORY = 4 * 2**30
FLUSH = 1_000_000
"""Keys of a block. Merging a part's keys before the exchange would make it smaller, and on one machine slower."""
RUN = 256 * 2**20
"""Bytes of rows that are merged before they are spilled."""


TASK = 256 * 2**20
"""Bytes that a task of a shuffle needs for its pieces; where there are fewer, fewer tasks run at once."""
FILES = 64
"""Files that a shuffle spills to."""


class StoppedError(AlignDataError):
    """Another task failed, so this one ends too."""


class LocalEngine:
    """Runs everything in this process; `memory` bytes is what its tasks may hold together."""

    def __init__(self, work: Path, workers: int | None = None, memory: int = MEMORY) -> None:
        self.work = work
        self.workers = workers or len(os.sched_getaffinity(0))
        self.memory = memory
        self._stop = Event()

    @property
    def flush(self) -> int:
        """How many keys a task may hold before it hands them on."""
        return max(1, min(FLUSH, self._share // 64))

    @property
    def _share(self) -> int:
        return max(1, self.memory // self.workers)

    def map_parts(
        self,
        title: str,
        function: Callable[[int, Tick], T],
        rows: Sequence[int],
        progress: Progress,
        unit: str = "pairs",
    ) -> list[T]:
        """Call `function` for every part in threads."""
        with progress.step(title, sum(rows), unit) as tick:
            return self._run(lambda part: function(part, self._checked(tick)), range(len(rows)))

    def share(self, tasks: int) -> int:
        """Return how many bytes each of `tasks` tasks may hold: of all the memory, with those that run beside it."""
        return self.memory // self.at_once(tasks)

    def children(self, parts: int) -> int:
        """Return how many child processes each task may start: together as many as there are workers."""
        return max(1, self.workers // self.at_once(parts))

    def at_once(self, parts: int) -> int:
        """Return how many tasks run at once: as many as there are workers, or parts if these are fewer."""
        return max(1, min(self.workers, parts))

    @property
    def spread(self) -> bool:
        """Whether tasks may run on several machines: no."""
        return False

    def exchange(
        self, exchange: Exchange[K, T], rows: Sequence[int], ranges: Mapping[str, int], progress: Progress
    ) -> tuple[dict[str, list[K]], list[T]]:
        """Run an exchange through files: what one part asks is a file, what one range answers is written into it."""
        at = {kind: bounds(number) for kind, number in ranges.items()}
        parts = range(len(rows))
        with self._folder("exchange") as folder, StepPool(self.workers) as steps:
            budget = Budget(self.memory // 2)

            def ask(part: int) -> list[list[SpilledRun]]:
                blocks = exchange.ask(part, self._checked(tick), steps.each)
                return [local_exchange.hold(block, folder, f"{part}-{n}", at, budget) for n, block in enumerate(blocks)]

            with progress.step("measure: read", sum(rows), "pairs") as tick:
                blocks = self._run(ask, parts)
            runs = {k: [run for part in blocks for block in part for run in block if run.kind == k] for k in ranges}
            before = exchange.before
            for kind, kind_runs in runs.items():
                expect(kind_runs, 0 if before is None else before.most.get(kind, 0))

            def keep(kind_range: tuple[str, int]) -> K:
                kind, number = kind_range
                counted = None if before is None else before.of(kind, number, ranges[kind])
                totals = sum_range(runs[kind], number, min(SLICE, self.flush), steps.each, counted)
                result = exchange.keep(kind, number, totals)
                self._checked(tick)(1)
                return result

            tasks = [(kind, number) for kind, n in ranges.items() for number in range(n)]
            with progress.step("measure: count", len(tasks), "ranges") as tick:
                summaries = dict(zip(tasks, self._run(keep, tasks), strict=True))
            for run in (run for kind_runs in runs.values() for run in kind_runs):
                run.keys.drop()
                run.counts.drop()
            with progress.step("measure: write", sum(rows), "pairs") as tick:
                answered = self._run(lambda p: exchange.answer(p, answers(blocks[p]), self._checked(tick)), parts)
        return {kind: [summaries[kind, number] for number in range(n)] for kind, n in ranges.items()}, answered

    def shuffle(self, shuffle: Shuffle[U, A, T], units: Sequence[U], progress: Progress) -> tuple[list[A], list[T]]:
        """Run a shuffle through sorted batches: each unit holds its own, and a part is the same stretch of all."""
        with self._folder("shuffle") as folder:
            tasks = max(1, min(self.workers, self.memory // TASK))
            share = self.memory // tasks
            budget = Budget(max(0, self.memory // 2 - TASK // 2))
            # Few files, however many lists there are: each is open while parts are written.
            spilled = [Batches(folder / f"{number}.arrow", budget) for number in range(min(FILES, max(1, len(units))))]
            with progress.step(f"{shuffle.title}: read", shuffle.rows, "rows") as tick:
                accounts = self._run(
                    lambda n: local_shuffle.hold(
                        shuffle.prepare(units[n], self._checked(tick)),
                        shuffle.merge,
                        spilled[n % len(spilled)],
                        min(RUN, share // 8),
                    ),
                    range(len(units)),
                    tasks,
                )
            for batches in spilled:
                batches.close()
            edges = [0, *shuffle.split(accounts), 2**64]

            def write(part: int) -> T:
                limit = max(1, min(local_shuffle.WINDOW, share // 8))
                rows = local_shuffle.windows(spilled, shuffle, edges[part], edges[part + 1], limit)
                return shuffle.write(part, rows, self._checked(tick))

            with progress.step(f"{shuffle.title}: write", None, shuffle.unit) as tick:
                written = self._run(write, range(len(edges) - 1), tasks)
        return accounts, written

    def _checked(self, tick: Tick) -> Tick:
        """Return a tick that also ends the task if another has failed."""

        def checked(units: int, outcomes: Mapping[str, int] = NONE, counts: Mapping[str, int] = NONE, /) -> None:
            if self._stop.is_set():
                raise StoppedError("stopped because another task failed")
            tick(units, outcomes, counts)

        return checked

    def _run(self, function: Callable[[U], T], items: Iterable[U], workers: int | None = None) -> list[T]:
        """Call `function` on every item in threads; the first failure stops the others and is raised."""
        self._stop.clear()
        with ThreadPoolExecutor(workers or self.workers) as pool:
            futures = [pool.submit(function, item) for item in items]
            try:
                # In blinks: with Polars loaded an interrupt does not end a wait.
                while True:
                    finished, running = wait(futures, timeout=BLINK, return_when=FIRST_EXCEPTION)
                    if not running or any(future.exception() for future in finished):
                        break
                failed = [f.exception() for f in finished if f.exception()]
                for error in sorted(failed, key=lambda e: isinstance(e, StoppedError)):
                    assert error is not None
                    raise error
                return [f.result() for f in futures]
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    @contextmanager
    def _folder(self, name: str) -> Iterator[Path]:
        """Give an empty folder for one step, and remove it afterwards."""
        work = make_work(self.work)
        with writing(work):
            leftover = re.compile(rf"{name}-[a-z0-9_]{{8}}/.+")  # of runs that were killed
            confined.clear(str(work.parent), work.name, leftover)
            make_work(work)  # if that was all there was in it
            folder = tempfile.TemporaryDirectory(prefix=f"{name}-", dir=work, ignore_cleanup_errors=True)
        with folder as path:
            yield Path(path)
