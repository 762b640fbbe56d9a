"""Responses in archives: what their servers meant, by what their bytes are."""

from __future__ import annotations

import gzip
import resource
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_data.sources.crawl.reasons import DAMAGED, SKIPPED
from align_data.sources.crawl.warc.content_encodings import LARGEST_PAGE
from align_data.sources.crawl.warc.http import WebPage, http_headers, page_of
from align_data.sources.crawl.warc.records import ArchiveRecord, RecordPlace

STATM = Path("/proc/self/statm")
HTML = b"<!DOCTYPE html><html><img src=a.jpg alt=x>" + b"<p>text " * 200
TYPE = "Content-Type: text/html; charset=utf-8"


def response(
    *headers: str,
    body: bytes = HTML,
    first: str = "HTTP/1.1 200 OK",
    warc: dict[str, str] | None = None,
    kind: str = "response",
    ends: str = "\r\n",
) -> WebPage | str:
    content = ends.join([first, *headers, "", ""]).encode("latin-1") + body
    fields = {
        "content-type": "application/http; msgtype=response",
        "warc-target-uri": "<http://a.example/>",
        **(warc or {}),
    }
    head = "\r\n".join(["WARC/1.0", *(f"{name}: {value}" for name, value in fields.items())]).encode()
    return page_of(ArchiveRecord(RecordPlace(0, 0), kind, head, content))


def body_of(page: WebPage | str) -> bytes:
    assert isinstance(page, WebPage), page
    return page.body


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def by_arrow(codec: str) -> Callable[[bytes], bytes]:
    return lambda content: bytes(pa.compress(content, codec, asbytes=True))


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "gzip of two members": ("gzip", lambda content: gzip.compress(content[:50]) + gzip.compress(content[50:])),
    "deflate": ("deflate", zlib.compress),
    "deflate without its header": ("deflate", raw_deflate),
    "br": ("br", by_arrow("brotli")),
    "zstd": ("zstd", by_arrow("zstd")),
    "br said gzip": ("br", gzip.compress),
    "gzip, br": ("gzip, br", lambda content: by_arrow("brotli")(gzip.compress(content))),
}


def test_a_page_has_its_url_status_headers_and_body() -> None:
    page = response(TYPE, "X-Robots-Tag: noai", "x-robots-tag: other: noindex,\r\n nofollow", "no header", ": nameless")
    assert isinstance(page, WebPage)
    assert (page.url, page.status, page.body) == ("http://a.example/", 200, HTML)
    assert page.headers["x-robots-tag"] == ["noai", "other: noindex, nofollow"]
    assert body_of(response(TYPE, ends="\n")) == HTML
    assert body_of(response(TYPE, first="HTTP/2 200")) == HTML
    assert body_of(response(TYPE, body=b"")) == b""


@pytest.mark.parametrize("name", ENCODERS)
def test_encodings_are_undone(name: str) -> None:
    said, encode = ENCODERS[name]
    assert body_of(response(TYPE, f"Content-Encoding: {said}", body=encode(HTML))) == HTML


@pytest.mark.parametrize("said", ["gzip", "deflate", "br", "zstd", "identity", "utf-8", "gzip, br"])
def test_a_header_that_no_longer_tells_is_no_damage(said: str) -> None:
    assert body_of(response(TYPE, f"Content-Encoding: {said}")) == HTML
    assert body_of(response(TYPE, f"Content-Encoding: {said}", body=b"ok, \xe4 text")) == b"ok, \xe4 text"
    assert (
        body_of(response(TYPE, f"X-Crawler-Content-Encoding: {said}", "X-Crawler-Transfer-Encoding: chunked")) == HTML
    )
    assert body_of(response(TYPE, f"Content-Encoding: {said}", body="<p>".encode("utf-16"))) == "<p>".encode("utf-16")


