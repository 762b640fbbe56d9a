"""What a reader who does not see, or has no mouse, would stumble over in a page: read by html5lib, with code of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from xml.etree.ElementTree import Element

import html5lib

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
NO_ERRORS = ("invalid-codepoint",)
"""What html5lib says of the code points that a text may have, whatever the page does."""


def faults(content: str) -> list[str]:
    """Return what is wrong with a page, each in a few words."""
    parser = html5lib.HTMLParser(tree=html5lib.getTreeBuilder("etree"), namespaceHTMLElements=False)
    root = parser.parse(content)
    page = _Page(root)
    return [
        *(f"{error} {values}" for _, error, values in parser.errors if error not in NO_ERRORS),
        *_of_elements(page),
        *_of_headings(page),
        *_of_landmarks(page),
        *_of_tables(page),
        *_of_charts(page),
    ]


class _Page:
    """A page's elements, and what is around each."""

    def __init__(self, root: Any) -> None:
        self.all: list[Element] = [element for element in root.iter() if isinstance(element.tag, str)]
        self.parents = {child: element for element in self.all for child in element}
        self.ids = Counter(element.get("id") for element in self.all if element.get("id") is not None)

    def named(self, *tags: str) -> list[Element]:
        return [element for element in self.all if element.tag in tags]

    def around(self, element: Element) -> Iterator[Element]:
        while element in self.parents:
            element = self.parents[element]
            yield element


def _words(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _of_elements(page: _Page) -> Iterator[str]:
    (html,) = page.named("html")
    if html.get("lang") != "en":
        yield "the page has no language"
    yield from (f"id {name} is there {number} times" for name, number in page.ids.items() if number > 1)
    for element in page.all:
        if element.tag == "img" and not (element.get("alt") or "").strip():
            yield "a picture without an alternative text"
        if element.get("style") is not None:
            yield f"{element.tag} has a style of its own"
        link = element.get("href") or ""
        if link.startswith("#") and link[1:] not in page.ids:
            yield f"{link} leads nowhere"


def _of_headings(page: _Page) -> Iterator[str]:
    levels = [int(element.tag[1]) for element in page.named(*HEADINGS)]
    if levels[:1] != [1] or levels.count(1) != 1:
        yield f"{levels.count(1)} first headings, and the first is of level {levels[:1]}"
    yield from (f"h{after} follows h{before}" for before, after in pairwise(levels) if after > before + 1)
    yield from ("a heading says nothing" for element in page.named(*HEADINGS) if not _words(element))


def _of_landmarks(page: _Page) -> Iterator[str]:
    if len(page.named("main")) != 1:
        yield f"{len(page.named('main'))} main parts"
    labels = Counter(element.get("aria-label") for element in page.all if element.get("role") == "region")
    yield from (f"{number} regions {label!r}" for label, number in labels.items() if number > 1 or not label)
    sections = [element for element in page.named("h2") if element.get("id") is not None]
    linked = {link.get("href"): _words(link) for nav in page.named("nav") for link in nav.iter("a")}
    if len(page.named("h2")) > 2:
        yield from (f"no contents lead to {_words(h2)}" for h2 in page.named("h2") if h2 not in sections)
        yield from (
            f"no contents lead to {_words(h2)}" for h2 in sections if linked.get(f"#{h2.get('id')}") != _words(h2)
        )


def _of_tables(page: _Page) -> Iterator[str]:
    for table in page.named("table"):
        place = page.parents[table]
        if (place.get("class"), place.get("tabindex")) != ("scroll", "0") or not place.get("aria-label"):
            yield f"a table that keys cannot scroll, in {place.tag} {place.get('class')}"
        yield from (
            "a table's heading is of no row and no column"
            for th in table.iter("th")
            if th.get("scope") not in ("row", "col")
        )
        yield from ("a table's heading says nothing" for th in table.iter("th") if not _words(th))
        for row in (row for body in table.iter("tbody") for row in body.iter("tr")):
            if not any(th.get("scope") == "row" for th in row.iter("th")):
                yield f"a row of a table has no heading: {_words(row)[:60]}"


def _of_charts(page: _Page) -> Iterator[str]:
    charts = [element for element in page.all if "chart" in (element.get("class") or "").split()]
    for chart in charts:
        figure = next((element for element in page.around(chart) if element.tag == "figure"), None)
        if figure is None or not any(_words(caption) for caption in figure.iter("figcaption")):
            yield "a chart without a caption"
        if figure is None or not any(details.find(".//table") is not None for details in figure.iter("details")):
            yield "a chart without its figures"
        if not any(
            child.tag.endswith("svg") and child.get("role") == "img" and child.get("aria-label") for child in chart
        ):
            yield "a chart that is not drawn, or whose drawing has no label"
