"""A page of HTML to its rows: what it says of itself, and its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import turbohtml
from turbohtml import Document, Element

from align_data.sources.crawl.pages.charset import decoded
from align_data.sources.crawl.pages.directives import robots_text
from align_data.sources.crawl.pages.images import PageImages
from align_data.sources.crawl.pages.surroundings import SRCSETS, Surroundings, candidate, is_placeholder
from align_data.sources.crawl.pages.texts import language_of
from align_data.sources.crawl.pages.urls import Base
from align_data.sources.crawl.warc.http import WebPage

LAZY = ("data-src", "data-original", "data-lazy-src", "data-lazy", "data-img-src")
"""Attributes that scripts take an image's URL from, where its src holds its place."""
_LINKS = frozenset({"a", "area", "link"})


@dataclass(frozen=True, slots=True)
class HtmlPage:
    """What a page says of itself, and its images, all of them judged."""

    declared_language: str | None
    charset: str
    license: str | None
    robots: str
    images: PageImages


def read_page(page: WebPage, texts: Sequence[str]) -> HtmlPage:
    """Read a page, whatever it holds; an image makes a row for each of `texts` (some of texts.TEXTS) that it has."""
    text, charset = decoded(page.body, page.headers.get("content-type", ()))
    document = parse(text)
    surroundings = Surroundings(document)
    hrefs = (base.attr("href") for base in surroundings.elements("base"))
    base = Base(page.url, next((href for href in hrefs if href is not None), None))
    images = PageImages(base, texts)
    for image in surroundings.elements("img"):
        _add(image, images, surroundings)
    metas = ((meta.attr("name"), meta.attr("content")) for meta in surroundings.elements("meta"))
    return HtmlPage(
        declared_language=language_of(document.root.attr("lang") if document.root else None),
        charset=charset,
        license=_license(document, surroundings, base),
        robots=robots_text(page.headers.get("x-robots-tag", ()), metas),
        images=images,
    )


def parse(text: str) -> Document:
    """Parse a page as a browser does that runs no scripts: so noscript is read, and a shadow root is a template."""
    return turbohtml.parse(text, positions=False, scripting=False, allow_declarative_shadow_roots=False)


def _add(image: Element, images: PageImages, surroundings: Surroundings) -> None:
    """Have an image judged."""
    alt = image.attr("alt")
    if not alt and images.texts == ("alt",):
        images.add(None, alt)  # what else it says does not matter
        return
    url, url_from = image.attr("src"), "src"
    if url is None or is_placeholder(url):
        url, url_from = _other_source(image, surroundings) or (url, url_from)
    images.add(
        url,
        alt,
        image.attr("title"),
        surroundings.caption(image),
        url_from=url_from,
        width=image.attr("width"),
        height=image.attr("height"),
        srcset=image.attr("data-srcset") or image.attr("srcset"),
    )


def _other_source(image: Element, surroundings: Surroundings) -> tuple[str, str] | None:
    """Return the URL of an image whose src has none, and the attribute that it is from; None if there is none."""
    for name in LAZY:
        value = image.attr(name)
        if value is not None and not is_placeholder(value):
            return value, name
    for name in SRCSETS:
        url = candidate(image, name)
        if url is not None:
            return url, name
    url = surroundings.source(image)
    return None if url is None else (url, "source")


def _license(document: Document, surroundings: Surroundings, base: Base) -> str | None:
    """Return where the page's first link with rel=license leads."""
    for link in document.select("[rel~=license]"):
        if link.tag in _LINKS and surroundings.shows(link) and (url := base.resolve(link.attr("href"))[0]):
            return url
    return None
