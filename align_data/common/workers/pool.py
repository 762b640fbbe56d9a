"""One pool for all work in child processes: workers that take items from each other, each with a tool of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from itertools import islice
from typing import Generic, TypeVar

from align_data.common.errors import AlignDataError

Item = TypeVar("Item")
Tool = TypeVar("Tool")
BLINK = 0.2
"""Seconds of a wait: with Polars loaded an interrupt does not end one, and is only seen between two."""
StopCheck = Callable[[], None]
"""To be called now and then: raises where another worker has failed."""


class _StoppedError(AlignDataError):
    """Another worker failed, so this one ends too."""


class _Queue(Generic[Item]):
    """Items that several threads take, each item once."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._lock, self._remaining = threading.Lock(), iter(items)

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._lock:
                item = list(islice(self._remaining, 1))
            if not item:
                return
            yield item[0]


class WorkerPool(Generic[Item, Tool]):
    """So many workers, each a thread with a tool, mostly a child process, that it opens first and closes at its end.

    `tool` is given the worker's number. The first failure ends the others, at their next `StopCheck`.
    """

    def __init__(self, workers: int, tool: Callable[[int], AbstractContextManager[Tool]]) -> None:
        self._workers, self._tool = workers, tool

    def run(self, items: Sequence[Item], work: Callable[[Tool, Item, StopCheck], None]) -> None:
        """Call `work` with each item, the tool of the worker that has taken it, and a check; raise the first error."""
        failed, queue = threading.Event(), _Queue(items)

        def check() -> None:
            if failed.is_set():
                raise _StoppedError("another worker failed")

        def call(number: int) -> None:
            try:
                with self._tool(number) as tool:
                    for item in queue:
                        work(tool, item, check)
            except BaseException:
                failed.set()
                raise

        workers = min(self._workers, len(items))
        if not workers:
            return
        with ThreadPoolExecutor(workers) as pool:
            futures = [pool.submit(call, number) for number in range(workers)]
            try:
                _await(futures)
            except BaseException:
                failed.set()
                raise


def _await(futures: Sequence[Future[None]]) -> None:
    """Wait for all; raise the error that came first, if any did."""
    while wait(futures, timeout=BLINK).not_done:
        pass
    errors = [error for future in futures if (error := future.exception())]
    for error in sorted(errors, key=lambda e: isinstance(e, _StoppedError)):
        raise error
