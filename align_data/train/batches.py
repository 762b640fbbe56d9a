"""Batches of pixels and tokens, in an order that the seed alone decides, decoded while the model trains.

If all images fit in the memory allowed, decoded and resized, they are read once and every epoch is a new order of all.
Otherwise an epoch takes the shards in a new order, in windows as large as that memory allows, and shuffles in a window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from xxhash import xxh3_64_intdigest

from align_data.common.ahead import ahead
from align_data.common.errors import InputError, TrainError
from align_data.common.progress import Progress
from align_data.models.pytorch.align_pixels import resized_side
from align_data.train.embed import image_key
from align_data.train.preprocessing import Pixels, resized, sided
from align_data.train.settings import TrainSettings
from align_data.train.shards import Sample, Shards
from align_data.train.tokens import Ids, encode, padded

Rows = NDArray[np.int64]


class TrainingBatch(NamedTuple):
    """What one process has of a step's pairs."""

    images: Pixels
    """Resized, and not yet cut to the side that the model sees."""
    corners: Rows
    """(pairs, 2): the row and column at which each is cut."""
    mirrored: NDArray[np.bool_]
    ids: Ids
    mask: Ids
    keys: Rows
    """(pairs, 2): equal ones in the first column are of one image, in the second of one text."""


@dataclass(frozen=True)
class Rank:
    """Number of one of the processes; each takes every n-th pair of a batch."""

    number: int = 0
    of: int = 1


@dataclass
class _DecodedWindow:
    """Pairs that are ready: resized images, tokens, and whether they may be mirrored."""

    images: Pixels
    tokens: list[Ids]
    mirrored: NDArray[np.bool_]
    keys: Rows


def _stand_ins(decodable: NDArray[np.bool_], start: int, stop: int) -> Rows:
    """Return which row stands for each of some: itself, the next good one of them, or any where none of them is."""
    usable = decodable[start:stop]
    substitutes = np.flatnonzero(usable) + start if usable.any() else np.flatnonzero(decodable)
    return np.where(usable, np.arange(start, start + len(usable)), substitutes[np.cumsum(usable) % len(substitutes)])


def _keys(samples: Sequence[Sample], tokens: Sequence[Ids]) -> Rows:
    """Return which pairs have an image or a text in common: an image is its URL, a text what the model sees of it."""
    contents = [
        (image_key(sample.url, sample.uid).encode(), ids.tobytes()) for sample, ids in zip(samples, tokens, strict=True)
    ]
    hashes = np.array([[xxh3_64_intdigest(content) for content in pair] for pair in contents], np.uint64)
    return hashes.view(np.int64)


