"""Score: how near a model sees each fetched pair's image and text, as the signal similarity_NAME.

Parts are scored one after another, for there is one model; while it computes, threads decode what comes next.
"""

from __future__ import annotations

import shlex
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from align_data.common.errors import DatasetError, InputError
from align_data.common.progress import Progress, Tick
from align_data.data.columns import fresh, part_facts, scored_by
from align_data.data.image_table import PLACE, image_places, with_images
from align_data.data.layout import Dataset
from align_data.data.meta import ImagesMeta, PairsMeta, SignalsMeta
from align_data.decoding.render import How, render
from align_data.engines.base import Engine
from align_data.signals import FAMILIES, Signal
from align_data.signals.score import DECIMALS, SIMILARITY
from align_data.storage.tables import Manifest, Table
from align_data.storage.tars import DAMAGED, Place, TarReader
from align_data.train.embed import TwoTowers, sound
from align_data.train.preprocessing import centre

BATCH = 64
"""Pairs that go through the model together. No option: another number would change the last bits of a score."""
_AHEAD = 2
"""Batches that are decoded while one is embedded."""


@dataclass(frozen=True)
class Scored:
    """What a run of `score` did."""

    signal: str
    model: str
    """The model's digest."""
    pairs: int
    scored: int
    """Pairs that have a score now; the others have no image that could be had and decoded."""
    computed: int
    """Pairs that had to be scored for it."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)


def check(dataset: Dataset, name: str) -> None:
    """Raise SignalError for a name that none can be scored under, DatasetError where no images are measured."""
    FAMILIES[SIMILARITY].named(name)
    _images(dataset, dataset.ingested())


def _images(dataset: Dataset, pairs: Manifest[PairsMeta]) -> Manifest[ImagesMeta]:
    """Return the manifest of the images; DatasetError where there is nothing to score, or not known what."""
    images, url = dataset.images.committed(), dataset.store.url
    quoted = shlex.quote(url)
    if images is None:
        raise DatasetError(
            f"{url} has no images to score: run align-data fetch {quoted}, then align-data measure {quoted}"
        )
    if "decodable" not in fresh(dataset, "image", pairs):
        raise DatasetError(
            f"it is unknown, or outdated, which images of {url} can be decoded: run align-data measure {quoted}"
        )
    return images


def score(
    model: TwoTowers, dataset: Dataset, name: str, engine: Engine, progress: Progress, threads: int = 1
) -> Scored:
    """Write similarity_NAME of every pair; null where there is no image that can be decoded.

    What is stored of the same model and images stays. Part by part: what a killed run has finished stays too.
    """
    signal, pairs = FAMILIES[SIMILARITY].named(name), dataset.ingested()
    run = _ScoreRun(dataset, signal, model, model.digest, pairs, _images(dataset, pairs), threads)
    table = run.table
    before = table.committed()
    if before is not None and run.wrote(before.meta) and table.whole(before):
        return Scored(signal.name, run.digest, pairs.rows, before.meta.scored, 0)
    _check_side(dataset, model.side, len(pairs.parts))
    # While parts are replaced no manifest may speak for them: the old model's scores would be mixed with the new one's.
    table.retract()
    Image.MAX_IMAGE_PIXELS = None  # measure has judged how many are too many
    counts = engine.map_parts("score", run.part, [part.rows for part in pairs.parts], progress)
    scored = sum(number for number, _ in counts)
    meta = SignalsMeta(signals={signal.name: run.identity}, pairs=pairs.fingerprint, scored=scored)
    table.commit([table.info(part) for part in range(len(pairs.parts))], meta)
    return Scored(signal.name, run.digest, pairs.rows, scored, sum(computed for _, computed in counts))


def _check_side(dataset: Dataset, side: int, parts: int) -> None:
    """Raise DatasetError where the model sees images larger than they are stored."""
    if dataset.content.committed() is None:
        return
    for part in range(parts):
        least = image_places(dataset, part)["reduced"].drop_nulls().to_list()
        if least and min(least) < side:
            raise DatasetError(
                f"the model sees {side} x {side} pixels, and images of {dataset.store.url} are stored with a shorter "
                f"side of {min(least)} (fetch --keep): score with a smaller model, or fetch them again into a dataset "
                f"of their own, with --keep {side}"
            )


@dataclass(frozen=True)
class _ScoreRun:
    """What all parts share."""

    dataset: Dataset
    signal: Signal
    model: TwoTowers
    digest: str
    pairs: Manifest[PairsMeta]
    images: Manifest[ImagesMeta]
    threads: int

    @property
    def table(self) -> Table[SignalsMeta]:
        """Where the scores go."""
        return self.dataset.measured(self.signal.group)

    @property
    def identity(self) -> dict[str, Any]:
        """What the scores follow from, beside the pairs."""
        return {**self.signal.identity(), **scored_by(self.dataset, self.digest)}

    def wrote(self, meta: SignalsMeta) -> bool:
        """Tell whether a table that says this of itself has what this run would write."""
        return meta.signals == {self.signal.name: self.identity} and meta.pairs == self.pairs.fingerprint

    def facts(self, part: int) -> dict[str, Any]:
        """Say what a part is made from: of pairs and images its own, so that others may come and go."""
        images = {"images": self.images.parts[part].identity}
        return {
            "signals": {self.signal.name: {**self.identity, **images}},
            "pairs": self.pairs.parts[part].identity,
        }

    def part(self, number: int, tick: Tick) -> tuple[int, int]:
        """Score one part, if it is not there; return how many pairs have a score, and how many were computed now."""
        facts, name = self.facts(number), self.signal.name
        if part_facts(self.table, number) == facts:
            tick(self.pairs.parts[number].rows)
            return sum(len(piece[name].drop_nulls()) for piece in self.table.pieces(number, [name])), 0
        scored = 0
        with (
            self.table.writer(number, facts, [name]) as writer,
            _Decoding(self.dataset, self.model.side, self.threads) as decoding,
        ):
            for rows in self._rows(number):
                scores = [self._scores(batch, tick) for batch in decoding.batches(rows)]
                column = pl.concat(scores).alias(name)
                writer.write(column.to_frame())
                scored += len(column.drop_nulls())
        return scored, scored

    def _rows(self, part: int) -> Iterator[pl.DataFrame]:
        """Yield url, alt_text and the place of the bytes, null where there are none that can be decoded."""
        images = image_places(self.dataset, part)
        pairs = self.dataset.pairs.pieces(part, ["url", "alt_text"])
        decodable = self.dataset.measured("image").pieces(part, ["decodable"])
        for piece, has_image in zip(pairs, decodable, strict=True):
            placed = with_images(piece, images)
            yield placed.with_columns(pl.when(has_image["decodable"]).then(pl.col(name)).alias(name) for name in PLACE)

    def _scores(self, batch: _Batch, tick: Tick) -> pl.Series:
        """Return the scores of one batch."""
        scores = np.full(batch.rows, np.nan)
        if len(batch.at):
            images = sound(self.model.images(batch.pixels))[batch.image].astype(np.float64)
            cosines = (images * sound(self.model.texts(batch.texts))).sum(axis=1)
            # A whole number divided once is the float nearest to the decimals: what is equal in them is equal.
            scores[batch.at] = np.rint(cosines.clip(-1, 1) * 10**DECIMALS) / 10**DECIMALS
        tick(batch.rows)
        return pl.Series(scores).fill_nan(None)


@dataclass(frozen=True)
class _Batch:
    """Some neighbouring pairs; what is to be embedded is of those that have an image."""

    rows: int
    at: NDArray[np.intp]
    """The rows that have one."""
    texts: list[str]
    pixels: NDArray[np.uint8]
    """Of every image once."""
    image: NDArray[np.intp]
    """For each text the place of its image."""


class _Decoding:
    """Reads images in order, and decodes them in threads slightly ahead."""

    def __init__(self, dataset: Dataset, side: int, threads: int) -> None:
        self._side = side
        self._reader = TarReader(dataset.store)
        self._pool = ThreadPoolExecutor(threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._reader.close()

    def batches(self, rows: pl.DataFrame) -> Iterator[_Batch]:
        """Yield all rows in batches."""
        ahead: deque[Callable[[], _Batch]] = deque()
        for chunk in rows.iter_slices(BATCH):
            ahead.append(self._begin(chunk))
            if len(ahead) > _AHEAD:
                yield ahead.popleft()()
        while ahead:
            yield ahead.popleft()()

    def _begin(self, rows: pl.DataFrame) -> Callable[[], _Batch]:
        """Read the images of some rows, and have them decoded; return what waits for that."""
        fetched = rows.with_row_index("row").filter(pl.col("tar").is_not_null())
        places = [Place(*place) for place in fetched.select(PLACE).iter_rows()]
        distinct = {place: number for number, place in enumerate(dict.fromkeys(places))}
        futures = [self._pool.submit(_pixels, place, self._read(place), self._side) for place in distinct]

        def wait() -> _Batch:
            pixels = np.empty((len(futures), self._side, self._side, 3), np.uint8)
            for number, future in enumerate(futures):
                pixels[number] = future.result()
            image = np.array([distinct[place] for place in places], np.intp)
            return _Batch(
                len(rows), fetched["row"].to_numpy().astype(np.intp), fetched["alt_text"].to_list(), pixels, image
            )

        return wait

    def _read(self, place: Place) -> bytes:
        try:
            return self._reader.read(place)
        except OSError as error:
            raise _damaged(place, error) from error


def _pixels(place: Place, content: bytes, side: int) -> NDArray[np.uint8]:
    """Return what the model sees of an image: of the bytes that would be exported, as it has seen those in training."""
    try:
        return centre(render(content, How()).content, side)
    except (OSError, ValueError, InputError) as error:
        raise _damaged(place, error) from error


def _damaged(place: Place, error: Exception) -> DatasetError:
    return DatasetError(f"{place.tar}, at {place.offset:,}: {error}; {DAMAGED}")
