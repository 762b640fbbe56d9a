"""The child process of `crawl`: an archive's bytes in, block by block, and rows and accounts out."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow  # noqa: F401 - with what else is imported here, before the process is confined

from align_data.common.workers import Handler, Send
from align_data.common.workers.confinement import at_most, confine
from align_data.common.workers.values import of, plain
from align_data.sources.crawl.account import CrawlAccount
from align_data.sources.crawl.answers import MAX_LOST, PAGE_ROWS, buffers
from align_data.sources.crawl.pages.images import PageImages
from align_data.sources.crawl.pages.page_readers import Page, PageReader, Readers, kind_of, page_readers
from align_data.sources.crawl.reasons import DAMAGED, GIVEN_UP
from align_data.sources.crawl.rows import ImageRow, PageFacts, RowBuilder
from align_data.sources.crawl.settings import NO_MEMORY, Block, CrawlSettings, Kind, Start
from align_data.sources.crawl.warc.reader import ArchiveReader
from align_data.sources.crawl.warc.records import ArchiveRecord, Damage

_ROWS, _SIZE = 8_192, 4 * 2**20
"""Rows, and characters of them, that are gathered for an answer."""
_QUICK = 2**18
"""Bytes of a record that is no HTML which can be read in no time."""
_SECONDS = 1.0
"""After which an answer is given, so that the parent knows that work goes on."""
_LOST = frozenset((*DAMAGED, *GIVEN_UP))


def handler(setup: Mapping[str, Any]) -> Handler:
    """Return what reads archives: a Block in, answers out."""
    return crawling(of(CrawlSettings, setup), page_readers)


def crawling(settings: CrawlSettings, readers: Readers) -> Handler:
    """Confine this process, and return what reads archives."""
    RowBuilder().take()  # loads what must be read from files
    confine(settings.memory)
    crawler: ArchiveCrawler | None = None

    def handle(task: Any, send: Send) -> None:
        nonlocal crawler
        block = of(Block, task)
        if block.start is not None:
            crawler = ArchiveCrawler(
                block.start, readers(block.start.crawl_file, settings.texts), settings.page_seconds
            )
        assert crawler is not None
        try:
            crawler.feed(block, send)
        except MemoryError:
            os._exit(NO_MEMORY)  # what this process would say now could be of half a page

    return handle


class ArchiveCrawler:
    """Reads one archive that is fed to it; `readers` read its records, by what the archive is."""

    def __init__(self, start: Start, readers: Mapping[Kind, PageReader], seconds: float) -> None:
        self._archive = ArchiveReader(start.name, start.position)
        self._kind = start.kind
        self._readers, self._seconds = readers, seconds
        for reader in readers.values():
            reader.crawl = start.crawl
        self._position = start.position
        """Where what follows the records that were read begins; as of the latest block, unless an answer needs it."""
        self._gathered = RowBuilder()
        self._clear()

    def _clear(self) -> None:
        self._account = CrawlAccount()
        self._lost: list[tuple[int, str]] = []
        self._size = 0
        self._answered = time.monotonic()

    def feed(self, block: Block, send: Send) -> None:
        """Read on, to the end of the file with its final bytes; if `careful`, each page is named before it is read."""
        for event in self._archive.feed(block.data):
            self._take(event, send, careful=block.careful)
        if block.final:
            for event in self._archive.end():
                self._take(event, send, careful=block.careful)
        self._position = None if block.final else self._archive.resume_point
        self._answer(send, cut_short=block.final and self._archive.cut_short)

    def _take(self, event: ArchiveRecord | Damage, send: Send, *, careful: bool) -> None:
        if isinstance(event, Damage):
            self._leave(event.place.offset, event.reason)
        else:
            if careful:
                self._answer(send)
                send(("page", event.place.offset, plain(self._archive.resume_point)))
            self._read(event, send)
        full = self._gathered.rows >= _ROWS or self._size >= _SIZE or len(self._lost) > MAX_LOST // 2
        late = full or time.monotonic() - self._answered > _SECONDS
        if late or careful:
            self._position = self._archive.resume_point
        if late:
            self._answer(send)

    def _read(self, record: ArchiveRecord, send: Send) -> None:
        """Read a record, and take its rows if it is a page."""
        if self._kind is None and (kind := kind_of(record)):
            self._readers[kind].crawl = self._readers["warc"].crawl  # which has read what came before
            self._kind = kind
        reader = self._readers[self._kind or "warc"]
        page: Page | str
        try:
            # Setting a limit takes longer than to read most records; those with HTML, or large ones, can be costly.
            if record.kind == "response" or len(record.content) > _QUICK:
                with at_most(self._seconds):
                    page = reader(record)
            else:
                page = reader(record)
        except MemoryError:
            raise
        except Exception:  # a page is a stranger's: what comes of it costs no other one
            page = "page_crashed"
        if isinstance(page, str):
            self._leave(record.place.offset, page)
        elif (size := _size(*page)) > PAGE_ROWS:
            self._leave(record.place.offset, "page_too_costly")
        else:
            self._account.count(None)
            page[1].count_into(self._account)
            self._gather(page[0], page[1].rows, size, send)

    def _leave(self, offset: int, reason: str) -> None:
        """Count a record that is no page, and tell of it if it was to be one."""
        self._account.count(reason)
        if reason in _LOST:
            self._lost.append((offset, reason))

    def _gather(self, facts: PageFacts, images: Sequence[ImageRow], size: int, send: Send) -> None:
        """Take a page's rows; most of a large one's are sent at once, in answers that say that more comes."""
        self._size += size
        if size <= _SIZE:
            self._gathered.add(facts, images)
            return
        step = max(1, len(images) * _SIZE // size)
        for at in range(0, len(images), step):
            self._gathered.add(facts, images[at : at + step])
            if at + step < len(images):
                self._send(send, None)

    def _answer(self, send: Send, *, cut_short: bool = False) -> None:
        """Say what became of all records since the last answer, and where what follows begins."""
        self._send(send, self._account.to_json(), cut_short=cut_short)
        self._clear()

    def _send(self, send: Send, account: Mapping[str, Any] | None, *, cut_short: bool = False) -> None:
        rows = self._gathered.rows
        columns = buffers(self._gathered.take()) if rows else []
        ends = account is not None
        position = plain(self._position) if ends else None
        crawl = self._readers[self._kind or "warc"].crawl
        send((rows, columns, account, self._lost if ends else [], position, self._kind, cut_short, crawl))


def _size(facts: PageFacts, images: PageImages) -> int:
    """Return about how many characters a page's rows have."""
    once = 64 + len(facts.page_url) + sum(len(value) for value in facts[1:] if isinstance(value, str))
    return once * len(images.rows) + images.size
