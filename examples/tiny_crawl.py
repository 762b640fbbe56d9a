"""Put the images of the tiny web on pages, and the pages in archives, as a crawler of the web would have written them.

`examples/tiny_web.py --archives` does that. A page has a few of the list's rows as image elements, and beside them what
pages are full of: a logo without a text, a spacer, navigation. A few pages ask not to be used for training.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from crawl_archives import Archive, Page
from crawl_html import Html

if TYPE_CHECKING:
    from tiny_web import Row

PAGES_AN_ARCHIVE = 60
MOST_IMAGES = 20
"""Of the list's rows on a page."""
RESERVED = 0.04
"""Share of the pages that ask not to be used for training."""
_SPACER = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


def write_archives(rows: Sequence[Row], seed: int, served_at: str | None, out: Path) -> tuple[int, int]:
    """Write WARC files to out/warc, a WAT of each to out/wat, and lists of both; return the pages and the archives."""
    pages = list(_pages(rows, Random(f"{seed} pages"), served_at))
    starts = range(0, len(pages), PAGES_AN_ARCHIVE)
    for kind, ending in (("warc", ".warc.gz"), ("wat", ".warc.wat.gz")):
        (out / kind).mkdir(parents=True, exist_ok=True)
        for earlier in (out / kind).glob(f"tiny-[0-9]*{ending}"):
            earlier.unlink()
        paths = "".join(f"{kind}/tiny-{number:05d}{ending}\n" for number in range(len(starts)))
        (out / f"{kind}.paths.gz").write_bytes(gzip.compress(paths.encode(), mtime=0))
    for number, start in enumerate(starts):
        name = f"tiny-{number:05d}.warc.gz"
        with ExitStack() as files:
            warc = files.enter_context((out / "warc" / name).open("wb"))
            wat = files.enter_context((out / "wat" / name.replace(".warc.gz", ".warc.wat.gz")).open("wb"))
            archive = Archive(warc, wat, name=name, crawl="TINY-2025-47", seed=number)
            for page in pages[start : start + PAGES_AN_ARCHIVE]:
                archive.add(page)
    return len(pages), len(starts)


def _pages(rows: Sequence[Row], random: Random, served_at: str | None) -> Iterator[Page]:
    start = 0
    while start < len(rows):
        end = start + random.randint(4, MOST_IMAGES)
        site = served_at or f"https://site{random.randint(1, 200)}.tiny.example"
        yield _page(rows[start:end], f"{site}/pages/{start:06d}.html", random)
        start = end


def _page(rows: Sequence[Row], url: str, random: Random) -> Page:
    html = Html()
    html.markup("<!DOCTYPE html>\n")
    html.open("html", {"lang": "en"})
    html.open("meta", {"charset": "utf-8"})
    html.element("title", f"Scenes, page {url[-11:-5]}")
    if random.random() < RESERVED:
        html.open("meta", {"name": "robots", "content": "noai, noimageai"})
    html.markup("\n<nav>")
    html.open("img", {"src": "/logo.png"})
    html.element("a", "All scenes", {"href": "/pages/"})
    html.open("img", {"src": _SPACER, "alt": "spacer"})
    html.markup("</nav>\n")
    for row in rows:
        _show(html, row)
    html.element("a", "CC BY 4.0", {"rel": "license", "href": "https://creativecommons.org/licenses/by/4.0/"})
    html.markup("\n")
    html.close("html")
    return Page(url, html.html().encode(), html.metadata())


def _show(html: Html, row: Row) -> None:
    size = {"width": str(row.width), "height": str(row.height)}
    html.open("figure")
    html.open("img", {"src": row.url, "alt": row.text, **size})
    html.element("figcaption", f"A scene of {row.scene.number}")
    html.close("figure")
    html.markup("\n")
