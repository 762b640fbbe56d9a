"""The crawl: in which order URLs are asked, so that no host is pressed and no slow one holds up the rest.

URLs come in chunks, and a chunk that has all its outcomes is handed over at once. Some chunks are open at a time: what
waits in them is sorted by host, and a host has at most so many connections, and so has an address, however many hosts
share it: by all processes on the machine. A redirect waits its turn again, at the host that it leads to. A connection
asks its server for some URLs one after another, then lets another host have a turn.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from align_data.common.secrets import mask_url
from align_data.fetching import backoff
from align_data.fetching.backoff import Notice, Notices
from align_data.fetching.client import MOST_REDIRECTS, Client, Visit
from align_data.fetching.connection_slots import Free, Slots
from align_data.fetching.crawl_state import IN_MEMORY, BodySpool, FetchedChunk, Host, QueuedUrl, UrlChunk, shut
from align_data.fetching.limits import Limits
from align_data.fetching.name_cache import Remembered
from align_data.fetching.naming import Naming
from align_data.fetching.outcome import Outcome
from align_data.storage.store import writing

SLOTS = "connections"
LOG = "hosts.log"
PATIENCE = 60.0
"""Seconds that a run waits for a host that asks to be left alone; what waits longer is for another run."""
_PATIENCE_IN_ALL = 5 * PATIENCE
"""Seconds that a run waits for one host, however often it asks."""
_TRIES = 3
_IN_A_ROW = 16
"""URLs that a connection asks for while other hosts wait for a turn."""
_SILENT = frozenset({"timeout", "connect", "dns"})
_GIVEN_UP = 16
"""Consecutive failures of a host's URLs before the host is left alone."""
_GIVEN_UP_FOR = 3600.0
"""Seconds for which it is; what comes until then is for another run."""
_LOOK = 0.1
"""Seconds between two looks for a slot that another process may have freed."""
_OPEN = 8
"""Chunks that are open at once, at most."""
_IN_MEMORY_IN_ALL = 2**27
_WRITERS = 2


