"""Which pairs of a dataset are asked to be taken down."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import polars as pl

from align_data.banned import ban
from align_data.engines.base import Engine
from align_data.given import listed_hosts
from align_data.hashing import keys
from align_data.images import sorted_rows
from align_data.layout import Dataset
from align_data.progress import Progress, Tick
from align_data.signals.base import Piece
from align_data.signals.text import host
from align_data.stages.takedown.asked import KINDS, Asked, rejected
from align_data.tables import Manifest
from align_data.tars import Place, TarReader
from align_data.tombstones import bounds, every, of_part


@dataclass
class Found:
    """What was found of what is asked."""

    uids: list[str] = field(default_factory=list)
    """Pairs that are to be taken down, and are not yet."""
    values: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in KINDS})
    """Kind → values that some pair has."""
    before: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in KINDS})
    """Kind → values of pairs that have been taken down before, as far as their uids tell."""
    rejected: dict[int, list[int]] = field(default_factory=dict)
    """Part of `rejected` → rows whose detail shows what is asked."""
    among_rejected: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in KINDS})

    def add(self, other: Found) -> None:
        """Add what was found elsewhere."""
        self.uids += other.uids
        self.rejected |= other.rejected
        for mine, theirs in ((self.values, other.values), (self.before, other.before)):
            for kind in KINDS:
                mine[kind] |= theirs[kind]
        for kind in KINDS:
            self.among_rejected[kind] |= other.among_rejected[kind]

    def account(self, asked: Asked) -> dict[str, dict[str, int | str]]:
        """Say of each list how many values were found where; values that fit several are counted as the first."""
        said: dict[str, dict[str, int | str]] = {}
        for kind in asked.values:
            left = set(asked.of(kind))
            counts: dict[str, int | str] = {"list_sha256": asked.digests[kind], "asked": len(left)}
            for name, some in (
                ("found", self.values[kind]),
                ("taken_down_before", self.before[kind]),
                ("rejected_only", self.among_rejected[kind]),
            ):
                counts[name] = len(left & some)
                left -= some
            said[kind] = {**counts, "nowhere": len(left)}
        return said


@dataclass(frozen=True)
class _Search:
    """What is the same for all parts. It travels to other machines."""

    dataset: Dataset
    pairs: Manifest
    asked: Asked
    urls: pl.DataFrame
    """The asked URLs with their keys."""


def find(dataset: Dataset, pairs: Manifest, asked: Asked, engine: Engine, progress: Progress) -> Found:
    """Look for all that is asked, among the pairs and among the rejected rows."""
    found = Found()
    if not any(asked.values.values()):
        return found
    urls = pl.Series("url", list(asked.of("urls")), pl.String)
    hexed = pl.Series("key", [f"{key:016x}" for key in keys(urls).tolist()], pl.String)
    search = _Search(dataset, pairs, asked, pl.DataFrame([hexed, urls]))
    rows = [part.rows for part in pairs.parts]
    for some in engine.map_parts("takedown: find", lambda part, tick: _of_part(search, part, tick), rows, progress):
        found.add(some)
    manifest = dataset.rejected.committed()
    if manifest is not None and (asked.of("urls") or asked.of("hosts")):
        rows = [part.rows for part in manifest.parts]
        for some in engine.map_parts(
            "takedown: rejected", lambda part, tick: _rejected(search, part, tick), rows, progress, "rows"
        ):
            found.add(some)
    found.uids.sort()
    known = set(every(dataset.banned))
    found.before["sha256"] = {sha256 for sha256 in asked.of("sha256") if ban(sha256) in known}
    return found


def _of_part(search: _Search, part: int, tick: Tick) -> Found:
    """Look through one part of `pairs`."""
    found, asked, dataset = Found(), search.asked, search.dataset
    low, high = bounds(search.pairs, part)
    urls = search.urls.filter((pl.col("key") >= low) & (pl.col("key") < high))
    uids = [uid for uid in asked.of("uids") if low <= uid < high]
    by_bytes = _by_bytes(dataset, part, set(asked.of("sha256"))) if asked.of("sha256") else {}
    gone = of_part(dataset, search.pairs, part)
    heads = set(gone.str.head(16))
    found.before["urls"] = {url for key, url in urls.iter_rows() if key in heads}
    found.before["uids"] = {uid for uid in uids if uid in heads} | (set(uids) & set(gone))
    wanted = _Wanted(set(urls["url"]), set(asked.of("hosts")), by_bytes, set(uids), gone)
    every = bool(wanted.hosts or by_bytes)
    begins = sorted({*urls["key"], *(uid[:16] for uid in uids)})
    stats = dataset.pairs.piece_statistics(part, "uid")
    for group, rows in enumerate(dataset.pairs.piece_rows(part)):
        least, greatest = (end[:16] for end in stats[group])
        if every or any(least <= begin <= greatest for begin in begins):
            wanted.look(dataset.pairs.piece(part, group, ["uid", "url"]), found)
        tick(rows)
    return found


@dataclass(frozen=True)
class _Wanted:
    """What is asked of one part."""

    urls: set[str]
    hosts: set[str]
    by_bytes: Mapping[str, set[str]]
    """URL → the SHA-256 of its bytes, where that is asked."""
    uids: set[str]
    gone: pl.Series

    def look(self, piece: pl.DataFrame, found: Found) -> None:
        """Add what a piece has of it."""
        piece = piece.filter(pl.col("url") != "", ~pl.col("uid").is_in(self.gone.implode()))
        hit = pl.lit(False) | _among(pl.col("url"), {*self.urls, *self.by_bytes})
        hit |= _among(pl.col("uid"), self.uids) | _among(pl.col("uid").str.head(16), self.uids)
        if self.hosts:
            hosts = host(Piece(piece))
            listed = listed_hosts(hosts, self.hosts)
            found.values["hosts"] |= set(listed.values())
            piece = piece.with_columns(hosts.alias("host"))
            hit |= _among(pl.col("host"), set(listed))
        rows = piece.filter(hit)
        seen = set(rows["url"])
        found.uids += rows["uid"].to_list()
        found.values["urls"] |= self.urls & seen
        found.values["sha256"] |= {value for url in self.by_bytes.keys() & seen for value in self.by_bytes[url]}
        found.values["uids"] |= self.uids & {*rows["uid"], *rows["uid"].str.head(16)}


def _among(column: pl.Expr, values: set[str]) -> pl.Expr:
    return column.is_in(pl.Series(sorted(values), dtype=pl.String).implode())


def _by_bytes(dataset: Dataset, part: int, asked: set[str]) -> dict[str, set[str]]:
    """Return URL → SHA-256 for the images whose bytes are asked; bytes that nobody has measured are hashed now."""
    found: dict[str, set[str]] = {}
    for url, sha256 in _hashes(dataset, part):
        if sha256 in asked:
            found.setdefault(url, set()).add(sha256)
    return found


def _hashes(dataset: Dataset, part: int) -> Iterator[tuple[str, str]]:
    """Yield URL and SHA-256 of all images of a part that there are bytes of."""
    place = ["url", "tar", "offset"]
    if not dataset.images.has(part):
        return
    images = sorted_rows(dataset.images, part, [*place, "size"]).filter(pl.col("tar").is_not_null())
    if dataset.content.has(part):
        content = sorted_rows(dataset.content, part, [*place, "sha256"])
        images = images.join(content, on=place, how="left", maintain_order="left")
    else:
        images = images.with_columns(sha256=pl.lit(None, pl.String))
    yield from images.filter(pl.col("sha256").is_not_null()).select("url", "sha256").iter_rows()
    reader = TarReader(dataset.store)
    for row in images.filter(pl.col("sha256").is_null()).iter_rows(named=True):
        data = reader.read(Place(row["tar"], row["offset"], row["size"]))
        yield row["url"], hashlib.sha256(data).hexdigest()
    reader.close()


def _rejected(search: _Search, part: int, tick: Tick) -> Found:
    """Look through one part of `rejected`."""
    found, at = Found(), 0
    for piece in search.dataset.rejected.pieces(part, ["detail"]):
        hit, values = rejected(piece["detail"], search.asked)
        if hit.any():
            found.rejected.setdefault(part, []).extend((hit.arg_true() + at).to_list())
            for kind, some in values.items():
                found.among_rejected[kind] |= some
        at += len(piece)
        tick(len(piece))
    return found
