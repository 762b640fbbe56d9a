"""What became of an archive's records, and of the images on its pages: nothing is lost in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from align_data.sources.crawl.reasons import DAMAGED


@dataclass
class CrawlAccount:
    """records = pages + skipped + damaged; images + further_texts = rows + refused + repeated."""

    records: int = 0
    pages: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """Records that are not pages, by reason."""
    damaged: Counter[str] = field(default_factory=Counter)
    """Records that cannot be read, by reason."""
    images: int = 0
    """Image elements of the pages."""
    further_texts: int = 0
    """Rows, and repeated rows, beyond the first of an image: where --text asks for several texts."""
    rows: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Images that make no row, by reason."""
    repeated: int = 0
    """Rows that the page has already, by URL and text."""

    def count(self, reason: str | None) -> None:
        """Count a record: a page, or by the reason why it is none."""
        self.records += 1
        if reason is None:
            self.pages += 1
        elif reason in DAMAGED:
            self.damaged[reason] += 1
        else:
            self.skipped[reason] += 1

    def balanced(self) -> bool:
        """Tell whether every record and every image is accounted for."""
        records = self.pages + self.skipped.total() + self.damaged.total()
        images = self.rows + self.refused.total() + self.repeated
        return self.records == records and self.images + self.further_texts == images

    def add(self, other: CrawlAccount) -> None:
        """Add what became of others."""
        self.records += other.records
        self.pages += other.pages
        self.skipped.update(other.skipped)
        self.damaged.update(other.damaged)
        self.images += other.images
        self.further_texts += other.further_texts
        self.rows += other.rows
        self.refused.update(other.refused)
        self.repeated += other.repeated

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it, reasons in alphabetical order."""
        return {
            name: dict(sorted(value.items())) if isinstance(value, Mapping) else value
            for name, value in vars(self).items()
        }
