"""What a child process does for `fetch`: some chunks of URLs in, tars and the URLs' outcomes out."""

from __future__ import annotations

import asyncio
import hashlib
import resource
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from align_data.common.banned import ban
from align_data.common.errors import EngineError
from align_data.common.secrets import mask
from align_data.common.workers import Handler, Send
from align_data.common.workers.values import of, plain
from align_data.decoding.inspected import Inspected, StoredFacts
from align_data.fetching.backoff import loaded
from align_data.fetching.client import Client, Policy
from align_data.fetching.crawl import LOG, Crawl
from align_data.fetching.crawl_state import BodyLook, FetchedChunk, Look, UrlChunk
from align_data.fetching.keeping import Keeping
from align_data.fetching.limits import Limits
from align_data.fetching.looking import BodySpan, Looker, LookSettings, Seen
from align_data.fetching.name_cache import NAMES, NameCache, NameTable
from align_data.fetching.outcome import NOT_KEPT, Outcome
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
    look: LookSettings | None = None
    """How bodies are looked at as they come; None where they are not."""


@dataclass(frozen=True)
class ChunkTask:
    """Some URLs whose bytes go to one tar, or a few if they are many."""

    number: int
    tar: str
    """The tars' name, without its ending."""
    names: Sequence[str]
    """What each URL's member is called, without its ending."""
    urls: Sequence[str]
    scored: Sequence[bool] = ()
    """Which of them a detector scores, where bodies are looked at and there is one."""


ANSWER = 2**22
"""Bytes of an answer, at most."""
_ROWS = 1_000
"""Rows of an answer: those of a chunk come in several."""
_SEEN_ROWS = 200
"""The same where each has what was seen of its image."""


class SeenImage(NamedTuple):
    """What the table `content` has of a fetched image."""

    inspected: Inspected
    stored: StoredFacts | None = None


class Row(NamedTuple):
    """The row of the table `images` for a requested URL, and what was seen of its image."""

    status: str
    reason: str | None
    retryable: bool
    tar: str | None = None
    offset: int | None = None
    size: int | None = None
    image: SeenImage | None = None


ROW = Row._fields[:-1]
"""The columns of `images` among them."""


def _printable(text: str) -> str:
    """Return words as they can be printed: a server may send what a terminal obeys."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def row(outcome: Outcome, place: Place | None = None, image: SeenImage | None = None) -> Row:
    """Return an outcome as a row; a server's message is cut short and escaped."""
    tar, offset, size = (None, None, None) if place is None else (place.tar, place.offset, place.size)
    reason = outcome.reason and _printable(mask(outcome.reason)[:REASON])[:REASON]
    return Row(outcome.status, reason, outcome.retryable, tar, offset, size, image)


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
    step = _SEEN_ROWS if any(row.image is not None for row in rows) else _ROWS
    for start in range(0, len(rows), step):
        send((number, plain(rows[start : start + step])))


async def _fetch(settings: FetchSettings, tasks: Sequence[ChunkTask], send: Send) -> None:
    loop = asyncio.get_running_loop()
    make_room(settings.limits.in_process)
    work = make_work(settings.store.work)
    by_number = {task.number: task for task in tasks}

    def finish(fetched: FetchedChunk) -> None:
        rows = store(settings, by_number[fetched.number], fetched)
        lost = Counter(row.status for row in rows if row.status in (_BANNED.status, NOT_KEPT))
        if lost:  # they were counted when they came
            loop.call_soon_threadsafe(send, {"ok": -lost.total(), **lost})
        loop.call_soon_threadsafe(send_rows, send, fetched.number, rows)

    def beat() -> None:
        send(dict(crawl.outcomes))
        crawl.outcomes = Counter()

    with writing(work):
        names = NameCache(NameTable(work / settings.names))
    with ExitStack() as stack:
        look = None
        if settings.look is not None:
            look = _looking(settings.look, stack.enter_context(closing(Looker(settings.look))), by_number, work)
        async with Client.of(settings.policy, names=names) as client:
            notices, deadline = loaded(settings.notices).values(), settings.policy.deadline
            crawl = Crawl(
                client, settings.limits, deadline, str(work), settings.log, notices, shared=make_shared(), look=look
            )
            await crawl.run(((task.number, task.urls) for task in tasks), finish, beat)
    beat()


