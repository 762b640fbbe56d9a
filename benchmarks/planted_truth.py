"""What is to become of a page's images: the rows that they make, and why others make none."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
from crawl_archives import Page

Truth = Mapping[str, Any]
"""The columns of a row that an image decides."""


@dataclass(frozen=True)
class PlantedImage:
    """What becomes of an image element, from a WARC and from a WAT: the columns of its row, or why it makes none.

    None where it is not seen at all.
    """

    warc: Truth | str | None
    wat: Truth | str | None


@dataclass(frozen=True)
class PlantedPage:
    """A page, the truth about its images in the order of the document, and what all of its rows say."""

    page: Page
    images: tuple[PlantedImage, ...]
    facts: Truth
    warc_only: Truth = field(default_factory=dict)
    """Facts that a WAT cannot know."""
    skipped: str | None = None
    """Why this is not a page, if it is none."""

    def at(self, url: str) -> PlantedPage:
        """Return the same page at another URL of the same folder."""
        return replace(self, page=replace(self.page, url=url), facts={**self.facts, "page_url": url})


@dataclass
class Expected:
    """The rows that an archive's pages make, and the account of their images."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    pages: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    images: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    repeated: int = 0

    def add(self, planted: PlantedPage, source: str, keep: bool = True) -> None:
        """Add a page as `source`, a warc or a wat, shows it; only to the counts where rows are not to be kept."""
        if planted.skipped is not None:
            self.skipped[planted.skipped] += 1
            return
        self.pages += 1
        facts = {**planted.facts, **(planted.warc_only if source == "warc" else dict.fromkeys(planted.warc_only))}
        seen: set[tuple[str, str]] = set()
        fates = [fate for image in planted.images if (fate := getattr(image, source)) is not None]
        for position, fate in enumerate(fates):
            self.images += 1
            if isinstance(fate, str):
                self.refused[fate] += 1
            elif (pair := (fate["url"], fate["alt_text"])) in seen:
                self.repeated += 1
            else:
                seen.add(pair)
                if keep:
                    self.rows.append({**fate, "position": position, **facts})


def row(url: str, alt: str, **others: object) -> Truth:
    """Return the columns of a row: those that are not given are null, and the URL is from src."""
    columns = {"url": url, "alt_text": alt, "text_from": "alt", "title": None, "caption": None}
    columns |= {"declared_width": None, "declared_height": None, "url_from": "src", "url_best": None}
    return {**columns, **others}


def in_wat(attributes: Mapping[str, str], fate: Truth | str) -> Truth | str | None:
    """Return what becomes of an image in a WAT, which knows the attributes src, alt and title alone."""
    if "src" not in attributes:
        return None
    if isinstance(fate, str):
        return fate
    if fate["url_from"] != "src":
        return "data_url"
    return row(fate["url"], fate["alt_text"], title=fate["title"])
