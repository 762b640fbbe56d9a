"""What divides the pool, such as scripts and hosts; and one count of it: how many pairs have a value and a code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from align_data.stages.audit.mask_codes import Codes
from align_data.stages.audit.values import Values, places

Pairs = NDArray[np.int64]
_DENSE = 8
_LEAST = 2**16
"""Counters for each key that is counted, or in all, that there may be; where more would be needed keys are hashed."""


@dataclass(frozen=True)
class Dimension:
    """A way to divide the pool."""

    name: str
    """What a reader calls it."""
    signal: str
    """What divides the pool."""
    edges: tuple[int, ...] = ()
    """Of numbers: where classes begin, after the first."""
    unit: str = ""
    endless: bool = False
    """Whether there may be as many values as pairs."""
    named: int = 20
    """Values that are shown, the others together."""

    def label(self, value: str | int | None) -> str:
        """Return a class's name."""
        if value is None:
            return "not measured"
        if isinstance(value, str):
            return value or "(none)"
        low = self.edges[value - 1] if value else None
        high = self.edges[value] if value < len(self.edges) else None
        if low is None:
            return f"below {high}" if high != 1 else "0"
        if high is None:
            return f"{low} or more"
        return f"{low}" if high == low + 1 else f"{low} to {high - 1}"


DIMENSIONS = (
    Dimension("language", "language"),
    Dimension("script", "script"),
    Dimension("host", "host", endless=True, named=50),
    Dimension("text length", "n_words", (1, 2, 3, 4, 6, 11, 21, 51, 101), "words"),
    Dimension("image size", "min_side", (1, 64, 101, 201, 257, 385, 513, 1025), "pixels, shorter side"),
    Dimension("format", "format"),
)


@dataclass(frozen=True)
class DimensionCounts:
    """What was counted of a dimension."""

    values: pl.Series
    """The different values, none of them null."""
    rows: pl.DataFrame
    """place, of the value among `values`, behind the last for null; code; and the pairs that have both."""
    tail: pl.DataFrame | None = None
    """code, pairs of the values that are not named; None where all are."""
    error: int = 0
    """How many pairs of a named value can be among the others, at most."""

    @cached_property
    def sizes(self) -> pl.DataFrame:
        """Each value that a pair has, null too: value, place, pairs."""
        number = len(self.values) + 1
        pairs = np.bincount(self.rows["place"], self.rows["pairs"], number).astype(np.int64)
        values = self.values.alias("value").extend_constant(None, 1)
        sizes = pl.DataFrame([values, pl.Series("place", np.arange(number)), pl.Series("pairs", pairs)])
        return sizes.filter(pl.col("pairs") > 0)


