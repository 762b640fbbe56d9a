"""Stand-ins for the process that reads archives: pages that hang, crash or starve it, and answers of one taken over."""

from __future__ import annotations

import gzip
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from align_data.common.workers import Handler, Send
from align_data.common.workers.values import of
from align_data.sources.crawl.account import CrawlAccount
from align_data.sources.crawl.answers import buffers
from align_data.sources.crawl.pages.images import PageImages
from align_data.sources.crawl.pages.page_readers import Page, PageReader
from align_data.sources.crawl.pages.urls import Base
from align_data.sources.crawl.rows import ImageRow, PageFacts, RowBuilder
from align_data.sources.crawl.settings import Block, CrawlSettings
from align_data.sources.crawl.warc.records import ArchiveRecord
from align_data.sources.crawl.worker import crawling


def recurse() -> None:
    recurse()


ACTIONS: dict[bytes, Callable[[], Any]] = {
    b"hang": lambda: time.sleep(1_000),
    b"burn": lambda: sum(1 for _ in iter(int, 1)),
    b"crash": os.abort,
    b"exit": lambda: os._exit(7),
    b"eat": lambda: [bytearray(2**24) for _ in range(10_000)],
    b"raise": lambda: {}["x"],
    b"connect": socket.socket,
    b"fork": os.fork,
    b"write": lambda: Path("/tmp/evil_crawler").write_text("x"),
    b"recurse": recurse,
}
"""What a page does to whoever parses it, by its word."""


def handler(setup: Mapping[str, Any]) -> Handler:
    """Return what reads archives whose pages say what they do."""
    return crawling(of(CrawlSettings, setup), readers)


def readers(crawl_file: str, texts: Sequence[str]) -> Mapping[str, PageReader]:
    """Return what reads pages of words."""

    return {"warc": WordReader(crawl_file), "wat": WordReader(crawl_file)}


class WordReader:
    """Reads pages of words: actions, and `images=N` and `text=N` for its rows and their length."""

    def __init__(self, crawl_file: str) -> None:
        self._file = crawl_file
        self.crawl: str | None = None

    def __call__(self, record: ArchiveRecord) -> Page | str:
        if record.kind != "response":
            return record.kind
        for word in record.content.split():
            if word in ACTIONS:
                ACTIONS[word]()
        numbers = dict(re.findall(rb"(images|text)=(\d+)", record.content))
        number, length = int(numbers.get(b"images", 1)), int(numbers.get(b"text", 5))
        url = record.headers["warc-target-uri"]
        facts = PageFacts(url, None, None, 200, None, "", self.crawl, self._file, record.place.offset)
        return facts, WordImages(url, number, "x" * length)


class WordImages(PageImages):
    """Images of one text, more and longer ones than a page may have."""

    def __init__(self, url: str, number: int, text: str) -> None:
        super().__init__(Base(url), ("alt",))
        row = ImageRow(f"{url}.jpg", text, "alt", None, None, None, None, "src", None, 0)
        self.rows = [row._replace(position=at) for at in range(number)]
        self.size = number * (len(row.url) + len(text))

    def count_into(self, account: CrawlAccount) -> None:
        account.images += len(self.rows)
        account.rows += len(self.rows)


def archive(pages: Iterable[bytes]) -> bytes:
    """Return pages of words as an archive, each in a member of its own."""
    return b"".join(map(member, range(10**9), pages))


def member(number: int, words: bytes) -> bytes:
    head = f"WARC-Type: response\r\nWARC-Target-URI: http://a.example/{number}\r\nContent-Length: {len(words)}"
    return gzip.compress(f"WARC/1.0\r\n{head}\r\n\r\n".encode() + words + b"\r\n\r\n", 1, mtime=0)


# --- a process that was taken over ---


def empty(**changed: Any) -> dict[str, Any]:
    return {**CrawlAccount().to_json(), **changed}


def rows(number: int, offset: int = 0) -> list[Any]:
    """Return the columns of rows."""
    facts = PageFacts("http://a.example/", None, None, 200, None, "", None, "a.warc.gz", offset)
    row = ImageRow("http://a.example/a.jpg", "a dog", "alt", None, None, None, None, "src", None, 0)
    builder = RowBuilder()
    builder.add(facts, [row] * number)
    return buffers(builder.take())


def altered(place: int, *buffers_: bytes | None) -> list[Any]:
    return [buffers_ if at == place else column for at, column in enumerate(rows(2))]


