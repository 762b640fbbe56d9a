"""texts_per_image: how many pairs of a part have each one's URL."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.hashing import image_key
from align_data.storage.tables import Table


class Repeats:
    """Values of rows, stored as one for each run of neighbours; single rows can be excepted."""

    def __init__(self, lengths: NDArray[np.int64], excepted: dict[int, int]) -> None:
        self._lengths = lengths
        self._ends = np.cumsum(lengths)
        self._excepted = excepted
        self._at = 0

    def take(self, rows: int) -> NDArray[np.int64]:
        """Return the next `rows` rows' values: the length of each one's run, or what is excepted."""
        start, stop = self._at, self._at + rows
        first, last = np.searchsorted(self._ends, (start, stop - 1), side="right")
        runs = slice(int(first), int(last) + 1)
        within = np.diff(np.minimum(self._ends[runs], stop), prepend=start)
        values = np.repeat(self._lengths[runs], within)
        for row in self._excepted.keys() & set(range(start, stop)) if self._excepted else ():
            values[row - start] = self._excepted[row]
        self._at = stop
        return values


def texts_per_image(pairs: Table[Any], part: int) -> Repeats:
    """Count the rows of each URL in one part of `pairs`.

    Rows are sorted by uid, whose first half is the URL's key, so a URL's rows are neighbours: what is held is a number
    a URL, however many texts it has. Where two URLs share a key, which 64 bits leave to about one pair in 10^10 URLs,
    theirs are counted by the URLs themselves.
    """
    starts: list[NDArray[np.intp]] = []
    clashes: set[str] = set()
    rows, previous = 0, pl.DataFrame()
    for piece in pairs.pieces(part, ["uid", "url"]):
        heads = piece.select(image_key(pl.col("uid")).alias("key"), "url")
        joined = pl.concat([previous, heads]) if len(previous) else heads
        changed = joined.select(
            key=pl.col("key").ne_missing(pl.col("key").shift(1)),
            url=pl.col("url").ne_missing(pl.col("url").shift(1)),
        )[len(previous) :]
        starts.append(np.flatnonzero(changed["key"].to_numpy()) + rows)
        clashes |= set(heads.filter(changed["url"] & ~changed["key"])["key"])
        rows += len(piece)
        previous = heads[-1:]
    lengths = np.diff(np.concatenate([*starts, [rows]])).astype(np.int64)
    return Repeats(lengths, _by_url(pairs, part, clashes) if clashes else {})


def _by_url(pairs: Table[Any], part: int, keys: set[str]) -> dict[int, int]:
    """Return row → number of rows with its URL, for the rows whose URL's key is one of `keys`."""
    frames, at = [], 0
    for piece in pairs.pieces(part, ["uid", "url"]):
        matching = piece.with_row_index("row", at).filter(image_key(pl.col("uid")).is_in(list(keys)))
        frames.append(matching.select("row", "url"))
        at += len(piece)
    counted = pl.concat(frames).with_columns(n=pl.len().over("url"))
    return dict(zip(counted["row"].to_list(), counted["n"].to_list(), strict=True))
