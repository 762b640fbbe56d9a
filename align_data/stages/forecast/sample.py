"""A sample by hash: all rows whose key is below a bound that falls as rows come, so that so many pairs are held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock

import polars as pl

from align_data.data import pairs as pair

_SPAN = 2**64


def no_pairs(declared: Sequence[str]) -> pl.DataFrame:
    """Return a sample of nothing."""
    rows = pair.keyed(pl.DataFrame(schema={"url": pl.String, "alt_text": pl.String}), declared)
    return rows.with_columns(pl.lit(0, pl.UInt64).alias("sample_key"))


class HashSample:
    """At most `limit` pairs whose keys are the least of all that are shown to it, and at least those of one key.

    Whatever shares a key is in it together or not at all, so what repeats in the pool repeats as often in the sample.
    """

    def __init__(self, limit: int, key: Callable[[pl.DataFrame], pl.Series], declared: Sequence[str]) -> None:
        self._limit, self._key, self._declared = limit, key, declared
        self._below = _SPAN
        self._frames: list[pl.DataFrame] = []
        self._pairs = 0
        self._lock = Lock()

    def add(self, rows: pl.DataFrame) -> None:
        """Show it some rows, as `pairs.clean` has them; any thread may."""
        keys = self._key(rows).alias("sample_key")
        if self._below < _SPAN:
            sampled = keys < self._below
            rows, keys = rows.filter(sampled), keys.filter(sampled)
        keyed = pair.keyed(rows, self._declared).with_columns(keys)
        with self._lock:
            self._frames.append(keyed)
            self._pairs += len(keyed)
            if self._pairs > 2 * self._limit:
                self._cut()

    def merged(self) -> pl.DataFrame:
        """Return the pairs, merged, in the order of `pairs`."""
        with self._lock:
            self._cut()
            return self._frames[0] if self._frames else no_pairs(self._declared)

    @property
    def share(self) -> float:
        """The part of all keys that is in the sample: 1 where it has all rows."""
        return self._below / _SPAN

    def _cut(self) -> None:
        """Merge what there is, and lower the bound until the limit is kept."""
        if not self._frames:
            return
        rows = pair.merge(pl.concat(self._frames))
        if self._below < _SPAN:
            rows = rows.filter(pl.col("sample_key") < self._below)
        if len(rows) > self._limit:
            least = rows["sample_key"].sort()
            # One more than the least key where that alone has more pairs: a sample of nothing would say nothing.
            self._below = max(int(least[self._limit]), int(least[0]) + 1)
            rows = rows.filter(pl.col("sample_key") < self._below)
        self._frames, self._pairs = [rows], len(rows)
