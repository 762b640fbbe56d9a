"""What the images of a page become: rows, repeated ones, refused ones."""

import unicodedata

import html_oracle
import polars as pl
import pytest
import test_crawl_urls
from hypothesis import given
from hypothesis import strategies as st

from align_data.data import pairs
from align_data.sources.crawl import reasons
from align_data.sources.crawl.account import CrawlAccount
from align_data.sources.crawl.pages.images import MAX_CAPTION, MAX_IMAGES, MAX_TEXT, PageImages
from align_data.sources.crawl.pages.srcset import largest
from align_data.sources.crawl.pages.texts import TEXTS, collapsed
from align_data.sources.crawl.pages.urls import MAX_URL, Base
from align_data.sources.crawl.rows import ImageRow
from align_data.sources.lists.batches import MAX_BYTES

BASE = Base("http://a.b/c/")


def account_of(images):
    account = CrawlAccount()
    images.count_into(account)
    assert account.balanced()
    return account


def test_an_image_is_a_row_with_all_that_it_says():
    images = PageImages(BASE, ("alt",))
    images.add(
        "x.jpg",
        " a\n dog ",
        " its  title ",
        "a caption",
        url_from="data-src",
        width="300",
        height=" 0200",
        srcset="x.jpg 1x, y.jpg 2x",
    )
    assert images.rows == [
        ImageRow(
            "http://a.b/c/x.jpg",
            "a dog",
            "alt",
            "its title",
            "a caption",
            300,
            200,
            "data-src",
            "http://a.b/c/y.jpg",
            0,
        )
    ]
    assert account_of(images) == CrawlAccount(images=1, rows=1)


def test_its_text_is_judged_before_its_url():
    images = PageImages(BASE, ("alt",))
    images.add("data:,", None)
    images.add("data:,", "")
    images.add("data:,", " \x00\u3000")
    images.add("data:,", "a dog")
    images.add(None, "a dog")
    images.add("data:,", "x" * (MAX_TEXT + 1))
    images.add("x.jpg", "x" * MAX_TEXT)
    assert [row.position for row in images.rows] == [6]
    refused = {"alt_missing": 1, "alt_empty": 2, "data_url": 1, "url_missing": 1, "alt_too_long": 1}
    assert account_of(images) == CrawlAccount(images=7, rows=1, refused=refused)
    assert 4 * MAX_TEXT <= MAX_BYTES, "ingest takes every text"


def test_url_and_text_are_a_row_once_the_first_of_them():
    images = PageImages(BASE, ("alt",))
    for url, alt, title in [
        ("x.jpg", "a", "1"),
        ("/c/x.jpg", " a ", "2"),
        ("x.jpg", "b", "3"),
        ("y.jpg", "a", "4"),
        ("x.jpg", "a", "5"),
    ]:
        images.add(url, alt, title)
    assert [(row.url[-5:], row.alt_text, row.title, row.position) for row in images.rows] == [
        ("x.jpg", "a", "1", 0),
        ("x.jpg", "b", "3", 2),
        ("y.jpg", "a", "4", 3),
    ]
    assert account_of(images) == CrawlAccount(images=5, rows=3, repeated=2)


def test_a_row_for_each_text_that_is_asked_for():
    images = PageImages(BASE, ("alt", "title", "caption"))
    images.add("x.jpg", "a", "b", "c")
    images.add("y.jpg", "a", "a", None)
    images.add("z.jpg", None, "b", "")
    images.add("z.jpg", None, None, "")
    images.add("data:,", "a", "b", "c")
    assert [(row.url[-5:], row.alt_text, row.text_from, row.title, row.caption) for row in images.rows] == [
        ("x.jpg", "a", "alt", "b", "c"),
        ("x.jpg", "b", "title", "b", "c"),
        ("x.jpg", "c", "caption", "b", "c"),
        ("y.jpg", "a", "alt", "a", None),
        ("z.jpg", "b", "title", "b", None),
    ]
    refused = {"alt_missing": 1, "data_url": 1}
    assert account_of(images) == CrawlAccount(images=5, further_texts=3, rows=5, repeated=1, refused=refused)


@pytest.mark.parametrize(
    ("texts", "reason"),
    [(("title",), "title_missing"), (("caption",), "caption_empty"), (("caption", "title"), "caption_empty")],
)
def test_the_reason_names_the_first_text_that_is_asked_for(texts, reason):
    images = PageImages(BASE, texts)
    images.add("x.jpg", "a dog", None, "")
    assert account_of(images).refused == {reason: 1}


def test_a_title_that_is_too_long_is_neither_a_row_nor_a_column():
    images = PageImages(BASE, ("title",))
    images.add("x.jpg", "a dog", "x" * (MAX_TEXT + 1))
    assert account_of(images).refused == {"title_too_long": 1}
    images = PageImages(BASE, ("alt",))
    images.add("x.jpg", "a dog", "x" * (MAX_TEXT + 1))
    assert [row.title for row in images.rows] == [None]


def test_title_and_caption_never_stand_in_for_alt():
    images = PageImages(BASE, ("alt",))
    images.add("x.jpg", "", "a title", "a caption")
    assert images.rows == []
    assert account_of(images).refused == {"alt_empty": 1}


def test_images_beyond_the_limit_are_counted():
    images = PageImages(BASE, ("alt",))
    for place in range(MAX_IMAGES + 3):
        images.add(f"{place}.jpg", "x")
    images.add("x.jpg", None)
    assert account_of(images) == CrawlAccount(
        images=MAX_IMAGES + 4, rows=MAX_IMAGES, refused={"images_over_limit": 3, "alt_missing": 1}
    )


