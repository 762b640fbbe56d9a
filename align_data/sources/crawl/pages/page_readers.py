"""How a record of each kind of archive becomes a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from align_data.sources.crawl.pages.html import read_page
from align_data.sources.crawl.pages.images import PageImages
from align_data.sources.crawl.pages.wat import WatReader
from align_data.sources.crawl.rows import PageFacts
from align_data.sources.crawl.settings import Kind
from align_data.sources.crawl.warc.http import page_of
from align_data.sources.crawl.warc.records import ArchiveRecord
from align_data.sources.crawl.warc.warcinfo import crawl_of

Page = tuple[PageFacts, PageImages]
"""What all rows of a page say, and what its images became."""


class PageReader(Protocol):
    """Reads the records of one archive."""

    crawl: str | None
    """The crawl that the archive says it is part of, once one of its records has said it."""

    def __call__(self, record: ArchiveRecord) -> Page | str:
        """Return the page of a record, or the reason why it is none."""


Readers = Callable[[str, Sequence[str]], Mapping[Kind, PageReader]]
"""Of what rows call the archive and the texts that rows are made of: what reads its records, by its kind."""


def page_readers(crawl_file: str, texts: Sequence[str]) -> Mapping[Kind, PageReader]:
    """Return what reads the records of an archive."""
    return {"warc": WarcReader(crawl_file, texts), "wat": WatReader(crawl_file, texts)}


def kind_of(record: ArchiveRecord) -> Kind | None:
    """Return what archive begins with this record; None where the next one has to tell."""
    if record.kind == "warcinfo":
        return None
    is_wat = record.kind == "metadata" and record.content[:1] == b"{" and b'"Envelope"' in record.content
    return "wat" if is_wat else "warc"


class WarcReader:
    """Reads the records of a WARC, which rows call `crawl_file`."""

    def __init__(self, crawl_file: str, texts: Sequence[str]) -> None:
        self._file, self._texts = crawl_file, texts
        self.crawl: str | None = None

    def __call__(self, record: ArchiveRecord) -> Page | str:
        """Return the page of a record, or the reason why it is none."""
        if record.kind == "warcinfo":
            self.crawl = crawl_of(record.content) or self.crawl
        page = page_of(record)
        if isinstance(page, str):
            return page
        html = read_page(page, self._texts)
        facts = PageFacts(
            page_url=page.url,
            declared_language=html.declared_language,
            charset=html.charset,
            status=page.status,
            license=html.license,
            robots=html.robots,
            crawl=self.crawl,
            crawl_file=self._file,
            crawl_offset=record.place.offset,
        )
        return facts, html.images
