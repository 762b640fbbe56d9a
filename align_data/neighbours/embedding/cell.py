"""One cell: every image at home in it is compared with all that are in it, and what each learns is counted once.

Images with equal embeddings are one here, with a cosine of 1 among themselves; so exact copies cost nothing, however
many there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.neighbours.embedding.codebook import MOST_CELLS, Cells, Codebook
from align_data.neighbours.embedding.cosines import MILLION, Halves, Places, Vectors, pairs_within

ROW = pl.Schema(
    {
        "key": pl.UInt64,
        "tie": pl.UInt64,
        "cells": pl.Binary,
        "embedding": pl.Binary,
        "area": pl.Int64,
        "sha256": pl.Binary,
        "uid": pl.Binary,
        "second_area": pl.Int64,
        "second_sha256": pl.Binary,
        "second_uid": pl.Binary,
        "images": pl.Int64,
    }
)
"""What goes to a cell: an image's embedding, the cells that it is in, and of the images of a part that have its bytes
the first two and how many they are. `key` is the cell, `tie` the key of the first one's URL."""

LEARNT = pl.Schema(
    {
        "image": pl.Binary,
        "kind": pl.Int32,
        "cosine": pl.Int64,
        "area": pl.Int64,
        "sha256": pl.Binary,
        "uid": pl.Binary,
        "near": pl.Int64,
        "rows": pl.Int64,
        "floor_rows": pl.Int64,
    }
)
"""What a cell tells of an image, by its uid, to the part that it came from. By `kind` the nearest other image (with how
many are near), the nearest earlier one, or the first and second of those with equal embeddings (`near`: how many).
`rows` and `floor_rows` are how many rows of embeddings are within the threshold and the floor, for the recall."""

NEAREST, EARLIER, FIRST, SECOND = range(4)
"""The kinds of rows of LEARNT."""
ORDER = ("area", "sha256", "uid")
"""The declared order of images: the larger first, then the smaller SHA-256, then the smaller key of the URL."""
DESCENDING = (True, False, False)
_RANKS = 2**32
_NONE = np.int64(-1)
_PREPARED = 2**26
"""Numbers of a cell's embeddings that are prepared at once; those of a larger cell are block by block."""
_BLOCK_ROWS, _BLOCK_COLUMNS = 128, 4096
"""Of a block: so few rows that of home with home hardly more than half is computed."""
_BORDERS = 64
"""Borders to which the distances of all at home are held at once."""


@dataclass(frozen=True)
class Nearness:
    """How near is near: whole millionths of a cosine."""

    threshold: int
    floor: int


