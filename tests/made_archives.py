"""Archives with planted truth for the tests: pages of benchmarks/crawled_pages.py as examples/crawl_archives.py writes them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "examples")]
from crawl_archives import BROWSERTRIX, COMMON_CRAWL, STYLES, WGET, Archive, Page, Style  # noqa: E402, F401
from crawled_pages import PageMaker, pages  # noqa: E402, F401
from planted_truth import Expected, PlantedImage, PlantedPage, row  # noqa: E402, F401

MIX = {"modern": 2, "plain": 5, "odd": 3, "other": 2}


@dataclass
class MadeArchives:
    """A WARC and its WAT, and what is to come of each; rows also have crawl, crawl_file and crawl_offset."""

    warc: Path
    wat: Path
    of_warc: Expected = field(default_factory=Expected)
    of_wat: Expected = field(default_factory=Expected)
    records: int = 1
    """Of the WARC; the WAT has one more, its own warcinfo."""


def make_archives(
    folder: Path,
    planted: Iterable[PlantedPage] | int = 20,
    *,
    style: Style = COMMON_CRAWL,
    seed: int = 7,
    crawl: str = "CC-MAIN-2025-47",
    name: str = "CC-MAIN-20251127010000-20251127040000-00000.warc.gz",
) -> MadeArchives:
    """Write pages, or so many made ones, as a WARC and a WAT in a folder."""
    if isinstance(planted, int):
        planted = pages(seed, MIX, planted)
    made = MadeArchives(folder / name, folder / name.replace(".warc.gz", ".warc.wat.gz"))
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        warc, wat = (files.enter_context(path.open("wb")) for path in (made.warc, made.wat))
        archive = Archive(warc, wat, name=name, crawl=crawl, style=style, seed=seed)
        for page in planted:
            offset = archive.add(page.page)
            made.records += len(style.records)
            for expected, source in ((made.of_warc, "warc"), (made.of_wat, "wat")):
                before = len(expected.rows)
                expected.add(page, source)
                for each in expected.rows[before:]:
                    each.update(crawl=crawl, crawl_file=name, crawl_offset=offset)
    return made
