"""Scores of texts alone, by a classifier: no image is needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.progress import Tick
from align_data.data.layout import Dataset
from align_data.models.text_classifiers import SharedClassifier
from align_data.stages.score.run import Values

_WINDOW = 4096
"""Neighbouring pairs whose texts are classified together, each distinct one once."""


@dataclass(frozen=True)
class TextScores:
    """What a classifier says of each text."""

    dataset: Dataset
    shared: SharedClassifier

    def identity(self, part: int) -> None:
        """Return what else the scores of a part follow from: nothing."""

    def scores(self, part: int, tick: Tick, scored: Iterator[NDArray[np.bool_]] | None = None) -> Iterator[Values]:
        """Yield a score for each row of each piece of pairs; NaN for one that has its own already."""
        for whole in self.dataset.pairs.pieces(part, ["alt_text"]):
            absent = np.ones(len(whole), bool) if scored is None else ~next(scored)
            piece = whole.filter(pl.Series(absent))
            scores = np.empty(len(piece))
            for start in range(0, len(piece), _WINDOW):
                texts = piece["alt_text"].slice(start, _WINDOW).to_arrow().dictionary_encode()
                of_distinct = self.shared.classifier.scores(texts.dictionary.to_pylist())
                scores[start : start + len(texts)] = of_distinct[np.asarray(texts.indices)]
                tick(len(texts))
            of_all = np.full(len(whole), np.nan)
            of_all[absent] = scores
            tick(len(whole) - len(piece))
            yield of_all
