"""URLs of images: what a browser would ask for, and what is refused."""

import sys

import ada_url
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from align_data.data import pairs
from align_data.sources.crawl.pages.urls import MAX_URL, Base

PAGE = "https://www.site.example/blog/2023/index.html?p=1#top"
ABSOLUTE = [
    "http://a.b/c.jpg",
    "HTTP://A.B/C.jpg",
    "https://a.b/c d.jpg",
    "https://a.b/é/%zz?x=a'b|c#d",
    "https://user:pass@a.b:8080/x/../y",
    "http://a.b",
    "http://a.b?x={1}",
    "http://[2001:db8::1]/x",
    "http://192.0.2.1/x",
    "http://xn--bcher-kva.example/",
    "http://bücher.example/ü.jpg",
    r"https://a.b/c\d.jpg",
    "https://a.b/w_300,h_200,c_fill/x.jpg",
    "https://a.b/Chair 2x, black.jpg.php?x=1 y",
]
RESOLVED = [
    ("/x.jpg", "https://www.site.example/x.jpg"),
    ("x.jpg", "https://www.site.example/blog/2023/x.jpg"),
    ("../x.jpg", "https://www.site.example/blog/x.jpg"),
    ("a/./b/%2E%2e/x.jpg", "https://www.site.example/blog/2023/a/x.jpg"),
    ("//cdn.example/x.jpg", "https://cdn.example/x.jpg"),
    ("//CDN.example:443/x.jpg", "https://cdn.example/x.jpg"),
    ("//cdn.example", "https://cdn.example/"),
    ("?x", "https://www.site.example/blog/2023/index.html?x"),
    (r"\\cdn\p.jpg", "https://cdn/p.jpg"),
    (r"/a\b.jpg", "https://www.site.example/a/b.jpg"),
    ("http:///x/y.jpg", "http://x/y.jpg"),
    (r"http:\\x\y.jpg", "http://x/y.jpg"),
    (r"http://x\y.jpg", "http://x/y.jpg"),
    ("https:y.jpg", "https://www.site.example/blog/2023/y.jpg"),
    ("http://a@b@c.example/", "http://a%40b@c.example/"),
    ("http://a.b/\x01c", "http://a.b/%01c"),
    ("x y.jpg", "https://www.site.example/blog/2023/x%20y.jpg"),
    ("'.jpg", "https://www.site.example/blog/2023/'.jpg"),
    (" \t\n\r\f/x.jpg\f ", "https://www.site.example/x.jpg"),
    ("\u3000http://a.b/x.jpg\u00a0", "http://a.b/x.jpg"),
    ("ht\ntps://a.b/\tc\r\n.jpg", "https://a.b/c.jpg"),
    ("a,b.jpg", "https://www.site.example/blog/2023/a,b.jpg"),
    ("a{b}.jpg", "https://www.site.example/blog/2023/a%7Bb%7D.jpg"),
]
REFUSED = [
    (None, "url_missing"),
    ("", "url_missing"),
    (" \t\r\n", "url_missing"),
    ("data:image/gif;base64,R0lGODlhAQ", "data_url"),
    (" DATA:,{{", "data_url"),
    ("data:," + "x" * MAX_URL, "data_url"),
    ("javascript:void(0)", "javascript_url"),
    ("java\nscript:void(0)", "javascript_url"),
    ("blob:https://a.b/c", "blob_url"),
    ("cid:part1@mail", "cid_url"),
    ("about:blank", "about_url"),
    ("{{ item.src }}", "template_url"),
    ("https://a.b/{{x}}.jpg", "template_url"),
    ("ftp://a.b/c.jpg", "not_http"),
    ("file:///c:/x.jpg", "not_http"),
    (r"C:\x.jpg", "not_http"),
    ("http://", "url_invalid"),
    ("http://a b/c.jpg", "url_invalid"),
    ("http://a.b:99999/", "url_invalid"),
    ("http://[::1/", "url_invalid"),
    ("//", "url_invalid"),
    ("//1.2.3.4.5/", "url_invalid"),
    ("\ud800.jpg", "url_invalid"),
    ("http://a.b/\ud800.jpg", "url_invalid"),
    ("http://a.b/" + "x" * MAX_URL, "url_too_long"),
    ("x" * (MAX_URL - 10), "url_too_long"),
    ("é" * (MAX_URL // 2), "url_too_long"),
    ("/x.jpg 2x, /y.jpg 3x", "srcset_as_url"),
    ("https://a.b/x.jpg 300w,https://a.b/y.jpg 600w", "srcset_as_url"),
    ("/x.jpg\n1.5x", "srcset_as_url"),
]


@pytest.mark.parametrize("url", ABSOLUTE)
def test_an_absolute_url_stays_byte_for_byte(url):
    assert Base(PAGE).resolve(url) == (url, "")
    assert Base("dns:a.b").resolve(f" {url}\n") == (url, "")


@pytest.mark.parametrize(("value", "url"), RESOLVED)
def test_any_other_is_what_a_browser_asks_for(value, url):
    assert Base(PAGE).resolve(value) == (url, "")


@pytest.mark.parametrize(("value", "reason"), REFUSED)
def test_what_is_refused_has_a_reason(value, reason):
    assert Base(PAGE).resolve(value) == ("", reason)


def test_a_url_of_the_greatest_length_is_one():
    url = "http://a.b/".ljust(MAX_URL, "x")
    assert Base(PAGE).resolve(url) == (url, "")
    folder = "https://www.site.example/blog/2023/"
    name = "x" * (MAX_URL - len(folder))
    assert Base(PAGE).resolve(name) == (folder + name, "")


@pytest.mark.parametrize(
    ("href", "base"),
    [
        (None, "https://www.site.example/blog/2023/index.html?p=1#top"),
        ("/x/", "https://www.site.example/x/"),
        ("//c.example/a/b?c", "https://c.example/a/b?c"),
        ("  http://c.example/ \n", "http://c.example/"),
        ("ftp://c.example/", PAGE),
        ("data:,", PAGE),
        ("http://[", PAGE),
        ("", PAGE.removesuffix("#top")),
        ("x" * 10**6, PAGE),
    ],
)
def test_a_base_counts_if_it_is_of_the_web(href, base):
    assert Base(PAGE, href).href == base


def test_without_a_base_only_absolute_urls_resolve():
    for page in ("", "urn:x", "dns:www.example", "filedesc://x", "http://["):
        assert Base(page).resolve("/x.jpg") == ("", "url_invalid")
        assert Base(page).resolve("x.jpg") == ("", "url_invalid")
        assert Base(page, "http://a.b/c/").resolve("x.jpg") == ("http://a.b/c/x.jpg", "")


PIECES = st.sampled_from(
    [
        *"/\\?#:@.%-~!$&'()*+,;=[]{}|^`<>\" _aZ09é\u00ad\u200b。Kſ\u3000",
        *(
            "//",
            "/./",
            "/../",
            "..",
            ".",
            "%2e",
            "%2E%2e",
            "%41",
            "http:",
            "https:",
            "https://",
            "HTTP://",
            "ftp:",
            "a.b",
        ),
        *(
            "xn--",
            "xn--a",
            "XN--bcher-kva",
            "0x7f",
            "1",
            "1.2.3.4",
            "[::1]",
            ":80",
            ":443",
            ":8080",
            "www.a-b.example",
            "A.example",
        ),
        *(
            "\t",
            "\n",
            "\x00",
            "\x1f",
            "\x7f",
            "\x85",
            "index.html",
            "q=1&r=2",
            "localhost",
            "a..b",
            "a.1",
            "a.b1",
            "-a.b",
            "a-.b",
        ),
    ]
)
URLS = st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=20)
PAGES = st.sampled_from(
    [
        PAGE,
        "http://a.b",
        "http://u:p@a.b:81/x",
        "https://a.b/c/d;e=/?f/g#/h",
        "http://a.b//c//",
        "http://a.b/?/c",
        "http://[::1]/a b",
    ]
)


STRIPPED = "".join(char for char in map(chr, range(sys.maxunicode)) if char <= " " or char.isspace())


@given(PAGES, st.none() | URLS, URLS)
@example(PAGE, None, "//a.example/x")
@example(PAGE, None, "/a/b?c/../d")
def test_urls_resolve_as_the_standard_says(page, href, value):
    def join(base, url):
        try:
            return ada_url.join_url(base, url)
        except ValueError:
            return ""

    base = page if href is None else join(page, href)
    if not base.startswith("http"):
        base = page
    url, reason = Base(page, href).resolve(value)
    expected = join(base, value.strip(STRIPPED))
    assert bool(url) != bool(reason)
    if url:
        assert join(base, url) == expected  # an absolute one may be written otherwise, and means the same
        assert url in {expected, value.strip(STRIPPED).translate(dict.fromkeys(map(ord, "\t\n\r")))}
    elif reason == "url_invalid":
        assert expected == ""
    elif reason == "not_http":
        assert not expected.startswith("http")


@given(st.sampled_from(["http://", "https://", "http://a.b/", "https://a.b/c/"]), URLS)
@example("http://", "a.b/c/../d")
@example("https://", "a.b:443/")
@example("http://a.b/", "c?d#e")
def test_a_page_url_is_as_the_standard_writes_it(start, rest):
    try:
        written = ada_url.normalize_url(start + rest)
    except ValueError:
        written = ""
    assert Base(start + rest).href == written


@given(PAGES, URLS)
def test_ingest_takes_what_resolves_as_it_is(page, value):
    url, _ = Base(page).resolve(value)
    if url:
        rows = pl.DataFrame({"row": [1], "url": [url], "alt_text": ["x"]})
        clean, rejected = pairs.clean(rows)
        assert rejected.is_empty()
        assert clean["url"].to_list() == [url]