class _Tally:
    """What each distinct embedding of a cell has learnt of the others."""

    def __init__(self, images: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        self.images, self.rows = images, rows
        size = len(images)
        self.nearest, self.earlier = np.full(size, _NONE), np.full(size, _NONE)
        self.near, self.near_rows, self.floor_rows = (np.zeros(size, np.int64) for _ in range(3))

    def learn(self, who: Places, whom: Places, cosines: NDArray[np.int64], threshold: int) -> None:
        """Take in that `who`, which ascends, is so near to `whom`; embeddings are numbered in the declared order."""
        if not len(who):
            return
        starts = np.flatnonzero(np.diff(who, prepend=-1))
        learner = who[starts]
        keys = (cosines + MILLION) * _RANKS + (_RANKS - 1 - whom)
        self.nearest[learner] = np.maximum(self.nearest[learner], np.maximum.reduceat(keys, starts))
        before = np.where(whom < who, keys, _NONE)
        self.earlier[learner] = np.maximum(self.earlier[learner], np.maximum.reduceat(before, starts))
        near = cosines >= threshold
        self.near[learner] += np.add.reduceat(np.where(near, self.images[whom], 0), starts)
        self.near_rows[learner] += np.add.reduceat(np.where(near, self.rows[whom], 0), starts)
        self.floor_rows[learner] += np.add.reduceat(self.rows[whom], starts)


def compare(
    cell: int, rows: pl.DataFrame, nearness: Nearness, codebook: Codebook, reach: float
) -> tuple[pl.DataFrame, int, int]:
    """Return what the images of a cell learn (LEARNT), and how many cosines and how many pairs that took.

    A guest is compared with those at home whose border to the guest's own home is at most `reach` away.
    """
    group, leading, second = _groups(rows)
    size = len(leading)
    chosen = leading["row"].to_numpy()
    halves = _halves(rows["embedding"].gather(chosen), codebook.centroids.shape[1])
    cells = np.frombuffer(b"".join(rows["cells"].gather(chosen)), "<i4").reshape(size, MOST_CELLS)
    images = np.bincount(group, rows["images"].to_numpy(), size).astype(np.int64)
    tally = _Tally(images, np.bincount(group, minlength=size).astype(np.int64))
    members = _Members(halves)
    is_home = cells[:, 0] == cell
    meetings = _meetings(cell, cells, halves, codebook, reach)
    cosines, pairs = 0, 0
    for block in chain(
        _at_home(members, np.flatnonzero(is_home), nearness.floor), _met(members, meetings, nearness.floor)
    ):
        cosines += block.cosines
        pairs += len(block.row)
        tally.learn(block.row, block.column, block.cosine, nearness.threshold)
        told = np.flatnonzero(block.is_told)
        told = told[np.argsort(block.column[told], kind="stable")]
        tally.learn(block.column[told], block.row[told], block.cosine[told], nearness.threshold)
    return _learnt(rows, group, leading, second, tally, is_home), cosines, pairs


class _Members:
    """The embeddings of a cell, prepared at once unless they are very many."""

    def __init__(self, halves: Halves) -> None:
        self._halves = halves
        self._prepared = Vectors(halves) if halves.size <= _PREPARED else None

    def __getitem__(self, places: Places) -> Vectors:
        return Vectors(self._halves[places]) if self._prepared is None else self._prepared[places]


@dataclass(frozen=True)
class _Pairs:
    """Pairs of a block: who is at home, who else is in the cell, and how near they are."""

    row: Places
    column: Places
    cosine: NDArray[np.int64]
    is_told: NDArray[np.bool_]
    """Whether no other block has this pair the other way round."""
    cosines: int


def _at_home(members: _Members, home: Places, floor: int) -> Iterator[_Pairs]:
    """Yield all pairs of home with home, each in one block."""
    for start in range(0, len(home), _BLOCK_ROWS):
        rows = home[start : start + _BLOCK_ROWS]
        mine = members[rows]
        for begin in range(start, len(home), _BLOCK_COLUMNS):
            columns = home[begin : begin + _BLOCK_COLUMNS]
            i, j, cosine = pairs_within(mine, members[columns], floor)
            different = begin + j != start + i
            i, j, cosine = i[different], j[different], cosine[different]
            is_told = begin + j >= start + len(rows)
            yield _Pairs(rows[i], columns[j], cosine, is_told, len(rows) * len(columns))


def _met(members: _Members, meetings: Iterator[tuple[Places, Places]], floor: int) -> Iterator[_Pairs]:
    """Yield all pairs of those at home with the guests that they meet."""
    for near, guests in meetings:
        for start in range(0, len(near), _BLOCK_COLUMNS):
            rows = near[start : start + _BLOCK_COLUMNS]
            mine = members[rows]
            for begin in range(0, len(guests), _BLOCK_ROWS):
                columns = guests[begin : begin + _BLOCK_ROWS]
                i, j, cosine = pairs_within(mine, members[columns], floor)
                yield _Pairs(rows[i], columns[j], cosine, np.ones(len(i), np.bool_), len(rows) * len(columns))


def _meetings(
    cell: int, cells: Cells, halves: Halves, codebook: Codebook, reach: float
) -> Iterator[tuple[Places, Places]]:
    """Yield who is at home near the border to another cell, and the guests from there.

    Who is at home and a guest there meets those guests there or here: in the cell of the smaller number.
    """
    home, guests = np.flatnonzero(cells[:, 0] == cell), np.flatnonzero(cells[:, 0] != cell)
    guests = guests[np.argsort(cells[guests, 0], kind="stable")]
    origins, starts = np.unique(cells[guests, 0], return_index=True)
    for first in range(0, len(origins), _BORDERS):
        among = origins[first : first + _BORDERS]
        near = codebook.borders(halves, home, cell, among) <= reach
        for place, origin in enumerate(among):
            is_guest_there = (cells[home, 1:] == origin).any(axis=1)
            meets = ~is_guest_there & near[:, place] if origin < cell else is_guest_there | near[:, place]
            stop = first + place + 1
            yield home[meets], guests[starts[stop - 1] : starts[stop] if stop < len(starts) else len(guests)]


def _groups(rows: pl.DataFrame) -> tuple[Places, pl.DataFrame, pl.DataFrame]:
    """Return each row's embedding by number, in the declared order of their first images, and these; and second ones.

    The first images have `row`, one with the embedding; the second ones `group`.
    """
    numbered = rows.with_row_index("row")
    members = pl.concat(
        [
            numbered.select("row", "embedding", *ORDER),
            numbered.filter(pl.col("second_uid").is_not_null()).select(
                "row", "embedding", *(pl.col(f"second_{name}").alias(name) for name in ORDER)
            ),
        ]
    ).sort(*ORDER, descending=DESCENDING)
    members = members.with_columns(turn=pl.int_range(pl.len()).over("embedding"))
    leading = members.filter(pl.col("turn") == 0).with_row_index("group")
    group = rows.join(leading.select("embedding", "group"), on="embedding", how="left", maintain_order="left")["group"]
    second = members.filter(pl.col("turn") == 1).join(leading.select("embedding", "group"), on="embedding")
    return group.to_numpy().astype(np.intp), leading, second.select("group", *ORDER)


def _halves(embeddings: pl.Series, dim: int) -> Halves:
    return np.frombuffer(b"".join(embeddings), "<f2").reshape(-1, dim)


def _learnt(
    rows: pl.DataFrame,
    group: Places,
    leading: pl.DataFrame,
    second: pl.DataFrame,
    tally: _Tally,
    is_home: NDArray[np.bool_],
) -> pl.DataFrame:
    """Put what was learnt of each embedding beside all rows that have it."""
    images = rows.select("uid").with_columns(group=pl.Series(group, dtype=pl.UInt32))
    order = leading.select("group", *ORDER)
    frames = []
    for kind, best in ((NEAREST, tally.nearest), (EARLIER, tally.earlier)):
        at = np.flatnonzero(best >= 0)
        whom = (_RANKS - 1 - best[at] % _RANKS).astype(np.int64)
        counts = kind == NEAREST
        frames.append(
            order[whom].select(
                pl.Series("group", at, pl.UInt32),
                pl.lit(kind, pl.Int32).alias("kind"),
                pl.Series("cosine", best[at] // _RANKS - MILLION, pl.Int64),
                *ORDER,
                pl.Series("near", tally.near[at] * counts, pl.Int64),
                pl.Series("rows", tally.near_rows[at] * counts, pl.Int64),
                pl.Series("floor_rows", tally.floor_rows[at] * counts, pl.Int64),
            )
        )
    several = np.flatnonzero((tally.images > 1) & is_home)
    for kind, members in ((FIRST, order), (SECOND, second)):
        among = members.filter(pl.col("group").is_in(several.tolist()))
        near = pl.Series("near", tally.images[among["group"].to_numpy()], pl.Int64)
        frames.append(
            among.select(
                "group",
                pl.lit(kind, pl.Int32).alias("kind"),
                pl.lit(MILLION, pl.Int64).alias("cosine"),
                *ORDER,
                near,
                *(pl.lit(0, pl.Int64).alias(name) for name in ("rows", "floor_rows")),
            )
        )
    learnt = pl.concat(frames).join(images.rename({"uid": "image"}), on="group")
    return learnt.select(*LEARNT)
