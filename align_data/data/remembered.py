"""Codes that are read once, as far as there is memory for them: what a search for thresholds scans again and again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Any

from align_data.common.progress import Tick
from align_data.data.order_statistics import Codes, CodeSource, Group
from align_data.engines.base import Engine

_SHARE = 16
"""One part in so many of an engine's memory is for codes."""


def remembered(source: CodeSource, engine: Engine) -> CodeSource:
    """Return the source, which remembers what it has read as long as it stays in this process."""
    return _Remembered(source, engine.share(1) // _SHARE)


def _itself(source: CodeSource) -> CodeSource:
    return source


class _Remembered:
    """A source with the codes of the first parts that were read."""

    def __init__(self, source: CodeSource, budget: int) -> None:
        self._source = source
        self._budget = budget
        self._lock = Lock()
        self._parts: dict[int, list[Mapping[Group, Codes]]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes as the source that it has."""
        return _itself, (self._source,)

    def codes(self, part: int, tick: Tick) -> Iterator[Mapping[Group, Codes]]:
        """Yield the codes of each piece of a part, by group."""
        if part in self._parts:
            for groups in self._parts[part]:
                yield groups
                tick(max((len(codes) for codes in groups.values()), default=0))
            return
        pieces: list[Mapping[Group, Codes]] | None = []
        for groups in self._source.codes(part, tick):
            if pieces is not None and self._room(sum(codes.nbytes for codes in groups.values())):
                pieces.append(groups)
            else:
                pieces = None
            yield groups
        if pieces is not None:
            self._parts[part] = pieces

    def _room(self, size: int) -> bool:
        with self._lock:
            self._budget -= size
            return self._budget >= 0
