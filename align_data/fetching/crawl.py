"""The crawl: in which order URLs are asked, so that no host is pressed and no slow one holds up the rest.

URLs come in chunks, and a chunk that has all its outcomes is handed over at once. Some chunks are open at a time: what
waits in them is sorted by host, and a host has at most so many connections, and so has an address, however many hosts
share it: by all processes on the machine. A redirect waits its turn again, at the host that it leads to. A connection
asks its server for some URLs one after another, then lets another host have a turn.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from yarl import URL

from align_data.common.secrets import mask_url
from align_data.fetching import backoff
from align_data.fetching.backoff import Notice, Notices
from align_data.fetching.client import MOST_REDIRECTS, Client, Room, Visit
from align_data.fetching.connection_slots import Free, Slots
from align_data.fetching.crawl_state import IN_MEMORY, BodySpool, FetchedChunk, Host, Look, QueuedUrl, UrlChunk, shut
from align_data.fetching.limits import Limits
from align_data.fetching.machine import Machine
from align_data.fetching.name_cache import Remembered
from align_data.fetching.naming import Naming
from align_data.fetching.outcome import Outcome
from align_data.fetching.patience import GIVEN_UP_FOR, Patience
from align_data.fetching.robots import Robots
from align_data.fetching.slot_queue import LOOK, SlotQueue
from align_data.storage.store import writing

SLOTS = "connections"
LOG = "hosts.log"
_IN_A_ROW = 16
"""URLs that a connection asks for while other hosts wait for a turn."""
_SILENT = frozenset({"timeout", "connect", "dns"})
_GIVEN_UP = 16
"""Consecutive failures of a host's URLs before the host is left alone."""
_OPEN = 8
"""Chunks that are open at once, at most."""
_IN_MEMORY_IN_ALL = 2**27
_WRITERS = 2


