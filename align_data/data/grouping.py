"""Groups of pairs: what puts pairs together, in which order, and the place of each among those that are chosen from.

Groups are told apart by a 64-bit key, as texts are when they are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.hashing import Hashes, keys, pair_keys
from align_data.data.order_statistics import BITS, Codes

MEMBER = "?among"
"""The column that tells which pairs the rule chooses among: no signal or score has such a name."""
UID = "uid"
"""What breaks every tie: parts are ranges of it, and rows in order of it, so it is known without being read."""
_LAST = np.uint64(2**64 - 1)


@dataclass(frozen=True)
class Grouping:
    """How a rule groups pairs. It travels to other machines."""

    columns: tuple[str, ...]
    """What is equal in a group; a pair that lacks one of them is in none."""
    order: tuple[tuple[str, bool], ...]
    """Columns, and whether their greatest values come first; missing values come last."""

    def keyed(self, piece: pl.DataFrame, start: int) -> pl.DataFrame:
        """Return the pairs of a piece that are in a group: its `key`, what orders them, their `place` and MEMBER.

        The places of the piece's pairs are numbered from `start`.
        """
        place = np.arange(start, start + len(piece), dtype=np.uint64)
        tie = _tie(piece[self._compared[0][0]], self._compared[0][1]) if self._compared else place
        return (
            piece.select(
                pl.Series("key", _group_keys(piece, self.columns)),
                pl.Series("tie", tie if self._compared or not self._downwards else ~place),
                *(pl.col(name).alias(f"by_{number}") for number, (name, _) in enumerate(self._compared)),
                pl.Series("place", place),
                pl.col(MEMBER),
                pl.all_horizontal(pl.col(name).is_not_null() for name in self.columns).alias("grouped"),
            )
            .filter("grouped")
            .drop("grouped")
        )

    def in_order(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return pairs that are `keyed`, group by group, each in its order."""
        names = [f"by_{number}" for number in range(len(self._compared))]
        descending = [False, False, *(down for _, down in self._compared), self._downwards]
        # Asked only of what can be missing: columns with nulls last are compared five times as slowly.
        nulls_last = [False, False, *(True for _ in names), False]
        return rows.sort("key", "tie", *names, "place", descending=descending, nulls_last=nulls_last)

    @property
    def _compared(self) -> tuple[tuple[str, bool], ...]:
        """The columns of the order that are carried: those before the uid, which no two pairs share."""
        names = [name for name, _ in self.order]
        return self.order[: names.index(UID)] if UID in names else self.order

    @property
    def _downwards(self) -> bool:
        return (UID, True) in self.order


class GroupedPool:
    """All pairs of a pool that are in a group, group by group and in order, to be ranked whichever are chosen from.

    Held are four bytes for each pair, and eight for each group.
    """

    def __init__(self, grouping: Grouping, keyed: Sequence[pl.DataFrame], pairs: int) -> None:
        """Put pairs in order that are `keyed` by their places in a pool of so many `pairs`."""
        rows = grouping.in_order(pl.concat(keyed)) if keyed else pl.DataFrame({"key": [], "place": []})
        self._starts = starts_of(rows["key"].to_numpy())
        self._places = rows["place"].to_numpy().astype(np.min_scalar_type(pairs))
        self._pairs = pairs

    def ranks(self, among: NDArray[np.bool_]) -> tuple[NDArray[np.int32], list[list[int]]]:
        """Return each pair's rank where the pairs `among` are chosen from, and how many groups have each size.

        In no group it is 0. A pair that is not chosen from has the rank that it would have.
        """
        ranks = np.zeros(self._pairs, np.int32)
        of_groups, members = ranked(self._starts, among[self._places].astype(np.int32))
        ranks[self._places] = of_groups
        return ranks, listed(sizes_of(members))


def starts_of(sorted_keys: Hashes) -> NDArray[np.intp]:
    """Return where groups begin in their keys, which are sorted."""
    return np.flatnonzero(np.concatenate([[True], sorted_keys[1:] != sorted_keys[:-1]])[: len(sorted_keys)])


def ranked(starts: NDArray[np.intp], among: NDArray[np.signedinteger]) -> tuple[Codes, Codes]:
    """Return the ranks of pairs in order of their groups, and of each group how many pairs are chosen from.

    `among` is 1 for those that are, and 0 for others.
    """
    before = np.cumsum(among, dtype=among.dtype) - among
    ranks = 1 + before - np.repeat(before[starts], np.diff(starts, append=len(among)))
    members = np.add.reduceat(among, starts) if len(starts) else among
    return ranks, members


def sizes_of(members: NDArray[np.signedinteger]) -> Counter[int]:
    """Return how many groups have each size, of those that have a pair to choose from."""
    sizes, numbers = np.unique(members[members > 0], return_counts=True)
    return Counter(dict(zip(sizes.tolist(), numbers.tolist(), strict=True)))


def listed(sizes: Counter[int]) -> list[list[int]]:
    """Return each size that groups have, ascending, and how many have it."""
    return [[size, sizes[size]] for size in sorted(sizes)]


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
