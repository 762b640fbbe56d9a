"""Pages read by our parser and by html5lib: the same rows, the same facts, the same account; and no page that fails."""

from pathlib import Path

import pytest
from html_oracle import Oracle
from hypothesis import given
from hypothesis import strategies as st
from made_archives import MIX, pages
from warcio.archiveiterator import ArchiveIterator

from align_data.sources.crawl.account import CrawlAccount
from align_data.sources.crawl.pages.charset import decoded
from align_data.sources.crawl.pages.html import read_page
from align_data.sources.crawl.pages.texts import TEXTS
from align_data.sources.crawl.warc.http import WebPage

ARCHIVES = sorted(
    path for above in Path(__file__).resolve().parents[2:4] for path in above.glob("shared/data/warc/*.warc.gz")
)
URL = "http://h.example/p/q"


def check(body, texts, url=URL, content_type="text/html"):
    """Compare a page with the oracle; return how many rows it has."""
    page = read_page(WebPage(url, 200, {"content-type": [content_type]}, body), texts)
    oracle = Oracle(url, decoded(body, [content_type]).text, texts)
    assert [tuple(row) for row in page.images.rows] == oracle.rows
    assert (page.declared_language, page.license) == (oracle.language, oracle.license)
    account = CrawlAccount()
    page.images.count_into(account)
    assert account.balanced()
    assert account == CrawlAccount(
        images=len(oracle.images),
        further_texts=oracle.further,
        rows=len(oracle.rows),
        refused=oracle.refused,
        repeated=oracle.repeated,
    )
    return len(oracle.rows)


@pytest.mark.parametrize("texts", [("alt",), TEXTS])
def test_real_pages(texts):
    if not ARCHIVES:
        pytest.skip("needs shared/data/warc")
    rows = 0
    for path in ARCHIVES:
        with path.open("rb") as file:
            for record in ArchiveIterator(file):
                kind = (record.http_headers and record.http_headers.get_header("Content-Type")) or ""
                if record.rec_type == "response" and record.http_headers.get_statuscode() == "200" and "html" in kind:
                    url = record.rec_headers.get_header("WARC-Target-URI").strip("<>")
                    rows += check(record.content_stream().read(), texts, url, kind)
    assert rows > 100


@pytest.mark.parametrize("number", range(12))
def test_pages_of_planted_truth(number):
    for planted in pages(number, {**MIX, "other": 0}, 3):
        page, facts = planted.page, planted.facts
        headers = {name.lower(): [value] for name, value in page.headers}
        ours = read_page(WebPage(page.url, 200, {**headers, "content-type": [page.content_type]}, page.body), ("alt",))
        fates = [image.warc for image in planted.images if image.warc is not None]
        truth = {position: fate for position, fate in enumerate(fates) if not isinstance(fate, str)}
        for row in ours.images.rows:
            assert {**row._asdict(), "position": None} == {**truth[row.position], "position": None}
        assert {(fate["url"], fate["alt_text"]) for fate in truth.values()} == {row[:2] for row in ours.images.rows}
        assert (ours.declared_language, ours.license) == (facts["declared_language"], facts["license"])
        assert ours.robots == ", ".join(facts["robots"])
        assert ours.charset == planted.warc_only["charset"]


def words(text):
    return [word.replace("_", " ") for word in text.split()]


ATTRIBUTES = st.lists(
    st.sampled_from(
        words("""
        src=1.jpg src=2.jpg src=//c.example/3.jpg src='/a,b.jpg' src=data:, src='_' src src={{x}} src="/4.jpg?a&amp;b&copy=c"
        alt=a alt=a alt="b_&#10;_c" alt='' alt alt="&amp;amp;&notit;&nbsp;" ALT='&lt;d' title=t title=a title='_' width=10
        height=5% data-src=/5.jpg data-lazy=6.jpg srcset='c,d.jpg_1x,_e.jpg_2x' data-srcset='f.jpg_9w,_g.jpg_8w' rel=license
        rel='x_LICENSE' href=/x/ href=y href=javascript: lang=de lang=fr type=hidden encoding=text/html color=red name=robots
        content=noai / x"y '=z
        """)
    ),
    max_size=5,
).map(" ".join)
IMAGES = st.tuples(st.sampled_from(["img", "IMG", "image"]), st.sampled_from("abc"), st.sampled_from("123"), ATTRIBUTES).map(
    lambda image: "<{} alt={} src={}.jpg {}>".format(*image)
) | ATTRIBUTES.map("<img {}>".format)  # fmt: skip
TEXT = st.sampled_from(
    [
        *(
            "x",
            " ",
            "\n",
            "y z",
            "&amp;",
            "&lt;img&gt;",
            "\0",
            "<",
            ">",
            "&#x80;",
            "é",
            "<!--",
            "-->",
            "<!-- c -->",
            "<!-->",
        ),
        *("<![CDATA[", "]]>", "</", "<?x>", "<!doctype html>", "&noti", "&#xD800;", "<img", "<a b='"),
    ]
)
# html5lib is of the time when select had no images, and knows no template; see test_where_html5lib_is_behind.
NAMES = words("""
figure figure figcaption figcaption picture source noscript svg math table table tr td th tbody caption p div span a b i h1 ul
li dl dt dd object button form textarea title style script iframe xmp noembed noframes pre center font nobr ruby rt body html
head base link meta br hr input foreignObject desc mi mtext annotation-xml frameset frame video audio marquee applet colgroup
col thead tfoot label fieldset details section em small plaintext listing
""")
OPEN = st.tuples(st.sampled_from(NAMES), ATTRIBUTES, st.sampled_from(["", "", "", "/"])).map(
    lambda tag: "<{} {}{}>".format(*tag)
)
CLOSE = st.sampled_from([name for name in NAMES if name not in ("p", "br")]).map("</{}>".format)
SOUP = st.lists(IMAGES | IMAGES | OPEN | OPEN | CLOSE | TEXT, max_size=40).map("".join)


