"""Pages of HTML: which images there are, where their URLs and texts are from, what the page says of itself."""

import pytest

from align_data.sources.crawl.account import CrawlAccount
from align_data.sources.crawl.pages.html import read_page
from align_data.sources.crawl.pages.images import MAX_CAPTION
from align_data.sources.crawl.pages.texts import MAX_LANGUAGE
from align_data.sources.crawl.warc.http import WebPage

URL = "https://a.example/b/page.html"


def read(html, texts=("alt",), headers=None, url=URL):
    body = html if isinstance(html, bytes) else html.encode()
    page = read_page(WebPage(url, 200, headers or {}, body), texts)
    account = CrawlAccount()
    page.images.count_into(account)
    assert account.balanced()
    return page, account


def rows(html, **options):
    return read(html, **options)[0].images.rows


def alts(html):
    return [row.alt_text for row in rows(html)]


def test_the_examples_of_the_definition():
    (row,) = rows('<base href=/x/><img src="//c.com/a&amp;b.jpg" alt=" a&#10; b ">')
    assert (row.url, row.alt_text) == ("https://c.com/a&b.jpg", "a b")
    (row,) = rows("<img src=data:image/gif;base64,R0lGODlhAQ data-src=/m/1.webp alt=Dog>")
    assert (row.url, row.alt_text, row.url_from) == ("https://a.example/m/1.webp", "Dog", "data-src")
    (row,) = rows('<img src=1.jpg alt="x &amp;amp; z">')
    assert row.alt_text == "x &amp; z"


@pytest.mark.parametrize(
    "html",
    [
        "<noscript>{}</noscript>",
        "<head><noscript>{}</noscript></head>",
        "<svg>{}</svg>",
        "<svg><foreignObject>{}</foreignObject></svg>",
        "<svg><desc>{}</desc></svg>",
        "<math><mi>{}</mi></math>",
        "<table>{}<tr><td>x</table>",
        "<object>{}</object>",
        "<video>{}</video>",
        "<button>{}",
        "<p><a href=x>{}",
        "<image src=1.jpg alt=shown>{}",
        "<frameset></frameset><p>x",
    ],
)
def test_images_that_are_shown(html):
    image = "<IMG SRC=1.jpg ALT='shown'>"
    expected = [] if "frameset" in html else ["shown"]
    assert alts(html.format(image)) == expected


@pytest.mark.parametrize(
    "html",
    [
        "<template>{}</template>",
        "<template><div><template>{}</template>{}</div></template>",
        "<div><template shadowrootmode=open>{}</template></div>",
        "<!-- {} -->",
        "<script>{}</script>",
        "<style>{}</style>",
        "<textarea>{}</textarea>",
        "<title>{}</title>",
        '<iframe srcdoc="{}"></iframe>',
        "<iframe>{}</iframe>",
        "<xmp>{}</xmp>",
        "<noembed>{}</noembed>",
        "<noframes>{}</noframes>",
        "<plaintext>{}",
        "<svg><![CDATA[{}]]></svg>",
        "<svg><image href=1.jpg alt=x /></svg>",
        "<p title='{}'>",
    ],
)
def test_images_that_are_not(html):
    page, account = read(html.format(*["<img src=1.jpg alt=x>"] * 2))
    assert page.images.rows == []
    assert account.images == 0


@pytest.mark.parametrize(
    ("html", "url", "url_from"),
    [
        ("<img src=1.jpg data-src=2.jpg>", "1.jpg", "src"),
        ("<img data-src=2.jpg>", "2.jpg", "data-src"),
        ("<img src='' data-src=2.jpg>", "2.jpg", "data-src"),
        ("<img src=' \n' data-src=2.jpg>", "2.jpg", "data-src"),
        ("<img src=' DATA:,x' data-original=3.jpg>", "3.jpg", "data-original"),
        ("<img src=about:blank data-lazy-src=4.jpg data-lazy=5.jpg>", "4.jpg", "data-lazy-src"),
        ("<img data-lazy=5.jpg data-img-src=6.jpg>", "5.jpg", "data-lazy"),
        ("<img data-img-src=6.jpg srcset=7.jpg>", "6.jpg", "data-img-src"),
        ("<img data-src=data:,y data-original='' data-img-src=6.jpg>", "6.jpg", "data-img-src"),
        ("<img srcset='7.jpg 1x, 8.jpg 2x'>", "8.jpg", "srcset"),
        ("<img srcset='7.jpg 1x' data-srcset='9.jpg 10w, 10.jpg 20w'>", "10.jpg", "data-srcset"),
        ("<img srcset='7.jpg 1x' data-srcset='data:,z 10w'>", "7.jpg", "srcset"),
        ("<picture><source srcset='11.jpg 1x, 12.jpg 2x'><img></picture>", "12.jpg", "source"),
        (
            "<picture><source srcset=','><source data-srcset=13.jpg><source srcset=14.jpg><img src=data:,></picture>",
            "13.jpg",
            "source",
        ),
        ("<picture><source srcset=11.jpg><img srcset=7.jpg></picture>", "7.jpg", "srcset"),
        ("<picture><source srcset=11.jpg><img src=1.jpg></picture>", "1.jpg", "src"),
    ],
)
def test_where_a_url_is_from(html, url, url_from):
    (row,) = rows(html.replace("<img", "<img alt=x"))
    assert (row.url, row.url_from) == (f"https://a.example/b/{url}", url_from)


