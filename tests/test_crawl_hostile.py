"""Pages that were made to cost much: each is read in time that grows with its size, and its images are accounted for.

A step whose time grew with the square of these sizes would take minutes; `faulthandler` then ends the test.
"""

import faulthandler

import pytest

from align_data.sources.crawl.account import CrawlAccount
from align_data.sources.crawl.pages.directives import MAX_DIRECTIVES
from align_data.sources.crawl.pages.html import read_page
from align_data.sources.crawl.pages.images import MAX_IMAGES
from align_data.sources.crawl.pages.texts import TEXTS
from align_data.sources.crawl.warc.http import WebPage

IMAGE = "<img src=1.jpg alt=x>"


@pytest.fixture(autouse=True)
def watchdog():
    faulthandler.dump_traceback_later(60, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def read(html, texts=TEXTS):
    page = read_page(WebPage("http://a.example/", 200, {}, html.encode()), texts)
    account = CrawlAccount()
    page.images.count_into(account)
    assert account.balanced()
    return page, account


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 20_000 + IMAGE,
        "<div>" * 300_000 + IMAGE,
        "<div></div>" * 300_000 + IMAGE,
        f"<img {' '.join(f'a{number}=1' for number in range(20_000))} src=1.jpg alt=x>",
        "<b><p>" * 50_000 + IMAGE,
        "<table><tr><td>" * 50_000 + IMAGE,
        "<svg><foreignObject>" * 50_000 + IMAGE,
        "<figure><figcaption>" * 50_000 + IMAGE,
        "<template>" * 100_000 + "</template>" * 100_000 + IMAGE,
        "<base href=/x/>" * 100_000 + IMAGE,
        "<a rel=license href={{>" * 100_000 + "</a>" * 1000 + IMAGE,
        f"<img src=1.jpg alt=x srcset='{','.join(f'/{number}.jpg {number + 1}w' for number in range(50_000))}'>",
        f"<img src=1.jpg alt=x srcset='{'a (),' * 200_000}'>",
        f"<img src=1.jpg alt=x srcset='a {'(' * 1_000_000}'>",
        f"<img src=1.jpg alt=x srcset='{'a,' * 500_000}'>",
        f"<img src=1.jpg alt=x srcset='a{' ' * 1_000_000}'>",
        f"<img src=1.jpg alt=x width='{' ' * 1_000_000}1'>",
        f"<img src='{' ' * 1_000_000}1.jpg' alt='{' ' * 1_000_000}x'>",
        f"<img src='1.jpg{chr(9) * 1_000_000}' alt='{chr(1) * 1_000_000}x'>",
        f"<img src=1.jpg alt=x title='{'x' * 10_000_000}'>",
    ],
    ids=range(20),
)
def test_a_page_of_much_of_one_kind_has_its_image(html):
    page, account = read(html, ("alt",))
    assert account == CrawlAccount(images=1, rows=1)
    assert page.images.rows[0].alt_text == "x"


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("src=1.jpg alt='" + "x" * 10_000_000, "alt_too_long"),
        ("alt=x src='" + "x" * 10_000_000, "url_too_long"),
        ("alt=x src='data:," + "x" * 10_000_000, "data_url"),
        ("alt=x src='" + " \t" * 1_000_000, "url_missing"),
        ("src=1.jpg alt='" + " \x01" * 1_000_000, "alt_empty"),
    ],
)
def test_an_image_of_megabytes_is_refused(image, reason):
    assert read(f"<img {image}'>", ("alt",))[1].refused == {reason: 1}


def test_a_million_images():
    _, account = read("".join(f"<img src={number} alt=x>" for number in range(100_000)) + "<img>" * 900_000, ("alt",))
    assert (account.images, account.rows) == (1_000_000, MAX_IMAGES)
    assert account.refused == {"alt_missing": 900_000, "images_over_limit": 100_000 - MAX_IMAGES}


@pytest.mark.parametrize("caption", ["x" * 10_000_000, "<b></b>" * 500_000, "x<p>" * 100_000])
def test_a_great_caption_of_many_images_is_in_no_row(caption):
    images = "".join(f"<img src={number} alt=x>" for number in range(100_000))
    page, _ = read(f"<figure>{images}<figcaption>{caption}</figcaption></figure>", ("alt",))
    assert len(page.images.rows) == MAX_IMAGES
    assert {row.caption for row in page.images.rows} == {None}


def test_captions_in_captions_are_looked_at_for_so_long():
    stack = "<figure><figcaption><img src=1.jpg title=t>" * 100 + "<b>x</b>" * 2_000 + "</figcaption></figure>" * 100
    _, account = read(stack * 40, ("caption",))
    assert account.images == 4_000
    assert account.rows + account.repeated > 100
    assert account.refused["caption_too_long"] > 2_000


def test_pictures_of_many_sources():
    _, account = read("<picture>" + "<source srcset=,><img alt=x>" * 50_000, ("alt",))
    assert account.refused["url_missing"] == MAX_IMAGES
    page, _ = read("<picture>" + "<source srcset=1.jpg>" * 50_000 + "<img alt=x>" * 50_000, ("alt",))
    assert [row.url for row in page.images.rows] == ["http://a.example/1.jpg"]


def test_images_and_templates_by_turns():
    _, account = read(f"<template>{IMAGE}</template>{IMAGE}" * 50_000, ("alt",))
    assert (account.images, account.rows) == (50_000, 1)


def test_directives_without_end():
    page, _ = read("<meta name=robots content='" + ",".join(f"a{number}" for number in range(200_000)) + ",noai'>" * 3)
    assert page.robots.startswith("noai, a0, ")
    assert page.robots.count(",") == MAX_DIRECTIVES - 1


def test_a_page_of_sixteen_mebibytes():
    _, account = read("<p>\u00e9 \U0001f600 " * (2**24 // 10) + IMAGE, ("alt",))
    assert account.rows == 1