def _looking(settings: LookSettings, looker: Looker, tasks: Mapping[int, ChunkTask], work: Path) -> Look:
    """Return what has bodies looked at, and puts what is to be stored in their place beside them."""

    async def look(chunk: UrlChunk, place: int, count_down: Callable[[UrlChunk], None]) -> None:
        scored, checks = tasks[chunk.number].scored, settings.checks
        if scored and not scored[place]:
            checks = checks.of_any(settings.decoding.checks)
        with writing(work):
            chunk.spool.flush()
        span = BodySpan(chunk.spool.fileno(), *chunk.places[place])
        inspection = await asyncio.wrap_future(looker.look(chunk.number, span, checks))
        with writing(work):
            chunk.looks[place] = _body_look(chunk, inspection)
        count_down(chunk)

    return look


def _body_look(chunk: UrlChunk, seen: Seen) -> BodyLook:
    """Put what is to be stored in place of a body beside it."""
    smaller = seen.smaller
    if smaller is None:
        return BodyLook(seen.inspected)
    stored = StoredFacts(smaller.format, smaller.width, smaller.height, hashlib.sha256(smaller.content).hexdigest())
    return BodyLook(seen.inspected, stored, chunk.keep_smaller(smaller.content))


def _sha256(spool: BinaryIO, start: int, size: int) -> str:
    spool.seek(start)
    return hashlib.sha256(spool.read(size)).hexdigest()


def store(settings: FetchSettings, task: ChunkTask, fetched: FetchedChunk) -> list[Row]:
    """Write a chunk's bytes as tars, in the order of its URLs; return its rows."""
    omitted = {} if settings.look is None else _omitted(settings.store, settings.look.keeping, task, fetched)
    rows = []
    with TarWriter(settings.store, task.tar, settings.max_tar) as writer:
        for number, outcome in enumerate(fetched.outcomes):
            if number not in fetched.places:
                rows.append(row(outcome))
            elif settings.banned and _is_banned(settings.banned, fetched, number):
                rows.append(row(_BANNED))
            elif number in omitted:
                image = SeenImage(fetched.looks[number].inspected)
                rows.append(row(Outcome(NOT_KEPT, omitted[number]), image=image))
            else:
                rows.append(_stored(writer, task.names[number], outcome, fetched, number))
    return rows


def _omitted(store: Store, keeping: Keeping, task: ChunkTask, fetched: FetchedChunk) -> dict[int, str]:
    """Return for each image of a chunk that is not to be stored why it is not."""
    images = {number: look.inspected for number, look in sorted(fetched.looks.items())}
    omitted = {number: why for number, image in images.items() if (why := keeping.omits(image)) is not None}
    if keeping.rules is not None:
        from align_data.fetching.failing import failing  # noqa: PLC0415 - Polars, which fetching alone does not need

        urls = [task.urls[number] for number in images]
        reasons = failing(store, keeping.rules).reasons(urls, list(images.values()))
        omitted |= {number: why for number, why in zip(images, reasons, strict=True) if why is not None}
    return omitted


def _is_banned(banned: frozenset[str], fetched: FetchedChunk, number: int) -> bool:
    """Tell whether a body was taken down."""
    look = fetched.looks.get(number)
    sha256 = None if look is None else look.inspected.sha256
    return ban(sha256 or _sha256(fetched.spool, *fetched.places[number])) in banned


def _stored(writer: TarWriter, name: str, outcome: Outcome, fetched: FetchedChunk, number: int) -> Row:
    """Write what is stored of a body; return its row."""
    (start, size), look = fetched.places[number], fetched.looks.get(number)
    if look is not None and look.stored is not None:
        start, size = look.place
    fetched.spool.seek(start)
    form = sniff(fetched.spool.read(HEAD), ALL) or ""
    fetched.spool.seek(start)
    place = writer.add(f"{name}.{ALL[form]}", fetched.spool, size)
    return row(outcome, place, None if look is None else SeenImage(look.inspected, look.stored))