class Crawl:
    """Asks for all URLs of some chunks."""

    def __init__(
        self, client: Client, limits: Limits, deadline: float, work: str, log: str = LOG, notices: Iterable[Notice] = ()
    ) -> None:
        """Work in a folder; `log` is what the file is called in it that the processes of a run share."""
        self._client, self._limits, self._deadline, self._work = client, limits, deadline, work
        self._in_memory = min(IN_MEMORY, max(1, _IN_MEMORY_IN_ALL // limits.in_process))
        self._log, self._initial_notices = log, notices
        self._hosts: dict[str, Host] = {}
        self._barred: dict[str, deque[tuple[str, int]]] = {}
        """Name of slots → hosts that wait for one, and of how many."""
        self._looking: asyncio.TimerHandle | None = None
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
                self._slots, self._notices = Slots(Path(self._work) / SLOTS), Notices(Path(self._work) / self._log)
            self._spools.callback(self._slots.close)
            self._spools.callback(self._notices.close)
            self._heed(self._initial_notices)
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
            with writing(self._work):
                spool = tempfile.TemporaryFile(dir=self._work)  # noqa: SIM115 - closed with its chunk, or with the run
            self._spools.callback(shut, spool)
            chunk = UrlChunk(number, [None] * len(urls), spool, pending=len(urls))
            self._open += 1
            for place, url in enumerate(urls):
                self._queue(QueuedUrl(chunk, place, url, self._client.target(url), self._deadline))

    def _queue(self, job: QueuedUrl) -> None:
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
        return bool(host.jobs) and not host.paused and not host.barred and host.busy < self._limits.of(name)

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
        self._heed(self._notices.news())
        host = self._hosts.get(name)  # its other connections may have done its work meanwhile
        if host is None or not self._may_have_turn(name, host):
            return
        limit = self._limits.of(name)
        leave = self._slots.take(f"host {name}", limit)
        if leave is None:
            self._bar(name, host, f"host {name}", limit)
            return
        host.busy += 1
        self._keep(self._visit(name, host, host.take(), leave), self._active)
        self._offer(name, host)

    def _bar(self, name: str, host: Host, slots: str, limit: int) -> None:
        """Let a host wait for one of `limit` slots."""
        host.barred = True
        self._barred.setdefault(slots, deque()).append((name, limit))
        if self._looking is None:
            self._looking = self._loop.call_later(_LOOK, self._look)

    def _look(self) -> None:
        """See whether other processes have freed slots that hosts wait for."""
        self._looking = None
        for slots, waiting in list(self._barred.items()):
            for _ in range(self._slots.room(slots, waiting[0][1], len(waiting))):
                self._admit(slots)
        if self._barred and self._looking is None:
            self._looking = self._loop.call_later(_LOOK, self._look)
        self._fill()

    def _admit(self, slots: str) -> None:
        """Let the next host try that waits for one of these slots."""
        waiting = self._barred.get(slots)
        if not waiting:
            return
        name, _ = waiting.popleft()
        if not waiting:
            del self._barred[slots]
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
        limit, requests = self._limits.at(name), 0
        room = partial(self._room, limit)
        async with self._client.visit(room, host.named) as visit:
            while await self._ask(visit, name, host, job):
                requests += 1
                self._heed(self._notices.news())
                if not host.jobs or host.paused or (requests >= _IN_A_ROW and self._ready):
                    break
                job = host.take(job.origin)
        leave()
        host.busy -= 1
        for address in visit.addresses:
            self._admit(f"address {address}")
        self._go_on(name, host)

    def _room(self, limit: int, address: str) -> Free | None:
        return self._slots.take(f"address {address}", limit)

    def _go_on(self, name: str, host: Host) -> None:
        """Let a host have its next turn, or forget it: a crawl meets millions of them."""
        self._offer(name, host)
        if not host.jobs and not host.busy and not host.paused and host.closed is None:
            self._hosts.pop(name, None)

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
            self._bar(name, host, f"address {outcome.full}", self._limits.at(name))
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
            self._wait(name, host, job, outcome)
        else:
            self._settle(job, outcome)
        if host.silent >= _GIVEN_UP:
            reason = f"not requested: {host.silent} URLs of the host failed in a row, the last one: {outcome.reason}"
            until = backoff.now() + _GIVEN_UP_FOR
            self._leave_alone(host, Notice(name, until, outcome.status, reason, outcome.retryable, asked=False))

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
        self._queue(job)

    def _wait(self, name: str, host: Host, job: QueuedUrl, outcome: Outcome) -> None:
        """Leave a host alone for as long as it asks, or for the rest of the run."""
        now, seconds = self._loop.time(), outcome.retry_after or 0.0
        extension = max(0.0, now + seconds - max(now, host.until))
        host.until, host.waited = max(host.until, now + seconds), host.waited + extension
        job.tries += 1
        notice = Notice(
            name, backoff.now() + seconds, "rate_limited", f"not requested: the host answered before, {outcome.reason}"
        )
        if host.waited > _PATIENCE_IN_ALL and seconds <= PATIENCE:
            notice = replace(notice, until=backoff.now() + _GIVEN_UP_FOR, asked=False)
        if notice.until - backoff.now() > PATIENCE or host.closed is not None:
            self._settle(job, outcome)
            self._leave_alone(host, notice)
            return
        if extension:
            self._notices.tell(notice)
        if job.tries < _TRIES and job.seconds > 0:
            host.put(job, at_front=True)
        else:
            self._settle(job, outcome)
        self._pause(name, host)

    def _heed(self, news: Iterable[Notice]) -> None:
        """Leave hosts alone as others have learnt that they are to be."""
        for notice in news:
            seconds = notice.until - backoff.now()
            host = self._hosts.setdefault(notice.host, Host())
            if seconds > PATIENCE:
                self._close_host(host, notice)
            elif seconds > 0:
                host.until = max(host.until, self._loop.time() + seconds)
                self._pause(notice.host, host)

    def _leave_alone(self, host: Host, notice: Notice) -> None:
        """Leave a host alone, and let all others do so."""
        if host.closed is None or notice.until > host.closed_until:
            self._notices.tell(notice)
        self._close_host(host, notice)

    def _pause(self, name: str, host: Host) -> None:
        if not host.paused:
            host.paused = True
            self._loop.call_at(host.until, self._resume, name, host)

    def _resume(self, name: str, host: Host) -> None:
        if self._loop.time() < host.until:  # it has asked for more since
            self._loop.call_at(host.until, self._resume, name, host)
            return
        host.paused = False
        self._go_on(name, host)
        self._fill()

    def _close_host(self, host: Host, notice: Notice) -> None:
        """Give this outcome to all URLs that wait for a host, now and until the notice ends."""
        if host.closed is None:
            host.closed = notice.outcome
        host.closed_until = max(host.closed_until, notice.until)
        while host.jobs:
            self._settle(host.take(), host.closed)

    def _settle(self, job: QueuedUrl, outcome: Outcome) -> None:
        chunk = job.chunk
        chunk.outcomes[job.place] = outcome
        chunk.pending -= 1
        self.outcomes[outcome.status] += 1
        if not chunk.pending:
            self._keep(self._close(chunk), self._closing)

    async def _close(self, chunk: UrlChunk) -> None:
        """Hand a chunk over; what that takes must not keep connections waiting."""
        with chunk.spool:
            outcomes = [outcome for outcome in chunk.outcomes if outcome is not None]
            fetched = FetchedChunk(chunk.number, outcomes, chunk.spool, chunk.places)
            await self._loop.run_in_executor(self._writers, self._finish, fetched)
        self._open -= 1
