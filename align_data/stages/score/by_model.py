"""Scores by a model itself: images are decoded for it, and texts are read by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.errors import SignalError
from align_data.common.progress import Tick
from align_data.data.image_table import PLACE, with_images
from align_data.data.layout import Dataset
from align_data.data.model_inputs import embedded_by, image_rows, limits_of
from align_data.decoding.preparing.pool import PreparationPool
from align_data.models.encoder import BATCH
from align_data.models.sharing import SharedModel
from align_data.stages.score.run import Values
from align_data.storage.tars import Place

if TYPE_CHECKING:
    from align_data.models.encoder import PairScorer

WINDOW = 4096
"""Neighbouring pairs whose images and texts are embedded together: an image that several have once."""


@dataclass(frozen=True)
class _PairWindow:
    """Neighbouring pairs, and which image each has."""

    rows: int
    at: NDArray[np.intp]
    """The rows that have one."""
    texts: list[str]
    places: list[Place]
    """Of every image once."""
    image: NDArray[np.intp]
    """For each text the number of its image."""

    @staticmethod
    def of(rows: pl.DataFrame) -> _PairWindow:
        fetched = rows.with_row_index("row").filter(pl.col("tar").is_not_null())
        places = [Place(*place) for place in fetched.select(PLACE).iter_rows()]
        distinct = {place: number for number, place in enumerate(dict.fromkeys(places))}
        at = fetched["row"].to_numpy().astype(np.intp)
        image = np.array([distinct[place] for place in places], np.intp)
        return _PairWindow(len(rows), at, fetched["alt_text"].to_list(), list(distinct), image)


@dataclass(frozen=True)
class _Scores:
    dataset: Dataset
    shared: SharedModel
    children: int

    def identity(self, part: int) -> None:
        """Return what else the scores of a part follow from: nothing."""

    def scores(self, part: int, tick: Tick, scored: Iterator[NDArray[np.bool_]] | None = None) -> Iterator[Values]:
        """Yield a score for each row of each piece of pairs, NaN where there is none, or where it has one already."""
        images = image_rows(self.dataset, part).select("url", *PLACE)
        limits = limits_of(self.dataset)
        with PreparationPool(self.dataset.store, self.shared.model.preparation, limits, self.children) as pool:
            for piece in self.dataset.pairs.pieces(part, ["url", "alt_text"]):
                placed = with_images(piece, images)
                if scored is not None:
                    has = pl.Series(next(scored))
                    placed = placed.with_columns(tar=placed["tar"].set(has, None))
                yield np.concatenate(
                    [self._window(_PairWindow.of(rows), pool, tick) for rows in placed.iter_slices(WINDOW)]
                )

    def _window(self, window: _PairWindow, pool: PreparationPool, tick: Tick) -> Values:
        raise NotImplementedError


class EncoderScores(_Scores):
    """How near each pair's embeddings are: the cosine, or what the encoder has for it."""

    def _window(self, window: _PairWindow, pool: PreparationPool, tick: Tick) -> Values:
        encoder, number = self.shared.encoder, len(window.places)
        images, usable = np.zeros((number, encoder.dim), np.float32), np.zeros(number, bool)
        ticked = 0
        batches = [range(at, min(at + BATCH, number)) for at in range(0, number, BATCH)]
        prepared = pool.each([window.places[place] for place in batch] for batch in batches)
        for batch, pixels in zip(batches, prepared, strict=True):
            at = [place for place, image in zip(batch, pixels, strict=True) if image is not None]
            images[at] = embedded_by(encoder, encoder.images, [image for image in pixels if image is not None])
            usable[at] = True
            passed = window.rows * batch.stop // number
            tick(passed - ticked)
            ticked = passed
        tick(window.rows - ticked)
        scored = usable[window.image]
        read = [text for text, has in zip(window.texts, scored, strict=True) if has]
        scores = np.full(window.rows, np.nan)
        texts = embedded_by(encoder, encoder.texts, read)
        scores[window.at[scored]] = encoder.space.paired(images[window.image[scored]], texts)
        return scores


class PairScores(_Scores):
    """What a pair scorer says, which looks at both together."""

    def _window(self, window: _PairWindow, pool: PreparationPool, tick: Tick) -> Values:
        scorer = cast("PairScorer", self.shared.model)
        scores, ticked, at = np.full(window.rows, np.nan), 0, 0
        batches = [range(start, min(start + BATCH, len(window.image))) for start in range(0, len(window.image), BATCH)]
        numbers = [list(dict.fromkeys(window.image[batch.start : batch.stop].tolist())) for batch in batches]
        prepared = pool.each([window.places[place] for place in places] for places in numbers)
        for batch, places, pixels in zip(batches, numbers, prepared, strict=True):
            of_place = {place: image for place, image in zip(places, pixels, strict=True) if image is not None}
            scored = [place for place in batch if int(window.image[place]) in of_place]
            images = [of_place[int(window.image[place])] for place in scored]
            if scored:
                values = scorer.scores(images, [window.texts[place] for place in scored])
                scores[window.at[scored]] = _probabilities(np.asarray(values, np.float64), len(scored))
            at = window.rows * batch.stop // len(window.image)
            tick(at - ticked)
            ticked = at
        tick(window.rows - ticked)
        return scores


def _probabilities(values: Values, rows: int) -> Values:
    if values.shape != (rows,) or not np.isfinite(values).all():
        raise SignalError("the model's scores are not numbers (NaN), or not one for each pair: it is damaged")
    return values
