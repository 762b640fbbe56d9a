"""Shards: the kept pairs with their images, so many a file, in the order of the dataset, which is that of a hash.

Which shard a pair is in follows from how many pairs before it are kept. First the kept rows of each part are written
down with their row groups cut where shards end; then every shard is made from its row groups, and no other row is read.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import polars as pl

from align_data.common.errors import DatasetError
from align_data.common.hashing import image_key, xxh3
from align_data.common.progress import Progress, Tick
from align_data.data.columns import columns
from align_data.data.image_table import image_places, with_images
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.exports.formats import FORMATS
from align_data.exports.making import Making
from align_data.exports.shard import Groups, Shard, rows_name, stored, write_index
from align_data.exports.shard_format import DIGEST, ORIGINAL_SIZE, ShardJob, rows_schema
from align_data.exports.shard_names import TRAIN, ShardNames
from align_data.stages.export.making import make_all
from align_data.stages.export.selection import Exported, Selection
from align_data.stages.export.urls import stripped
from align_data.storage.store import Store


@dataclass(frozen=True)
class Split:
    """A part of the pairs that goes to a folder of its own."""

    name: str
    share: float


@dataclass(frozen=True)
class Run:
    """What is the same for all parts and shards. It travels to other machines."""

    dataset: Dataset
    selection: Selection
    out: Store
    job: ShardJob
    shard_size: int
    splits: tuple[Split, ...]
    names: ShardNames
    export: str
    """The digest of all that was asked: files of another export are never taken for this one's."""

    @property
    def split_names(self) -> list[str]:
        """The name of what is in no split, which comes first, and of each split."""
        return [TRAIN, *(split.name for split in self.splits)]


@dataclass(frozen=True)
class ShardedExport:
    """An export with images: which pairs each shard has, before any is made."""

    run: Run
    exported: Exported
    numbers: Sequence[Sequence[int]]
    """Pairs of each part and split."""
    shards: Sequence[Shard]

    @staticmethod
    def plan(run: Run, engine: Engine, progress: Progress, *, drop_missing: bool) -> ShardedExport:
        """Count what there is; DatasetError for kept pairs without an image."""
        rows = [part.rows for part in run.selection.ledger.manifest.parts]
        counts = engine.map_parts("export: plan", lambda part, tick: _count(run, part, tick), rows, progress)
        missing, unstored = (sum(numbers) for numbers in zip(*((c.missing, c.unstored) for c in counts), strict=True))
        if missing and not drop_missing:
            raise DatasetError(
                f"{missing:,} of the kept pairs have no decodable image: fetch and measure, require one with "
                "the rule decodable, or leave them out: --pending drop"
            )
        if unstored and not drop_missing:
            raise DatasetError(
                f"{unstored:,} of the kept pairs have an image that was measured and not stored (fetch --keep none, "
                "--drop-failing): fetch again without these, which gets them, leave the pairs out: --pending drop, or "
                "export without images: --format metadata"
            )
        _check_size(run, counts)
        pairs, size = sum(sum(count.numbers) for count in counts), sum(count.size for count in counts)
        missing, numbers = missing + unstored, [count.numbers for count in counts]
        shards = _plan(run, numbers)
        exported = Exported(pairs, run.selection.counts()[1], [shard.name for shard in shards], size, missing)
        return ShardedExport(run, exported, numbers, shards)

    @property
    def folders(self) -> list[str]:
        """Where in the export files are."""
        return sorted({posixpath.dirname(shard.name) for shard in self.shards})

    def write(self, engine: Engine, progress: Progress) -> dict[str, Any]:
        """Make the shards and their index; return what the manifest says of them."""
        run, starts = self.run, _starts(self.run, self.numbers)
        rows = [part.rows for part in run.selection.ledger.manifest.parts]
        engine.map_parts(
            "export: rows", lambda part, tick: _rows(run, part, starts[part], self.numbers[part], tick), rows, progress
        )
        make_all(Making(run.out, run.job, run.export), self.shards, engine, progress)
        entries = [
            replace(info, split=run.split_names[shard.split]).entry()
            for shard in self.shards
            if (info := stored(run.out, shard, run.export)) is not None
        ]
        index = write_index(run.out, self.shards)
        counts = {"exported": self.exported.pairs, "without_image": self.exported.without_image}
        return {**counts, "index": index, "shards": entries}


@dataclass(frozen=True)
class _SelectedPiece:
    """What is selected of a piece of pairs."""

    rows: pl.DataFrame
    """The kept pairs whose image can be exported, with its place and the split of each."""
    read: int
    """All pairs."""
    missing: int
    """Kept pairs without an image that can be decoded."""
    unstored: int
    """Kept pairs whose image can be, and is not stored."""