@pytest.mark.parametrize(
    ("html", "reason"),
    [
        ("<img alt=x>", "url_missing"),
        ("<img alt=x src data-src=''>", "url_missing"),
        ("<img alt=x src=data:,1 data-src=about:blank>", "data_url"),
        ("<img alt=x src=about:blank>", "about_url"),
        ("<img alt=x src=javascript: data-src=1.jpg>", "javascript_url"),
        ("<img alt=x data-src='{{ src }}'>", "template_url"),
        ("<picture><img alt=x><source srcset=1.jpg></picture>", "url_missing"),
        ("<picture><p><source srcset=1.jpg><img alt=x></p></picture>", "url_missing"),
        ("<video><source srcset=1.jpg><img alt=x></video>", "url_missing"),
        ("<img src=1.jpg>", "alt_missing"),
        ("<img src=1.jpg alt>", "alt_empty"),
        ("<img src=1.jpg alt alt=x>", "alt_empty"),
        ("<img src=1.jpg alt='&nbsp;&#x3000;'>", "alt_empty"),
    ],
)
def test_an_image_that_makes_no_row_has_a_reason(html, reason):
    assert read(html)[1] == CrawlAccount(images=1, refused={reason: 1})


def test_the_largest_candidate_stands_beside_src():
    html = "<img alt=1 src=1.jpg srcset='a,b.jpg 1x, c.jpg 2x'><img alt=2 src=data:, data-src=2.jpg srcset=d.jpg data-srcset='e.jpg 9w'>"
    assert [row.url_best for row in rows(html)] == ["https://a.example/b/c.jpg", "https://a.example/b/e.jpg"]
    html = "<picture><source srcset=a.jpg><img alt=1 src=1.jpg></picture><img alt=2 src=2.jpg srcset=''>"
    assert [row.url_best for row in rows(html)] == [None, None]


@pytest.mark.parametrize(
    ("html", "url"),
    [
        ("<base href=/x/><base href=/y/><img>", "https://a.example/x/1.jpg"),
        ("<base target=_top><base href=/y/><img>", "https://a.example/y/1.jpg"),
        ("<img><base href=/y/>", "https://a.example/y/1.jpg"),
        ("<base href=data:,><base href=/y/><img>", "https://a.example/b/1.jpg"),
        ("<base href=ftp://x/><img>", "https://a.example/b/1.jpg"),
        ("<base href=''><img>", "https://a.example/b/1.jpg"),
        ("<base href><base href=/y/><img>", "https://a.example/b/1.jpg"),
        (
            "<template><base href=/x/></template><svg><base href=/z/></svg><base href=http://c.example><img>",
            "http://c.example/1.jpg",
        ),
    ],
)
def test_the_first_base_counts_if_it_is_of_the_web(html, url):
    assert [row.url for row in rows(html.replace("<img", "<img alt=x src=1.jpg"))] == [url]


