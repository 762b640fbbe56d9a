"""The processes that read archives: one that has finished an archive reads the next."""

from __future__ import annotations

import threading
from collections import defaultdict

from align_data.common.errors import EngineError
from align_data.common.workers import Child, ChildDiedError
from align_data.common.workers.values import plain
from align_data.sources.crawl.answers import MAX_ANSWER
from align_data.sources.crawl.settings import CrawlSettings

_STARTS = 3
"""Processes that end before they have done anything, one after another, until we give up."""
_START_SECONDS = 60.0
_idle: dict[CrawlSettings, list[Child]] = defaultdict(list)
_lock = threading.Lock()


def borrow(settings: CrawlSettings) -> Child:
    """Return a process that is free, or a new one; EngineError if none starts."""
    with _lock:
        if _idle[settings]:
            return _idle[settings].pop()
    how = ""
    for _ in range(_STARTS):
        child = Child(settings.handler, plain(settings), max_bytes=MAX_ANSWER, borrows=True)
        try:
            child.begin(_START_SECONDS)
        except ChildDiedError as died:
            how = died.how
            child.close()
        except BaseException:
            child.close()
            raise
        else:
            return child
    raise EngineError(f"no child process can read archives here: each ends with {how}")


def give_back(settings: CrawlSettings, child: Child) -> None:
    """Let a process that has finished an archive read another one."""
    with _lock:
        _idle[settings].append(child)


def close_all() -> None:
    """End all processes that are free."""
    with _lock:
        children = [child for each in _idle.values() for child in each]
        _idle.clear()
    for child in children:
        child.close()
