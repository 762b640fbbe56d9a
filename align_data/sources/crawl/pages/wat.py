"""A WAT's record, which says in JSON what a WARC's record has: to a page and its rows, or the reason why it is none.

Nine tenths of what a WAT says is not read: msgspec steps over it. What is read has the types that a WAT has, or the
record is damaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import MsgspecError, Struct, field
from msgspec.json import Decoder

from align_data.sources.crawl.pages.directives import robots_text
from align_data.sources.crawl.pages.images import PageImages
from align_data.sources.crawl.pages.texts import language_of
from align_data.sources.crawl.pages.urls import Base
from align_data.sources.crawl.rows import PageFacts
from align_data.sources.crawl.warc.http import not_a_response, says_html
from align_data.sources.crawl.warc.records import ArchiveRecord
from align_data.sources.crawl.warc.warcinfo import crawl_name, crawl_of

_RESPONSE, _KIND = b'"HTTP-Response-Metadata"', b'"WARC-Type":"'
"""No text has these bytes: quotation marks in it are escaped."""
_IMAGE = "IMG@/src"
_LICENSING = frozenset({"A@/href", "AREA@/href", "LINK@/href"})
_LANGUAGE = "HTML@/lang"
_LENGTH = len("content-type")
"""Of the names of both headers that are read: it leaves few to be made lower-case."""
assert len("x-robots-tag") == _LENGTH


class _Link(Struct, gc=False):
    """An element that leads somewhere; `path` says which attribute of which."""

    path: str = ""
    url: str | None = None
    alt: str | None = None
    title: str | None = None
    rel: str | None = None


class _Meta(Struct, gc=False):
    name: str | None = None
    content: str | None = None


class _Head(Struct, gc=False):
    base: str | None = field(name="Base", default=None)
    metas: list[_Meta] | None = field(name="Metas", default=None)
    links: list[_Link] | None = field(name="Link", default=None)


class _Html(Struct, gc=False):
    head: _Head | None = field(name="Head", default=None)
    links: list[_Link] | None = field(name="Links", default=None)


class _StatusLine(Struct, gc=False):
    status: str | int | None = field(name="Status", default=None)


class _HttpResponse(Struct, gc=False):
    begins: _StatusLine | None = field(name="Response-Message", default=None)
    headers: dict[str, str | list[str] | None] | None = field(name="Headers", default=None)
    html: _Html | None = field(name="HTML-Metadata", default=None)


class _WarcInfo(Struct, gc=False):
    crawl: str | None = field(name="isPartOf", default=None)


class _Payload(Struct, gc=False):
    response: _HttpResponse | None = field(name="HTTP-Response-Metadata", default=None)
    info: _WarcInfo | None = field(name="WARC-Info-Metadata", default=None)


class _WarcHeader(Struct, gc=False):
    kind: str = field(name="WARC-Type")
    url: str | None = field(name="WARC-Target-URI", default=None)
    content_type: str | None = field(name="Content-Type", default=None)
    identified: str | None = field(name="WARC-Identified-Payload-Type", default=None)


class _Envelope(Struct, gc=False):
    header: _WarcHeader = field(name="WARC-Header-Metadata")
    payload: _Payload | None = field(name="Payload-Metadata", default=None)


class _Container(Struct, gc=False):
    filename: str | None = field(name="Filename", default=None)
    offset: str | int | None = field(name="Offset", default=None)


class _WatRecord(Struct, gc=False):
    envelope: _Envelope = field(name="Envelope")
    container: _Container | None = field(name="Container", default=None)


class WatReader:
    """Reads the records of a WAT. `crawl_file` is what rows call a WARC that the WAT does not name.

    Call it with a record: it returns what the page's rows say, and its images; the reason, if it is no page.
    """

    def __init__(self, crawl_file: str, texts: Sequence[str]) -> None:
        self._file, self._texts = crawl_file, texts
        self._decode = Decoder(_WatRecord).decode
        self.crawl: str | None = None

    def __call__(self, record: ArchiveRecord) -> tuple[PageFacts, PageImages] | str:
        """Return the page of a record, or the reason why it is none."""
        if record.kind == "warcinfo":
            self.crawl = crawl_of(record.content) or self.crawl
        if record.kind != "metadata":
            return not_a_response(record.kind, "") or "other_kind"
        content = record.content
        if _RESPONSE not in content and (kind := _plain_kind(content)):
            return kind
        try:
            wat = self._decode(content)
        except (MsgspecError, UnicodeDecodeError, RecursionError):
            return "json"
        header, payload = wat.envelope.header, wat.envelope.payload or _Payload()
        if payload.info is not None:
            self.crawl = crawl_name(payload.info.crawl or "") or self.crawl
        reason = not_a_response(header.kind, header.content_type or "") or _refusal(payload.response)
        if reason:
            return reason
        assert payload.response is not None
        return self._read(wat, payload.response, licensed=b"license" in content)

    def _read(self, wat: _WatRecord, response: _HttpResponse, *, licensed: bool) -> tuple[PageFacts, PageImages] | str:
        """Return the page of a response of status 200, if it is HTML; `licensed` is whether to look for a license."""
        header, html, place = wat.envelope.header, response.html, _place(wat.container)
        headers = _headers(response.headers)
        is_html = says_html(headers.get("content-type", ()), header.identified)
        if not (html is not None if is_html is None else is_html):
            return "not_html"
        if place is None:
            return "json"
        head, links = (html.head or _Head(), html.links or ()) if html else (_Head(), ())
        page_url = (header.url or "").strip("<>")
        base = Base(page_url, head.base)
        images = PageImages(base, self._texts)
        images.add_all([link for link in links if link.path == _IMAGE])
        metas = [(meta.name, meta.content) for meta in head.metas or () if meta.name]
        facts = PageFacts(
            page_url=page_url,
            declared_language=language_of(next((content for name, content in metas if name == _LANGUAGE), None)),
            charset=None,
            status=200,
            license=_license(base, (*(head.links or ()), *links)) if licensed else None,
            robots=robots_text(headers.get("x-robots-tag", ()), metas),
            crawl=self.crawl,
            crawl_file=place[0].rpartition("/")[2] or self._file,
            crawl_offset=place[1],
        )
        return facts, images


def _plain_kind(content: bytes) -> str:
    """Return the WARC-Type of a record that is no response, two thirds of all; "" where its JSON has to be read."""
    at = content.find(_KIND) + len(_KIND)
    kind = content[at : content.find(b'"', at)]
    return kind.decode() if kind in (b"request", b"metadata") and content.endswith(b"}") else ""


def _refusal(response: _HttpResponse | None) -> str:
    """Return the reason why a response is no page for its first line; "" if it may be one."""
    if response is None or response.begins is None or response.begins.status is None:
        return "http_header"
    return "" if str(response.begins.status) == "200" else "not_200"


def _headers(written: Mapping[str, str | list[str] | None] | None) -> dict[str, list[str]]:
    """Return the values of Content-Type and X-Robots-Tag, by their names in lower case."""
    headers: dict[str, list[str]] = {}
    for name, value in (written or {}).items():
        if len(name) == _LENGTH and value is not None:
            headers.setdefault(name.lower(), []).extend([value] if isinstance(value, str) else value)
    return headers


def _place(container: _Container | None) -> tuple[str, int] | None:
    """Return the WARC, and the byte of it, that a record describes; None if it does not say."""
    if container is None or container.offset is None:
        return None
    digits = str(container.offset)
    place = container.filename or "", int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else -1
    return place if place[1] >= 0 else None


def _license(base: Base, links: Iterable[_Link]) -> str | None:
    """Return where the first link with rel=license leads."""
    for link in links:
        rel = link.rel
        if rel and "license" in rel.lower().split() and link.path in _LICENSING:
            url, _ = base.resolve(link.url)
            if url:
                return url
    return None
