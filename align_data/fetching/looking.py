"""Looking at bodies as they come, in decoding children beside the connections.

What waits to be looked at waits in its chunk's file, and only some chunks are open: so nothing piles up in memory, and
where decoding is slower than fetching, fetching waits for it.
"""

from __future__ import annotations

import itertools
import os
import threading
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from queue import Empty, PriorityQueue
from typing import NamedTuple

from align_data.decoding.decoder import TOGETHER_BYTES, DecoderSetup, Inspector
from align_data.decoding.inspected import ImageChecks, Inspected, SmallerImage
from align_data.decoding.restarted import TOGETHER
from align_data.fetching.keeping import Keeping


@dataclass(frozen=True)
class LookSettings:
    """How bodies are looked at, and what is stored of them."""

    decoding: DecoderSetup
    checks: ImageChecks
    keeping: Keeping = Keeping()  # noqa: RUF009 - frozen
    decoders: int = 1
    """Processes that decode, for each that fetches."""


class Seen(NamedTuple):
    """What is seen of an image, and what is to be stored in its place."""

    inspected: Inspected
    smaller: SmallerImage | None


class BodySpan(NamedTuple):
    """Where in a file a body lies."""

    file: int
    start: int
    size: int


@dataclass(order=True)
class _Job:
    """A body to be looked at: those of the oldest chunk first, so that it can be finished."""

    turn: tuple[float, int]
    span: BodySpan = field(compare=False)
    checks: ImageChecks = field(compare=False)
    answer: Future[Seen] = field(compare=False, default_factory=Future)


_LAST = float("inf")


class Looker:
    """Looks at bodies in threads, each with a child process that decodes."""

    def __init__(self, settings: LookSettings) -> None:
        self._settings = settings
        self._jobs: PriorityQueue[_Job] = PriorityQueue()
        self._numbers = itertools.count()
        self._closed = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(settings.decoders)]
        for thread in self._threads:
            thread.start()

    def look(self, chunk: int, span: BodySpan, checks: ImageChecks) -> Future[Seen]:
        """Return what will be seen of a body of some chunk."""
        job = _Job((chunk, next(self._numbers)), span, checks)
        self._jobs.put(job)
        return job.answer

    def _work(self) -> None:
        with closing(Inspector(self._settings.decoding)) as inspector:
            while not self._closed and (jobs := self._next_jobs()):
                try:
                    images = [(os.pread(job.span.file, job.span.size, job.span.start), job.checks) for job in jobs]
                    for job, look in zip(jobs, inspector.inspect(images), strict=True):
                        job.answer.set_result(Seen(*look))
                except BaseException as error:  # it is raised where it is waited for
                    for job in jobs:
                        if not job.answer.done():
                            job.answer.set_exception(error)

    def _next_jobs(self) -> list[_Job]:
        """Wait for a job; return it with those that wait behind it, as many as a child is asked for together."""
        jobs, size = [self._jobs.get()], 0
        while jobs[-1].turn[0] != _LAST:
            size += jobs[-1].span.size
            if size > TOGETHER_BYTES and len(jobs) > 1:
                break
            if len(jobs) == TOGETHER:
                return jobs
            try:
                jobs.append(self._jobs.get_nowait())
            except Empty:
                return jobs
        self._jobs.put(jobs.pop())
        return jobs

    def close(self) -> None:
        """End the processes; what waits is not looked at any more."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(_Job((_LAST, next(self._numbers)), BodySpan(-1, 0, 0), ImageChecks()))
        for thread in self._threads:
            thread.join()
