"""What there is in lists: all rows read once, counted, and pairs of them sampled by hash of the URL and of the text."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

import polars as pl

from align_data.common.ahead import ahead
from align_data.common.hashing import xxh3
from align_data.common.progress import Progress, Tick
from align_data.data import pairs as pair
from align_data.data.html_texts import Rewriting, rewritten
from align_data.engines.base import Engine
from align_data.signals.corpus import folded
from align_data.signals.text import HOST
from align_data.sources.lists import Choice, Reading, find, read, units
from align_data.stages.forecast.sample import HashSample

TextKey = Literal["texts", "folded"]
"""What texts are counted by: as they are, or but for case, marks and numbers."""
_NOT_SAMPLED = ("crawl_file", "crawl_offset")
"""What no signal is measured from: where a row of a crawl is from."""


@dataclass
class ListCounts:
    """What was counted over all rows of the lists."""

    rows: int = 0
    accepted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    hosts: int = 0
    """Distinct ones, of accepted rows."""
    bytes: int = 0
    """Of the files, as they lie."""
    seconds: float = 0.0
    """What reading took: decoding, cleaning and hashing."""

    @property
    def rejected(self) -> int:
        """Rows that are no pairs."""
        return self.reasons.total()


@dataclass(frozen=True)
class SampledLists:
    """Lists that are read: what was counted, and the pairs of each sample, merged."""

    counts: ListCounts
    declared: Sequence[str]
    by_url: HashSample
    by_text: HashSample | None
    """None where no rule counts texts."""


def sampled_lists(
    inputs: Sequence[str],
    limit: int,
    engine: Engine,
    progress: Progress,
    choice: Choice,
    reading: Reading,
    rewriting: Rewriting,
    texts: TextKey | None,
) -> SampledLists:
    """Read lists once, sampled by `texts` too; what is wrong with them is the same sentence as ingest's."""
    sources = find(inputs)
    todo, notes = units(sources, choice, reading)
    for note in notes:
        progress.say(note)
    named = {name for unit in todo for name in (*unit.columns, *dict(unit.constants))}
    declared = [name for name in pair.BESIDE if name in named and name not in _NOT_SAMPLED]
    counts, lock = ListCounts(bytes=sum(source.size for source in sources)), Lock()
    hosts = HostCounts()
    by_url = HashSample(limit, lambda rows: _hashed(rows["url"]), declared)
    by_text = None if texts is None else HashSample(limit, lambda rows: text_key(rows["alt_text"], texts), declared)

    def scan(number: int, tick: Tick) -> None:
        for frame, rejects in ahead(read(todo[number])):
            accepted, rejected = pair.clean(frame, lambda texts: rewritten(texts, rewriting, Counter()))
            hosts.add(accepted["url"])
            by_url.add(accepted)
            if by_text is not None:
                by_text.add(accepted)
            with lock:
                counts.rows += len(frame) + len(rejects.rows)
                counts.accepted += len(accepted)
                counts.reasons.update([*rejects.reasons, *rejected["reason"].to_list()])
            tick(len(frame) + len(rejects.rows))

    began = time.monotonic()
    engine.map_parts("plan: read", scan, [unit.rows or 0 for unit in todo], progress, unit="rows")
    counts.seconds = time.monotonic() - began
    counts.hosts = hosts.number()
    return SampledLists(counts, declared, by_url, by_text)


class HostCounts:
    """The distinct hosts of URLs: what is between slashes is gathered, which takes less than to match a pattern."""

    def __init__(self) -> None:
        self._parts: list[pl.Series] = []
        self._size = 0
        self._lock = Lock()

    def add(self, urls: pl.Series) -> None:
        """Add the hosts of some absolute URLs; any thread may."""
        between = urls.to_frame("url").select(pl.col("url").str.split_exact("/", 3).struct.field("field_2"))
        distinct = between.to_series().unique()
        with self._lock:
            self._parts.append(distinct)
            self._size += len(distinct)
            if self._size > _GATHERED and len(self._parts) > 1:
                self._parts = [pl.concat(self._parts).unique()]
                self._size = len(self._parts[0]) // 2  # so that what is gathered is joined when it has doubled

    def number(self) -> int:
        """Return how many there are."""
        if not self._parts:
            return 0
        urls = pl.DataFrame({"url": "http://" + pl.concat(self._parts).unique()})
        return int(urls.select(pl.col("url").str.extract(HOST, 1).str.to_lowercase().fill_null("").n_unique()).item())


_GATHERED = 2_000_000
"""Hosts that are gathered before they are joined."""


def _hashed(texts: pl.Series) -> pl.Series:
    return texts.to_frame("text").select(xxh3(pl.col("text"))).to_series()


def text_key(texts: pl.Series, by: TextKey) -> pl.Series:
    """Return the key of each text, as it is or folded: texts that are counted together share it."""
    canonical = texts if by == "texts" else folded(texts)
    return _hashed(canonical)