class Crawl:
    """Asks for all URLs of some chunks."""

    def __init__(
        self,
        client: Client,
        limits: Limits,
        deadline: float,
        work: str,
        log: str = LOG,
        notices: Iterable[Notice] = (),
        shared: Path | None = None,
        look: Look | None = None,
    ) -> None:
        """Work in a folder; `log` is the file in it that the processes of a run share; `look` is given each body.

        `shared` is the folder of all runs on the machine, for counting connections; the work folder if there is none.
        """
        self._look_at = look
        self._client, self._limits, self._deadline, self._work = client, limits, deadline, work
        self._in_memory = min(IN_MEMORY, max(1, _IN_MEMORY_IN_ALL // limits.in_process))
        self._log, self._initial_notices, self._shared = log, notices, shared or Path(work)
        self._respects = not client.policy.ignore_robots
        """Whether robots.txt is asked for."""
        self._hosts: dict[str, Host] = {}
        self._learning: dict[str, Free] = {}
        """Origins whose robots.txt this process asks for, and what lets others do so."""
        self._ready: OrderedDict[str, None] = OrderedDict()
        self._active: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._open = 0
        self._finished: asyncio.Future[None]
        self.outcomes: Counter[str] = Counter()
        """Statuses so far, since someone last took them."""

    async def run(
        self,
        chunks: Iterator[tuple[int, Sequence[str]]],
        finish: Callable[[FetchedChunk], None],
        beat: Callable[[], None],
    ) -> None:
        """Ask for every URL; call `finish` for each chunk that is done, and `beat` about twice a second."""
        self._chunks, self._finish = chunks, finish
        self._loop = asyncio.get_running_loop()
        self._finished = self._loop.create_future()
        self._naming = Naming(self._client, self._deadline, self._named, self._fail, self._fill)
        # Not the loop's own threads: those may all be waiting for names.
        with ExitStack() as self._spools, ThreadPoolExecutor(_WRITERS) as self._writers:
            with writing(self._work):
                slots, notices = Slots(self._shared / SLOTS), Notices(Path(self._work) / self._log)
            self._machine = Machine(self._shared, self._log)
            self._robots = Robots(self._machine, self._client, self._deadline)
            for opened in (slots, notices, self._machine):
                self._spools.callback(opened.close)
            self._queue = SlotQueue(slots, self._admit, self._fill)
            self._patience = Patience(self._hosts, notices, self._settle, self._resume)
            self._patience.heed(self._initial_notices)
            self._fill()
            while not self._finished.done():
                await asyncio.wait({self._finished}, timeout=0.5)
                beat()
        self._finished.result()

    def _fill(self) -> None:
        """Open chunks, and connections, as far as the limits go; what fails here fails the run."""
        if self._finished.done():
            return
        try:
            self._next_chunks()
            self._naming.ask(len(self._ready))
            while self._ready and len(self._active) < self._limits.in_process:
                self._connect(self._ready.popitem(last=False)[0])
        except Exception as error:  # raised in a callback it would be lost, and the run would never end
            self._fail(error)

    def _next_chunks(self) -> None:
        while self._open < _OPEN:
            number, urls = next(self._chunks, (None, ()))
            if number is None:
                if not self._open and not self._finished.done():
                    self._finished.set_result(None)
                return
            chunk = UrlChunk.begun(number, len(urls), self._work)
            self._spools.callback(shut, chunk.spool)
            self._open += 1
            for place, url in enumerate(urls):
                self._add(QueuedUrl(chunk, place, url, self._client.target(url), self._deadline))

    def _add(self, job: QueuedUrl) -> None:
        if isinstance(job.target, Outcome):
            self._settle(job, job.target)
            return
        host = self._hosts.setdefault(job.host, Host())
        if host.closed is not None and backoff.now() < host.closed_until:
            self._settle(job, host.closed)
            return
        host.closed = None
        host.put(job)
        self._offer(job.host, host)

    def _may_have_turn(self, name: str, host: Host) -> bool:
        return bool(host.jobs) and not host.paused and not host.barred and host.busy < self._limit(name, host)

    def _limit(self, name: str, host: Host) -> int:
        """Return how many connections a host may have."""
        return 1 if host.delay else self._limits.of(name)

    def _offer(self, name: str, host: Host) -> None:
        """Let a host have a turn for each connection that it may open and has work for; it stands in line once."""
        if not self._may_have_turn(name, host):
            return
        if self._client.has_name(name) and (host.named is None or host.named.until < backoff.now()):
            self._naming.want(name)
        else:
            self._ready[name] = None

    def _named(self, name: str, named: Remembered | Outcome, seconds: float) -> None:
        """Let a host have its turn, or give what its name came to to all URLs that wait for it."""
        host = self._hosts.get(name)
        if host is None or not host.jobs:
            return
        host.first.seconds -= seconds
        if isinstance(named, Remembered):
            host.named = named
            if self._may_have_turn(name, host):
                self._ready[name] = None
        else:
            while host.jobs:
                self._come_to(name, host, host.take(), named)
            self._go_on(name, host)
        self._fill()

    def _connect(self, name: str) -> None:
        self._patience.heed()
        host = self._hosts.get(name)  # its other connections may have done its work meanwhile
        if host is None or not self._may_have_turn(name, host):
            return
        job = self._next(host)
        if job is None:
            self._go_on(name, host)
            return
        leave = self._enter(name, host, job)
        if leave is None:
            self._put_back(host, job)
            self._offer(name, host)
            return
        host.busy += 1
        self._keep(self._visit(name, host, job, leave), self._active)
        self._offer(name, host)

    def _enter(self, name: str, host: Host, job: QueuedUrl) -> Free | None:
        """Take what a URL of a host needs to be asked for, and return what frees it; None where the host must wait."""
        limit = self._limit(name, host)
        leave = self._queue.take(f"host {name}", limit)
        if leave is None:
            self._queue.bar(name, host, f"host {name}", limit)
            return None
        seconds = self._machine.wait(name) if host.delay else 0.0
        if seconds:
            leave()
            self._patience.rest(name, host, seconds)
            return None
        if job.knows_robots:
            return leave
        asking = f"robots.txt of {job.origin}"
        done = self._queue.take(asking, 1)
        if done is not None and not self._robots.unknown(job.origin):  # another process has just learnt it
            done()
        elif done is None:  # others ask, and what they learn all will know
            self._queue.bar(name, host, asking, 1)
        else:
            self._learning[job.origin] = done
            return leave
        leave()
        return None

    def _next(self, host: Host, origin: str | None = None) -> QueuedUrl | None:
        """Return the next URL that may be asked for; those before it that may not have their outcome then."""
        while host.jobs:
            job = host.take(origin)
            assert isinstance(job.target, URL)
            judged = self._robots.judge(job.target, job.origin) if self._respects else 0.0
            if not isinstance(judged, Outcome):
                job.knows_robots = judged is not None
                host.delay = max(host.delay, judged or 0.0)
                return job
            self._settle(job, judged)
        return None

    def _admit(self, name: str) -> None:
        """Let a host try again that has waited for a slot."""
        host = self._hosts.get(name)
        if host is not None:
            host.barred = False
            self._offer(name, host)

    def _keep(self, work: Any, tasks: set[asyncio.Task[None]]) -> None:
        """Start a task that is held until it ends; then there is room for another."""
        task = asyncio.ensure_future(work)
        tasks.add(task)
        task.add_done_callback(lambda ended: self._ended(ended, tasks))

    def _ended(self, task: asyncio.Task[None], tasks: set[asyncio.Task[None]]) -> None:
        tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)
        self._fill()

    def _fail(self, error: BaseException) -> None:
        if not self._finished.done():
            self._finished.set_exception(error)

    async def _visit(self, name: str, host: Host, job: QueuedUrl, leave: Free) -> None:
        """Ask a host for one URL after another, on one connection while its scheme and port stay the same."""
        requests = 0
        async with self._client.visit(self._room(name), host.named) as visit:
            next_job: QueuedUrl | None = job if job.knows_robots else await self._learn(visit, name, host, job)
            while next_job is not None and await self._ask(visit, name, host, next_job):
                requests += 1
                self._patience.heed()
                if host.paused or host.delay or (requests >= _IN_A_ROW and self._ready):
                    break
                next_job = self._next(host, next_job.origin)
                if next_job is not None and not next_job.knows_robots:
                    self._put_back(host, next_job)
                    break
        if host.delay:
            self._machine.rest(name, host.delay)
        host.busy -= 1
        leave()
        for address in visit.addresses:
            self._queue.freed(f"address {address}")
        self._go_on(name, host)

    async def _learn(self, visit: Visit, name: str, host: Host, job: QueuedUrl) -> QueuedUrl | None:
        """Ask for a host's robots.txt; return the URL that may be asked for now."""
        assert isinstance(job.target, URL)
        undecided = await self._robots.learn(visit, job.target, self._elsewhere)
        self._learning.pop(job.origin)()
        self._queue.freed(f"robots.txt of {job.origin}")
        next_job = None
        if undecided is None:
            self._put_back(host, job)
            next_job = self._next(host, job.origin)
            if next_job is not None and host.delay:
                self._put_back(host, next_job)
                next_job = None
        elif undecided.full is not None:
            self._put_back(host, job)
            self._queue.bar(name, host, f"address {undecided.full}", self._limits.at(name))
        else:
            self._patience.wait(name, host, job, undecided)
        self._fill()  # the host may have more connections now
        return next_job

    def _room(self, name: str) -> Room:
        """Return what takes connections to the addresses of a host."""
        limit = self._limits.at(name)
        return lambda address: self._queue.take(f"address {address}", limit)

    @asynccontextmanager
    async def _elsewhere(self, name: str) -> AsyncIterator[Visit]:
        """Open what asks another host, as soon as that may have one more connection."""
        while (host := self._hosts.get(name)) is not None and host.paused:
            await asyncio.sleep(LOOK)
        while (leave := self._queue.take(f"host {name}", self._limits.of(name))) is None:
            await asyncio.sleep(LOOK)
        try:
            async with self._client.visit(self._room(name)) as visit:
                yield visit
        finally:
            leave()

    def _go_on(self, name: str, host: Host) -> None:
        """Let a host have its next turn, or forget it: a crawl meets millions of them."""
        self._offer(name, host)
        if not host.jobs and not host.busy and not host.paused and host.closed is None:
            self._hosts.pop(name, None)

    def _resume(self, name: str, host: Host) -> None:
        self._go_on(name, host)
        self._fill()

    async def _ask(self, visit: Visit, name: str, host: Host, job: QueuedUrl) -> bool:
        """Ask for a URL; tell whether the visit can go on, as it cannot where its address is full."""
        began = self._loop.time()
        with BodySpool(self._in_memory, self._work) as body:
            outcome = await visit.get(job.url, body, job.seconds, job.target)  # type: ignore[arg-type]
            if outcome.status == "ok":
                with writing(self._work):
                    job.chunk.keep(job.place, body)  # type: ignore[arg-type]
        if outcome.full is not None:  # which takes nothing from its deadline
            self._put_back(host, job)
            self._queue.bar(name, host, f"address {outcome.full}", self._limits.at(name))
            return False
        job.seconds -= self._loop.time() - began
        self._come_to(name, host, job, outcome)
        self._fill()
        return True

    def _come_to(self, name: str, host: Host, job: QueuedUrl, outcome: Outcome) -> None:
        """Do what an answer asks for: another URL, another time, or none."""
        host.silent = host.silent + 1 if outcome.status in _SILENT else 0
        if outcome.location is not None:
            self._follow(job, outcome.location)
        elif outcome.retry_after is not None:
            self._patience.wait(name, host, job, outcome)
        else:
            self._settle(job, outcome)
        if host.silent >= _GIVEN_UP:
            reason = f"not requested: {host.silent} URLs of the host failed in a row, the last one: {outcome.reason}"
            until = backoff.now() + GIVEN_UP_FOR
            self._patience.leave_alone(
                host, Notice(name, until, outcome.status, reason, outcome.retryable, asked=False)
            )

    def _put_back(self, host: Host, job: QueuedUrl) -> None:
        if host.closed is None:
            host.put(job, at_front=True)
        else:
            self._settle(job, host.closed)

    def _follow(self, job: QueuedUrl, location: str) -> None:
        job.redirects += 1
        if job.redirects > MOST_REDIRECTS:
            self._settle(job, Outcome("too_many_redirects", f"the last one to {mask_url(location)[:200]}"))
            return
        job.lead(location, self._client.target(location))
        self._add(job)

    def _settle(self, job: QueuedUrl, outcome: Outcome) -> None:
        chunk = job.chunk
        chunk.outcomes[job.place] = outcome
        self.outcomes[outcome.status] += 1
        if self._look_at is not None and job.place in chunk.places:
            self._keep(self._look_at(chunk, job.place, self._count_down), self._closing)
        else:
            self._count_down(chunk)

    def _count_down(self, chunk: UrlChunk) -> None:
        chunk.pending -= 1
        if not chunk.pending:
            self._keep(self._close(chunk), self._closing)

    async def _close(self, chunk: UrlChunk) -> None:
        """Hand a chunk over; what that takes must not keep connections waiting."""
        with chunk.spool:
            await self._loop.run_in_executor(self._writers, self._finish, chunk.fetched())
        self._open -= 1