@pytest.mark.parametrize("name", ENCODERS)
def test_a_cut_off_body_is_a_body_as_far_as_it_goes(name: str) -> None:
    said, encode = ENCODERS[name]
    content = HTML + Random(1).randbytes(200_000).hex().encode()
    encoded = encode(content)
    body = body_of(response(TYPE, f"Content-Encoding: {said}", body=encoded[: len(encoded) // 2]))
    assert content.startswith(body)
    assert len(body) > len(content) // 4


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_a_bomb_is_a_page_too_large(name: str) -> None:
    said, encode = ENCODERS[name]
    bomb = encode(b"<p>" + bytes(LARGEST_PAGE * 4))
    assert response(TYPE, f"Content-Encoding: {said}", body=bomb) == "page_too_large"
    assert response(TYPE, f"Content-Encoding: {said}, {said}", body=encode(bomb)) == "page_too_large"
    assert body_of(response(TYPE, f"Content-Encoding: {said}", body=encode(bytes(LARGEST_PAGE)))) == bytes(LARGEST_PAGE)
    assert response(TYPE, body=bytes(LARGEST_PAGE + 1)) == "page_too_large"


@pytest.mark.parametrize("said", ["br", "deflate", "gzip", "zstd"])
def test_bytes_of_no_encoding_that_are_not_text_are_damage(said: str) -> None:
    assert (
        response(TYPE, f"Content-Encoding: {said}", body=b"\x1f\x8b\x08\0\0\0\0\0\0\0" + b"\xff\1\2" * 99) == "encoding"
    )


def chunks(content: bytes, size: int, extension: bytes = b"") -> bytes:
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    return b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces) + b"0\r\nTrailer: x\r\n\r\n"


@given(st.binary(min_size=1, max_size=3000), st.integers(1, 999), st.sampled_from([b"", b" ", b";a=b"]))
def test_chunks_are_put_together(content: bytes, size: int, extension: bytes) -> None:
    body = b"<p>" + content
    assert body_of(response(TYPE, "Transfer-Encoding: Chunked", body=chunks(body, size, extension))) == body
    encoded = chunks(gzip.compress(body), size)
    assert body_of(response(TYPE, "Transfer-Encoding: chunked", "Content-Encoding: gzip", body=encoded)) == body


def test_what_says_chunked_and_is_not_is_left_alone() -> None:
    for body in (HTML, b"ffffffffff\r\n<p>", b"10\r\n<p>is no chunk but text", b"0x\r\n"):
        assert body_of(response(TYPE, "Transfer-Encoding: chunked", body=body)) == body
    assert body_of(response(TYPE, "Transfer-Encoding: chunked", body=chunks(HTML, 99)[:-50])) == HTML[:-31]


@pytest.mark.parametrize(
    ("headers", "identified", "body", "expected"),
    [
        (["content-type:TEXT/HTML"], None, HTML, True),
        (["Content-Type: application/xhtml+xml"], None, HTML, True),
        (["Content-Type: text/html", "Content-Type: text/plain"], None, HTML, True),
        (["Content-Type: text/plain"], "text/html", HTML, False),
        (["Content-Type: text/html"], "image/png", HTML, True),
        (["Content-Type: application/json"], None, HTML, False),
        ([], "text/html", b"", True),
        ([], "application/pdf", HTML, False),
        ([], None, HTML, True),
        ([], None, b"\xef\xbb\xbf\n <!-- x --><p>", True),
        ([], None, gzip.compress(HTML, mtime=0), True),
        ([], None, b"%PDF-1.4", False),
        (["Content-Type:"], None, HTML, True),
        (["Content-Type: html"], None, b"{}", False),
    ],
)
def test_html_is_what_the_server_says_else_the_crawler_else_the_bytes(
    headers: list[str], identified: str | None, body: bytes, expected: bool
) -> None:
    page = response(*headers, body=body, warc={"warc-identified-payload-type": identified} if identified else {})
    assert (isinstance(page, WebPage)) == expected
    assert expected or page == "not_html"


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ("HTTP/1.1 404 Not Found", "not_200"),
        ("HTTP/1.1 2000 OK", "http_header"),
        ("garbage", "http_header"),
        ("", "http_header"),
        ("HTTP/1.1 206 Partial Content", "not_200"),
        ("ICY 200 OK", "http_header"),
    ],
)
def test_other_answers_have_a_reason(first: str, reason: str) -> None:
    assert response(TYPE, first=first) == reason


@pytest.mark.parametrize(
    "kind", ["request", "metadata", "warcinfo", "revisit", "resource", "conversion", "continuation", "x"]
)
def test_other_records_have_a_reason(kind: str) -> None:
    assert response(TYPE, kind=kind) == (kind if kind != "x" else "other_kind")
    assert response(TYPE, kind=kind) in SKIPPED


def test_an_answer_of_dns_is_no_page() -> None:
    assert response(TYPE, warc={"content-type": "text/dns"}) == "not_html"


@given(
    st.binary(max_size=400),
    st.lists(
        st.sampled_from(
            [
                "Content-Encoding: br",
                "Content-Encoding: zstd",
                "Transfer-Encoding: chunked",
                "Content-Encoding: deflate",
                TYPE,
            ]
        )
    ),
)
def test_any_bytes_are_a_page_or_have_a_reason(content: bytes, headers: list[str]) -> None:
    for body in (content, b"\x28\xb5\x2f\xfd" + content, b"\x1f\x8b\x08" + content, b"3\r\nabc\r\n" + content):
        page = response(*headers, body=body)
        assert isinstance(page, WebPage) or page in DAMAGED.keys() | SKIPPED.keys()
    record = ArchiveRecord(RecordPlace(0, 0), "response", b"", content)
    assert isinstance(page_of(record), (WebPage, str))
    assert all(isinstance(value, list) for value in http_headers(content).values())


def test_a_header_without_end_costs_no_memory() -> None:
    page = response(TYPE, *["a: b"] * 1_000_000)
    assert isinstance(page, WebPage)
    assert len(page.headers["a"]) < 100_000


@pytest.mark.skipif(not STATM.exists(), reason="only Linux tells what memory a process has now")
def test_bodies_that_cannot_be_decoded_leave_no_memory_behind() -> None:
    chance = Random(1)
    bodies = [by_arrow("brotli")(chance.randbytes(300))[3:] for _ in range(400)]

    def pages_held() -> int:
        for body in bodies:
            response(TYPE, "Content-Encoding: br", body=body)
        return int(STATM.read_text().split()[1])

    before = pages_held()
    assert (pages_held() - before) * resource.getpagesize() < 50_000_000
