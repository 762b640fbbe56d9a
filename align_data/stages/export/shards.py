"""Shards: the kept pairs with their images, so many a file, in the order of the dataset, which is that of a hash.

Which shard a pair is in follows from how many pairs before it are kept. First the kept rows of each part are written
down with their row groups cut where shards end; then every shard is made from its row groups, and no other row is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
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
from align_data.exports.manifest import folders_of, sizes
from align_data.exports.shard import Groups, Shard, rows_name, stored, write_index
from align_data.exports.shard_format import DIGEST, ShardJob, rows_schema
from align_data.stages.export.making import Making, make_all
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
    export: str
    """The digest of all that was asked: files of another export are never taken for this one's."""

    @property
    def folders(self) -> list[str]:
        """The folder of each split, and of what is in none, which comes first."""
        return folders_of([split.name for split in self.splits])


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
        pairs, size, missing = (sum(column) for column in zip(*(count[:3] for count in counts), strict=True))
        if missing and not drop_missing:
            raise DatasetError(
                f"{missing:,} of the kept pairs have no decodable image: fetch and measure, require one with "
                "the rule decodable, or leave them out: --pending drop"
            )
        numbers = [count[3] for count in counts]
        shards = _plan(run, numbers)
        exported = Exported(pairs, run.selection.counts()[1], [shard.name for shard in shards], size, missing)
        return ShardedExport(run, exported, numbers, shards)

    @property
    def folders(self) -> list[str]:
        """Where in the export files are."""
        return self.run.folders

    def write(self, engine: Engine, progress: Progress) -> dict[str, Any]:
        """Make the shards and their index; return what the manifest says of them."""
        run, starts = self.run, _starts(self.run, self.numbers)
        rows = [part.rows for part in run.selection.ledger.manifest.parts]
        engine.map_parts(
            "export: rows", lambda part, tick: _rows(run, part, starts[part], self.numbers[part], tick), rows, progress
        )
        make_all(Making(run.out, run.job, run.export), self.shards, engine, progress)
        infos = [info for shard in self.shards if (info := stored(run.out, shard, run.export)) is not None]
        for name, inside in sizes(run.folders, {info.name: info.pairs for info in infos}).items():
            run.out.write_bytes(name, (json.dumps(inside, indent=1) + "\n").encode())
        index = write_index(run.out, self.shards)
        counts = {"exported": self.exported.pairs, "without_image": self.exported.without_image}
        return {**counts, "index": index, "shards": [asdict(info) for info in infos]}


def _selected(run: Run, part: int, signals: Sequence[str]) -> Iterator[tuple[pl.DataFrame, int, int]]:
    """Yield the kept rows of each piece that have an image, with the split of each; rows read, and kept without one."""
    ledger = run.dataset.ledger(run.selection.ledger.name)
    masks = ledger.pieces(part, ["failed", "unknown"])
    images = image_places(run.dataset, part).rename({"sha256": DIGEST})
    names = list(dict.fromkeys(["decodable", *signals]))
    for piece, mask in zip(columns(run.dataset, part, ["uid", "url", "alt_text"], names), masks, strict=True):
        passed = piece.filter(mask.select(run.selection.passes).to_series())
        decodable = passed.filter(pl.col("decodable").fill_null(False))
        placed = with_images(decodable, images)
        placed = stripped(placed) if run.job.strip_credentials else placed
        yield placed.with_columns(_split(run.splits)), len(piece), len(passed) - len(decodable)


def _split(splits: Sequence[Split]) -> pl.Expr:
    """Return the number of each row's split, 0 for none: by the image, so that none is on both sides."""
    place = xxh3(pl.concat_str(image_key(pl.col("uid")), pl.lit("split"))).cast(pl.Float64) / 2.0**64
    number = pl.lit(0)
    ends = list(accumulate(split.share for split in splits))
    for i, end in reversed(list(enumerate(ends, 1))):
        number = pl.when(place < end).then(pl.lit(i)).otherwise(number)
    return number.alias("split")


def _count(run: Run, part: int, tick: Tick) -> tuple[int, int, int, list[int]]:
    """Return pairs to export, bytes of their images, kept pairs without one, and the pairs of each split."""
    size = missing = 0
    numbers = [0] * len(run.folders)
    for rows, read, lost in _selected(run, part, ()):
        size += int(rows["size"].sum())
        missing += lost
        for split, number in rows.group_by("split").len().iter_rows():
            numbers[split] += number
        tick(read)
    return sum(numbers), size, missing, numbers


def _plan(run: Run, numbers: Sequence[Sequence[int]]) -> list[Shard]:
    """Return all shards: of each split, the parts that it has rows of, and where in them these begin."""
    shards = []
    for split, folder in enumerate(run.folders):
        total = sum(number[split] for number in numbers)
        count = -(-total // run.shard_size)
        width = max(5, len(str(count - 1)))
        ends = list(accumulate(number[split] for number in numbers))
        for n in range(count):
            start, stop = n * run.shard_size, min(total, (n + 1) * run.shard_size)
            groups = tuple(
                (part, n - (end - number[split]) // run.shard_size)
                for part, (number, end) in enumerate(zip(numbers, ends, strict=True))
                if number[split] and end > start and end - number[split] < stop
            )
            name = f"{folder}{n:0{width}d}{FORMATS[run.job.format].ending}"
            shards.append(Shard(name, split, stop - start, groups))
    return shards


def _starts(run: Run, numbers: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return for each part how many pairs of each split are before it."""
    starts, so_far = [], [0] * len(run.folders)
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
        for rows, read, _ in _selected(run, part, run.job.signals):
            for split, file in files.items():
                file.add(rows.filter(pl.col("split") == split))
            tick(read)
