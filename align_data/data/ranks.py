"""Ranks: which pair is the first of its group, the second, and so on, over the whole pool and through any engine.

Two moves: pairs come together by their group, in the rule's order, and those that are not first tell it to their parts.
Groups are told apart by a 64-bit key, as texts are when they are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.hashing import Hashes, keys, pair_keys
from align_data.common.progress import Progress, Tick
from align_data.data.layout import Dataset
from align_data.data.meta import RanksMeta
from align_data.data.order_statistics import BITS, Codes
from align_data.engines.base import Engine, Shuffle
from align_data.storage.contracts import Column, Contract
from align_data.storage.tables import CHUNK, PIECE_ROWS, Manifest, Meta, PartInfo, Table, cut

WORKING = "_ranks"
"""The table of what is on its way back to the parts."""
MEMBER = "?among"
"""The column that tells which pairs the rule chooses among: no signal or score has such a name."""
UID = "uid"
"""What breaks every tie: parts are ranges of it, and rows in order of it, so it is known without being read."""
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
_LAST = np.uint64(2**64 - 1)


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
    group: tuple[str, ...]
    order: tuple[tuple[str, bool], ...]
    """Columns, and whether their greatest values come first; missing values come last."""
    rows: tuple[int, ...]
    """Pairs of each part."""

    def run(self, engine: Engine, progress: Progress) -> Manifest[RanksMeta]:
        """Write the table."""
        clear(self.dataset)
        ranges = max(1, -(-sum(self.rows) // _ROWS))
        starts = _evenly(ranges)
        together: Shuffle[int, None, Counter[int]] = Shuffle(
            prepare=self._keyed,
            merge=self._in_order,
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
        clear(self.dataset)
        sizes = sum(counted, Counter[int]())
        meta = RanksMeta(
            pairs=self.dataset.ingested().fingerprint, sizes=[[size, sizes[size]] for size in sorted(sizes)]
        )
        return self.table.commit(written, meta)

    @property
    def _compared(self) -> tuple[tuple[str, bool], ...]:
        """The columns of the order that are carried: those before the uid, which no two pairs share."""
        names = [name for name, _ in self.order]
        return self.order[: names.index(UID)] if UID in names else self.order

    def _keyed(self, part: int, tick: Tick) -> Generator[pl.DataFrame, None, None]:
        """Yield the pairs of a part that are in a group, by its key."""
        start = 0
        downwards = (UID, True) in self.order
        for piece in self.candidates.pieces(part, tick):
            place = np.arange(start, start + len(piece), dtype=np.uint64) + np.uint64(part << _PART_BITS)
            tie = _tie(piece[self._compared[0][0]], self._compared[0][1]) if self._compared else place
            yield (
                piece.select(
                    pl.Series("key", _group_keys(piece, self.group)),
                    pl.Series("tie", tie if self._compared or not downwards else ~place),
                    *(pl.col(name).alias(f"by_{number}") for number, (name, _) in enumerate(self._compared)),
                    pl.Series("place", place),
                    pl.col(MEMBER),
                    pl.all_horizontal(pl.col(name).is_not_null() for name in self.group).alias("grouped"),
                )
                .filter("grouped")
                .drop("grouped")
            )
            start += len(piece)

    def _in_order(self, rows: pl.DataFrame) -> pl.DataFrame:
        names = [f"by_{number}" for number in range(len(self._compared))]
        descending = [False, False, *(down for _, down in self._compared), (UID, True) in self.order]
        return rows.sort("key", "tie", *names, "place", descending=descending, nulls_last=True)

    def _rank(self, number: int, frames: Iterator[pl.DataFrame], tick: Tick) -> Counter[int]:
        """Write the pairs of a range of keys that are not the first of their groups; return the sizes of the groups."""
        groups = _Groups()
        with _working(self.dataset).writer(number, {}) as writer:
            for piece in cut(groups.later_ones(frames, tick), PIECE_ROWS):
                writer.write(piece)
        return groups.sizes

    def _later(self, number: int, tick: Tick) -> Generator[pl.DataFrame, None, None]:
        """Yield the pairs of a range of keys that are not first, by their part."""
        starts = pl.Series([0, *_evenly(len(self.rows))], dtype=pl.UInt64)
        for piece in _working(self.dataset).pieces(number, ["part", "row", "rank"]):
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
        starts = np.flatnonzero(np.concatenate([[True], keys_[1:] != keys_[:-1]]))
        members = np.add.reduceat(among, starts)
        before = np.cumsum(among) - among
        ranks: Codes = 1 + before - np.repeat(before[starts], np.diff(starts, append=len(keys_)))
        if keys_[0] == self._last:
            ranks[: starts[1] if len(starts) > 1 else None] += self._members
            members[0] += self._members
        else:
            self._count(np.array([self._members]))
        self._count(members[:-1])
        self._last, self._members = int(keys_[-1]), int(members[-1])
        return ranks

    def _count(self, members: Codes) -> None:
        sizes, numbers = np.unique(members[members > 0], return_counts=True)
        self.sizes.update(dict(zip(sizes.tolist(), numbers.tolist(), strict=True)))


def _places(places: Hashes, ranks: Codes) -> pl.DataFrame:
    """Return the pairs that are not first, by where they are."""
    later = ranks > 1
    columns = {
        "part": places[later] >> np.uint64(_PART_BITS),
        "row": places[later] & np.uint64((1 << _PART_BITS) - 1),
        "rank": ranks[later],
    }
    return pl.DataFrame({name: column.astype(np.int64) for name, column in columns.items()})


def clear(dataset: Dataset) -> None:
    """Remove what a ranking that was killed has left: none goes on from it."""
    dataset.store.clear(WORKING, CHUNK)


def _working(dataset: Dataset) -> Table[Meta]:
    return Table(dataset.store, WORKING, _CONTRACT, Meta)


def _evenly(number: int) -> list[int]:
    """Return the keys at which ranges begin, after the first."""
    return [(n << 64) // number for n in range(1, number)]


def _by_row(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort("key", "tie")


def _group_keys(piece: pl.DataFrame, columns: Sequence[str]) -> Hashes:
    """Return the key of each pair's group, spread over all 64 bits."""
    group: Hashes = np.zeros(1, np.uint64)
    for name in columns:
        group = pair_keys(_whole(piece[name]), group)
    return group


def _whole(values: pl.Series) -> Hashes:
    """Return 64 bits of each value, equal for equal ones."""
    if values.dtype == pl.String:
        return keys(values.fill_null(""))
    if values.dtype == pl.Float64:
        return BITS.encode(values.fill_null(0.0)).view(np.uint64)
    return values.cast(pl.Int64).fill_null(0).to_numpy().view(np.uint64)


def _tie(values: pl.Series, descending: bool) -> NDArray[np.uint64]:
    """Return 64 bits that ascend with the order of the values, or stay: the last of all for null."""
    if values.dtype == pl.String:
        heads = [text.encode()[:8] for text in values.fill_null("").to_list()]
        codes = np.array(heads, "S8").view(">u8").astype(np.uint64)
    else:
        codes = _whole(values) ^ np.uint64(1 << 63)
    tie: NDArray[np.uint64] = np.where(values.is_null().to_numpy(), _LAST, ~codes if descending else codes)
    return tie
