"""Making the next item while this one is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_END: Any = object()


def ahead(items: Iterator[T], thread: ThreadPoolExecutor | None = None) -> Generator[T, None, None]:
    """Yield the items, each made in a thread while the one before it is used; one more is held so.

    The thread is this generator's own, which waits for it when it is closed, or that of an executor, whose owner does.
    """
    with ThreadPoolExecutor(1) if thread is None else nullcontext(thread) as making:
        following = making.submit(next, items, _END)
        while (item := following.result()) is not _END:
            following = making.submit(next, items, _END)
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