def test_a_caption_that_many_images_would_repeat_is_not_kept():
    images = PageImages(BASE, ("alt", "caption"))
    images.add("x.jpg", "a dog", None, "x" * (MAX_CAPTION + 1))
    images.add("x.jpg", "a dog", None, "x" * MAX_CAPTION)
    assert [(row.text_from, row.caption and len(row.caption)) for row in images.rows] == [
        ("alt", None),
        ("caption", MAX_CAPTION),
    ]
    images = PageImages(BASE, ("caption",))
    images.add("x.jpg", "a dog", None, "x" * (MAX_CAPTION + 1))
    assert account_of(images).refused == {"caption_too_long": 1}


@pytest.mark.parametrize(
    ("value", "size"),
    [("300", 300), (" 300\n", 300), ("+7", 7), ("0", 0), ("007", 7), ("2147483647", 2**31 - 1)]
    + [
        (value, None)
        for value in ("", "50%", "100px", "1.5", "-3", "auto", "3 0", "2147483648", "9" * 5000, "٣", "\u00a03")
    ],
)
def test_a_size_is_a_whole_number(value, size):
    images = PageImages(BASE, ("alt",))
    images.add("x.jpg", "a", width=value, height=value)
    assert [(row.declared_width, row.declared_height) for row in images.rows] == [(size, size)]


@pytest.mark.parametrize(
    ("srcset", "url"),
    [
        ("a.jpg", "a.jpg"),
        ("a.jpg, b.jpg 2x", "b.jpg"),
        ("a.jpg 0.5x, b.jpg", "b.jpg"),
        ("a.jpg 300w, b.jpg 600w, c.jpg 200w", "b.jpg"),
        ("a.jpg 3x, b.jpg 100w", "b.jpg"),
        ("a.jpg 2x, b.jpg 2x", "a.jpg"),
        ("https://a.b/w_300,h_200/x.jpg 300w,https://a.b/w_600,h_400/x.jpg 600w", "https://a.b/w_600,h_400/x.jpg"),
        ("a.jpg,b.jpg", "a.jpg,b.jpg"),
        ("a.jpg, b.jpg", "a.jpg"),
        ("a.jpg,, b.jpg 2x", "b.jpg"),
        (" ,, a.jpg\n2x\t,\fb.jpg 3x", "b.jpg"),
        ("data:image/gif;base64,R0lG 1x, b.jpg 2x", "b.jpg"),
        ("a.jpg 100w 50h, b.jpg 90w", "a.jpg"),
        ("a.jpg 50h", None),
        ("a.jpg 2x 3x, b.jpg", "b.jpg"),
        ("a.jpg 2x 100w, b.jpg", "b.jpg"),
        ("a.jpg 0w, b.jpg -1x, c.jpg 2.0w, d.jpg +3w, e.jpg 1e3w, f.jpg 2X, g.jpg 0x", "g.jpg"),
        ("a.jpg 1e1x, b.jpg .5x, c.jpg 5.x, d.jpg 9x", "a.jpg"),
        ("a.jpg (x, y.jpg 9x) 2x, b.jpg 1x", "b.jpg"),
        ("a.jpg 1x(, b.jpg 2x", None),
        ("a.jpg 2x, b.jpg foo", "a.jpg"),
        ("", None),
        (" , ", None),
        ("a.jpg " + "9" * 400 + "w, b.jpg 1w", "b.jpg"),
        ("a.jpg 1e999x, b.jpg 1e999x", "a.jpg"),
        ("a.jpg ٣x, b.jpg", "b.jpg"),
    ],
)
def test_the_largest_candidate_of_a_srcset(srcset, url):
    assert largest(srcset) == url


def test_the_largest_candidate_is_resolved_or_none():
    images = PageImages(BASE, ("alt",))
    images.add("1.jpg", "a", srcset="/y,1.jpg 2x")
    images.add("2.jpg", "a", srcset="data:, 2x")
    images.add("3.jpg", "a", srcset=",")
    assert [row.url_best for row in images.rows] == ["http://a.b/y,1.jpg", None, None]


SRCSETS = st.lists(
    st.sampled_from([*" ,()\n", "a", "b.jpg", " 2x", " 3x", " 100w", " 200w", " 9h", "1.5", "x", "w", ", "]),
    max_size=25,
).map("".join)


@given(SRCSETS)
def test_candidates_are_those_of_the_standard(srcset):
    assert largest(srcset) == html_oracle.largest(srcset)


LINES = st.text(
    st.characters(codec=None) | st.sampled_from(" \t\n\x00\x1c\x85\xa0\u3000\u200be\u0301\u212b\ud800"), max_size=30
)


@given(LINES)
def test_ingest_has_nothing_left_to_collapse(text):
    line = collapsed(text)
    assert line == " ".join(line.split())
    (normal,) = pairs.normalise(pl.Series([line]))
    assert normal == unicodedata.normalize("NFC", line)
    if not any("\ud800" <= char <= "\udfff" for char in text):
        assert [normal] == pairs.normalise(pl.Series([text])).to_list()


def test_every_reason_is_in_the_table_and_its_limits_are_true():
    refused = {"url_missing"} | {f"{text}_{fault}" for text in TEXTS for fault in ("missing", "empty", "too_long")}
    refused |= {reason for _, reason in test_crawl_urls.REFUSED} | {"images_over_limit"}
    assert refused == set(reasons.REFUSED)
    for reason, limit in {
        "url_too_long": MAX_URL,
        "alt_too_long": MAX_TEXT,
        "title_too_long": MAX_TEXT,
        "caption_too_long": MAX_CAPTION,
        "images_over_limit": MAX_IMAGES,
    }.items():
        assert f"{limit:,}" in reasons.REFUSED[reason]
