"""Patience: which hosts are left alone, for how long, and what becomes of their URLs meanwhile.

A run waits a minute for a host that asks for it, and five in all; for a host that wants more it is another run's turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

from align_data.fetching import backoff
from align_data.fetching.backoff import Notice, Notices
from align_data.fetching.crawl_state import Host, QueuedUrl
from align_data.fetching.outcome import Outcome

PATIENCE = 60.0
"""Seconds that a run waits for a host that asks to be left alone; what waits longer is for another run."""
_PATIENCE_IN_ALL = 5 * PATIENCE
"""Seconds that a run waits for one host, however often it asks."""
_TRIES = 3
GIVEN_UP_FOR = 3600.0
"""Seconds for which a host is left alone that does not answer, or asks too often; what comes until then is for another
run."""


class Patience:
    """Leaves hosts alone: `settle` gives a URL its outcome, `resume` is called for a host that may be asked again."""

    def __init__(
        self,
        hosts: dict[str, Host],
        notices: Notices,
        settle: Callable[[QueuedUrl, Outcome], None],
        resume: Callable[[str, Host], None],
    ) -> None:
        self._hosts, self._notices, self._settle, self._go_on = hosts, notices, settle, resume
        self._loop = asyncio.get_running_loop()

    def heed(self, news: Iterable[Notice] | None = None) -> None:
        """Leave hosts alone as others have learnt that they are to be."""
        for notice in self._notices.news() if news is None else news:
            seconds = notice.until - backoff.now()
            host = self._hosts.setdefault(notice.host, Host())
            if seconds > PATIENCE:
                self._close(host, notice)
            elif seconds > 0:
                host.until = max(host.until, self._loop.time() + seconds)
                self._pause(notice.host, host)

    def wait(self, name: str, host: Host, job: QueuedUrl, outcome: Outcome) -> None:
        """Leave a host alone for as long as it asks, or for the rest of the run; the URL waits with it."""
        now, seconds = self._loop.time(), outcome.retry_after or 0.0
        extension = max(0.0, now + seconds - max(now, host.until))
        host.until, host.waited = max(host.until, now + seconds), host.waited + extension
        job.tries += 1
        notice = Notice(
            name, backoff.now() + seconds, "rate_limited", f"not requested: the host answered before, {outcome.reason}"
        )
        if host.waited > _PATIENCE_IN_ALL and seconds <= PATIENCE:
            notice = replace(notice, until=backoff.now() + GIVEN_UP_FOR, asked=False)
        if notice.until - backoff.now() > PATIENCE or host.closed is not None:
            self._settle(job, outcome)
            self.leave_alone(host, notice)
            return
        if extension:
            self._notices.tell(notice)
        if job.tries < _TRIES and job.seconds > 0:
            host.put(job, at_front=True)
        else:
            self._settle(job, outcome)
        self._pause(name, host)

    def rest(self, name: str, host: Host, seconds: float) -> None:
        """Leave a host alone for as long as its robots.txt wants between two requests, or for the rest of the run."""
        host.until, host.waited = self._loop.time() + seconds, host.waited + seconds
        if seconds <= PATIENCE and host.waited <= _PATIENCE_IN_ALL:
            self._pause(name, host)
            return
        reason = f"not requested: Crawl-delay: {host.delay:g} in robots.txt, and this run waits no longer for the host"
        until = backoff.now() + (seconds if seconds > PATIENCE else GIVEN_UP_FOR)
        self.leave_alone(host, Notice(name, until, "rate_limited", reason, asked=False))

    def leave_alone(self, host: Host, notice: Notice) -> None:
        """Leave a host alone, and let all others do so."""
        if host.closed is None or notice.until > host.closed_until:
            self._notices.tell(notice)
        self._close(host, notice)

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

    def _close(self, host: Host, notice: Notice) -> None:
        """Give this outcome to all URLs that wait for a host, now and until the notice ends."""
        if host.closed is None:
            host.closed = notice.outcome
        host.closed_until = max(host.closed_until, notice.until)
        while host.jobs:
            self._settle(host.take(), host.closed)
