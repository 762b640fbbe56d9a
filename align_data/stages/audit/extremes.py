"""The pool's extremes: alt-texts that most images share, images with most alt-texts, pairs with the rarest n-grams.

Each is looked for in the counted columns of all parts, and text is read afterwards, only of the pieces that have it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.hashing import image_key
from align_data.data.layout import Dataset
from align_data.data.ngrams import Over, rarest
from align_data.signals.corpus import NO_NGRAM
from align_data.stages.audit.sampling import PairPlace, SampledPair, first_least
from align_data.stages.audit.values import Values

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


class ExtremePair(NamedTuple):
    """A pair that may be on a list."""

    value: int
    """The count that puts it there."""
    row: PairPlace


@dataclass(frozen=True)
class PartExtremes:
    """What one part has."""

    texts: list[tuple[int, NDArray[np.int64]]] = field(default_factory=list)
    """Of each piece with a text that may be listed its number, and the counts of these texts."""
    images: list[ExtremePair] = field(default_factory=list)
    """The first pairs of images that were not taken down, with how many texts each has, the most first."""
    rare: list[ExtremePair] = field(default_factory=list)
    """The pairs with the least counts of their rarest n-gram, with these."""


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
        self._texts: list[tuple[int, NDArray[np.int64]]] = []
        self._of_images: list[NDArray[np.int64]] = []
        self._living: list[NDArray[np.bool_]] = []
        self._rare: list[ExtremePair] = []

    def add(self, number: int, piece: Mapping[str, Values], living: NDArray[np.bool_]) -> None:
        """Look at the counted columns of one piece; only `living` pairs are listed, the others were taken down."""
        if "images_per_text" in piece:
            counts = piece["images_per_text"].to_numpy()
            largest = np.unique(counts[(counts >= self._limit.least) & living])
            if len(largest):
                self._texts.append((number, largest))
        if "texts_per_image" in piece:
            self._of_images.append(piece["texts_per_image"].to_numpy())
            self._living.append(living)
        if "rarest_ngram" in piece:
            self._rarest(number, piece["rarest_ngram"].to_numpy(), living)

    def _rarest(self, number: int, counts: NDArray[np.int64], living: NDArray[np.bool_]) -> None:
        greatest = self._rare[-1].value if len(self._rare) >= RARE else NO_NGRAM
        rows = np.flatnonzero((counts < greatest) & living)
        rows = rows[first_least(counts[rows], RARE)]
        rare = [ExtremePair(int(counts[row]), PairPlace(self._part, number, row)) for row in rows.tolist()]
        self._rare = sorted([*self._rare, *rare])[:RARE]

    def result(self) -> PartExtremes:
        """Return what the part has."""
        return PartExtremes(self._texts, self._images(), self._rare)

    def _images(self) -> list[ExtremePair]:
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

    def _place(self, count: int, row: int, ends: NDArray[np.int64]) -> ExtremePair:
        number = int(np.searchsorted(ends, row, side="right"))
        return ExtremePair(count, PairPlace(self._part, number, row - (int(ends[number - 1]) if number else 0)))


def _starts(counts: NDArray[np.int64]) -> list[int]:
    """Return the first rows of the images with most texts, of a part's counts: all rows of an image have its count."""
    rows = _of_most(counts)
    begins = np.flatnonzero((np.diff(rows, prepend=-2) != 1) | (np.diff(counts[rows], prepend=0) != 0))
    lengths = np.diff(np.append(begins, len(rows)))
    begins = rows[begins]
    runs = np.argsort(-counts[begins], kind="stable")[:TOP]  # a run has an image, or several alike
    starts = [
        (int(counts[begin]), begin + offset)
        for begin, length in zip(begins[runs].tolist(), lengths[runs].tolist(), strict=True)
        for offset in range(0, length, int(counts[begin]))
    ]
    return [row for _, row in sorted(starts, key=lambda start: (-start[0], start[1]))[:TOP]]


