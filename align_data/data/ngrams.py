"""The n-grams of a text by name: which of them is the rarest of the pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.hashing import keys, pair_keys
from align_data.data.layout import Dataset
from align_data.data.meta import CountsMeta
from align_data.signals.words import words
from align_data.storage.tables import Table


class Ngram(NamedTuple):
    """A word, or two neighbouring ones."""

    text: str
    occurrences: int
    """Occurrences in the pool."""


Totals = NDArray[np.int64]
Over = Callable[[Callable[[int], Totals], range], Iterable[Totals]]
"""Calls a function for each number of a range, as `map` does."""


def rarest(dataset: Dataset, texts: Sequence[str], over: Over = map) -> list[Ngram | None]:
    """Return each text's least frequent n-gram, None for a text without words. `rarest_ngram` has to be measured.

    The parts of the counts are gone through by `over`.
    """
    ngrams = [_ngrams(text) for text in texts]
    queries = np.unique(np.concatenate([np.empty(0, np.int64), *(keys for keys, _ in ngrams)]))
    counts = _counts(dataset, queries, over)
    return [_rarest(names, counts[np.searchsorted(queries, keys)]) for keys, names in ngrams]


def _rarest(names: Sequence[str], counts: NDArray[np.int64]) -> Ngram | None:
    """Return the n-gram that is seen least, of several the first by name."""
    if not len(counts):
        return None
    least = int(counts.min())
    return Ngram(min(names[at] for at in np.flatnonzero(counts == least).tolist()), least)


def _ngrams(text: str) -> tuple[NDArray[np.int64], list[str]]:
    """Return the keys of a text's unigrams and bigrams, and the n-grams."""
    tokens = words(pl.Series([text]).str.to_lowercase())[0].to_list()
    hashed = keys(pl.Series(tokens, dtype=pl.String))
    all_keys = np.concatenate([hashed, pair_keys(hashed[:-1], hashed[1:])]).view(np.int64)
    return all_keys, [*tokens, *map(" ".join, pairwise(tokens))]


def _counts(dataset: Dataset, queries: NDArray[np.int64], over: Over) -> Totals:
    """Look up ascending keys in counts/ngrams; 0 for what is not there."""
    table = dataset.counts("ngrams")
    manifest = table.committed()
    parts = range(len(manifest.parts) if manifest else 0)
    return sum(over(lambda part: _part_counts(table, part, queries), parts), np.zeros(len(queries), np.int64))


def _part_counts(table: Table[CountsMeta], part: int, queries: NDArray[np.int64]) -> Totals:
    """Look up ascending keys in one part, reading only the pieces that can hold them.

    A text of megabytes has a million n-grams: nothing here is done for each of them and each piece.
    """
    totals = np.zeros(len(queries), np.int64)
    for group, (least, greatest) in enumerate(table.piece_statistics(part, "key")):
        start, stop = np.searchsorted(queries, least), np.searchsorted(queries, greatest, side="right")
        if start < stop:
            piece = table.piece(part, group, ["key", "count"])
            stored_keys, counts = piece["key"].to_numpy(), piece["count"].to_numpy()  # by ascending key
            at = np.minimum(np.searchsorted(stored_keys, queries[start:stop]), len(stored_keys) - 1)
            totals[start:stop] += np.where(stored_keys[at] == queries[start:stop], counts[at], 0)
    return totals