@dataclass
class Feed:
    """The batches of a run."""

    shards: Shards
    side: int
    settings: TrainSettings
    workers: int
    rank: Rank = field(default_factory=Rank)
    undecodable: set[str] = field(default_factory=set)
    """Pairs whose image could not be decoded, so far."""
    _samples: list[Sample] | None = None
    """All pairs, where they fit."""
    _cache: _DecodedWindow | None = None

    def __post_init__(self) -> None:
        self._resized = resized_side(self.side)
        self._pool = ThreadPoolExecutor(self.workers)
        self._ahead = ThreadPoolExecutor(1)

    @property
    def window(self) -> int:
        """Pairs that are shuffled together where not all fit: whole batches, in half of the memory."""
        pairs = self.settings.memory * 10**6 // (2 * 3 * self._resized**2)
        return max(1, pairs // self.settings.batch) * self.settings.batch

    def read(self, progress: Progress) -> None:
        """Read all pairs, if they fit in memory; TrainError if they are fewer than a batch."""
        limit = 2 * self.window
        samples: list[Sample] = []
        with progress.step("read the shards", self.shards.pairs, "pairs") as tick:
            for sample in islice(self.shards, limit + 1):
                samples.append(sample)
                tick(1)
        if len(samples) < self.settings.batch:
            selection = " of the selection" if self.shards.only is not None else ""
            raise TrainError(
                f"{self.shards.store.url} has {len(samples):,} pairs{selection}, less than a batch of "
                f"{self.settings.batch:,}: give more pairs, or a smaller --batch{self._unread()}"
            )
        self._samples = samples if len(samples) <= limit else None

    def _unread(self) -> str:
        return f". Corrupt: {'; '.join(self.shards.skipped.values())}" if self.shards.skipped else ""

    @property
    def texts(self) -> Iterator[str]:
        """All texts."""
        return (sample.alt_text for sample in (self.shards if self._samples is None else self._samples))

    def begin(self, tokenizer: Tokenizer, tokens: int | None = None) -> None:
        """Decode what was read, and from now on encode texts so; `tokens` where a model takes fewer than asked for."""
        self._tokenizer, self._tokens = tokenizer, min(tokens or self.settings.max_tokens, self.settings.max_tokens)
        if self._samples is not None:
            self._cache, self._samples = self._decoded(self._samples, len(self._samples)), None

    def close(self) -> None:
        """End the threads."""
        for pool in (self._ahead, self._pool):
            pool.shutdown(cancel_futures=True)

    def epoch(self, number: int, skip: int = 0) -> Iterator[TrainingBatch]:
        """Yield the batches of one epoch, without the first `skip`; what does not fill a batch is left out."""
        order = np.random.default_rng([self.settings.seed, 1, number])
        at = skip
        if self._cache is not None:
            rows = order.permutation(len(self._cache.tokens))
            for batch in self._batches(rows)[skip:]:
                yield self._batch(self._cache, batch[self.rank.number :: self.rank.of], number, at)
                at += 1
            return
        for window in ahead(self._windows(order, skip), self._ahead):
            # Here only this process's pairs are there, in order.
            for start in range(0, len(window.tokens), self._own):
                yield self._batch(window, np.arange(start, start + self._own), number, at)
                at += 1

    @property
    def _own(self) -> int:
        return self.settings.batch // self.rank.of

    def _batches(self, rows: Rows) -> list[Rows]:
        size = self.settings.batch
        return [rows[start : start + size] for start in range(0, len(rows) - size + 1, size)]

    def _windows(self, order: np.random.Generator, skip: int) -> Iterator[_DecodedWindow]:
        """Make window after window, of this process's pairs."""
        names = [self.shards.names[i] for i in order.permutation(len(self.shards.names))]
        samples = (sample for name in names for sample in self.shards.whole(name))
        while window := list(islice(samples, self.window)):
            batches = self._batches(order.permutation(len(window)))
            skipped = min(skip, len(batches))
            skip -= skipped
            own = [window[row] for batch in batches[skipped:] for row in batch[self.rank.number :: self.rank.of]]
            if own:
                yield self._decoded(own, self._own)

    def _decoded(self, samples: Sequence[Sample], together: int) -> _DecodedWindow:
        """Make pairs ready; of an image that cannot be decoded, another of so many together takes the place.

        In windows those are a batch, for a run that goes on in the midst of one must come to the same pairs.
        """
        images = np.empty((len(samples), self._resized, self._resized, 3), np.uint8)
        decodable = np.array(
            list(self._pool.map(lambda row: self._into(images, row, samples[row]), range(len(samples))))
        )
        if not decodable.all():
            self.undecodable |= {
                sample.uid for sample, fine in zip(samples, decodable.tolist(), strict=True) if not fine
            }
            if not decodable.any():
                raise TrainError(f"no image of {self.shards.store.url} can be decoded")
            starts = range(0, len(samples), together)
            rows = np.concatenate([_stand_ins(decodable, start, start + together) for start in starts])
            images, samples = images[rows], [samples[row] for row in rows.tolist()]
        texts = [sample.alt_text for sample in samples]
        tokens = encode(self._tokenizer, texts, self._tokens)
        return _DecodedWindow(images, tokens, sided(texts), _keys(samples, tokens))

    def _into(self, images: Pixels, row: int, sample: Sample) -> bool:
        try:
            images[row] = resized(sample.image, self._resized)
        except InputError:
            return False
        return True

    def _batch(self, window: _DecodedWindow, rows: Rows, epoch: int, number: int) -> TrainingBatch:
        """Say where to cut and what to mirror, drawn for the whole batch: it is the same for any number of ranks."""
        chance = np.random.default_rng([self.settings.seed, 2, epoch, number])
        margin = self._resized - self.side
        mine = slice(self.rank.number, None, self.rank.of)
        corners = np.ascontiguousarray(chance.integers(0, margin + 1, (self.settings.batch, 2))[mine])
        heads = (chance.random(self.settings.batch) < 0.5)[mine]
        mirrored = heads & ~window.mirrored[rows] & self.settings.flip
        ids, mask = padded([window.tokens[row] for row in rows.tolist()])
        return TrainingBatch(window.images[rows], corners, mirrored, ids, mask, window.keys[rows])
