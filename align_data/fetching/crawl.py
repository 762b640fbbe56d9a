"""The crawl: in which order URLs are asked, so that no host is pressed and no slow one holds up the rest.

URLs come in chunks, and a chunk that has all its outcomes is handed over at once. Some chunks are open at a time: what
waits in them is sorted by host, and a host has at most so many connections. A redirect waits its turn again, at the
host that it leads to. A connection asks its server for some URLs one after another, then lets another host have a turn.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from align_data.fetching.client import MOST_REDIRECTS, Client, Visit
from align_data.fetching.outcome import Outcome
from align_data.fetching.target import host_of, origin, target
from align_data.secrets import mask_url
from align_data.store import writing

CONNECTIONS = 128
PER_HOST = 4
PATIENCE = 60.0
"""Seconds that a run waits for a host that asks to be left alone; what waits longer is for another run."""
_PATIENCE_IN_ALL = 5 * PATIENCE
"""Seconds that a run waits for one host, however often it asks."""
_TRIES = 3
_IN_A_ROW = 16
"""URLs that a connection asks for while other hosts wait for a turn."""
_SILENT = frozenset({"timeout", "connect", "dns"})
_GIVEN_UP = 16
"""URLs of a host that come to nothing, one after another, before the rest of them is left for another run."""
_OPEN = 8
"""Chunks that are open at once, at most."""
_IN_MEMORY = 2**20
"""Bytes of a body that are held in memory, at most; a larger one goes to a file."""
_IN_MEMORY_IN_ALL = 2**27
_WRITERS = 2


@dataclass(frozen=True)
class Limits:
    """How many connections there may be: in all and a host, in one process."""

    connections: int = CONNECTIONS
    per_host: int = PER_HOST
    hosts: Mapping[str, int] = field(default_factory=dict)
    """Hosts that bear another number."""

    def of(self, host: str) -> int:
        """Return how many connections a host may have."""
        return self.hosts.get(host, self.per_host)


class _Job:
    """One URL on its way."""

    def __init__(self, chunk: _Chunk, place: int, url: str, left: float) -> None:
        self.chunk, self.place = chunk, place
        self.left = left
        """Seconds of its deadline that are not used up."""
        self.redirects = self.tries = 0
        self.lead(url)

    def lead(self, url: str) -> None:
        """Let it be a URL's turn: the first one, or where a redirect leads."""
        asked = target(url)
        self.url = url
        self.host, self.origin = ("", "") if isinstance(asked, Outcome) else (host_of(asked).rstrip("."), origin(asked))


@dataclass
class _Chunk:
    """Some URLs, what is known of them, and the file that their bodies go to."""

    number: int
    outcomes: list[Outcome | None]
    spool: BinaryIO
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    """URL's place in the chunk → where its body begins in the spool, and how long it is."""
    left: int = 0

    def keep(self, place: int, body: BinaryIO) -> None:
        """Append a body to the spool."""
        size = body.tell()
        body.seek(0)
        self.places[place] = (self.spool.seek(0, 2), size)
        while some := body.read(_IN_MEMORY):
            self.spool.write(some)


@dataclass(frozen=True)
class Fetched:
    """A chunk with an outcome for each URL, and the bodies of those that are ok."""

    number: int
    outcomes: list[Outcome]
    spool: BinaryIO
    places: dict[int, tuple[int, int]]


class _Host:
    """What waits for one host, and how many connections it has."""

    def __init__(self) -> None:
        self.jobs: dict[str, deque[_Job]] = {}
        """By origin: http and https of a host are asked on connections of their own."""
        self.busy = 0
        self.until = 0.0
        """Before this time of the loop it is left alone."""
        self.paused = False
        self.waited = 0.0
        self.silent = 0
        """How many of its URLs came to nothing since one came to something."""
        self.closed: Outcome | None = None
        """Set for a host that is given up for this run: what the rest of its URLs come to."""

    def put(self, job: _Job, first: bool = False) -> None:
        """Let a URL wait."""
        jobs = self.jobs.setdefault(job.origin, deque())
        (jobs.appendleft if first else jobs.append)(job)

    def take(self, origin: str | None = None) -> _Job:
        """Return the next URL, of this origin if there is one."""
        which = origin if origin in self.jobs else next(iter(self.jobs))
        job = self.jobs[which].popleft()
        if not self.jobs[which]:
            del self.jobs[which]
        return job