ONE = empty(records=1, pages=1, images=2, rows=2)
URL, SIZE = 0, 5  # a column of texts, and one of numbers
OFFSETS = struct.pack("=3q", 0, 1, 2)
WRONG: dict[str, Callable[[], list[Any]]] = {
    "nothing": list,
    "no tuple": lambda: ["rows"],
    "too few values": lambda: [(0, [], empty())],
    "rows without columns": lambda: [(2, [], ONE, [], None, "warc", False, None)],
    "a column too few": lambda: [(2, rows(2)[1:], ONE, [], None, "warc", False, None)],
    "more rows than the buffers have": lambda: [
        (3, rows(2), {**ONE, "images": 3, "rows": 3}, [], None, "warc", False, None)
    ],
    "2^62 rows": lambda: [(2**62, rows(2), {**ONE, "images": 2**62, "rows": 2**62}, [], None, "warc", False, None)],
    "rows below zero": lambda: [(-1, rows(2), ONE, [], None, "warc", False, None)],
    "rows that are not counted": lambda: [(2, rows(2), empty(), [], None, "warc", False, None)],
    "rows that are not sent": lambda: [(0, [], ONE, [], None, "warc", False, None)],
    "an account that does not add up": lambda: [(2, rows(2), {**ONE, "pages": 2}, [], None, "warc", False, None)],
    "counts below zero": lambda: [(0, [], empty(pages=1, skipped={"x": -1}), [], None, "warc", False, None)],
    "a count that is true": lambda: [(0, [], empty(records=True, pages=True), [], None, "warc", False, None)],
    "a count that is a text": lambda: [(0, [], empty(records="1", pages="1"), [], None, "warc", False, None)],
    "a count of 2^63": lambda: [(0, [], empty(records=2**62, pages=2**62), [], None, "warc", False, None)],
    "a field of its own": lambda: [(0, [], {**empty(), "x": 1}, [], None, "warc", False, None)],
    "a field less": lambda: [(0, [], {"records": 0}, [], None, "warc", False, None)],
    "a reason that a terminal obeys": lambda: [
        (0, [], empty(records=1, skipped={"\x1b[2J": 1}), [], None, "warc", False, None)
    ],
    "a thousand reasons": lambda: [
        (0, [], empty(records=1_000, skipped={f"r{n}": 1 for n in range(1_000)}), [], None, "warc", False, None)
    ],
    "a lost record of no form": lambda: [(0, [], empty(), [("a", 1)], None, "warc", False, None)],
    "a lost record with a text of its own": lambda: [
        (0, [], empty(), [(1, "see http://b.example")], None, "warc", False, None)
    ],
    "a thousand lost": lambda: [(0, [], empty(), [(1, "gzip")] * 1_000, None, "warc", False, None)],
    "a position in a final answer's place": lambda: [(0, [], empty(), [], (0, 0, True, False), "warc", False, None)],
    "a position behind what was fed": lambda: [(0, [], empty(), [], (2**40, 0, True, False), "warc", False, None)],
    "a position below zero": lambda: [(0, [], empty(), [], (-1, 0, True, False), "warc", False, None)],
    "a position of no form": lambda: [(0, [], empty(), [], (0, 0), "warc", False, None)],
    "another kind": lambda: [(0, [], empty(), [], None, "arc", False, None)],
    "kinds that change": lambda: [
        (0, [], empty(), [], (0, 0, True, False), "warc", False, None),
        (0, [], empty(), [], None, "wat", False, None),
    ],
    "rows without an end": lambda: [(2, rows(2), None, [], None, "warc", False, None)],
    "no rows without an end": lambda: [(0, [], None, [], None, "warc", False, None)] * 3,
    "offsets that go back": lambda: [
        (2, rows(2, 50), ONE, [], (50, 0, True, False), "warc", False, None),
        (2, rows(2, 40), ONE, [], None, "warc", False, None),
    ],
    "texts that are not UTF-8": lambda: [
        (2, altered(URL, None, OFFSETS, b"\xff\xfe"), ONE, [], None, "warc", False, None)
    ],
    "texts whose ends go back": lambda: [
        (2, altered(URL, None, struct.pack("=3q", 0, 2, 1), b"ab"), ONE, [], None, "warc", False, None)
    ],
    "texts that lie outside": lambda: [
        (2, altered(URL, None, struct.pack("=3q", 0, 1, 2**40), b"ab"), ONE, [], None, "warc", False, None)
    ],
    "texts that begin below zero": lambda: [
        (2, altered(URL, None, struct.pack("=3q", -(2**40), 1, 2), b"ab"), ONE, [], None, "warc", False, None)
    ],
    "texts without ends": lambda: [(2, altered(URL, None, None, b"ab"), ONE, [], None, "warc", False, None)],
    "texts without bytes": lambda: [(2, altered(URL, None, OFFSETS, None), ONE, [], None, "warc", False, None)],
    "texts that are null": lambda: [(2, altered(URL, b"\0", OFFSETS, b"ab"), ONE, [], None, "warc", False, None)],
    "numbers that end early": lambda: [(2, altered(SIZE, None, b"\0\0\0"), ONE, [], None, "warc", False, None)],
    "numbers that are texts": lambda: [(2, altered(SIZE, None, OFFSETS, b"ab"), ONE, [], None, "warc", False, None)],
    "nulls that end early": lambda: [(2, altered(SIZE, b"", b"\0" * 8), ONE, [], None, "warc", False, None)],
    "a page of no form": lambda: [("page",)],
    "a page behind what was fed": lambda: [("page", 0, (2**40, 0, True, False))],
    "a page before the file": lambda: [("page", -5, (0, 0, True, False))],
    "an answer of 40 MB": lambda: [(0, [[b"x" * 40_000_000]], empty(), [], None, "warc", False, None)],
}
"""Answers that cannot be, on a file of one block."""


def taken_over(setup: Mapping[str, Any]) -> Handler:
    """Return what answers wrongly on a file whose name says how, and rightly on others."""
    right = handler(setup)

    def handle(task: Any, send: Send) -> None:
        start = of(Block, task).start
        name = start.name.removesuffix(".warc.gz") if start is not None else ""
        if name not in WRONG:
            right(task, send)
        for answer in WRONG.get(name, list)():
            send(answer)

    return handle
