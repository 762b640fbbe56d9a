"""Making the next item while this one is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_END: Any = object()


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """Yield the items, each made in a thread of its own while the one before it is used; one more is held so."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, items, _END)
        while (item := following.result()) is not _END:
            following = thread.submit(next, items, _END)
            yield item


def each_ahead(work: Callable[[T], R], items: Iterable[T], threads: int) -> Generator[R, None, None]:
    """Yield what `work` makes of each item, in their order: so many threads work while results are used.

    One more item is held, so that no thread waits for the next. Close it to give up the rest.
    """
    coming: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            coming.append(pool.submit(work, item))
            if len(coming) > threads + 1:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
