"""A run of fetch: what is the same for all of its parts, and what it knows of the URLs of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from align_data.common.progress import Tick
from align_data.content.plan import ContentRun
from align_data.data.dropped_images import DroppedImages
from align_data.data.image_table import chunks, image_urls, sorted_rows, untried
from align_data.data.layout import Dataset
from align_data.data.meta import PairsMeta
from align_data.fetching import record
from align_data.fetching.keeping import Keeping
from align_data.fetching.worker import FetchSettings
from align_data.storage.tables import Manifest, Meta, Table


@dataclass(frozen=True)
class FetchRun:
    """What is the same for all parts of a run. It travels to other machines."""

    dataset: Dataset
    pairs: Manifest[PairsMeta]
    ledger: str | None
    settings: FetchSettings
    number: int
    chunk: int
    children: int
    handler: str
    keeping: Keeping = Keeping()  # noqa: RUF009 - frozen
    formats: tuple[str, ...] = ()
    """Optional ones that this run or one before kept."""
    reduced: bool = False
    """Whether this run or one before may have stored images smaller than fetched, or not at all."""
    content: ContentRun | None = None
    """How images are looked at as they come; None where they are not."""
    sample: DroppedImages | None = None
    """The images to be fetched, where they are a sample of those that the ledger drops."""
    scope: str = "all"
    """What tells the ledger from another that the URLs are chosen by; 'all' without one."""
    sampled: int = 0
    """As many parts, from the first, have images of such a sample, by this run or one before."""

    @property
    def policy(self) -> dict[str, Any]:
        """What of the policy decides which outcomes are final."""
        return record.decisive(self.settings.policy, self.keeping)

    def facts(self, part: int) -> dict[str, Any]:
        """Say what a part, or a chunk of it, was made in."""
        return record.facts(self.number, self.pairs, part, self.policy, self.chunk)


def chunk_table(run: FetchRun, part: int) -> Table[Meta]:
    """Return the table of a part's chunks, each as it is finished."""
    return Table(run.dataset.store, f"_images/{part:05d}", run.dataset.images.contract, Meta)


def urls_of(run: FetchRun, part: int, tick: Tick | None = None) -> pl.DataFrame:
    """Return the URLs of a part as `image_urls` does, `open` where the run is to fetch them."""
    if run.sample is None:
        return image_urls(run.dataset, part, run.ledger, tick)
    chosen = list(run.sample.urls.get(part, ()))
    return image_urls(run.dataset, part, None, tick).with_columns(pl.col("url").is_in(chosen).alias("open"))


def state_of(run: FetchRun, part: int, tick: Tick | None = None) -> pl.DataFrame:
    """Return a row a URL: what is known before this run, its chunk's number, and whether it is `todo`."""
    urls = urls_of(run, part, tick)
    earlier = untried(urls["url"])
    facts = run.dataset.images.facts(part, strict=True)  # what it says is in no other place
    if facts is not None and facts["pairs"] == run.pairs.parts[part].identity:
        earlier = _again(run, facts, sorted_rows(run.dataset.images, part))
    table, parts = chunk_table(run, part), []
    for number, start, rows in chunks(len(urls), run.chunk):
        facts = table.facts(number)
        same = facts is not None and facts["pairs"] == run.pairs.parts[part].identity and facts["chunk"] == run.chunk
        stored = earlier[start : start + rows]
        if same and facts is not None:
            stored = _again(run, facts, sorted_rows(table, number))
        fetched = same and facts is not None and facts["run"] == run.number
        parts.append(stored.with_columns(chunk=pl.lit(number), done=pl.lit(fetched)))
    state = pl.concat(parts) if parts else earlier.with_columns(chunk=pl.lit(0), done=pl.lit(False))
    todo = urls["open"] & (state["retryable"]) & ~state["done"]
    scored = pl.repeat(True, len(urls), eager=True).alias("scored")
    if run.content is not None and run.content.only_open:
        scored = image_urls(run.dataset, part, run.content.sight.only_open)["open"].alias("scored")
    return state.with_columns(todo.alias("todo"), urls["key"], urls["open"], scored)


def _again(run: FetchRun, facts: Mapping[str, Any], rows: pl.DataFrame) -> pl.DataFrame:
    """Make retryable what was final by a policy that is not today's."""
    before, now = facts["policy"], run.policy
    again = pl.col("status").is_in(record.changed(before, now))
    if now["ignore_robots"] and not before.get("ignore_robots", True):
        by_robots = (pl.col("status") == "opted_out") & pl.col("reason").str.starts_with("robots.txt: ")
        again |= by_robots.fill_null(value=False)
    return rows.with_columns(pl.col("retryable") | again)
