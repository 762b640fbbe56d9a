"""The page in a response's record: its status, its headers, and its body as the server meant it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from align_data.sources.crawl.warc.content_encodings import decoded
from align_data.sources.crawl.warc.records import ArchiveRecord

HTML = frozenset({"text/html", "application/xhtml+xml"})
NOT_PAGES = frozenset({"request", "metadata", "warcinfo", "revisit", "resource", "conversion", "continuation"})
"""Kinds of records that are no pages, and the reasons for which they are skipped."""
_STATUS = re.compile(rb"[\r\n]*HTTP/\d(?:\.\d{1,3})?[ \t]+(\d{3})(?![0-9])")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_LONGEST_HEADER = 256 * 2**10
"""Bytes of an HTTP header that are read."""
_SNIFFED = re.compile(
    rb"(?:\xef\xbb\xbf)?[\t\n\f\r ]*<(?:!doctype[\t\n\f\r ]+html|html|head|script|iframe|h1|div|font|table|a|style"
    rb"|title|b|body|br|p|!--)[\t\n\f\r >/-]",
    re.IGNORECASE,
)
"""How HTML begins that has no type, by the standard on MIME sniffing."""
_CHUNK = re.compile(rb"[\r\n]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]{0,1000})?\r?\n")

Headers = Mapping[str, Sequence[str]]
"""HTTP headers by their names in lower case; a repeated one has several values, in their order."""


class WebPage(NamedTuple):
    """An HTML page that was answered with status 200."""

    url: str
    status: int
    headers: Headers
    body: bytes
    """Without chunks and content encodings; still in its charset."""


class _Response(NamedTuple):
    """A response of status 200 that may be HTML."""

    headers: Headers
    body: bytes
    is_html: bool | None


def page_of(record: ArchiveRecord) -> WebPage | str:
    """Return the page of a record, or the reason why it is none: one of reasons.DAMAGED or reasons.SKIPPED."""
    fields = record.headers if record.kind == "response" else {}
    reason = not_a_response(record.kind, fields.get("content-type", ""))
    response = reason or _response(record.content, fields.get("warc-identified-payload-type"))
    if isinstance(response, str):
        return response
    body = decoded(unchunked(response.body, response.headers), response.headers)
    if isinstance(body, str):
        return body
    if response.is_html is None and not _SNIFFED.match(body[:2048]):
        return "not_html"
    return WebPage(record.url, 200, response.headers, body)


def not_a_response(kind: str, content_type: str) -> str:
    """Return the reason why a record of this WARC-Type and Content-Type is not a response over HTTP; "" for one."""
    if kind != "response":
        return kind if kind in NOT_PAGES else "other_kind"
    # An answer of DNS is a response too.
    return "" if not content_type or content_type.lower().startswith("application/http") else "not_html"


def _response(content: bytes, identified: str | None) -> _Response | str:
    begins = _STATUS.match(content)
    if begins is None:
        return "http_header"
    if begins[1] != b"200":
        return "not_200"
    blank = _BLANK_LINE.search(content, begins.end())
    end, body = blank.span() if blank else (len(content), len(content))
    headers = http_headers(content[begins.end() : min(end, begins.end() + _LONGEST_HEADER)])
    is_html = says_html(headers.get("content-type", ()), identified)
    return "not_html" if is_html is False else _Response(headers, content[body:], is_html)


def http_headers(block: bytes) -> dict[str, list[str]]:
    """Return the headers of lines behind the first; a line that begins with a space goes on with the one before."""
    headers: dict[str, list[str]] = {}
    values: list[str] = []
    for line in block.decode("latin-1").split("\n")[1:]:
        if line[:1] in (" ", "\t") and values:
            values[-1] = f"{values[-1]} {line.strip()}".strip()
            continue
        name, colon, value = line.partition(":")
        if colon:
            values = headers.setdefault(name.strip().lower(), [])
            values.append(value.strip())
    return headers


def says_html(content_types: Sequence[str], identified: str | None) -> bool | None:
    """Tell whether a response is HTML by what its server says, else by what its crawler identified; None if neither."""
    for value in (*content_types[:1], identified):
        kind = value.partition(";")[0].partition(",")[0].strip().lower() if value else ""
        if "/" in kind:
            return kind in HTML
    return None


def unchunked(body: bytes, headers: Headers) -> bytes:
    """Return a body without its chunks, if it has any: crawlers often take them out and leave the header.

    What was cut off in a chunk is a body as far as it goes; behind the last chunk that is one, all is.
    """
    if "chunked" not in ",".join(headers.get("transfer-encoding", ())).lower():
        return body
    content = bytearray()
    at = 0
    while chunk := _CHUNK.match(body, at):
        size, begin = int(chunk[1], 16), chunk.end()
        end = begin + size
        if size == 0:
            return bytes(content)
        if end < len(body) and body[end : end + 1] not in (b"\r", b"\n"):
            break
        content += body[begin:end]
        at = end
    return bytes(content + body[at:].lstrip(b"\r\n")) if at else body
