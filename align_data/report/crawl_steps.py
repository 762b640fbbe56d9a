"""What an audit page shows of a crawl: what became of records, and of images, reason by reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from align_data.sources.crawl.reasons import DAMAGED, REFUSED, SKIPPED
from align_data.stages.audit.origin import CrawlOrigin


@dataclass(frozen=True)
class CrawlStep:
    """One line of a table; shares are of the first line's number."""

    fate: str
    number: int
    kind: str
    """How its bar is drawn."""
    reason: str = ""
    about: str = ""
    """What the fate or its reason is."""


@dataclass(frozen=True)
class CrawlSteps:
    """What became of the records of a crawl, and of the images on their pages."""

    origin: CrawlOrigin
    records: list[CrawlStep]
    images: list[CrawlStep]

    @property
    def sentences(self) -> list[str]:
        """What is to be known of the archives, and of rows that are from none."""
        crawl, ingested = self.origin.crawl, self.origin.ingested
        lines = [f"{crawl.archives:,} {'archive was' if crawl.archives == 1 else 'archives were'} read."]
        if crawl.cut_short:
            lines.append(f"{crawl.cut_short:,} of them {'is' if crawl.cut_short == 1 else 'are'} cut short.")
        if crawl.unread:
            lines.append(f"{crawl.unread:,} more could not be read.")
        if self.origin.other_rows:
            lines.append(f"{self.origin.other_rows:,} of the {ingested.rows:,} rows in are of other lists.")
        return lines


def crawl_steps(origin: CrawlOrigin | None) -> CrawlSteps | None:
    """Return what a page shows of a crawl; None where no rows are of one."""
    if origin is None:
        return None
    crawl = origin.crawl
    records = [
        CrawlStep("records", crawl.records, "rows"),
        CrawlStep("pages", crawl.pages, "left", about="HTML that a server answered with status 200"),
        *_reasons("skipped", crawl.skipped, SKIPPED, "pool"),
        *_reasons("damaged", crawl.damaged, DAMAGED, "lost"),
    ]
    further = f"{crawl.images:,}, and {crawl.further_texts:,} further texts of theirs"
    images = [
        CrawlStep("images", crawl.images + crawl.further_texts, "rows", about=further if crawl.further_texts else ""),
        *_reasons("refused", crawl.refused, REFUSED, "lost"),
        CrawlStep("repeated", crawl.repeated, "lost", about="the same URL and text again on the page"),
        CrawlStep("rows", crawl.rows, "left"),
    ]
    return CrawlSteps(origin, records, images)


def _reasons(fate: str, numbers: Mapping[str, int], about: Mapping[str, str], kind: str) -> Iterator[CrawlStep]:
    """Yield a line for each reason, the most frequent first; one that this version does not know by its word alone."""
    for reason, number in sorted(numbers.items(), key=lambda entry: (-entry[1], entry[0])):
        if number:
            yield CrawlStep(fate, number, kind, reason, about.get(reason, ""))
