"""The first pairs of a part by the order of a selection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from align_data.common.hashing import hash01, keys, pair_keys
from align_data.common.progress import Tick
from align_data.selection.margin import DISTANCE
from align_data.selection.selection import PairSelection

KEY = "_key"
Pieces = Callable[[int], Iterator[tuple[int, pl.DataFrame]]]
"""Yields for each piece of a part how many pairs it has, and those that are looked for, with masks and `_row`."""


@dataclass(frozen=True)
class FirstPairs:
    """Finds the first pairs of a part. It travels to other machines."""

    pieces: Pieces
    selection: PairSelection
    number: int
    stops: bool
    """Whether nobody asks how many pairs there are behind the first."""

    def __call__(self, part: int, tick: Tick) -> tuple[int, pl.DataFrame]:
        """Return how many pairs were found, and the first by the order, with their places and masks."""
        found, behind, first = 0, 0, pl.DataFrame()
        ordered = self.selection.ordered
        for piece, (pairs, holding) in enumerate(self.pieces(part)):
            tick(pairs)
            found += len(holding)
            if ordered or len(first) < self.number:
                places = [pl.lit(part).alias("_part"), pl.lit(piece).alias("_piece"), pl.col("_row").cast(pl.Int64)]
                keyed = holding.select(*places, "failed", "unknown", self._key(holding, part, behind))
                first = in_order([first, keyed.filter(self._ahead_of(first))], self.selection, self.number)
            elif self.stops:
                break
            behind += pairs
        return found, first

    def _key(self, rows: pl.DataFrame, part: int, behind: int) -> pl.Series | pl.Expr:
        """Return what pairs are ordered by; `behind` pairs of the part are in earlier pieces."""
        selection = self.selection
        if selection.random is not None:  # by the places of pairs: their uids are longer to read than all else
            places = rows["_row"].to_numpy().astype(np.uint64) + np.uint64((part << 40) + behind)
            return pl.Series(KEY, hash01(pair_keys(places, keys(pl.Series([str(selection.random)])))))
        if selection.nearest is not None:
            return pl.col(DISTANCE).alias(KEY)
        if selection.sort is not None:
            return pl.col(selection.sort.removeprefix("-")).alias(KEY)
        return pl.lit(None, pl.Null).alias(KEY)

    def _ahead_of(self, first: pl.DataFrame) -> pl.Expr:
        """Return whether pairs come before the last of enough earlier ones: of millions only few have to be sorted."""
        if len(first) < self.number or not self.selection.ordered:
            return pl.lit(True)
        last, key = first[KEY][-1], pl.col(KEY)
        if last is None:
            return key.is_not_null()
        return key.gt(last) if _descending(self.selection) else key.lt(last)


def in_order(rows: Sequence[pl.DataFrame], selection: PairSelection, number: int) -> pl.DataFrame:
    """Return the first rows by the order of a selection, of frames in the dataset's: that is the order of equals."""
    with_rows = [frame for frame in rows if len(frame)]
    if not with_rows:
        return pl.DataFrame()
    together = pl.concat(with_rows, how="vertical_relaxed")
    if selection.ordered:
        together = together.sort(KEY, descending=_descending(selection), nulls_last=True, maintain_order=True)
    return together[:number]


def _descending(selection: PairSelection) -> bool:
    return selection.sort is not None and selection.sort.startswith("-")