def _of_most(counts: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the rows of images with several texts; only of those with many, where these are as many as are listed."""
    for least in (1_000, 100, 10, 2):
        rows = np.flatnonzero(counts >= least)
        if (1 / counts[rows]).sum() > TOP:  # an image has as many rows as texts
            break
    return rows


@dataclass(frozen=True)
class PoolExtremes:
    """The extremes of the whole pool."""

    texts: list[Extreme] = field(default_factory=list)
    images: list[Extreme] = field(default_factory=list)
    rare: list[Extreme] = field(default_factory=list)


@dataclass(frozen=True)
class ListedPairs:
    """What all parts have, of which the pairs are yet to be read."""

    texts: list[tuple[int, int, NDArray[np.int64]]]
    """Part, piece, and the counts of its texts that may be listed."""
    images: list[ExtremePair]
    rare: list[ExtremePair]

    @property
    def rows(self) -> set[PairPlace]:
        """The pairs to read."""
        return {pair.row for pair in (*self.images, *self.rare)}


def to_list(parts: Sequence[PartExtremes]) -> ListedPairs:
    """Return what is listed of all parts."""
    return ListedPairs(
        [(number, piece, counts) for number, part in enumerate(parts) for piece, counts in part.texts],
        sorted((pair for part in parts for pair in part.images), key=lambda pair: -pair.value)[:TOP],
        sorted((pair for part in parts for pair in part.rare), key=lambda pair: pair.value)[:RARE],
    )


def lists(
    dataset: Dataset,
    ledger: str,
    limit: CountLimit,
    listed: ListedPairs,
    pairs: Mapping[PairPlace, SampledPair],
    over: Over = map,
) -> PoolExtremes:
    """Return the extremes of all parts together; `pairs` has the rows that were to be read."""
    images = [Extreme(pairs[row].url, count, pairs[row].alt_text) for count, row in listed.images]
    rare = [(count, pairs[row].alt_text) for count, row in listed.rare]
    return PoolExtremes(_shared(dataset, ledger, limit, listed.texts), images, _explained(dataset, rare, over))


def _shared(
    dataset: Dataset, ledger: str, limit: CountLimit, pieces: Sequence[tuple[int, int, NDArray[np.int64]]]
) -> list[Extreme]:
    """Read the texts that most images share: piece by piece in order, until none can be missing."""
    texts: dict[str, Extreme] = {}
    counted: Counter[int] = Counter()
    for part, piece, counts in pieces:
        least = 1 + min(text.pairs for text in texts.values()) if len(texts) >= TOP else 0
        # Where every text of a count has been read, the rows with it add nothing.
        missing = [
            count
            for count in counts.tolist()
            if count >= least and counted[count] < min(TOP, limit.texts.get(count, TOP))
        ]
        for text, url, count in _with_counts(dataset, ledger, part, piece, missing) if missing else ():
            if text not in texts:
                texts[text] = Extreme(text, count, url)
                counted[count] += 1
        texts = {text.value: text for text in sorted(texts.values(), key=lambda text: -text.pairs)[:TOP]}
    return list(texts.values())


def _with_counts(
    dataset: Dataset, ledger: str, part: int, piece: int, counts: Sequence[int]
) -> Iterator[tuple[str, str, int]]:
    """Yield the texts of one piece that have one of these counts, each with its first URL that was not taken down."""
    of_texts = dataset.measured("corpus").piece(part, piece, ["images_per_text"])["images_per_text"]
    living = dataset.ledger(ledger).piece(part, piece, ["failed"])["failed"] >= 0
    rows = (of_texts.is_in(counts) & living).arg_true()
    read = dataset.pairs.piece(part, piece, ["alt_text", "url"])[rows].with_columns(of_texts[rows])
    yield from read.unique("alt_text", keep="first", maintain_order=True).iter_rows()


def _explained(dataset: Dataset, rare: Sequence[tuple[int, str]], over: Over) -> list[Extreme]:
    """Say of each text which of its n-grams is the rarest."""
    named = rarest(dataset, [text for _, text in rare], over) if rare else []
    return [Extreme(text, count, ngram.text) for (count, text), ngram in zip(rare, named, strict=True) if ngram]
