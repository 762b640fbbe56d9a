"""What a child process does for `fetch`: some chunks of URLs in, tars and the URLs' outcomes out."""

from __future__ import annotations

import asyncio
import hashlib
import resource
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from align_data.common.banned import ban
from align_data.common.errors import EngineError
from align_data.common.secrets import mask
from align_data.common.workers import Handler, Send
from align_data.common.workers.values import of, plain
from align_data.fetching.backoff import loaded
from align_data.fetching.client import Client, Policy
from align_data.fetching.crawl import LOG, Crawl
from align_data.fetching.crawl_state import FetchedChunk
from align_data.fetching.limits import Limits
from align_data.fetching.name_cache import NAMES, NameCache, NameTable
from align_data.fetching.outcome import Outcome
from align_data.storage.image_formats import ALL, HEAD, sniff
from align_data.storage.store import Store, make_shared, make_work, writing
from align_data.storage.tars import MAX_TAR, Place, TarWriter

HANDLER = "align_data.fetching.worker:handler"
_BANNED = Outcome("taken_down", "these bytes were taken down by their SHA-256")
REASON = 300
"""Characters of a reason, at most."""


@dataclass(frozen=True)
class FetchSettings:
    """What a child must know for all chunks."""

    policy: Policy
    limits: Limits
    store: Store
    banned: frozenset[str] = frozenset()
    """What the table `banned` has."""
    max_tar: int = MAX_TAR
    log: str = LOG
    """The file in the work folder that tells the processes of a run which hosts are to be left alone."""
    notices: str = ""
    """Notices of hosts that are known before, as JSON."""
    names: str = NAMES
    """The file in the work folder that tells the processes of a run what names came to."""


@dataclass(frozen=True)
class ChunkTask:
    """Some URLs whose bytes go to one tar, or a few if they are many."""

    number: int
    tar: str
    """The tars' name, without its ending."""
    names: Sequence[str]
    """What each URL's member is called, without its ending."""
    urls: Sequence[str]


ANSWER = 2**22
"""Bytes of an answer, at most."""
_ROWS = 1_000
"""Rows of an answer: those of a chunk come in several."""


class Row(NamedTuple):
    """The row of the table `images` for a requested URL."""

    status: str
    reason: str | None
    retryable: bool
    tar: str | None = None
    offset: int | None = None
    size: int | None = None


def _printable(text: str) -> str:
    """Return words as they can be printed: a server may send what a terminal obeys."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def row(outcome: Outcome, place: Place | None = None) -> Row:
    """Return an outcome as a row; a server's message is cut short and escaped."""
    where = (None, None, None) if place is None else (place.tar, place.offset, place.size)
    reason = outcome.reason and _printable(mask(outcome.reason)[:REASON])[:REASON]
    return Row(outcome.status, reason, outcome.retryable, *where)


def make_room(connections: int) -> None:
    """Let this process open as many files as the connections need; EngineError where the system does not allow it."""
    need = 2 * connections + 256  # a socket and the file of a large body each, and what else is open
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < need:
        limit = need if hard == resource.RLIM_INFINITY else min(need, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        if limit < need:
            raise EngineError(
                f"{connections:,} connections need {need:,} open files, and a process may have {limit:,} here: "
                "raise ulimit -n, or lower --connections"
            )


def handler(setup: Any) -> Handler:
    """Return what fetches chunks: it sends counts of statuses now and then, and each chunk's number and rows."""
    settings = of(FetchSettings, setup)

    def fetch(tasks: Any, send: Send) -> None:
        asyncio.run(_fetch(settings, of(tuple[ChunkTask, ...], tasks), send))

    return fetch


def send_rows(send: Send, number: int, rows: Sequence[Row]) -> None:
    """Send the rows of a chunk, some at a time."""
    for start in range(0, len(rows), _ROWS):
        send((number, plain(rows[start : start + _ROWS])))


async def _fetch(settings: FetchSettings, tasks: Sequence[ChunkTask], send: Send) -> None:
    loop = asyncio.get_running_loop()
    make_room(settings.limits.in_process)
    work = make_work(settings.store.work)
    by_number = {task.number: task for task in tasks}

    def finish(fetched: FetchedChunk) -> None:
        rows = store(settings, by_number[fetched.number], fetched)
        banned = sum(row.status == _BANNED.status for row in rows)
        if banned:  # they were counted when they came
            loop.call_soon_threadsafe(send, {"ok": -banned, _BANNED.status: banned})
        loop.call_soon_threadsafe(send_rows, send, fetched.number, rows)

    def beat() -> None:
        send(dict(crawl.outcomes))
        crawl.outcomes = Counter()

    with writing(work):
        names = NameCache(NameTable(work / settings.names))
    async with Client.of(settings.policy, names=names) as client:
        notices = loaded(settings.notices).values()
        crawl = Crawl(
            client, settings.limits, settings.policy.deadline, str(work), settings.log, notices, make_shared()
        )
        await crawl.run(((task.number, task.urls) for task in tasks), finish, beat)
    beat()


def _sha256(spool: BinaryIO, start: int, size: int) -> str:
    """Return what the table `banned` would have of some bytes."""
    spool.seek(start)
    return ban(hashlib.sha256(spool.read(size)).hexdigest())


def store(settings: FetchSettings, task: ChunkTask, fetched: FetchedChunk) -> list[Row]:
    """Write a chunk's bytes as tars, in the order of its URLs; return its rows."""
    rows = []
    with TarWriter(settings.store, task.tar, settings.max_tar) as writer:
        for number, outcome in enumerate(fetched.outcomes):
            place = None
            if number in fetched.places:
                start, size = fetched.places[number]
                if settings.banned and _sha256(fetched.spool, start, size) in settings.banned:
                    rows.append(row(_BANNED))
                    continue
                fetched.spool.seek(start)
                name = sniff(fetched.spool.read(HEAD), ALL) or ""
                fetched.spool.seek(start)
                place = writer.add(f"{task.names[number]}.{ALL[name]}", fetched.spool, size)
            rows.append(row(outcome, place))
    return rows
