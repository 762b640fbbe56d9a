"""Which images have copies: by their bytes and by their pHash, over the whole pool and through any engine.

1. `images`, `hashes`: rows of all parts move by pHash, a row for the images of a part that have the same bytes.
2. `partial`: distinct pHashes are compared, all in one task, or as copies that share a chunk of bits come together.
3. `near`: what was seen of each pHash comes back to it.
4. `values`: and goes back to the parts of the images.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.bits import ALL, WIDTH, chunks, spread
from align_data.common.hashing import Hashes, xxh3
from align_data.common.nearest_hash import FAR
from align_data.common.progress import Progress, Tick
from align_data.data.image_table import sorted_rows
from align_data.data.layout import Dataset
from align_data.engines.base import Engine, Shuffle
from align_data.neighbours.phash.index import DistinctHashes, nearness
from align_data.neighbours.phash.tables import arrays, mixed, signed, unsigned, whole, working
from align_data.neighbours.scratch import clear_scratch
from align_data.storage.tables import PIECE_ROWS, PartWriter, cut

T = TypeVar("T")
Sizes = NDArray[np.int64]
"""For each chunk of the spread bits, how many distinct pHashes are in each slice of it."""
Unit = tuple[int | None, int, int]
"""What one task compares: a chunk, or None for all; the first slice of it, and how many pHashes."""
_KNOWN = {
    "hash": pl.UInt64,
    "tie": pl.UInt64,
    "url_key": pl.UInt64,
    "has_first": pl.Boolean,
    **dict.fromkeys(("same_bytes", "images", "near", "earlier"), pl.Int64),
}
"""What comes back of images with the same bytes."""
_COMPARED = ("key", "phash", "images", "area", "tie")
_IMAGE = ("key", "tie", "part", "same_bytes", "url_key")

_ROWS = 1_000_000
"""Images of a range of pHashes."""
_BYTES = 128
"""Bytes that comparing a pHash takes, at most."""
_SLICE_BITS = 10
"""Of a chunk of bits, how many leading ones tell the slices of it."""


@dataclass(frozen=True)
class CopySearch:
    """One search. It travels to other machines."""

    dataset: Dataset
    within: int
    parts: int
    """Of `content`."""
    ranges: int
    """Ranges of the mixed pHash."""

    @property
    def edges(self) -> list[int]:
        """The keys at which ranges begin, after the first."""
        return [(i << WIDTH) // self.ranges for i in range(1, self.ranges)]

    @cached_property
    def masks(self) -> list[int]:
        """Chunks of the spread bits: pHashes that differ in so few bits agree in one of them."""
        return chunks(ALL, self.within + 1)

    def slices(self, phashes: Hashes, chunk: int) -> NDArray[np.int64]:
        """Return in which slice of a chunk each pHash is: those that agree in the chunk are in the same."""
        mask = self.masks[chunk]
        low, high = (mask & -mask).bit_length() - 1, mask.bit_length()
        low = max(low, high - _SLICE_BITS)
        bits = spread(phashes) & np.uint64(mask)
        return (bits >> np.uint64(low)).astype(np.int64)

    @property
    def key_shift(self) -> int:
        """By how many places a slice's number becomes a key: so keys are spread over their whole range."""
        return WIDTH - _SLICE_BITS - self.within.bit_length()

    def slice_key(self, chunk: int | None, number: int) -> int:
        """Return the key of a slice."""
        return ((chunk or 0) << _SLICE_BITS | number) << self.key_shift

    def units(self, sizes: Sizes, limit: int) -> list[Unit]:
        """Return tasks of neighbouring slices of one chunk, of about so many pHashes at most; a slice stays whole."""
        units: list[Unit] = []
        for chunk, of_chunk in enumerate(sizes.tolist()):
            begin, rows = 0, 0
            for number, size in enumerate(of_chunk):
                if rows and rows + size > limit:
                    units.append((chunk, begin, rows))
                    begin, rows = number, 0
                rows += size
            units.append((chunk, begin, rows))
        return units


