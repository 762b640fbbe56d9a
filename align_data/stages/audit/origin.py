"""Where the rows of a dataset are from: of a crawl, whose account goes on in the dataset's, and of other lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from align_data.data.layout import Dataset
from align_data.data.meta import AccountMeta, CrawlMeta


@dataclass(frozen=True)
class CrawlOrigin:
    """What became of a crawl's records and images, and then of its rows and those of other lists."""

    crawl: CrawlMeta
    ingested: AccountMeta

    @property
    def other_rows(self) -> int:
        """Rows of lists that are of no crawl, or of one without an account."""
        return self.ingested.rows - self.crawl.rows

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        ingested = self.ingested.dump()
        counts = {name: ingested[name] for name in ("pairs", "merged", "rejected", "reasons")}
        return {**self.crawl.dump(), "other_rows": self.other_rows, **counts}


def origin(dataset: Dataset) -> CrawlOrigin | None:
    """Return where the rows of a dataset are from; None where none are of a crawl."""
    meta = dataset.ingested().meta
    return None if meta.crawl is None else CrawlOrigin(meta.crawl, meta.account)