@given(st.sampled_from(["", "<!doctype html>"]), SOUP, st.sampled_from([("alt",), TEXTS, ("caption", "alt")]))
def test_a_soup_of_tags(doctype, soup, texts):
    check((doctype + soup).encode(), texts)


# Elements that do not end each other: html5lib does not know that a template begins anew.
NESTED = st.recursive(
    IMAGES
    | st.sampled_from(
        ["x", " y", "<br>", "<source srcset=s.jpg>", "<base href=/z/>", "<!-- <img src=1.jpg alt=c> -->"]
    ),
    lambda inner: st.tuples(
        st.sampled_from(words("figure figure figcaption figcaption picture template div span section td")),
        st.lists(inner, max_size=5).map("".join),
    ).map(lambda element: "<{0}>{1}</{0}>".format(*element)),
    max_leaves=30,
)


@given(NESTED, st.sampled_from([("alt",), TEXTS]))
def test_elements_in_elements(html, texts):
    check(
        f"<!doctype html><body>{html}".replace("<td>", "<table><tr><td>")
        .replace("</td>", "</td></tr></table>")
        .encode(),
        texts,
    )


@pytest.mark.parametrize(
    ("html", "alts"),
    [
        # The standard lets select hold what it likes since 2025.
        ("<select><option><img src=1.jpg alt=x></select>", ["x"]),
        # What is open in a template does not end what is around it.
        ("<p><template><ul><img src=1.jpg alt=x>", []),
        ("<table><template><tr><img src=1.jpg alt=x>", []),
        ("<center><template></center><img src=1.jpg alt=x>", []),
        ("<template><applet></template><img src=1.jpg alt=x>", ["x"]),
        # These two end tags end foreign elements, so that title is one of HTML, in which there is only text.
        ("<math></p><title><img src=1.jpg alt=x>", []),
        ("<svg></br><title/><img src=1.jpg alt=x>", []),
        # And a br that came of an end tag forbids a frameset, as any br does.
        ("</br><frameset><img src=1.jpg alt=x>", ["x"]),
    ],
)
def test_where_html5lib_is_behind_the_standard(html, alts):
    page = read_page(WebPage(URL, 200, {}, html.encode()), ("alt",))
    assert [row.alt_text for row in page.images.rows] == alts
    assert [row[1] for row in Oracle(URL, html).rows] != alts


def test_where_another_parser_is_wrong():
    """Lexbor loses an image that is called image, if it stands in a table where none may."""
    page = read_page(WebPage(URL, 200, {}, b"<table><image src=1.jpg alt=x>"), ("alt",))
    assert [row.alt_text for row in page.images.rows] == ["x"]


BYTES = st.lists(
    st.binary(max_size=6) | (SOUP | TEXT).map(str.encode) | SOUP.map(lambda soup: soup.encode("utf-16le")), max_size=5
).map(b"".join)
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "x-robots-tag"]),
    st.lists(st.text() | st.sampled_from(["text/html; charset=utf-16", "charset=gbk"]), max_size=2),
)


@given(
    BYTES,
    HEADERS,
    st.text() | st.sampled_from([URL, "dns:x", "http://["]),
    st.lists(st.sampled_from(TEXTS), min_size=1, unique=True),
)
def test_whatever_a_page_holds_it_is_read(body, headers, url, texts):
    page = read_page(WebPage(url, 200, headers, body), texts)
    account = CrawlAccount()
    page.images.count_into(account)
    assert account.balanced()
    for value in (
        page.license,
        page.declared_language,
        page.robots,
        *(value for row in page.images.rows for value in row),
    ):
        str(value).encode()