@pytest.mark.parametrize(
    ("html", "captions"),
    [
        ("<img>", [None]),
        ("<figcaption>x</figcaption><img>", [None]),
        ("<figure><img></figure>", [None]),
        ("<figure><img><figcaption> a <b>dog</b>\n&amp; cat</figcaption></figure>", ["a dog & cat"]),
        ("<figure><figcaption>a</figcaption><figcaption>b</figcaption><img><p><img></figure><img>", ["a", "a", None]),
        ("<figure><div><a><img></a></div><div><figcaption>a</figcaption></div></figure>", ["a"]),
        (
            "<figure><figure><img><figcaption>in</figcaption></figure><img><figcaption>out</figcaption></figure>",
            ["in", "out"],
        ),
        ("<figure><figure><img></figure><figcaption>out</figcaption></figure>", [None]),
        ("<figure><figcaption>a <img>b</figcaption></figure>", ["a b"]),
        ("<figure><img><figcaption>a<br>b<p>c</p>d<ul><li>e<li><i>f</i>g</ul></figcaption></figure>", ["a b c d e fg"]),
        (
            "<figure><img><figcaption>a<script>b</script><style>c</style><template>d</template><!-- e --></figcaption></figure>",
            ["a"],
        ),
        ("<figure><img><figcaption> </figcaption></figure>", [None]),
        ("<svg><figure/></svg><svg><title><figure><img><figcaption>a</figcaption></figure></title></svg>", ["a"]),
        (f"<figure><img><figcaption>{'x' * MAX_CAPTION}</figcaption></figure>", ["x" * MAX_CAPTION]),
        (f"<figure><img><figcaption>{'x' * MAX_CAPTION}y</figcaption></figure>", [None]),
        (f"<figure><img><figcaption>x{'<b></b>' * MAX_CAPTION}</figcaption></figure>", [None]),
    ],
)
def test_the_caption_is_that_of_the_nearest_figure(html, captions):
    marked = html.split("<img>")
    html = "".join(f"{part}<img alt={number} src=1.jpg>" for number, part in enumerate(marked[:-1])) + marked[-1]
    assert [row.caption for row in rows(html)] == captions


def test_a_row_for_each_text():
    html = "<figure><img src=1.jpg alt=a title=b><img src=2.jpg title=' '><img src=3.jpg alt=''><figcaption>c</figcaption></figure><img src=4.jpg>"
    page, account = read(html, texts=("alt", "title", "caption"))
    assert [(row.url[-5:], row.alt_text, row.text_from) for row in page.images.rows] == [
        ("1.jpg", "a", "alt"),
        ("1.jpg", "b", "title"),
        ("1.jpg", "c", "caption"),
        ("2.jpg", "c", "caption"),
        ("3.jpg", "c", "caption"),
    ]
    assert account == CrawlAccount(images=4, further_texts=2, rows=5, refused={"alt_missing": 1})
    page, account = read(html, texts=("title",))
    assert [row.alt_text for row in page.images.rows] == ["b"]
    assert account.refused == {"title_empty": 1, "title_missing": 2}


def test_what_a_page_says_of_itself():
    html = """<!doctype html><html lang=" de-AT"><meta name=Robots content="NoAI,noimageai"><meta name=googlebot content=noindex>
    <link rel="stylesheet" href=/s.css><template><a rel=license href=/t></a></template><svg><a rel=license href=/s></a></svg>
    <div rel=license href=/d></div><a rel=license></a><a rel="nofollow LICENSE" href="l?a&amp;b">x</a><link rel=license href=/m>
    <template><meta name=robots content=none></template>"""
    page, _ = read(html, headers={"x-robots-tag": ["noarchive"], "content-type": ["text/html"]})
    assert page.declared_language == "de-AT"
    assert page.charset == "utf-8"
    assert page.license == "https://a.example/b/l?a&b"
    assert page.robots == "noarchive, noai, noimageai, googlebot: noindex"


@pytest.mark.parametrize(
    "html", ["", " ", "x", "<", "<html lang=''>", f"<html lang={'x' * (MAX_LANGUAGE + 1)}>", "<p lang=de>"]
)
def test_a_page_that_says_nothing(html):
    page, account = read(html)
    assert (page.declared_language, page.charset, page.license, page.robots) == (None, "utf-8", None, "")
    assert account == CrawlAccount()


def test_attributes_of_an_image():
    html = "<img src=1.jpg src=2.jpg alt='a&#0;\0&notit;&amp;lt;' title='t\n t' width=300 height=50%>"
    (row,) = rows(html)
    assert (row.url[-5:], row.alt_text, row.title) == ("1.jpg", "a\ufffd\ufffd&notit;&lt;", "t t")
    assert (row.declared_width, row.declared_height, row.position) == (300, None, 0)


def test_positions_count_all_images():
    assert [row.position for row in rows("<img><img alt=''><img alt=x src=1.jpg><img alt=y><img alt=z src=1.jpg>")] == [
        2,
        4,
    ]
