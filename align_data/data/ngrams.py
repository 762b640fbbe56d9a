"""The n-grams of a text by name: which of them is the rarest of the pool."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.hashing import keys, pair_keys
from align_data.data.layout import Dataset
from align_data.signals.words import words


class Ngram(NamedTuple):
    """A word, or two neighbouring ones."""

    text: str
    seen: int
    """Occurrences in the pool."""


def rarest(dataset: Dataset, texts: Sequence[str]) -> list[Ngram | None]:
    """Return each text's least frequent n-gram, None for a text without words. `rarest_ngram` has to be measured."""
    every = [_ngrams(text) for text in texts]
    wanted = np.unique(np.concatenate([np.empty(0, np.int64), *(keys for keys, _ in every)]))
    seen = _counts(dataset, wanted)
    return [_rarest(names, seen[np.searchsorted(wanted, keys)]) for keys, names in every]


def _rarest(names: Sequence[str], seen: NDArray[np.int64]) -> Ngram | None:
    """Return the n-gram that is seen least, of several the first by name."""
    if not len(seen):
        return None
    least = int(seen.min())
    return Ngram(min(names[at] for at in np.flatnonzero(seen == least).tolist()), least)


def _ngrams(text: str) -> tuple[NDArray[np.int64], list[str]]:
    """Return the keys of a text's unigrams and bigrams, and the n-grams."""
    tokens = words(pl.Series([text]).str.to_lowercase())[0].to_list()
    hashed = keys(pl.Series(tokens, dtype=pl.String))
    both = np.concatenate([hashed, pair_keys(hashed[:-1], hashed[1:])]).view(np.int64)
    return both, [*tokens, *map(" ".join, pairwise(tokens))]


def _counts(dataset: Dataset, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Look up ascending keys in counts/ngrams, reading only the pieces that can hold them; 0 for what is not there.

    A text of megabytes has a million n-grams: nothing here is done for each of them and each piece.
    """
    table = dataset.counts("ngrams")
    manifest = table.committed()
    found = np.zeros(len(wanted), np.int64)
    for part in range(len(manifest.parts) if manifest else 0):
        for group, (least, greatest) in enumerate(table.piece_statistics(part, "key")):
            first, last = np.searchsorted(wanted, least), np.searchsorted(wanted, greatest, side="right")
            if first < last:
                piece = table.piece(part, group, ["key", "count"])
                known, counts = piece["key"].to_numpy(), piece["count"].to_numpy()  # by ascending key
                at = np.minimum(np.searchsorted(known, wanted[first:last]), len(known) - 1)
                found[first:last] += np.where(known[at] == wanted[first:last], counts[at], 0)
    return found
