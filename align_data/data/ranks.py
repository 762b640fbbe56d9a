"""Ranks: which pair is the first of its group, the second, and so on, over the whole pool and through any engine.

Two moves: pairs come together by their group, in the rule's order, and those that are not first tell it to their parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl

from align_data.common.hashing import Hashes
from align_data.common.progress import Progress, Tick
from align_data.data.grouping import MEMBER, Grouping, listed, ranked, sizes_of, starts_of
from align_data.data.layout import Dataset
from align_data.data.meta import RanksMeta
from align_data.data.order_statistics import Codes
from align_data.engines.base import Engine, Shuffle
from align_data.storage.contracts import Column, Contract
from align_data.storage.tables import CHUNK, PIECE_ROWS, Manifest, Meta, PartInfo, Table, cut

WORKING = "_ranks"
"""The table of what is on its way back to the parts."""
_CONTRACT = Contract(
    WORKING,
    "Pairs that are not the first of their groups.",
    tuple(
        Column(name, "int64", False, about, dictionary=False)
        for name, about in (("part", "Its part."), ("row", "Its row there."), ("rank", "Its place in its group."))
    ),
)
_ROWS = 1_000_000
"""Pairs of a range of keys."""
_PART_BITS = 40
"""Bits of a place that are the row in its part."""


class Candidates(Protocol):
    """The pairs of a dataset with what a rule compares of them. It travels to other machines."""

    def pieces(self, part: int, tick: Tick) -> Iterator[pl.DataFrame]:
        """Yield the pieces of a part, row for row: the columns of group and order, and which pairs are among."""

    def grouped(self, part: int) -> Iterator[pl.Series]:
        """Yield for each piece of a part which pairs are in a group."""


@dataclass(frozen=True)
class Ranking:
    """One rule's ranks. It travels to other machines."""

    dataset: Dataset
    table: Table[RanksMeta]
    candidates: Candidates
    grouping: Grouping
    rows: tuple[int, ...]
    """Pairs of each part."""

    def run(self, engine: Engine, progress: Progress) -> Manifest[RanksMeta]:
        """Write the table."""
        self._clear()
        ranges = max(1, -(-sum(self.rows) // _ROWS))
        starts = _evenly(ranges)
        together: Shuffle[int, None, Counter[int]] = Shuffle(
            prepare=self._keyed,
            merge=self.grouping.in_order,
            split=lambda _: starts,
            write=self._rank,
            rows=sum(self.rows),
            foreseen=starts,
            is_certain=True,
            key="key",
            tie="tie",
            title="first of: compare",
        )
        _, counted = engine.shuffle(together, range(len(self.rows)), progress)
        parts = _evenly(len(self.rows))
        back: Shuffle[int, None, PartInfo] = Shuffle(
            prepare=self._later,
            merge=_by_row,
            split=lambda _: parts,
            write=self._write,
            foreseen=parts,
            is_certain=True,
            key="key",
            tie="tie",
            title="first of: answer",
        )
        _, written = engine.shuffle(back, range(ranges), progress)
        self._clear()
        sizes = sum(counted, Counter[int]())
        meta = RanksMeta(pairs=self.dataset.ingested().fingerprint, sizes=listed(sizes))
        return self.table.commit(written, meta)

    @property
    def _working(self) -> Table[Meta]:
        """The table of what is on its way back to the parts: beside that of the ranks, which may be aside."""
        return Table(self.table.store, WORKING, _CONTRACT, Meta)

    def _clear(self) -> None:
        """Remove what a ranking that was killed has left: none goes on from it."""
        self.table.store.clear(WORKING, CHUNK)

    def _keyed(self, part: int, tick: Tick) -> Generator[pl.DataFrame, None, None]:
        """Yield the pairs of a part that are in a group, by its key."""
        start = part << _PART_BITS
        for piece in self.candidates.pieces(part, tick):
            yield self.grouping.keyed(piece, start)
            start += len(piece)

    def _rank(self, number: int, frames: Iterator[pl.DataFrame], tick: Tick) -> Counter[int]:
        """Write the pairs of a range of keys that are not the first of their groups; return the sizes of the groups."""
        groups = _Groups()
        with self._working.writer(number, {}) as writer:
            for piece in cut(groups.later_ones(frames, tick), PIECE_ROWS):
                writer.write(piece)
        return groups.sizes

    def _later(self, number: int, tick: Tick) -> Generator[pl.DataFrame, None, None]:
        """Yield the pairs of a range of keys that are not first, by their part."""
        starts = pl.Series([0, *_evenly(len(self.rows))], dtype=pl.UInt64)
        for piece in self._working.pieces(number, ["part", "row", "rank"]):
            key = starts.gather(piece["part"]).alias("key")
            yield piece.select(key, pl.col("row").cast(pl.UInt64).alias("tie"), "rank")
            tick(len(piece))

    def _write(self, part: int, frames: Iterator[pl.DataFrame], tick: Tick) -> PartInfo:
        """Write a part, row for row with `pairs`."""
        ranks = np.ones(self.rows[part], np.int64)
        for rows in frames:
            ranks[rows["tie"].to_numpy()] = rows["rank"].to_numpy()
        start = 0
        with self.table.writer(part, {}) as writer:
            for grouped in self.candidates.grouped(part):
                piece = pl.Series("rank", ranks[start : start + len(grouped)]).to_frame()
                writer.write(piece.select(pl.when(grouped).then("rank").alias("rank")))
                start += len(grouped)
                tick(len(grouped))
        assert writer.info is not None
        return writer.info


class _Groups:
    """The groups of a range of keys, as they come: one may go on in the next frame."""

    def __init__(self) -> None:
        self.sizes = Counter[int]()
        """How many groups have each size: but for the last, once all frames have come of that too."""
        self._last = -1
        self._members = 0

    def later_ones(self, frames: Iterator[pl.DataFrame], tick: Tick) -> Iterator[pl.DataFrame]:
        """Yield the pairs that are not the first of their groups."""
        for frame in frames:
            if not frame.is_empty():
                ranks = self._ranks(frame["key"].to_numpy(), frame[MEMBER].to_numpy().astype(np.int64))
                yield _places(frame["place"].to_numpy(), ranks)
            tick(len(frame))
        self._count(np.array([self._members]))

    def _ranks(self, keys_: Hashes, among: Codes) -> Codes:
        starts = starts_of(keys_)
        ranks, members = ranked(starts, among)
        if keys_[0] == self._last:
            ranks[: starts[1] if len(starts) > 1 else None] += self._members
            members[0] += self._members
        else:
            self._count(np.array([self._members]))
        self._count(members[:-1])
        self._last, self._members = int(keys_[-1]), int(members[-1])
        return ranks

    def _count(self, members: Codes) -> None:
        self.sizes.update(sizes_of(members))


def _places(places: Hashes, ranks: Codes) -> pl.DataFrame:
    """Return the pairs that are not first, by where they are."""
    later = ranks > 1
    columns = {
        "part": places[later] >> np.uint64(_PART_BITS),
        "row": places[later] & np.uint64((1 << _PART_BITS) - 1),
        "rank": ranks[later],
    }
    return pl.DataFrame({name: column.astype(np.int64) for name, column in columns.items()})


def _evenly(number: int) -> list[int]:
    """Return the keys at which ranges begin, after the first."""
    return [(n << 64) // number for n in range(1, number)]


def _by_row(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort("key", "tie")
