"""Which pairs of a dataset the lists of a takedown name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import polars as pl

from align_data.common.banned import ban
from align_data.common.errors import DatasetError
from align_data.common.hashing import image_key, keys
from align_data.common.hosts import listed_hosts
from align_data.common.progress import Progress, Tick
from align_data.data.image_table import image_places
from align_data.data.layout import Dataset
from align_data.data.meta import PairsMeta
from align_data.data.tombstones import bounds, every, of_part
from align_data.engines.base import Engine
from align_data.signals.base import Piece
from align_data.signals.text import host
from align_data.stages.takedown.integrity import Integrity
from align_data.stages.takedown.lists import KINDS, TakedownLists, rejected
from align_data.storage.tables import Manifest
from align_data.storage.tars import DAMAGED, Place, TarReader


@dataclass
class Matches:
    """What a dataset has of the lists."""

    uids: list[str] = field(default_factory=list)
    """Pairs that are to be taken down, and are not yet."""
    values: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in KINDS})
    """Kind → values that some pair has."""
    before: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in KINDS})
    """Kind → values of pairs that have been taken down before, as far as their uids tell."""
    rejected: dict[int, list[int]] = field(default_factory=dict)
    """Part of `rejected` → rows whose detail shows a value of the lists."""
    among_rejected: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in KINDS})
    unread: list[str] = field(default_factory=list)
    """What could not be read, a sentence each."""

    def add(self, theirs: Matches) -> None:
        """Add what was found elsewhere."""
        self.uids += theirs.uids
        self.unread += theirs.unread
        self.rejected |= theirs.rejected
        for mine, added in ((self.values, theirs.values), (self.before, theirs.before)):
            for kind in KINDS:
                mine[kind] |= added[kind]
        for kind in KINDS:
            self.among_rejected[kind] |= theirs.among_rejected[kind]

    def account(self, lists: TakedownLists) -> dict[str, dict[str, int | str]]:
        """Say of each list how many values were found where; values that fit several are counted as the first."""
        account: dict[str, dict[str, int | str]] = {}
        for kind in lists.values:
            remaining = set(lists.of(kind))
            counts: dict[str, int | str] = {"list_sha256": lists.digests[kind], "asked": len(remaining)}
            for name, matches in (
                ("found", self.values[kind]),
                ("taken_down_before", self.before[kind]),
                ("rejected_only", self.among_rejected[kind]),
            ):
                counts[name] = len(remaining & matches)
                remaining -= matches
            account[kind] = {**counts, "nowhere": len(remaining)}
        return account


@dataclass(frozen=True)
class _PairSearch:
    """What is the same for all parts. It travels to other machines."""

    integrity: Integrity
    lists: TakedownLists
    urls: pl.DataFrame
    """The URLs of the list with their keys."""

    @property
    def dataset(self) -> Dataset:
        """The dataset that is searched."""
        return self.integrity.dataset

    @property
    def pairs(self) -> Manifest[PairsMeta]:
        """Its pairs."""
        return self.integrity.pairs


def find(integrity: Integrity, lists: TakedownLists, engine: Engine, progress: Progress) -> Matches:
    """Search the pairs and the rejected rows for all values of the lists."""
    matches, dataset = Matches(), integrity.dataset
    if not any(lists.values.values()):
        return matches
    urls = pl.Series("url", list(lists.of("urls")), pl.String)
    hexed = pl.Series("key", [f"{key:016x}" for key in keys(urls).tolist()], pl.String)
    search = _PairSearch(integrity, lists, pl.DataFrame([hexed, urls]))
    rows = [part.rows for part in integrity.pairs.parts]
    for part_matches in engine.map_parts(
        "takedown: find", lambda part, tick: _of_part(search, part, tick), rows, progress
    ):
        matches.add(part_matches)
    manifest = dataset.rejected.committed()
    by_detail = lists.of("urls") or lists.of("hosts")
    if manifest is None and by_detail:
        matches.unread.append(f"{dataset.store.path(dataset.rejected.name)} has no manifest")
    if manifest is not None and by_detail:
        rows = [part.rows for part in manifest.parts]
        for part_matches in engine.map_parts(
            "takedown: rejected", lambda part, tick: _rejected(search, part, tick), rows, progress, "rows"
        ):
            matches.add(part_matches)
    matches.uids.sort()
    banned = set(every(dataset.banned))
    matches.before["sha256"] = {sha256 for sha256 in lists.of("sha256") if ban(sha256) in banned}
    return matches


def _of_part(search: _PairSearch, part: int, tick: Tick) -> Matches:
    """Search one part of `pairs`, if it can be read."""
    try:
        return _matches_of(search, part, tick)
    except DatasetError as error:
        return Matches(unread=[str(error)])


def _matches_of(search: _PairSearch, part: int, tick: Tick) -> Matches:
    """Search one part of `pairs`."""
    matches, lists, dataset = Matches(), search.lists, search.dataset
    low, high = bounds(search.pairs, part)
    urls = search.urls.filter((pl.col("key") >= low) & (pl.col("key") < high))
    uids = [uid for uid in lists.of("uids") if low <= uid < high]
    if not (len(urls) or uids or lists.of("hosts") or lists.of("sha256")):
        tick(search.pairs.parts[part].rows)
        return matches
    search.integrity.check(part, dataset.pairs)
    by_bytes = _by_bytes(search, part) if lists.of("sha256") else {}
    tombstones = of_part(dataset, search.pairs, part)
    heads = set(image_key(tombstones))
    matches.before["urls"] = {url for key, url in urls.iter_rows() if key in heads}
    matches.before["uids"] = {uid for uid in uids if uid in heads} | (set(uids) & set(tombstones))
    part_lists = _PartLists(set(urls["url"]), set(lists.of("hosts")), by_bytes, set(uids), tombstones)
    whole = bool(part_lists.hosts or by_bytes)
    begins = sorted({*urls["key"], *(image_key(uid) for uid in uids)})
    stats = dataset.pairs.piece_statistics(part, "uid")
    for group, rows in enumerate(dataset.pairs.piece_rows(part)):
        least, greatest = (image_key(end) for end in stats[group])
        if whole or any(least <= begin <= greatest for begin in begins):
            part_lists.look(dataset.pairs.piece(part, group, ["uid", "url"]), matches)
        tick(rows)
    return matches


@dataclass(frozen=True)
class _PartLists:
    """What the lists name in one part."""

    urls: set[str]
    hosts: set[str]
    by_bytes: Mapping[str, set[str]]
    """URL → the SHA-256 of its bytes, where a list has it."""
    uids: set[str]
    tombstones: pl.Series

    def look(self, piece: pl.DataFrame, matches: Matches) -> None:
        """Add what a piece has of it."""
        piece = piece.filter(pl.col("url") != "", ~pl.col("uid").is_in(self.tombstones.implode()))
        hit = pl.lit(False) | _among(pl.col("url"), {*self.urls, *self.by_bytes})
        hit |= _among(pl.col("uid"), self.uids) | _among(image_key(pl.col("uid")), self.uids)
        if self.hosts:
            hosts = host(Piece(piece))
            listed = listed_hosts(hosts, self.hosts)
            matches.values["hosts"] |= set(listed.values())
            piece = piece.with_columns(hosts.alias("host"))
            hit |= _among(pl.col("host"), set(listed))
        rows = piece.filter(hit)
        urls = set(rows["url"])
        matches.uids += rows["uid"].to_list()
        matches.values["urls"] |= self.urls & urls
        matches.values["sha256"] |= {value for url in self.by_bytes.keys() & urls for value in self.by_bytes[url]}
        matches.values["uids"] |= self.uids & {*rows["uid"], *image_key(rows["uid"])}


def _among(column: pl.Expr, values: set[str]) -> pl.Expr:
    return column.is_in(pl.Series(sorted(values), dtype=pl.String).implode())


def _by_bytes(search: _PairSearch, part: int) -> dict[str, set[str]]:
    """Return URL → SHA-256 for the images whose bytes are listed; bytes that were never measured are hashed now."""
    hashes: dict[str, set[str]] = {}
    requested, dataset = set(search.lists.of("sha256")), search.dataset
    search.integrity.check(part, dataset.images, dataset.content)
    for url, sha256 in _hashes(dataset, part):
        if sha256 in requested:
            hashes.setdefault(url, set()).add(sha256)
    return hashes


def _hashes(dataset: Dataset, part: int) -> Iterator[tuple[str, str]]:
    """Yield URL and SHA-256, as fetched, of all images of a part that there are bytes of, or that were measured."""
    if not dataset.images.has(part):
        return
    reader = TarReader(dataset.store)
    for row in image_places(dataset, part).iter_rows(named=True):
        if row["original_sha256"] is not None:
            yield row["url"], row["original_sha256"]
            continue
        if row["tar"] is None:
            continue
        try:
            data = reader.read(Place(row["tar"], row["offset"], row["size"]))
        except OSError as error:
            raise DatasetError(f"cannot read {row['tar']}: {error.strerror or error}; {DAMAGED}") from error
        yield row["url"], hashlib.sha256(data).hexdigest()
    reader.close()


def _rejected(search: _PairSearch, part: int, tick: Tick) -> Matches:
    """Search one part of `rejected`, if it can be read: it is rewritten as a whole."""
    matches, at, table = Matches(), 0, search.dataset.rejected
    try:
        search.integrity.check_whole(part, table)
    except DatasetError as error:
        return Matches(unread=[str(error)])
    for piece in table.pieces(part, ["detail"]):
        hit, values = rejected(piece["detail"], search.lists)
        if hit.any():
            matches.rejected.setdefault(part, []).extend((hit.arg_true() + at).to_list())
            for kind, matching in values.items():
                matches.among_rejected[kind] |= matching
        at += len(piece)
        tick(len(piece))
    return matches