class DimensionTally:
    """Counts one dimension in one part, by the codes of `codes` masks."""

    def __init__(self, dimension: Dimension, codes: int, limit: int) -> None:
        self.dimension, self._codes, self._limit = dimension, codes, limit
        edges = np.array(dimension.edges, np.intp)
        greatest = int(edges[-1]) if len(edges) else 0
        self._class_of = np.searchsorted(edges, np.arange(greatest + 1), side="right")
        self._classes: Pairs = np.zeros((len(edges) + 2) * codes, np.int64)
        self._texts: list[pa.DictionaryArray] = []  # until the end: to sum them piece by piece is no shorter
        self._codes_of: list[Codes] = []

    def add(self, values: Values, codes: Codes) -> None:
        """Count one piece."""
        if isinstance(values, pa.ChunkedArray):
            self._texts += values.chunks
            self._codes_of.append(codes)
            return
        classes = self._class_of[np.clip(values.fill_null(0).to_numpy(), 0, len(self._class_of) - 1)]
        if values.null_count():
            classes[values.is_null().to_numpy()] = len(self.dimension.edges) + 1
        self._classes += np.bincount(classes * self._codes + codes, minlength=len(self._classes))

    def result(self) -> DimensionCounts:
        """Return the counts, of no more values than the limit has room for."""
        counts = self._of_classes() if self.dimension.edges else self._of_texts()
        number = max(1, self._limit // 4)
        if not self.dimension.endless or len(counts.rows) <= self._limit or len(counts.sizes) <= number:
            return counts
        sizes = counts.sizes.sort("pairs", "value", descending=[True, False])
        named = counts.rows["place"].is_in(sizes["place"].head(number).implode())
        tail = counts.rows.filter(~named).group_by("code").agg(pl.col("pairs").sum())
        return DimensionCounts(*_only(counts.values, counts.rows.filter(named)), tail, int(sizes["pairs"][number]))

    def _of_classes(self) -> DimensionCounts:
        keys = np.flatnonzero(self._classes)
        classes = pl.Series("value", range(len(self.dimension.edges) + 1), pl.Int16)
        return DimensionCounts(classes, _rows(keys, self._classes[keys], self._codes))

    def _of_texts(self) -> DimensionCounts:
        values, places_of = _unified([texts.dictionary for texts in self._texts])
        place = [of[places(texts, len(of) - 1)] for of, texts in zip(places_of, self._texts, strict=True)]
        keys = _joined(place) * self._codes + _joined(self._codes_of)
        return DimensionCounts(values, _rows(*counted(keys, (len(values) + 1) * self._codes), self._codes))


def merged(parts: Sequence[DimensionCounts], codes: int) -> DimensionCounts:
    """Add up what the parts counted. Exact, unless a part had to leave values unnamed."""
    values, places_of = _unified([part.values.to_arrow() for part in parts])
    place = [of[part.rows["place"].to_numpy()] for of, part in zip(places_of, parts, strict=True)]
    keys = _joined(place) * codes + _joined([part.rows["code"].to_numpy() for part in parts])
    pairs = _joined([part.rows["pairs"].to_numpy() for part in parts])
    rows = _rows(*counted(keys, (len(values) + 1) * codes, pairs), codes)
    tails = [part.tail for part in parts if part.tail is not None]
    tail = pl.concat(tails).group_by("code").agg(pl.col("pairs").sum()) if tails else None
    return DimensionCounts(values, rows, tail, sum(part.error for part in parts))


def _joined(arrays: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, np.int64), *arrays])


def _unified(arrays: Sequence[pa.Array]) -> tuple[pl.Series, list[NDArray[np.intp]]]:
    """Return the different values of all arrays, and for each the places of its values there: the last is of null."""
    if not arrays:
        return pl.Series("value", [], pl.String), []
    indices = (pl.Series(np.arange(len(values), dtype=np.int32)).to_arrow() for values in arrays)
    encoded = [pa.DictionaryArray.from_arrays(at, values) for at, values in zip(indices, arrays, strict=True)]
    chunks = pa.chunked_array(encoded).unify_dictionaries().chunks
    together = pl.Series("value", chunks[-1].dictionary)
    return together, [np.append(places(chunk, 0), len(together)) for chunk in chunks]


def counted(keys: NDArray[np.intp], size: int, pairs: Pairs | None = None) -> tuple[NDArray[np.intp], Pairs]:
    """Return the different keys, which are below `size`, and how often each is there; or the `pairs` of each, added."""
    if size <= max(_LEAST, _DENSE * len(keys)):
        totals = np.bincount(keys, pairs, size).astype(np.int64, copy=False)  # of floats: exact to 2^53
        present = np.flatnonzero(totals)
        return present, totals[present]
    number = (
        pl.Series("pairs", [1], pl.Int64).new_from_index(0, len(keys)) if pairs is None else pl.Series("pairs", pairs)
    )
    hashed = pl.DataFrame([pl.Series("key", keys), number]).group_by("key").agg(pl.col("pairs").sum())
    return hashed["key"].to_numpy(), hashed["pairs"].to_numpy()


def _rows(keys: NDArray[np.intp], pairs: Pairs, codes: int) -> pl.DataFrame:
    return pl.DataFrame({"place": keys // codes, "code": keys % codes, "pairs": pairs})


def _only(values: pl.Series, rows: pl.DataFrame) -> tuple[pl.Series, pl.DataFrame]:
    """Return the values that are in rows, and the rows with their places."""
    present = np.unique(rows["place"].to_numpy())
    place = np.searchsorted(present, rows["place"].to_numpy())
    return values.gather(present[present < len(values)]), rows.with_columns(place=place)
