"""One part of `pairs` with the rows of a batch merged into it, in a file beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from align_data.common.ahead import ahead
from align_data.common.hashing import image_key
from align_data.common.progress import Tick
from align_data.data import pairs as pair
from align_data.data.batches import FIRST_BATCH
from align_data.data.layout import Dataset
from align_data.data.tombstones import of_part
from align_data.storage.tables import Meta, Table


@dataclass(frozen=True)
class Grown:
    """What one part of `pairs` came to; counts are of rows of the batch but for the pairs."""

    part: int
    pairs: int = 0
    """Pairs that are new."""
    refused: int = 0
    """Rows of what was taken down."""
    info: dict[str, Any] | None = None
    """What the merged part is; None where nothing changes."""


@dataclass(frozen=True)
class Merging:
    """What all parts share. It travels to other machines."""

    dataset: Dataset
    merged: Table[Meta]
    """Where the merged parts go."""
    batch: str
    initial: str
    """The batch that pairs are of where their part names none."""
    declared: Sequence[str]
    """What the old pairs and the new say beside URL and text."""

    @property
    def columns(self) -> list[str]:
        """The columns of a merged part."""
        return [*pair.table_columns(self.declared), FIRST_BATCH]

    def write(self, part: int, frames: Iterator[pl.DataFrame], tick: Tick) -> Grown:
        """Merge keyed rows of the batch, which ascend, into one part of `pairs`."""
        frame = next(frames, None)
        if frame is None and set(self.columns) == set(self.dataset.pairs.columns(part)):
            return Grown(part)
        tally = _MergeTally(self._taken_down(part))
        new = map(self._new, chain([] if frame is None else [frame], frames))
        merged = (self._joined(*stretch, tally) for stretch in side_by_side(self._old(part), new))
        with self.merged.writer(part, {}, self.columns) as writer:
            for piece in ahead(pair.pieces(merged)):
                writer.write(piece)
                tick(len(piece))
        assert writer.info is not None
        return Grown(part, tally.pairs, tally.refused, asdict(writer.info))

    def _taken_down(self, part: int) -> pl.Series:
        """Return the keys of a part's images that were taken down with all of their pairs: with no text they come back.

        Of an image that has pairs still only the pairs stay away that were taken down.
        """
        keys = image_key(of_part(self.dataset, self.dataset.ingested(), part)).unique()
        if keys.is_empty():
            return keys
        for piece in self.dataset.pairs.pieces(part, ["uid", "url"]):
            living = image_key(piece["uid"].filter(piece["url"] != ""))
            keys = keys.filter(~keys.is_in(living.implode()))
        return keys

    def _old(self, part: int) -> Iterator[pl.DataFrame]:
        stored = [name for name in self.columns if name in self.dataset.pairs.columns(part)]
        for piece in self.dataset.pairs.pieces(part, stored):
            yield self._complete(piece, self.initial)

    def _new(self, keyed: pl.DataFrame) -> pl.DataFrame:
        rows = self._complete(pair.finished(keyed), self.batch)
        return rows.with_columns(keyed["url_key"], keyed["pair_key"])

    def _complete(self, rows: pl.DataFrame, batch: str) -> pl.DataFrame:
        types = self.dataset.pairs.contract.polars(*self.columns)
        absent = [name for name in self.columns if name not in rows.columns]
        values = {name: pl.lit(batch if name == FIRST_BATCH else None, types[name]) for name in absent}
        return rows.with_columns(**values).select(self.columns)

    def _joined(self, old: pl.DataFrame, new: pl.DataFrame, tally: _MergeTally) -> pl.DataFrame:
        """Return old and new pairs, both sorted by uid, as one: of those in both the copies added."""
        old = old.select(self.columns)
        if new.is_empty():
            return old
        at = old["uid"].search_sorted(new["uid"]).to_numpy().astype(np.int64)
        within = np.minimum(at, max(0, len(old) - 1))
        in_both = (old["uid"].gather(within) == new["uid"]).to_numpy() if len(old) else np.zeros(len(new), bool)
        refused = image_key(new["uid"]).is_in(tally.taken_down.implode()).to_numpy() & ~in_both
        dead = np.zeros(len(new), bool)
        dead[in_both] = (old["url"].gather(at[in_both]) == "").to_numpy()
        refused |= dead
        in_both &= ~dead
        added = ~in_both & ~refused
        tally.pairs += int(added.sum())
        tally.refused += int(new["copies"].filter(pl.Series(refused)).sum())
        take = np.arange(len(old))
        take[at[in_both]] = len(old) + np.arange(int(in_both.sum()))
        behind = len(old) + int(in_both.sum()) + np.arange(int(added.sum()))
        take = np.insert(take, at[added], behind)
        again = self._of_both(old[at[in_both]], new.filter(pl.Series(in_both)))
        return pl.concat([old, again, new.filter(pl.Series(added)).select(self.columns)])[take]

    def _of_both(self, old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
        """Return pairs that were there and come again, row for row, as one ingest of both would have them."""
        keyed = old.with_columns(new["url_key"], new["pair_key"])
        merged = pair.merge(pl.concat([keyed, new]))
        return merged.with_columns(old[FIRST_BATCH]).select(self.columns)


@dataclass
class _MergeTally:
    """What became of a part's rows."""

    taken_down: pl.Series
    """Keys of the images that had pairs and have none any more."""
    pairs: int = 0
    refused: int = 0


class _Stretch(NamedTuple):
    """Stretches of two streams with the same range of uids."""

    old: pl.DataFrame
    new: pl.DataFrame


def side_by_side(old: Iterator[pl.DataFrame], new: Iterator[pl.DataFrame]) -> Iterator[_Stretch]:
    """Yield two streams that ascend by uid in stretches: all rows up to the lesser of the two frames' last uids."""
    left, right = next(old, None), next(new, None)
    empty = [frame[:0] for frame in (left, right) if frame is not None]
    while left is not None or right is not None:
        ends = [frame["uid"][-1] for frame in (left, right) if frame is not None]
        end = min(ends)
        yield _Stretch(_upto(left, end, empty[0]), _upto(right, end, empty[-1]))
        left, right = _behind(left, end, old), _behind(right, end, new)


def _upto(frame: pl.DataFrame | None, end: str, empty: pl.DataFrame) -> pl.DataFrame:
    return empty if frame is None else frame[: frame["uid"].search_sorted(end, side="right")]


def _behind(frame: pl.DataFrame | None, end: str, further: Iterator[pl.DataFrame]) -> pl.DataFrame | None:
    if frame is None:
        return None
    behind = frame[frame["uid"].search_sorted(end, side="right") :]
    return behind if len(behind) else next(further, None)
