"""Copies: pairs of other URLs whose images have the bytes of one that is taken down, as far as they are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from align_data.common.errors import DatasetError
from align_data.common.progress import Progress, Tick
from align_data.data.image_table import sorted_rows
from align_data.engines.base import Engine
from align_data.stages.takedown.integrity import Integrity, uids_within


@dataclass
class Copies:
    """Pairs of other URLs with the same bytes."""

    uids: list[str] = field(default_factory=list)
    urls: int = 0
    unread: list[str] = field(default_factory=list)
    """What could not be read, a sentence each."""


@dataclass(frozen=True)
class _CopySearch:
    """What is the same for all parts. It travels to other machines."""

    integrity: Integrity
    by_part: Mapping[int, Sequence[str]]
    """Part → uids that are taken down."""

    def images(self, part: int) -> tuple[set[str], list[str]]:
        """Return the SHA-256 of the images of a part that lose their last pair, and what could not be read."""
        dataset = self.integrity.dataset
        try:
            dead = pl.Series("uid", list(self.by_part[part]), pl.String)
            urls = set(pl.concat(uids_within(dataset, part, dead))["url"])
            for piece in dataset.pairs.pieces(part, ["uid", "url"]):
                urls -= set(piece.filter(~pl.col("uid").is_in(dead.implode()))["url"])
            content = self._content(part)
            return set(content.filter(pl.col("url").is_in(list(urls)))["sha256"].drop_nulls()), []
        except DatasetError as error:
            return set(), [str(error)]

    def copies(self, part: int, sha256s: set[str]) -> Copies:
        """Return the pairs of a part that are not taken down, and whose image has one of the SHA-256."""
        dataset, dead = self.integrity.dataset, pl.Series("uid", list(self.by_part.get(part, ())), pl.String).implode()
        part_copies, urls = Copies(), set[str]()
        try:
            same = self._content(part).filter(pl.col("sha256").is_in(list(sha256s)))["url"].implode()
            for piece in dataset.pairs.pieces(part, ["uid", "url"]) if len(same[0]) else ():
                rows = piece.filter((pl.col("url") != "") & pl.col("url").is_in(same) & ~pl.col("uid").is_in(dead))
                part_copies.uids += rows["uid"].to_list()
                urls |= set(rows["url"])
        except DatasetError as error:
            part_copies.unread.append(str(error))
        part_copies.urls = len(urls)
        return part_copies

    def _content(self, part: int) -> pl.DataFrame:
        table = self.integrity.dataset.content
        self.integrity.check(part, table, hashed=False)
        if not table.has(part):
            return pl.DataFrame(schema={"url": pl.String, "sha256": pl.String})
        return sorted_rows(table, part, ["url", "sha256"])


def copies_of(integrity: Integrity, by_part: Mapping[int, Sequence[str]], engine: Engine, progress: Progress) -> Copies:
    """Look for the copies of the images of which no pair is left when some are taken down."""
    search, total = _CopySearch(integrity, by_part), Copies()
    infos, parts = integrity.pairs.parts, list(by_part)
    content = integrity.dataset.content
    if parts and content.uncommitted:
        total.unread.append(f"{content.store.path(content.name)} has no manifest")
    if not parts or content.committed() is None:
        return total
    sha256s: set[str] = set()

    def images(number: int, tick: Tick) -> tuple[set[str], list[str]]:
        tick(infos[parts[number]].rows)
        return search.images(parts[number])

    for hashes, unread in engine.map_parts("takedown: bytes", images, [infos[part].rows for part in parts], progress):
        sha256s |= hashes
        total.unread += unread
    if not sha256s:
        return total

    def copies(part: int, tick: Tick) -> Copies:
        tick(infos[part].rows)
        return search.copies(part, sha256s)

    for part_copies in engine.map_parts("takedown: copies", copies, [info.rows for info in infos], progress):
        total.uids += part_copies.uids
        total.urls += part_copies.urls
        total.unread += part_copies.unread
    return total
