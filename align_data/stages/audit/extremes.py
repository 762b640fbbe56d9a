"""The pool's extremes: alt-texts that most images share, images with most alt-texts, pairs with the rarest n-grams.

Each is found in the counted columns, and text is read only of the pieces that have it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.hashing import image_key
from align_data.data.layout import Dataset
from align_data.data.ngrams import rarest
from align_data.signals.corpus import NO_NGRAM

TOP = 20
RARE = 8


@dataclass(frozen=True)
class Extreme:
    """One line of a list of extremes."""

    value: str
    """The text, or the URL."""
    pairs: int
    """That have it; for a rare n-gram, its occurrences in the pool."""
    example: str = ""
    """A URL with the text, a text of the URL; of a rare n-gram, the n-gram."""


class FirstPair(NamedTuple):
    """Where an image's first pair is that was not taken down."""

    texts: int
    part: int
    piece: int
    row: int


@dataclass(frozen=True)
class PartExtremes:
    """What one part has."""

    texts: list[Extreme] = field(default_factory=list)
    images: list[FirstPair] = field(default_factory=list)
    rare: list[tuple[int, str, str]] = field(default_factory=list)
    """Count of the rarest n-gram, text and URL of the pairs with the least."""


@dataclass(frozen=True)
class CountLimit:
    """How many texts have each of the counts that may be listed: what has been found need not be read."""

    texts: Mapping[int, int]

    @property
    def least(self) -> int:
        """The least count that a text of the list can have."""
        return min(self.texts, default=2)


def threshold(dataset: Dataset, erased: bool) -> CountLimit:
    """Return what the most shared texts' counts are, from the counts of counts; all where texts may be `gone`."""
    table = dataset.classes("texts")
    if table.committed() is None:
        return CountLimit({})
    classes = sorted((row for piece in table.pieces(0, ["count", "keys"]) for row in piece.rows()), reverse=True)
    texts_of: dict[int, int] = {}
    for count, texts in classes:
        if count < 2 or (sum(texts_of.values()) >= TOP and not erased):
            break
        texts_of[count] = texts
    return CountLimit(texts_of)


class Extremes:
    """Looks through one part."""

    def __init__(self, dataset: Dataset, part: int, limit: CountLimit) -> None:
        self._dataset, self._part, self._limit = dataset, part, limit
        self._texts: dict[str, tuple[int, str]] = {}
        self._counted: Counter[int] = Counter()
        self._of_images: list[NDArray[np.int64]] = []
        self._living: list[NDArray[np.bool_]] = []
        self._rare: list[tuple[int, str, str]] = []

    def add(self, number: int, piece: pl.DataFrame, living: NDArray[np.bool_]) -> None:
        """Look at the counted columns of one piece; only `living` pairs are listed, the others were taken down."""
        if "images_per_text" in piece.columns:
            self._shared(number, piece["images_per_text"].to_numpy(), living)
        if "texts_per_image" in piece.columns:
            self._of_images.append(piece["texts_per_image"].to_numpy())
            self._living.append(living)
        if "rarest_ngram" in piece.columns:
            self._rarest(number, piece["rarest_ngram"].to_numpy(), living)

    def _shared(self, number: int, counts: NDArray[np.int64], living: NDArray[np.bool_]) -> None:
        least = self._limit.least
        if len(self._texts) >= TOP:
            least = max(least, 1 + min(count for count, _ in self._texts.values()))
        rows = np.flatnonzero((counts >= least) & living)
        row_counts = counts[rows]
        # Where every text of a count has been found, the rows with it add nothing.
        open_counts = [
            int(c)
            for c in np.unique(row_counts)
            if self._counted[int(c)] < min(TOP, self._limit.texts.get(int(c), TOP))
        ]
        rows = rows[np.isin(row_counts, open_counts)]
        if not len(rows):
            return
        read = self._read(number, rows).with_columns(count=pl.Series(counts[rows]))
        for text, url, count in read.unique("alt_text", keep="first", maintain_order=True).iter_rows():
            if text not in self._texts:
                self._texts[text] = (count, url)
                self._counted[count] += 1
        self._texts = dict(sorted(self._texts.items(), key=lambda entry: -entry[1][0])[:TOP])

    def _rarest(self, number: int, counts: NDArray[np.int64], living: NDArray[np.bool_]) -> None:
        greatest = self._rare[-1][0] if len(self._rare) >= RARE else NO_NGRAM
        rows = np.flatnonzero((counts < greatest) & living)
        if not len(rows):
            return
        nearest_rows = np.sort(rows[np.argsort(counts[rows], kind="stable")[:RARE]])
        read = self._read(number, nearest_rows).rows()
        rarest = [(int(count), text, url) for count, (text, url) in zip(counts[nearest_rows], read, strict=True)]
        self._rare = sorted([*self._rare, *rarest], key=lambda entry: entry[0])[:RARE]

    def _read(self, number: int, rows: NDArray[np.intp]) -> pl.DataFrame:
        return self._dataset.pairs.piece(self._part, number, ["alt_text", "url"])[rows]

    def result(self) -> PartExtremes:
        """Return what the part has."""
        texts = [Extreme(text, count, url) for text, (count, url) in self._texts.items()]
        return PartExtremes(sorted(texts, key=lambda extreme: -extreme.pairs), self._images(), self._rare)

    def _images(self) -> list[FirstPair]:
        """Return the images with most texts: in a part, the pairs of a URL are neighbours."""
        if not self._of_images:
            return []
        counts, living = np.concatenate(self._of_images), np.concatenate(self._living)
        starts = _starts(counts) if living.all() else self._living_starts(counts, living)
        ends = np.cumsum([len(piece) for piece in self._of_images])
        return [self._place(int(counts[row]), row, ends) for row in starts]

    def _living_starts(self, counts: NDArray[np.int64], living: NDArray[np.bool_]) -> list[int]:
        """Return the first rows of the images with most texts, where pairs of them may have been taken down."""
        uids = pl.concat([piece["uid"] for piece in self._dataset.pairs.pieces(self._part, ["uid"])])
        image = image_key(uids).rle_id().to_numpy()
        rows = np.flatnonzero(living & (counts >= 2))
        firsts = rows[np.unique(image[rows], return_index=True)[1]]
        starts: list[int] = firsts[np.argsort(-counts[firsts], kind="stable")][:TOP].tolist()
        return starts

    def _place(self, count: int, row: int, ends: NDArray[np.int64]) -> FirstPair:
        number = int(np.searchsorted(ends, row, side="right"))
        return FirstPair(count, self._part, number, row - (int(ends[number - 1]) if number else 0))


