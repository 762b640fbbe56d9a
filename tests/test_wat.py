"""WATs are read as a straightforward reader of their JSON reads them, and as the WARC of the same pages where they can."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_archives import COMMON_CRAWL, STYLES, Style, make_archives

from align_data.sources.crawl.account import CrawlAccount
from align_data.sources.crawl.pages.html import read_page
from align_data.sources.crawl.pages.images import MAX_IMAGES, PageImages
from align_data.sources.crawl.pages.urls import Base
from align_data.sources.crawl.pages.wat import WatReader
from align_data.sources.crawl.reasons import DAMAGED, SKIPPED
from align_data.sources.crawl.rows import ImageRow, PageFacts, RowBuilder
from align_data.sources.crawl.warc.http import WebPage, page_of
from align_data.sources.crawl.warc.reader import ArchiveReader
from align_data.sources.crawl.warc.records import ArchiveRecord, Damage, RecordPlace

Row = dict[str, Any]


def records(path: Path) -> list[ArchiveRecord]:
    reader = ArchiveReader(path.name)
    events = [*reader.feed(path.read_bytes()), *reader.end()]
    return [event for event in events if not isinstance(event, Damage)]


def read(records: Sequence[ArchiveRecord], texts: Sequence[str] = ("alt",)) -> tuple[list[Row], CrawlAccount]:
    reader, account, rows = WatReader("a.warc.gz", texts), CrawlAccount(), RowBuilder()
    for record in records:
        page = reader(record)
        account.count(page if isinstance(page, str) else None)
        if not isinstance(page, str):
            page[1].count_into(account)
            rows.add(page[0], page[1].rows)
    return rows.take().to_pylist(), account


def wat(about: Any) -> ArchiveRecord:
    content = about if isinstance(about, bytes) else json.dumps(about, ensure_ascii=False).encode()
    return ArchiveRecord(RecordPlace(0, 0), "metadata", b"WARC/1.0\r\nWARC-Type: metadata", content)


def response(html: Any, *, headers: Any = None, status: Any = "200", **header: Any) -> Row:
    """Return what a WAT says of a page."""
    message = {
        "Response-Message": {"Status": status},
        "Headers": headers or {"Content-Type": "text/html"},
        "HTML-Metadata": html,
    }
    fields = {"WARC-Type": "response", "WARC-Target-URI": "http://a.example/x/y.html", **header}
    return {
        "Container": {"Filename": "CC-1.warc.gz", "Offset": "1234"},
        "Envelope": {"WARC-Header-Metadata": fields, "Payload-Metadata": {"HTTP-Response-Metadata": message}},
    }


def image(**attributes: Any) -> Row:
    return {"path": "IMG@/src", **attributes}


PLAIN = {"Links": [image(url="/a.jpg", alt="a dog")]}


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_planted_images_are_read(tmp_path: Path, style: Style) -> None:
    made = make_archives(tmp_path, 40, style=style)
    rows, account = read(records(made.wat))
    for expected in made.of_wat.rows:
        assert {name: value for name, value in rows.pop(0).items() if name in expected and name != "robots"} == {
            name: value for name, value in expected.items() if name != "robots"
        }
    assert not rows
    assert account.balanced()
    assert (account.records, account.pages, account.images) == (made.records + 1, made.of_wat.pages, made.of_wat.images)
    assert account.refused == made.of_wat.refused
    assert account.repeated == made.of_wat.repeated


@pytest.mark.parametrize("seed", range(3))
def test_a_wat_and_its_warc_have_the_same_pages_and_skip_the_same_records(tmp_path: Path, seed: int) -> None:
    made = make_archives(tmp_path, 40, style=COMMON_CRAWL, seed=seed)
    _, account = read(records(made.wat))
    pages, reasons = [], Counter[str]()
    for record in records(made.warc):
        page = page_of(record)
        if isinstance(page, WebPage):
            pages.append(read_page(page, ("alt",)))
        else:
            reasons[page] += 1
    assert account.pages == len(pages) > 0
    assert account.skipped == reasons + Counter(warcinfo=1)
    facts = iter(pages)
    reader = WatReader("a.warc.gz", ("alt",))
    for record in records(made.wat):
        page = reader(record)
        if not isinstance(page, str):
            html = next(facts)
            assert (page[0].declared_language, page[0].license, page[0].robots) == (
                html.declared_language,
                html.license,
                html.robots,
            )


# --- an oracle: json, loops and urljoin ---

WORDS = st.text(st.sampled_from("ab \t\n\u00a0\u2003é😀\x00"), max_size=8)
PATHS = st.text(st.sampled_from("abc/.-_0"), min_size=1, max_size=12)
URLS = st.one_of(
    st.sampled_from(
        [
            "http://b.example/1.jpg",
            "https://b.example/q?x=1&y=2",
            "//c.example/z.png",
            "data:image/gif;base64,",
            "javascript:x()",
            "",
            " ",
            "blob:http://a/1",
        ]
    ),
    PATHS.filter(lambda path: "//" not in path),
)
LINK = st.one_of(
    st.fixed_dictionaries({"path": st.just("IMG@/src")}, optional={"url": URLS, "alt": WORDS, "title": WORDS}),
    st.fixed_dictionaries(
        {"path": st.sampled_from(["A@/href", "IMG@/longdesc", "img@/src", ""]), "url": URLS},
        optional={"text": WORDS, "alt": WORDS},
    ),
    st.just({"url": "/no-path.jpg", "alt": "x"}),
)
HTML = st.fixed_dictionaries(
    {},
    optional={
        "Head": st.fixed_dictionaries(
            {}, optional={"Base": st.sampled_from(["http://d.example/e/", "/f/", "g", "ftp://h/"]), "Title": WORDS}
        ),
        "Links": st.lists(LINK, max_size=12),
    },
)
ABOUT = st.builds(
    lambda html, status, kind, types: response(html, status=status, headers=types) | {"kind": kind},
    HTML,
    st.sampled_from(["200", "404", 200]),
    st.sampled_from(["response", "request", "metadata", "revisit"]),
    st.sampled_from(
        [
            {"Content-Type": "text/html"},
            {"content-TYPE": ["text/html; charset=x", "text/plain"]},
            {"Content-Type": "image/png"},
            {"Server": "x"},
        ]
    ),
)


def oracle(about: Row) -> tuple[str, list[Row]]:
    """Return what a record is, or what becomes of each of its images."""
    header = about["Envelope"]["WARC-Header-Metadata"]
    if header["WARC-Type"] != "response":
        return header["WARC-Type"], []
    message = about["Envelope"]["Payload-Metadata"]["HTTP-Response-Metadata"]
    if str(message["Response-Message"]["Status"]) != "200":
        return "not_200", []
    kinds = [value for name, value in message["Headers"].items() if name.lower() == "content-type"]
    kind = kinds[0][0] if kinds and isinstance(kinds[0], list) else kinds[0] if kinds else "text/html"
    if not kind.startswith("text/html"):
        return "not_html", []
    html, base = message["HTML-Metadata"], header["WARC-Target-URI"]
    declared = urljoin(base, html.get("Head", {}).get("Base", ""))
    base = declared if declared.startswith("http") else base
    links = html.get("Links", [])
    return "page", [fate(link, base) for link in links if link.get("path") == "IMG@/src"]


def fate(link: Row, base: str) -> Row:
    if "alt" not in link:
        return {"refused": "alt_missing"}
    alt = " ".join(link["alt"].replace("\x00", "").split())
    if not alt:
        return {"refused": "alt_empty"}
    url = link.get("url", "").strip()
    if not url:
        return {"refused": "url_missing"}
    for scheme in ("data", "javascript", "blob"):
        if url.startswith(scheme + ":"):
            return {"refused": f"{scheme}_url"}
    title = " ".join(link.get("title", "").replace("\x00", "").split())
    return {"url": urljoin(base, url), "alt_text": alt, "title": title or None}


@settings(deadline=None, max_examples=150)
@given(st.lists(ABOUT, min_size=1, max_size=4))
def test_records_are_read_as_json_says(abouts: list[Row]) -> None:
    account, rows, seen = CrawlAccount(), [], set()
    for number, about in enumerate(abouts):
        about["Envelope"]["WARC-Header-Metadata"]["WARC-Type"] = about.pop("kind")
        what, fates = oracle(about)
        account.records += 1
        account.pages += what == "page"
        account.skipped.update([what] if what != "page" else [])
        for position, each in enumerate(fates):
            account.images += 1
            if "refused" in each:
                account.refused[each["refused"]] += 1
            elif (key := (number, each["url"], each["alt_text"])) in seen:
                account.repeated += 1
            else:
                seen.add(key)
                account.rows += 1
                rows.append({**each, "position": position})
    read_rows, read_account = read([wat(about) for about in abouts])
    assert [{name: row[name] for name in ("url", "alt_text", "title", "position")} for row in read_rows] == rows
    assert read_account == account


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Links", "Head", "url", "alt", "path", "Status", "Headers"]) | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, inner in items for deeper in places(inner, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    items = dict(value) if isinstance(value, dict) else list(value)
    items[path[0]] = replaced(items[path[0]], path[1:], new)
    return items


FULL = response(
    {
        "Head": {
            "Base": "/b/",
            "Title": "t",
            "Metas": [{"name": "HTML@/lang", "content": "en"}, {"name": "robots", "content": "noai"}],
            "Link": [{"path": "LINK@/href", "url": "/l", "rel": "license"}],
        },
        "Links": [
            image(url="/a.jpg", alt="x", title="y"),
            {"path": "A@/href", "url": "/b", "text": "z", "rel": "nofollow"},
        ],
    },
    headers={"Content-Type": "text/html", "X-Robots-Tag": ["noindex", "noai"]},
)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(places(FULL)), JSON)
def test_wrong_types_anywhere_cost_no_more_than_their_record(path: tuple[Any, ...], value: Any) -> None:
    rows, account = read([wat(FULL), wat(replaced(FULL, path, value)), wat(FULL)])
    assert account.balanced()
    assert account.records == 3
    assert set(account.damaged) <= DAMAGED.keys()
    assert set(account.skipped) <= SKIPPED.keys()
    assert [row for row in rows if row["crawl_offset"] == 1234][:1] == rows[:1]
    assert len(rows) >= 2
    assert rows[0] == rows[-1]


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_bytes_are_a_record(data: st.DataObject) -> None:
    content = bytearray(json.dumps(FULL).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 9))] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"\\ud800", b'"', b"[" * 99])
        )
    _, account = read([wat(bytes(content))])
    assert account.balanced()
    assert account.records == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"null",
        b"[" * 100_000,
        b'{"Envelope":' * 100_000,
        b'{"Envelope": {"WARC-Header-Metadata": {"WARC-Type": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}}",
        json.dumps(response(PLAIN)).encode().replace(b"a dog", b"\xff\xfe"),
        json.dumps(response(PLAIN)).encode().replace(b"a dog", b"\\ud800"),
        json.dumps(response(PLAIN)).encode().replace(b"a dog", b"\\udc00 x"),
        json.dumps(response(PLAIN)).encode().replace(b"a dog", b"a\ndog"),
        json.dumps(response(PLAIN)).encode().replace(b'"1234"', b"9" * 10_000),
        json.dumps(response(PLAIN)).encode().replace(b'"1234"', b"-1"),
        json.dumps(response(PLAIN)).encode().replace(b'"1234"', b"1.5"),
        json.dumps(response(PLAIN)).encode().replace(b'"1234"', b'"x"'),
        json.dumps(response(PLAIN)).encode().replace(b'"1234"', b"null"),
        json.dumps(response(PLAIN)).encode()[:-1],
        json.dumps(response(PLAIN)).encode() + b"}",
        json.dumps(response({"Links": [image(url=["a"], alt="x")]})).encode(),
        json.dumps(response({"Links": {"path": "IMG@/src"}})).encode(),
    ],
)
def test_what_is_not_the_json_of_a_wat_is_damaged(content: bytes) -> None:
    rows, account = read([wat(FULL), wat(content), wat(FULL)])
    assert account.damaged == {"json": 1}
    assert account.pages == len(rows) == 2


def test_a_key_that_is_repeated_counts_as_it_stands_last() -> None:
    content = json.dumps(response(PLAIN)).encode().replace(b'"alt": "a dog"', b'"alt": "a cat", "alt": "a dog"')
    assert read([wat(content)])[0][0]["alt_text"] == "a dog"


def test_nulls_are_as_what_is_absent() -> None:
    rows, account = read(
        [
            wat(
                response(
                    {
                        "Head": None,
                        "Links": [
                            image(url="/a", alt=None, title=None),
                            image(url="/b", alt="b", title=None),
                            image(url=None, alt="c"),
                        ],
                    }
                )
            )
        ]
    )
    assert account.refused == {"alt_missing": 1, "url_missing": 1}
    assert [(row["url"], row["title"]) for row in rows] == [("http://a.example/b", None)]


@pytest.mark.parametrize(
    ("about", "fate"),
    [
        (response(PLAIN), "page"),
        (response({}), "page"),
        (response(None), "page"),
        (response(None, headers={"Server": "x"}), "not_html"),
        (response({}, headers={"Server": "x"}), "page"),
        (response({}, headers={"Server": "x"}, **{"WARC-Identified-Payload-Type": "application/pdf"}), "not_html"),
        (response(None, headers={"Server": "x"}, **{"WARC-Identified-Payload-Type": "text/html"}), "page"),
        (response(PLAIN, status=None), "http_header"),
        (response(PLAIN, status="304"), "not_200"),
        (response(PLAIN, status=200), "page"),
        (response(PLAIN, **{"WARC-Type": "revisit"}), "revisit"),
        (response(PLAIN, **{"WARC-Type": "y"}), "other_kind"),
        (response(PLAIN, **{"Content-Type": "text/dns"}), "not_html"),
        ({"Envelope": {"WARC-Header-Metadata": {"WARC-Type": "response"}}}, "http_header"),
        ({"Envelope": {"WARC-Header-Metadata": {"WARC-Type": "request"}}}, "request"),
    ],
)
def test_pages_are_those_that_the_warc_has(about: Row, fate: str) -> None:
    for content in (json.dumps(about), json.dumps(about, separators=(",", ":"))):
        _, account = read([wat(content.encode())])
        assert account.skipped + account.damaged + Counter(page=account.pages) == Counter({fate: 1})


def test_a_page_says_its_language_license_robots_file_and_crawl() -> None:
    info = {
        "Envelope": {
            "WARC-Header-Metadata": {"WARC-Type": "warcinfo"},
            "Payload-Metadata": {"WARC-Info-Metadata": {"isPartOf": "CC-MAIN-2025-47"}},
        }
    }
    full = replaced(FULL, ("Container", "Filename"), "crawl-data/CC-MAIN-2025-47/CC-2.warc.gz")
    (row, other), _ = read([wat(info), wat(full), wat(replaced(full, ("Container", "Filename"), None))])
    assert {
        name: row[name]
        for name in (
            "url",
            "title",
            "declared_language",
            "license",
            "robots",
            "crawl",
            "crawl_file",
            "crawl_offset",
            "charset",
        )
    } == {
        "url": "http://a.example/a.jpg",
        "title": "y",
        "declared_language": "en",
        "license": "http://a.example/l",
        "robots": "noindex, noai",
        "crawl": "CC-MAIN-2025-47",
        "crawl_file": "CC-2.warc.gz",
        "crawl_offset": 1234,
        "charset": None,
    }
    assert other["crawl_file"] == "a.warc.gz"


@settings(deadline=None)
@given(st.lists(st.tuples(st.none() | URLS, st.none() | WORDS, st.none() | WORDS), max_size=20))
def test_images_are_judged_together_as_one_by_one(images: list[tuple[str | None, str | None, str | None]]) -> None:
    class Image:
        def __init__(self, url: str | None, alt: str | None, title: str | None) -> None:
            self.url, self.alt, self.title = url, alt, title

    for texts in (("alt",), ("title", "alt")):
        together, alone = (PageImages(Base("http://a.example/b/"), texts) for _ in range(2))
        together.add_all([Image(*one) for one in images])
        for one in images:
            alone.add(*one)
        assert together.rows == alone.rows
        assert all(isinstance(row, ImageRow) for row in together.rows)
        accounts = CrawlAccount(), CrawlAccount()
        together.count_into(accounts[0])
        alone.count_into(accounts[1])
        assert accounts[0] == accounts[1]


def test_of_very_many_images_a_page_makes_so_many_rows() -> None:
    links = [image(url=f"/{number}.jpg", alt="x") for number in range(MAX_IMAGES + 5)] + [image(url="/y")]
    rows, account = read([wat(response({"Links": links}))])
    assert len(rows) == MAX_IMAGES
    assert account.refused == {"images_over_limit": 5, "alt_missing": 1}


def test_a_builder_gathers_what_pages_share_and_what_they_do_not() -> None:
    rows = RowBuilder()
    assert rows.take().num_rows == 0
    facts = PageFacts("http://a.example/", None, None, 200, None, "", "c", "f", 1)
    images = [
        ImageRow(f"http://a.example/{n}", "x", "alt", None, "c" if n else None, n or None, None, "src", None, n)
        for n in range(3)
    ]
    rows.add(facts, images)
    rows.add(facts, [])
    rows.add(PageFacts("http://b.example/", "en", None, 200, None, "", "c", "f", 2), images[:1])
    table = rows.take().to_pylist()
    assert [row["page_url"] for row in table] == ["http://a.example/"] * 3 + ["http://b.example/"]
    assert [(row["url"], row["caption"], row["declared_width"], row["position"]) for row in table[:3]] == [
        (image.url, image.caption, image.declared_width, image.position) for image in images
    ]
    assert [row["declared_language"] for row in table] == [None, None, None, "en"]
    assert rows.take().num_rows == 0
