"""The n-grams of a text by name: which of them is the rarest of the pool."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl

from align_data.hashing import keys, pair_keys
from align_data.layout import Dataset
from align_data.signals.words import words


class Ngram(NamedTuple):
    """A word, or two neighbouring ones."""

    text: str
    seen: int
    """Occurrences in the pool."""


def rarest(dataset: Dataset, texts: Sequence[str]) -> list[Ngram | None]:
    """Return each text's least frequent n-gram, None for a text without words. `rarest_ngram` has to be measured."""
    every = [_ngrams(text) for text in texts]
    counts = _counts(dataset, sorted({key for ngrams in every for key in ngrams}))
    found: list[Ngram | None] = []
    for ngrams in every:
        named = [Ngram(text, counts.get(key, 0)) for key, text in ngrams.items()]
        found.append(min(named, key=lambda ngram: (ngram.seen, ngram.text), default=None))
    return found


def _ngrams(text: str) -> dict[int, str]:
    """Return the keys of a text's unigrams and bigrams, and the n-grams."""
    tokens = words(pl.Series([text]).str.to_lowercase())[0].to_list()
    hashed = keys(pl.Series(tokens, dtype=pl.String))
    found = dict(zip(hashed.view(np.int64).tolist(), tokens, strict=True))
    pairs = pair_keys(hashed[:-1], hashed[1:]).view(np.int64).tolist()
    return {**dict(zip(pairs, map(" ".join, pairwise(tokens)), strict=True)), **found}


def _counts(dataset: Dataset, wanted: Sequence[int]) -> dict[int, int]:
    """Look up keys in counts/ngrams, reading only the pieces that can hold them."""
    table = dataset.counts("ngrams")
    manifest = table.committed()
    found: dict[int, int] = {}
    for part in range(len(manifest.parts) if manifest else 0):
        for group, (least, greatest) in enumerate(table.piece_statistics(part, "key")):
            here = [key for key in wanted if least <= key <= greatest]
            if here:
                piece = table.piece(part, group, ["key", "count"])
                found.update(piece.filter(pl.col("key").is_in(here)).iter_rows())
    return found