def _starts(counts: NDArray[np.int64]) -> list[int]:
    """Return the first rows of the images with most texts, of a part's counts: all rows of an image have its count."""
    begins = np.flatnonzero(np.diff(counts, prepend=0))
    lengths = np.diff(np.append(begins, len(counts)))
    runs = np.flatnonzero(counts[begins] >= 2)
    runs = runs[np.argsort(-counts[begins[runs]], kind="stable")][:TOP]  # a run has an image, or several alike
    starts = [
        (int(counts[begin]), begin + offset)
        for begin, length in zip(begins[runs].tolist(), lengths[runs].tolist(), strict=True)
        for offset in range(0, length, int(counts[begin]))
    ]
    return [row for _, row in sorted(starts, key=lambda start: (-start[0], start[1]))[:TOP]]


@dataclass(frozen=True)
class PoolExtremes:
    """The extremes of the whole pool."""

    texts: list[Extreme] = field(default_factory=list)
    images: list[Extreme] = field(default_factory=list)
    rare: list[Extreme] = field(default_factory=list)


def lists(dataset: Dataset, parts: Sequence[PartExtremes]) -> PoolExtremes:
    """Return the extremes of all parts together."""
    texts: dict[str, Extreme] = {}
    for part in parts:
        for entry in part.texts:
            texts.setdefault(entry.value, entry)
    places = sorted((entry for part in parts for entry in part.images), key=lambda entry: -entry.texts)[:TOP]
    rare = sorted((entry for part in parts for entry in part.rare), key=lambda entry: entry[0])[:RARE]
    return PoolExtremes(_top(texts.values()), list(_images(dataset, places)), _explained(dataset, rare))


def _images(dataset: Dataset, places: Sequence[FirstPair]) -> Iterator[Extreme]:
    """Read where the images are."""
    for texts, part, piece, row in places:
        ((text, url),) = dataset.pairs.piece(part, piece, ["alt_text", "url"])[[row]].rows()
        yield Extreme(url, texts, text)


def _top(extremes: Iterable[Extreme]) -> list[Extreme]:
    return sorted(extremes, key=lambda extreme: -extreme.pairs)[:TOP]


def _explained(dataset: Dataset, rare: Sequence[tuple[int, str, str]]) -> list[Extreme]:
    """Say of each text which of its n-grams is the rarest."""
    named = rarest(dataset, [text for _, text, _ in rare])
    return [Extreme(text, count, ngram.text) for (count, text, _), ngram in zip(rare, named, strict=True) if ngram]