def find_copies(dataset: Dataset, engine: Engine, progress: Progress, within: int) -> None:
    """Write `values`: for each image of `content` how many copies it has, and how far the nearest earlier one is."""
    content = dataset.content.committed()
    assert content is not None
    clear_scratch(dataset)
    search = CopySearch(dataset, within, len(content.parts), max(1, -(-content.rows // _ROWS)))
    sizes = _by_phash(search, engine, progress)
    units = _compared(search, sizes, engine, progress)
    _gathered(search, units, engine, progress)
    _returned(search, engine, progress)


def _move(
    title: str,
    engine: Engine,
    progress: Progress,
    units: int,
    prepare: Callable[[int], Iterator[pl.DataFrame]],
    merge: Callable[[pl.DataFrame], pl.DataFrame],
    edges: Sequence[int],
    write: Callable[[int, Iterator[pl.DataFrame]], T],
) -> list[T]:
    """Move rows by `key` and `tie` to the parts that begin at these edges, after the first."""

    def prepared(unit: int, tick: Tick) -> Generator[pl.DataFrame, None, None]:
        for rows in prepare(unit):
            yield rows
            tick(len(rows))

    def written(part: int, frames: Iterator[pl.DataFrame], tick: Tick) -> T:
        def ticked() -> Iterator[pl.DataFrame]:
            for rows in frames:
                yield rows
                tick(len(rows))

        return write(part, ticked())

    shuffle: Shuffle[int, None, T] = Shuffle(
        prepared,
        merge,
        lambda _: edges,
        written,
        foreseen=edges,
        is_certain=True,
        key="key",
        tie="tie",
        title=f"copies: {title}",
        unit="rows",
    )
    return engine.shuffle(shuffle, range(units), progress)[1]


def _by_phash(search: CopySearch, engine: Engine, progress: Progress) -> Sizes:
    """Bring the images of each pHash together; return how many pHashes are in each slice."""
    sizes = _move(
        "hashes",
        engine,
        progress,
        search.parts,
        lambda part: iter([_images_of(search, part)]),
        lambda rows: rows.sort("key", "tie", "part"),
        search.edges,
        lambda number, frames: _write_hashes(search, number, frames),
    )
    total: Sizes = np.sum(sizes, axis=0)
    return total


def image_keys(dataset: Dataset, part: int) -> pl.DataFrame:
    """Return the images of a part, null where none could be decoded: key, tie, area, url_key."""
    content = sorted_rows(dataset.content, part, ["url", "phash", "sha256", "width", "height"])
    is_image = pl.col("phash").is_not_null() & pl.col("sha256").is_not_null()
    phashes = content["phash"].fill_null(0).to_numpy().view(np.uint64)
    columns = content.select(
        pl.Series("key", mixed(phashes)),
        pl.col("sha256").str.head(16).str.decode("hex").bin.reinterpret(dtype=pl.UInt64, endianness="big").alias("tie"),
        (pl.col("width").cast(pl.Int64) * pl.col("height")).fill_null(0).alias("area"),
        xxh3(pl.col("url")).alias("url_key"),
        pl.Series("phash", phashes),
        is_image.alias("is_image"),
    )
    return columns.select(pl.when("is_image").then(pl.exclude("is_image")))


def _images_of(search: CopySearch, part: int) -> pl.DataFrame:
    """Return a row for the images of a part that have the same bytes."""
    images = image_keys(search.dataset, part).drop_nulls()
    return images.group_by("key", "tie").agg(
        pl.lit(part, pl.Int64).alias("part"),
        pl.len().cast(pl.Int64).alias("images"),
        pl.col("phash").first(),
        pl.col("area").max(),
        pl.col("url_key").min(),
    )


def _write_hashes(search: CopySearch, number: int, frames: Iterator[pl.DataFrame]) -> Sizes:
    """Write the images of a range of pHashes, and the distinct ones; return how many are in each slice."""
    sizes = np.zeros((search.within + 1, 1 << _SLICE_BITS), np.int64)
    writers = [working(search.dataset, name).writer(number, {}) for name in ("images", "hashes")]
    with writers[0] as images, writers[1] as hashes:
        for piece in cut(_grouped(frames, images)):
            hashes.write(signed(piece.select("key", "phash", "images", "area", "tie", "url_key")))
            for chunk in range(len(sizes)):
                slices = search.slices(piece["phash"].to_numpy(), chunk)
                sizes[chunk] += np.bincount(slices, minlength=1 << _SLICE_BITS)
    return sizes


def _grouped(frames: Iterator[pl.DataFrame], images: PartWriter) -> Iterator[pl.DataFrame]:
    """Write rows of images, and yield a row for each pHash: its rows may go on in the next frame."""
    unfinished: list[pl.DataFrame] = []
    for rows in frames:
        counted = rows.with_columns(pl.col("images").sum().over("key", "tie").alias("same_bytes"))
        for piece in counted.iter_slices(PIECE_ROWS):
            images.write(signed(piece.select(_IMAGE)))
        groups = _firsts(pl.concat([*unfinished, rows.drop("part")]))
        unfinished = [groups[-1:]]
        yield groups[:-1]
    yield from unfinished


def _firsts(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each pHash: its images, and the first of them."""
    ordered = rows.sort("key", -pl.col("area"), "tie", "url_key")
    return (
        ordered.group_by("key", maintain_order=True)
        .agg(pl.col("images").sum(), pl.exclude("key", "images").first())
        .select(rows.columns)
    )


def _compared(search: CopySearch, sizes: Sizes, engine: Engine, progress: Progress) -> int:
    """Compare the distinct pHashes; return the number of tasks that did."""
    total = int(sizes[0].sum())
    if total <= engine.share(1) // _BYTES:
        engine.map_parts(
            "copies: compare", lambda _, tick: _compare_all(search, total, tick), [total], progress, "hashes"
        )
        return 1
    units = search.units(sizes, max(1, engine.share(2**20) // (2 * _BYTES)))
    _move(
        "compare",
        engine,
        progress,
        search.ranges,
        lambda number: _sliced(search, number),
        lambda rows: rows.sort("key", "tie", "phash"),
        [search.slice_key(*unit[:2]) for unit in units[1:]],
        lambda number, frames: _compare(search, number, frames, units[number]),
    )
    return len(units)


def _compare_all(search: CopySearch, total: int, tick: Tick) -> None:
    table = working(search.dataset, "hashes")
    frames = (piece for number in range(search.ranges) for piece in table.pieces(number, list(_COMPARED)))
    _compare(search, 0, frames, (None, 0, total))
    tick(total)


def _sliced(search: CopySearch, number: int) -> Iterator[pl.DataFrame]:
    """Yield the pHashes of a range, once for each chunk of their bits, by their slice of it."""
    for piece in working(search.dataset, "hashes").pieces(number, list(_COMPARED)):
        phashes = piece["phash"].to_numpy().view(np.uint64)
        rows = unsigned(piece, "tie").with_columns(hash=pl.col("key"))
        for chunk in range(search.within + 1):
            at = search.slices(phashes, chunk).astype(np.uint64) + np.uint64(chunk << _SLICE_BITS)
            yield rows.with_columns(pl.Series("key", at << np.uint64(search.key_shift)))


def _compare(search: CopySearch, number: int, frames: Iterable[pl.DataFrame], unit: Unit) -> None:
    """Compare the pHashes of one task; write what is near each, as far as this task can tell."""
    chunk, _, rows = unit
    names = [*_COMPARED[1:], "key" if chunk is None else "hash"]
    columns = arrays(frames, names, rows)
    distinct = DistinctHashes(
        columns["phash"].view(np.uint64), columns["images"], columns["area"], columns["tie"].view(np.uint64)
    )
    masks = () if chunk is None else search.masks
    shared = 0 if chunk is None else masks[chunk]
    compared = nearness(distinct, search.within, shared, masks[: chunk or 0])
    at = np.flatnonzero(compared.near)
    partial = {
        "key": columns[names[-1]][at],
        "near": compared.near[at],
        "earlier": compared.earlier[at].astype(np.int64),
    }
    with working(search.dataset, "partial").writer(number, {}) as writer:
        for piece in pl.DataFrame(partial).iter_slices(PIECE_ROWS):
            writer.write(piece)


def _gathered(search: CopySearch, units: int, engine: Engine, progress: Progress) -> None:
    """Bring what was seen of each pHash back to it."""
    partial = working(search.dataset, "partial")

    def prepare(unit: int) -> Iterator[pl.DataFrame]:
        for piece in partial.pieces(unit, ["key", "near", "earlier"]):
            yield unsigned(piece, "key").with_columns(tie=pl.lit(0, pl.UInt64))

    def merge(rows: pl.DataFrame) -> pl.DataFrame:
        return (
            rows.group_by("key").agg(pl.col("near").sum(), pl.col("earlier").min(), pl.col("tie").first()).sort("key")
        )

    def write(number: int, frames: Iterator[pl.DataFrame]) -> None:
        hashes = whole(working(search.dataset, "hashes"), number)
        keys = hashes["key"].to_numpy().view(np.uint64)
        near, earlier = np.zeros(len(keys), np.int64), np.full(len(keys), FAR, np.int64)
        for rows in frames:
            at = np.searchsorted(keys, rows["key"].to_numpy())
            near[at], earlier[at] = rows["near"].to_numpy(), rows["earlier"].to_numpy()
        with working(search.dataset, "near").writer(number, {}) as writer:
            for piece in hashes.with_columns(pl.Series("near", near), pl.Series("earlier", earlier)).iter_slices(
                PIECE_ROWS
            ):
                writer.write(piece)

    _move("gather", engine, progress, units, prepare, merge, search.edges, write)


def _returned(search: CopySearch, engine: Engine, progress: Progress) -> None:
    """Send what is known of each image's pHash and bytes back to the part that it is in."""
    edges = [(part << WIDTH) // search.parts for part in range(search.parts)]
    keys = pl.Series(edges, dtype=pl.UInt64)

    def prepare(number: int) -> Iterator[pl.DataFrame]:
        facts = whole(working(search.dataset, "near"), number).rename({"tie": "first_tie", "url_key": "first_url"})
        facts = facts.select("key", "first_tie", "first_url", "images", "near", "earlier")
        for piece in working(search.dataset, "images").pieces(number, list(_IMAGE)):
            rows = piece.join(facts, on="key", how="left", maintain_order="left")
            is_first = (pl.col("tie") == pl.col("first_tie")) & (pl.col("url_key") == pl.col("first_url"))
            rows = rows.with_columns(is_first.alias("has_first")).drop("first_tie", "first_url")
            rows = unsigned(rows.rename({"key": "hash"}), "hash", "tie", "url_key")
            yield rows.with_columns(keys.gather(rows["part"]).alias("key")).drop("part")

    def merge(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.sort("key", "tie", "hash")

    def write(part: int, frames: Iterator[pl.DataFrame]) -> None:
        with working(search.dataset, "values").writer(part, {}) as writer:
            for piece in _values(search, part, list(frames)).iter_slices(PIECE_ROWS):
                writer.write(piece)

    _move("return", engine, progress, search.ranges, prepare, merge, edges[1:], write)


def _values(search: CopySearch, part: int, frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Return the values of the images of a part, row for row with `content`."""
    images = image_keys(search.dataset, part)
    facts = pl.concat([pl.DataFrame(schema=_KNOWN), *(rows.select(*_KNOWN) for rows in frames)])
    facts = facts.rename({"url_key": "first_url"})
    rows = images.join(facts, left_on=["key", "tie"], right_on=["hash", "tie"], how="left", maintain_order="left")
    # Should two URLs of the same bytes share a key, the first of them is the first.
    hit = pl.col("has_first") & (pl.col("url_key") == pl.col("first_url"))
    is_first = hit & (hit.cast(pl.Int32).cum_sum().over("key", "tie") == 1)
    earlier = pl.when(is_first).then("earlier").otherwise(0)
    return rows.select(
        pl.col("same_bytes").alias("urls_per_sha256"),
        pl.col("images").alias("images_per_phash"),
        (pl.col("near") + pl.col("images") - 1).alias("near_phash"),
        pl.when(pl.col("images").is_not_null()).then(earlier).cast(pl.Int32).alias("earlier_phash_distance"),
    )
