"""Forget: the keys of counts/ that only pairs taken down had. A key tells whoever guesses a text that it was here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from align_data.common.errors import DatasetError
from align_data.common.hashing import Keys
from align_data.common.progress import Progress, Tick
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.signals import Piece
from align_data.signals.corpus import ngram_keys, text_keys
from align_data.stages.takedown.files import note, recall, rewritten
from align_data.stages.takedown.integrity import Integrity, uids_within
from align_data.stages.takedown.part import PartReceipt, done_of, rewrite
from align_data.storage.store import sha256_of
from align_data.storage.tables import Table

KINDS = ("ngrams", "texts")
_NONE: Keys = np.empty(0, np.int64)


def only_theirs(
    integrity: Integrity, by_part: Mapping[int, Sequence[str]], engine: Engine, progress: Progress
) -> dict[str, list[int]]:
    """Return by kind the keys of the texts of some pairs that no other living pair has; every text is read for it.

    Raises DatasetError where counts or texts cannot be read: when the texts are gone nobody can tell their keys.
    """
    dataset, infos, parts = integrity.dataset, integrity.pairs.parts, list(by_part)
    kinds = [kind for kind in KINDS if dataset.counts(kind).committed() or dataset.counts(kind).uncommitted]
    for kind in kinds:
        _check(integrity, dataset.counts(kind), dataset.classes(kind))
    dead = {part: pl.Series("uid", list(uids), pl.String) for part, uids in by_part.items()}

    def theirs(number: int, tick: Tick) -> dict[str, Keys]:
        part = parts[number]
        tick(infos[part].rows)
        return _distinct(kinds, uids_within(dataset, part, dead[part]))

    queried = _all(kinds, engine.map_parts("takedown: keys", theirs, [infos[part].rows for part in parts], progress))

    def living(part: int, tick: Tick) -> dict[str, Keys]:
        removed = dead.get(part, pl.Series("uid", [], pl.String)).implode()
        pieces = (
            piece.filter((pl.col("url") != "") & ~pl.col("uid").is_in(removed))
            for piece in dataset.pairs.pieces(part, ["uid", "url", "alt_text"])
        )
        surviving_keys = _distinct(kinds, pieces, queried)
        tick(infos[part].rows)
        return surviving_keys

    surviving = _all(kinds, engine.map_parts("takedown: others", living, [info.rows for info in infos], progress))
    return {kind: np.setdiff1d(queried[kind], surviving[kind]).tolist() for kind in kinds}


def _check(integrity: Integrity, counts: Table[Any], classes: Table[Any]) -> None:
    for table in (counts, classes):
        manifest = table.committed()
        try:
            if manifest is None:
                raise DatasetError(f"{table.store.path(table.name)} has no manifest")
            for part in range(len(manifest.parts)):
                integrity.check_whole(part, table)
        except DatasetError as error:
            raise DatasetError(f"nothing is taken down: its keys cannot be forgotten: {error}") from error


def _distinct(
    kinds: Sequence[str], pieces: Iterator[pl.DataFrame], among: Mapping[str, Keys] | None = None
) -> dict[str, Keys]:
    """Return the distinct keys of some texts by kind; only those that are `among` others, where these are given."""
    distinct = dict.fromkeys(kinds, _NONE)
    for frame in pieces:
        piece = Piece(frame)
        for kind in kinds if len(frame) else ():
            keys = text_keys(piece) if kind == "texts" else np.concatenate(ngram_keys(piece)[:2])
            keys = np.unique(keys if among is None else keys[np.isin(keys, among[kind])])
            distinct[kind] = np.union1d(distinct[kind], keys)
    return distinct


def _all(kinds: Sequence[str], of_parts: Sequence[Mapping[str, Keys]]) -> dict[str, Keys]:
    return {kind: np.unique(np.concatenate([_NONE, *(keys[kind] for keys in of_parts)])) for kind in kinds}


def forget_keys(
    dataset: Dataset, keys: Mapping[str, Sequence[int]], before: Mapping[str, str | None], engine: Engine,
    progress: Progress,
) -> list[tuple[int, PartReceipt]]:  # fmt: skip
    """Take keys out of the counts, and out of the counts of counts; return what was done in each range."""
    receipts: list[tuple[int, PartReceipt]] = []
    for kind, removed in keys.items():
        table = dataset.counts(kind)
        manifest = table.committed()
        if manifest is None or not removed:
            continue

        def forget_range(
            part: int, tick: Tick, kind: str = kind, removed: Sequence[int] = removed
        ) -> tuple[PartReceipt, Mapping[str, int]]:
            tick(1)
            return _of_range(dataset, kind, part, removed)

        ranges = engine.map_parts("takedown: forget", forget_range, [1] * len(manifest.parts), progress, "ranges")
        classes: Counter[int] = Counter()
        for _, frequencies in ranges:
            classes.update({int(count): number for count, number in frequencies.items()})
        receipts += enumerate(receipt for receipt, _ in ranges)
        receipts.append((0, _recount(dataset.classes(kind), classes, before)))
    return receipts


def _of_range(dataset: Dataset, kind: str, part: int, keys: Sequence[int]) -> tuple[PartReceipt, Mapping[str, int]]:
    """Take keys out of one range; return with what was done how many keys went of each count."""
    table, store, name = dataset.counts(kind), dataset.store, f"counts-{kind}-{part:05d}"
    file, removed_keys = table.part_name(part), pl.Series(keys, dtype=pl.Int64).implode()
    noted = recall(store, name, lambda values: {"before": values["before"], "removed": dict(values["removed"])})
    if noted is None:
        counts = (
            piece.filter(pl.col("key").is_in(removed_keys))["count"] for piece in table.pieces(part, ["key", "count"])
        )
        removed = Counter(count for piece_counts in counts for count in piece_counts)
        noted = {"before": sha256_of(store, file), "removed": {str(n): times for n, times in sorted(removed.items())}}
        note(store, name, noted)
    if noted["removed"] and sha256_of(store, file) == noted["before"]:
        rewrite(
            table,
            part,
            lambda pieces: (p.filter(~pl.col("key").is_in(removed_keys)) for p in pieces),
            table.facts(part) or {},
        )
    forgotten = {kind: sum(noted["removed"].values())}
    files = rewritten([(file, noted["before"])], partial(sha256_of, store))
    return done_of(table, part, files, forgotten=forgotten), noted["removed"]


def _recount(table: Table[Any], removed: Mapping[int, int], before: Mapping[str, str | None]) -> PartReceipt:
    """Take the removed keys out of the counts of counts, unless a killed run has."""
    file = table.part_name(0)
    if removed and sha256_of(table.store, file) == before[file]:

        def change(pieces: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
            for piece in pieces:
                less = pl.Series([removed.get(count, 0) for count in piece["count"]], dtype=pl.Int64)
                yield piece.with_columns(pl.col("keys") - less).filter(pl.col("keys") > 0)

        rewrite(table, 0, change, table.facts(0) or {})
    return done_of(table, 0, [])
