"""What a crawl has under way: URLs, the chunks that they come in, and the hosts that they wait for."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from yarl import URL

from align_data.decoding.inspected import Inspected, StoredFacts
from align_data.fetching.name_cache import Remembered
from align_data.fetching.outcome import Outcome
from align_data.fetching.target import host_of, origin
from align_data.storage.store import writing

IN_MEMORY = 2**20
"""Bytes of a body that are held in memory, at most; a larger one goes to a file."""


class QueuedUrl:
    """One URL on its way."""

    def __init__(self, chunk: UrlChunk, place: int, url: str, target: URL | Outcome, seconds: float) -> None:
        self.chunk, self.place = chunk, place
        self.seconds = seconds
        """Seconds of its deadline that are not used up."""
        self.redirects = self.tries = 0
        self.knows_robots = False
        """Whether its host need not be asked for robots.txt first."""
        self.lead(url, target)

    def lead(self, url: str, target: URL | Outcome) -> None:
        """Let it be a URL's turn: the first one, or where a redirect leads."""
        self.url, self.target = url, target
        self.host, self.origin = (
            ("", "") if isinstance(target, Outcome) else (host_of(target).rstrip("."), origin(target))
        )


@dataclass
class UrlChunk:
    """URLs, their outcomes so far, and the file that their bodies go to."""

    number: int
    outcomes: list[Outcome | None]
    spool: BinaryIO
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    """URL's place in the chunk → where its body begins in the spool, and how long it is."""
    pending: int = 0
    looks: dict[int, BodyLook] = field(default_factory=dict)
    """URL's place in the chunk → what was seen of its body."""

    @staticmethod
    def begun(number: int, urls: int, work: str) -> UrlChunk:
        """Return a chunk of so many URLs without outcomes, with a file in the work folder."""
        with writing(work):
            spool = tempfile.TemporaryFile(dir=work)  # noqa: SIM115 - closed with the chunk, or with the run
        return UrlChunk(number, [None] * urls, spool, pending=urls)

    def fetched(self) -> FetchedChunk:
        """Return a chunk that has all its outcomes as it is handed over."""
        outcomes = [outcome for outcome in self.outcomes if outcome is not None]
        return FetchedChunk(self.number, outcomes, self.spool, self.places, self.looks)

    def keep(self, place: int, body: BinaryIO) -> None:
        """Append a body to the spool."""
        size = body.tell()
        body.seek(0)
        self.places[place] = (self.spool.seek(0, 2), size)
        while piece := body.read(IN_MEMORY):
            self.spool.write(piece)

    def keep_smaller(self, content: bytes) -> tuple[int, int]:
        """Append what is to be stored in place of a body; return where it begins, and how long it is."""
        start = self.spool.seek(0, 2)
        self.spool.write(content)
        return start, len(content)


Look = Callable[[UrlChunk, int, Callable[[UrlChunk], None]], Coroutine[Any, Any, None]]
"""Looks at the body of a chunk's URL, and then says so."""


@dataclass(frozen=True)
class BodyLook:
    """What was seen of a body."""

    inspected: Inspected
    stored: StoredFacts | None = None
    """What is to be stored in its place."""
    place: tuple[int, int] = (0, 0)
    """Where that begins in the spool, and how long it is."""


@dataclass(frozen=True)
class FetchedChunk:
    """A chunk with an outcome for each URL, and the bodies of those that are ok."""

    number: int
    outcomes: list[Outcome]
    spool: BinaryIO
    places: dict[int, tuple[int, int]]
    looks: dict[int, BodyLook] = field(default_factory=dict)


class Host:
    """What waits for one host, and how many connections it has."""

    def __init__(self) -> None:
        self.jobs: dict[str, deque[QueuedUrl]] = {}
        """By origin: http and https of a host are asked on connections of their own."""
        self.named: Remembered | None = None
        """Its addresses, once its name is looked up."""
        self.busy = 0
        self.until = 0.0
        """Before this time of the loop it is left alone."""
        self.paused = False
        self.barred = False
        """Whether it waits for a slot: its own, or one of its address."""
        self.delay = 0.0
        """Seconds that it wants between two requests, and then one connection for all."""
        self.waited = 0.0
        self.silent = 0
        """How many of its URLs came to nothing since one came to something."""
        self.closed: Outcome | None = None
        """The outcome of all URLs of a host that is left alone for longer than this run waits."""
        self.closed_until = 0.0
        """Seconds since the epoch."""

    @property
    def first(self) -> QueuedUrl:
        """The URL that waits in front."""
        return next(iter(self.jobs.values()))[0]

    def put(self, job: QueuedUrl, at_front: bool = False) -> None:
        """Let a URL wait."""
        jobs = self.jobs.setdefault(job.origin, deque())
        (jobs.appendleft if at_front else jobs.append)(job)

    def take(self, origin: str | None = None) -> QueuedUrl:
        """Return the next URL, of this origin if there is one."""
        which = origin if origin in self.jobs else next(iter(self.jobs))
        job = self.jobs[which].popleft()
        if not self.jobs[which]:
            del self.jobs[which]
        return job


def shut(spool: BinaryIO) -> None:
    """Close a file that is not needed any more, even if it cannot be flushed."""
    with suppress(OSError):
        spool.close()


class BodySpool(tempfile.SpooledTemporaryFile[bytes]):
    """Where a body goes while it comes: in memory, or to a file if it is large."""

    def __init__(self, in_memory: int, work: str) -> None:
        super().__init__(in_memory, dir=work)
        self._folder = work

    def write(self, piece: Any) -> int:
        """Append; OutputError where the disk does not take it, which is not the host's doing."""
        with writing(self._folder):
            return super().write(piece)