def _selected(run: Run, part: int, signals: Sequence[str]) -> Iterator[_SelectedPiece]:
    """Yield what is selected of each piece."""
    ledger = run.dataset.ledger(run.selection.ledger.name)
    masks = ledger.pieces(part, ["failed", "unknown"])
    images = image_places(run.dataset, part).rename({"sha256": DIGEST})
    # What is stored as it was fetched says itself how large it was.
    smaller = pl.col("reduced").is_not_null()
    images = images.with_columns(pl.when(smaller).then(pl.col(*ORIGINAL_SIZE)))
    names = list(dict.fromkeys(["decodable", *signals]))
    for piece, mask in zip(columns(run.dataset, part, ["uid", "url", "alt_text"], names), masks, strict=True):
        passed = piece.filter(mask.select(run.selection.passes).to_series())
        decodable = passed.filter(pl.col("decodable").fill_null(False))
        placed = with_images(decodable, images).filter(pl.col("tar").is_not_null())
        placed = stripped(placed) if run.job.strip_credentials else placed
        lost = len(passed) - len(decodable)
        yield _SelectedPiece(placed.with_columns(_split(run.splits)), len(piece), lost, len(decodable) - len(placed))


def _split(splits: Sequence[Split]) -> pl.Expr:
    """Return the number of each row's split, 0 for none: by the image, so that none is on both sides."""
    place = xxh3(pl.concat_str(image_key(pl.col("uid")), pl.lit("split"))).cast(pl.Float64) / 2.0**64
    number = pl.lit(0)
    ends = list(accumulate(split.share for split in splits))
    for i, end in reversed(list(enumerate(ends, 1))):
        number = pl.when(place < end).then(pl.lit(i)).otherwise(number)
    return number.alias("split")


@dataclass(frozen=True)
class _PartCount:
    """What is to be exported of a part."""

    size: int
    """Bytes of the images."""
    missing: int
    unstored: int
    numbers: list[int]
    """Pairs of each split."""
    larger: int
    """Pairs whose image is asked for larger than it is stored."""
    least: int | None
    """The least shorter side among these."""


def _count(run: Run, part: int, tick: Tick) -> _PartCount:
    """Count what is to be exported of a part."""
    size = missing = unstored = larger = 0
    least: int | None = None
    numbers = [0] * len(run.split_names)
    how = run.job.how
    for piece in _selected(run, part, ()):
        rows = piece.rows
        size += int(rows["size"].sum())
        missing, unstored = missing + piece.missing, unstored + piece.unstored
        for split, number in rows.group_by("split").len().iter_rows():
            numbers[split] += number
        if how.resize != "keep" and len(short := rows.filter(pl.col("reduced") < how.size)["reduced"]):
            larger, least = larger + len(short), min(int(short.to_numpy().min()), least or how.size)
        tick(piece.read)
    return _PartCount(size, missing, unstored, numbers, larger, least)


def _check_size(run: Run, counts: Sequence[_PartCount]) -> None:
    """Raise DatasetError where images are asked for larger than they are stored."""
    if larger := sum(count.larger for count in counts):
        least = min(count.least for count in counts if count.least is not None)
        size = run.job.how.size
        raise DatasetError(
            f"--size {size} asks for more than is stored of the images of {larger:,} pairs, down to a shorter side of "
            f"{least} (fetch --keep): export with --size {least}, or as they are stored with --resize keep, or fetch "
            f"them again into a dataset of their own, with --keep {size}"
        )


def _plan(run: Run, numbers: Sequence[Sequence[int]]) -> list[Shard]:
    """Return all shards: of each split, the parts that it has rows of, and where in them these begin."""
    shards = []
    for split, split_name in enumerate(run.split_names):
        total = sum(number[split] for number in numbers)
        count = -(-total // run.shard_size)
        ends = list(accumulate(number[split] for number in numbers))
        for n in range(count):
            start, stop = n * run.shard_size, min(total, (n + 1) * run.shard_size)
            groups = tuple(
                (part, n - (end - number[split]) // run.shard_size)
                for part, (number, end) in enumerate(zip(numbers, ends, strict=True))
                if number[split] and end > start and end - number[split] < stop
            )
            name = f"{run.names.name(split_name, n, count)}{FORMATS[run.job.format].ending}"
            shards.append(Shard(name, split, stop - start, groups))
    return shards


def _starts(run: Run, numbers: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return for each part how many pairs of each split are before it."""
    starts, so_far = [], [0] * len(run.split_names)
    for number in numbers:
        starts.append(list(so_far))
        so_far = [a + b for a, b in zip(so_far, number, strict=True)]
    return starts


def _rows(run: Run, part: int, starts: Sequence[int], numbers: Sequence[int], tick: Tick) -> None:
    """Write the kept rows of one part down, a file a split, their row groups cut where shards end."""
    with ExitStack() as stack:
        files = {}
        for split, number in enumerate(numbers):
            if number:
                path = stack.enter_context(run.out.create(rows_name(split, part)))
                room = run.shard_size - starts[split] % run.shard_size
                files[split] = stack.enter_context(Groups(path, rows_schema(run.job.signals), room, run.shard_size))
        for piece in _selected(run, part, run.job.signals):
            for split, file in files.items():
                file.add(piece.rows.filter(pl.col("split") == split))
            tick(piece.read)
