"""Notices: which hosts are to be left alone until when, shared by all processes of a run on this machine.

A process appends what it learns to a log that all of them read. What a host asked for itself (Retry-After) is kept with
the dataset, so that later parts and later runs leave it alone too until the time has passed. That a host did not answer
is only for the run: the fault may have been on our side.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from align_data.fetching.outcome import STATUSES, Outcome
from align_data.storage.store import Store

NOTICES_FILE = "_log/hosts.json"
"""Where a dataset has the notices that outlive a run."""
LONGEST = 30 * 86400.0
"""Seconds for which a host is left alone, at most, whatever it asks for."""
_KEEPING = threading.Lock()


def now() -> float:
    """Return the seconds since the epoch, which all processes and runs agree on."""
    return time.time()


@dataclass(frozen=True)
class Notice:
    """A host that is to be left alone."""

    host: str
    until: float
    """Seconds since the epoch."""
    status: str
    reason: str
    retryable: bool = True
    asked: bool = True
    """Whether the host itself asked for it."""

    @property
    def outcome(self) -> Outcome:
        """The outcome of the host's URLs until then."""
        return Outcome(self.status, self.reason, retry=self.retryable)


def dumped(notices: Iterable[Notice]) -> str:
    """Return notices as JSON, by host."""
    return json.dumps([asdict(notice) for notice in sorted(notices, key=lambda notice: notice.host)], indent=0)


def loaded(text: str | bytes | None) -> dict[str, Notice]:
    """Return notices that are not over, by host: of each the one that lasts longest. What is damaged says nothing."""
    latest: dict[str, Notice] = {}
    try:
        notices = [Notice(**notice) for notice in json.loads(text or "[]")]
    except (ValueError, TypeError, RecursionError):
        return {}
    for notice in filter(_sound, notices):
        if notice.host not in latest or latest[notice.host].until < notice.until:
            latest[notice.host] = notice
    return latest


def _sound(notice: Notice) -> bool:
    texts = (notice.host, notice.status, notice.reason)
    plain = all(isinstance(text, str) for text in texts) and notice.status in STATUSES
    return plain and isinstance(notice.until, int | float) and 0 < notice.until - now() <= LONGEST


class Notices:
    """The log as one process has it."""

    def __init__(self, log: Path) -> None:
        self._file = os.open(log, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_APPEND, 0o600)
        self._read = 0

    def tell(self, notice: Notice) -> None:
        """Let all others know, by one write."""
        until = min(notice.until, now() + LONGEST)
        os.write(self._file, json.dumps([os.getpid(), asdict(replace(notice, until=until))]).encode() + b"\n")

    def news(self, ours: bool = False) -> list[Notice]:
        """Return the notices of other processes since the last call; with `ours`, those of this process too."""
        size = os.fstat(self._file).st_size
        if size <= self._read:
            return []
        text = os.pread(self._file, size - self._read, self._read)
        text = text[: text.rfind(b"\n") + 1]
        self._read += len(text)
        entries = [json.loads(line) for line in text.splitlines()]
        return [Notice(**fields) for process, fields in entries if ours or process != os.getpid()]

    def close(self) -> None:
        """Close the log."""
        os.close(self._file)


def keep(store: Store, log: Path) -> None:
    """Store the notices that hosts requested themselves in the dataset, beside those still in force."""
    if not log.exists():
        return
    notices = Notices(log)
    try:
        requested = [notice for notice in notices.news(ours=True) if notice.asked]
    finally:
        notices.close()
    with _KEEPING:
        before = store.read_bytes(NOTICES_FILE)
        after = loaded(dumped([*loaded(before).values(), *requested]))
        content = dumped(after.values()).encode()
        if content != (before or dumped([]).encode()):
            store.write_bytes(NOTICES_FILE, content)
