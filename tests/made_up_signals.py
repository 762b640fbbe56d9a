"""A made-up signal of each kind, for tests that add them to a dataset that was measured without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from inspect import isgenerator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from align_data.engines.base import Engine
from align_data.signals import SIGNALS, Signal
from align_data.signals.base import Piece, PoolCount
from align_data.signals.image import checked


def redness(image: Image.Image) -> float:
    """Return the mean of the red channel."""
    return float(np.asarray(image)[:, :, 0].mean())


def tint(image: Image.Image) -> str:
    """Name the channel with the highest mean; an image of 41 pixels' width is refused."""
    if image.width == 41:
        raise RuntimeError("not this one")
    return ("red", "green", "blue")[int(np.asarray(image).reshape(-1, 3).mean(axis=0).argmax())]


def _area(piece: Piece) -> pl.Series:
    sides = pl.col("width").fill_null(pl.col("declared_width")), pl.col("height").fill_null(pl.col("declared_height"))
    return piece.frame.select((sides[0].cast(pl.Int64) * sides[1]).alias("area")).to_series()


def commonest(totals: NDArray[np.int64], lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the greatest total of each row, 0 for a row of none."""
    ends = np.cumsum(lengths)
    return np.array([max(totals[end - n : end], default=0) for end, n in zip(ends, lengths, strict=True)], np.int64)


TEXT = SIGNALS["n_words"]
MADE_UP: dict[str, Signal] = {
    signal.name: signal
    for signal in (
        replace(
            TEXT,
            name="opening",
            type="string",
            measure=lambda piece: piece.frame["alt_text"].str.head(9),
            erased_by_takedown=True,
        ),
        replace(TEXT, name="n_spaces", measure=lambda p: p.frame["alt_text"].str.count_matches(" ").cast(pl.Int32)),
        replace(
            TEXT,
            name="url_length",
            needs=("url",),
            measure=lambda piece: piece.frame["url"].str.len_chars().cast(pl.Int32),
        ),
        replace(SIGNALS["min_side"], name="area", type="int64", measure=_area),
        replace(SIGNALS["images_per_text"], name="texts_again", counted=PoolCount("texts")),
        replace(SIGNALS["rarest_ngram"], name="commonest_ngram", counted=PoolCount("ngrams", commonest), none=None),
        checked("redness", "float64", "0 to 255", "The mean of the red channel.", "made up", redness),
        checked("tint", "string", "channel", "The channel with the highest mean.", "made up", tint),
    )
}


@contextmanager
def registered() -> Iterator[None]:
    """Make the signals known in this process for a while: a Spark worker goes on to the tasks of other tests."""
    new = MADE_UP.keys() - SIGNALS.keys()
    SIGNALS.update(MADE_UP)
    try:
        yield
    finally:
        for name in new:
            del SIGNALS[name]


@dataclass(frozen=True)
class _Registered:
    """A function that runs where the signals are known: on Spark that is another process."""

    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        with registered():
            outcome = self.function(*arguments)
            return list(outcome) if isgenerator(outcome) else outcome


def knowing(engine: Engine) -> Engine:
    """Return the engine, its tasks knowing the signals as those of an align-data that defines them do."""
    map_parts, exchange = engine.map_parts, engine.exchange
    engine = copy(engine)  # it may be one that other tests share

    def mapped(title: str, function: Any, *arguments: Any, **options: Any) -> Any:
        return map_parts(title, _Registered(function), *arguments, **options)

    def exchanged(ask: Any, *arguments: Any, **options: Any) -> Any:
        steps = {name: _Registered(getattr(ask, name)) for name in ("ask", "keep", "answer")}
        return exchange(replace(ask, **steps), *arguments, **options)

    vars(engine).update(map_parts=mapped, exchange=exchanged)
    return engine