class Crawl:
    """Asks for all URLs of some chunks."""

    def __init__(self, client: Client, limits: Limits, deadline: float, work: str) -> None:
        self._client, self._limits, self._deadline, self._work = client, limits, deadline, work
        self._in_memory = min(_IN_MEMORY, max(1, _IN_MEMORY_IN_ALL // limits.connections))
        self._hosts: dict[str, _Host] = {}
        self._ready: OrderedDict[str, None] = OrderedDict()
        self._active: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._open = 0
        self._done: asyncio.Future[None]
        self.outcomes: Counter[str] = Counter()
        """Statuses so far, since someone last took them."""

    async def run(
        self, chunks: Iterator[tuple[int, Sequence[str]]], finish: Callable[[Fetched], None], beat: Callable[[], None]
    ) -> None:
        """Ask for every URL; call `finish` for each chunk that is done, and `beat` about twice a second."""
        self._chunks, self._finish = chunks, finish
        self._loop = asyncio.get_running_loop()
        self._done = self._loop.create_future()
        # Not the loop's own threads: those may all be waiting for names.
        with ExitStack() as self._spools, ThreadPoolExecutor(_WRITERS) as self._writers:
            self._fill()
            while not self._done.done():
                await asyncio.wait({self._done}, timeout=0.5)
                beat()
        self._done.result()

    def _fill(self) -> None:
        """Open chunks, and connections, as far as the limits go; what fails here fails the run."""
        if self._done.done():
            return
        try:
            self._next_chunks()
            while self._ready and len(self._active) < self._limits.connections:
                self._connect(self._ready.popitem(last=False)[0])
        except Exception as error:  # raised in a callback it would be lost, and the run would never end
            self._fail(error)

    def _next_chunks(self) -> None:
        while self._open < _OPEN:
            number, urls = next(self._chunks, (None, ()))
            if number is None:
                if not self._open and not self._done.done():
                    self._done.set_result(None)
                return
            with writing(self._work):
                spool = tempfile.TemporaryFile(dir=self._work)  # noqa: SIM115 - closed with its chunk, or with the run
            self._spools.callback(_close, spool)
            chunk = _Chunk(number, [None] * len(urls), spool, left=len(urls))
            self._open += 1
            for place, url in enumerate(urls):
                self._queue(_Job(chunk, place, url, self._deadline))

    def _queue(self, job: _Job) -> None:
        host = self._hosts.setdefault(job.host, _Host())
        if host.closed is not None:
            self._settle(job, host.closed)
            return
        host.put(job)
        self._offer(job.host, host)

    def _may_have_turn(self, name: str, host: _Host) -> bool:
        return bool(host.jobs) and not host.paused and host.busy < self._limits.of(name)

    def _offer(self, name: str, host: _Host) -> None:
        """Let a host have a turn for each connection that it may open and has work for; it stands in line once."""
        if self._may_have_turn(name, host):
            self._ready[name] = None

    def _connect(self, name: str) -> None:
        host = self._hosts.get(name)  # its other connections may have done its work meanwhile
        if host is not None and self._may_have_turn(name, host):
            host.busy += 1
            self._keep(self._visit(name, host, host.take()), self._active)
            self._offer(name, host)

    def _keep(self, work: Any, tasks: set[asyncio.Task[None]]) -> None:
        """Start a task that is held until it ends; then there is room for another."""
        task = asyncio.ensure_future(work)
        tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, tasks))

    def _ended(self, task: asyncio.Task[None], tasks: set[asyncio.Task[None]]) -> None:
        tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)
        self._fill()

    def _fail(self, error: BaseException) -> None:
        if not self._done.done():
            self._done.set_exception(error)

    async def _visit(self, name: str, host: _Host, job: _Job) -> None:
        """Ask a host for one URL after another, on one connection while its scheme and port stay the same."""
        async with self._client.visit() as visit:
            await self._ask(visit, name, host, job)
            asked = 1
            while host.jobs and not host.paused and (asked < _IN_A_ROW or not self._ready):
                job = host.take(job.origin)
                await self._ask(visit, name, host, job)
                asked += 1
        host.busy -= 1
        self._go_on(name, host)

    def _go_on(self, name: str, host: _Host) -> None:
        """Let a host have its next turn, or forget it: a crawl meets millions of them."""
        self._offer(name, host)
        if not host.jobs and not host.busy and not host.paused and host.closed is None:
            self._hosts.pop(name, None)

    async def _ask(self, visit: Visit, name: str, host: _Host, job: _Job) -> None:
        began = self._loop.time()
        with _Body(self._in_memory, self._work) as body:
            outcome = await visit.get(job.url, body, job.left)  # type: ignore[arg-type]
            if outcome.status == "ok":
                with writing(self._work):
                    job.chunk.keep(job.place, body)  # type: ignore[arg-type]
        job.left -= self._loop.time() - began
        host.silent = host.silent + 1 if outcome.status in _SILENT else 0
        if outcome.location is not None:
            self._follow(job, outcome.location)
        elif outcome.retry_after is not None:
            self._wait(name, host, job, outcome)
        else:
            self._settle(job, outcome)
        if host.silent >= _GIVEN_UP:
            said = f"not asked: {host.silent} others of the host came to nothing, the last one: {outcome.reason}"
            self._close_host(host, Outcome(outcome.status, said, retry=outcome.retryable))
        self._fill()

    def _follow(self, job: _Job, location: str) -> None:
        job.redirects += 1
        if job.redirects > MOST_REDIRECTS:
            self._settle(job, Outcome("too_many_redirects", f"the last one to {mask_url(location)[:200]}"))
            return
        job.lead(location)
        self._queue(job)

    def _wait(self, name: str, host: _Host, job: _Job, outcome: Outcome) -> None:
        """Leave a host alone for as long as it asks, or for the rest of the run."""
        now, seconds = self._loop.time(), outcome.retry_after or 0.0
        more = max(0.0, now + seconds - max(now, host.until))
        host.until, host.waited = max(host.until, now + seconds), host.waited + more
        job.tries += 1
        if seconds > PATIENCE or host.waited > _PATIENCE_IN_ALL or host.closed is not None:
            self._settle(job, outcome)
            said = f"not asked: the host said before, {outcome.reason}"
            self._close_host(host, Outcome("rate_limited", said))
        elif job.tries < _TRIES and job.left > 0:
            host.put(job, first=True)
            self._pause(name, host)
        else:
            self._settle(job, outcome)
            self._pause(name, host)

    def _pause(self, name: str, host: _Host) -> None:
        if not host.paused:
            host.paused = True
            self._loop.call_at(host.until, self._resume, name, host)

    def _resume(self, name: str, host: _Host) -> None:
        if self._loop.time() < host.until:  # it has asked for more since
            self._loop.call_at(host.until, self._resume, name, host)
            return
        host.paused = False
        self._go_on(name, host)
        self._fill()

    def _close_host(self, host: _Host, outcome: Outcome) -> None:
        """Let all that waits for a host, and will, come to this."""
        if host.closed is None:
            host.closed = outcome
        while host.jobs:
            self._settle(host.take(), host.closed)

    def _settle(self, job: _Job, outcome: Outcome) -> None:
        chunk = job.chunk
        chunk.outcomes[job.place] = outcome
        chunk.left -= 1
        self.outcomes[outcome.status] += 1
        if not chunk.left:
            self._keep(self._close(chunk), self._closing)

    async def _close(self, chunk: _Chunk) -> None:
        """Hand a chunk over; what that takes must not keep connections waiting."""
        with chunk.spool:
            outcomes = [outcome for outcome in chunk.outcomes if outcome is not None]
            fetched = Fetched(chunk.number, outcomes, chunk.spool, chunk.places)
            await self._loop.run_in_executor(self._writers, self._finish, fetched)
        self._open -= 1


def _close(spool: BinaryIO) -> None:
    """Close a file that nobody needs any more, also if it cannot be written to its end."""
    with suppress(OSError):
        spool.close()


class _Body(tempfile.SpooledTemporaryFile[bytes]):
    """Where a body goes while it comes: in memory, or to a file if it is large."""

    def __init__(self, in_memory: int, work: str) -> None:
        super().__init__(in_memory, dir=work)
        self._folder = work

    def write(self, some: Any) -> int:
        """Append; OutputError where the disk does not take it, which is not the host's doing."""
        with writing(self._folder):
            return super().write(some)
