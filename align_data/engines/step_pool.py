"""Work done ahead of where its results are taken: steps of many tasks in the same threads.

So a part is the work of all processors where there are fewer parts than these, or one is left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Semaphore
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


class StepPool:
    """So many threads; `each` is the built-in map, but for steps that are done ahead, as far as threads are free."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads)
        self._free = Semaphore(threads)

    def __enter__(self) -> StepPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    def each(self, function: Callable[[T], U], items: Iterable[T], /) -> Iterator[U]:
        """Yield the function's results in the order of the items; of one caller's steps one may always wait."""
        waiting: deque[tuple[Future[U], bool]] = deque()

        def oldest() -> U:
            future, of_free = waiting[0]
            try:
                return future.result()
            finally:
                waiting.popleft()
                if of_free:
                    self._free.release()

        try:
            for item in items:
                while waiting and not (free := self._free.acquire(blocking=False)):
                    yield oldest()
                waiting.append((self._pool.submit(function, item), bool(waiting) and free))
            while waiting:
                yield oldest()
        finally:
            for _, of_free in waiting:
                if of_free:
                    self._free.release()
            # Of what has not begun nobody may be left to say that it is cancelled.
            wait([future for future, _ in waiting if not future.cancel()])
