"""Adopt: img2dataset's shards, whose pairs have been ingested, become `images` and the tars under `bytes/`."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from align_data.common.errors import DatasetError, InputError
from align_data.common.hashing import xxh3
from align_data.common.progress import Progress, Tick
from align_data.data import pairs as pair
from align_data.data.image_table import IMAGES, image_urls, names_of, sorted_rows, with_images
from align_data.data.layout import FETCH, Dataset
from align_data.data.meta import PairsMeta
from align_data.engines.base import Engine, Shuffle
from align_data.fetching import record
from align_data.fetching.client import Policy
from align_data.fetching.img2dataset_messages import judged, outcome
from align_data.sources import img2dataset as shards
from align_data.sources.img2dataset import StoredImage
from align_data.sources.lists import Choice, Source, read, units
from align_data.storage.image_formats import EXTENSIONS, sniff
from align_data.storage.tables import Manifest, PartInfo, cut
from align_data.storage.tars import TarWriter

RUN = 0
"""The number of this run; those of `fetch` come behind."""
CHUNK = 2048
"""Rows that are stored together."""
MAX_IMAGE = 256 * 2**20
"""Bytes of one image, at most: img2dataset reads what it is sent without a limit."""
_AHEAD = 32 * 2**20
"""Bytes that are read at once, but for a single image."""
_UNITS, _UNIT_SHARDS = 1024, 100

_OUTCOMES = {
    "url_key": pl.UInt64,
    "pair_key": pl.UInt64,
    "url": pl.String,
    "worse": pl.Boolean,
    "shard": pl.Int64,
    "row": pl.Int64,
    "status": pl.String,
    "reason": pl.String,
    "retryable": pl.Boolean,
    "format": pl.String,
    "path": pl.String,
    "offset": pl.Int64,
    "size": pl.Int64,
    "data": pl.Binary,
}
"""What is known of a URL on its way to its part; `pair_key` tells apart URLs that share a key."""


@dataclass(frozen=True)
class Adopted:
    """What became of the URLs of img2dataset's shards."""

    statuses: dict[str, int] = field(default_factory=dict)
    """Status → URLs."""
    resized: int = 0
    """Rows whose image was resized."""


@dataclass(frozen=True)
class _Run:
    """What is the same for all parts. It travels to other machines."""

    dataset: Dataset
    pairs: Manifest[PairsMeta]
    sources: Sequence[Source]
    choice: Choice

    def facts(self, part: int) -> dict[str, Any]:
        """Say what a part was made in."""
        return record.facts(RUN, self.pairs, part, record.decisive(Policy()), CHUNK)


@dataclass(frozen=True)
class _Treatment:
    """What some shards say of how their images were treated."""

    resized: int = 0
    decoded: int = 0


def adopt(sources: Sequence[Source], choice: Choice, dataset: Dataset, engine: Engine, progress: Progress) -> Adopted:
    """Take status and bytes of every URL from the shards that `pairs` were made of; done already is nothing to do."""
    pairs = dataset.ingested()
    committed = dataset.images.committed()
    if committed is not None:  # of these shards, as `pairs` are; a fetch may have gone on from there
        return Adopted(dict(committed.meta.statuses))
    if dataset.store.exists(FETCH):
        raise DatasetError(f"{dataset.store.url}: align-data fetch did not finish here; run it again first")
    run = _Run(dataset, pairs, sources, choice)
    step = min(_UNIT_SHARDS, max(1, len(sources) // _UNITS))
    todo = [range(start, min(start + step, len(sources))) for start in range(0, len(sources), step)]
    splits = [int(key, 16) for key in pairs.meta.splits]
    shuffle: Shuffle[range, _Treatment, tuple[PartInfo, dict[str, int]]] = Shuffle(
        prepare=lambda numbers, tick: _prepare(run, numbers, tick),
        merge=_merge,
        split=lambda _: splits,
        write=lambda part, frames, tick: _part(run, part, frames, tick),
    )
    progress.say("the pairs are ingested; now their images")
    treatments, written = engine.shuffle(shuffle, todo, progress)
    statuses = dict(sorted(sum((Counter(counts) for _, counts in written), Counter[str]()).items()))
    adopted = Adopted(statuses, sum(treatment.resized for treatment in treatments))
    if any(treatment.decoded for treatment in treatments):
        progress.say(_treated(adopted.resized))
    meta = record.meta(RUN, pairs, "all", record.decisive(Policy()), statuses)
    dataset.images.commit([info for info, _ in written], meta)
    dataset.store.clear_work()
    return adopted


def _treated(resized: int) -> str:
    """Say what img2dataset has done to the images."""
    treatment = f"img2dataset resized {resized:,} images" if resized else "img2dataset may have re-encoded the images"
    return f"{treatment}: sizes, formats and hashes will be measured of the bytes that it stored, not of the originals"


def _prepare(run: _Run, numbers: range, tick: Tick) -> Generator[pl.DataFrame, None, _Treatment]:
    """Yield what some shards know of their URLs."""
    resized = decoded = 0
    for number in numbers:
        source = run.sources[number]
        samples = shards.samples(source)
        resized, decoded = resized + int(samples["resized"].sum()), decoded + int(samples["decoded"].sum())
        rows = _urls(source, run.choice)
        contents = shards.contents(source)
        outcomes = (
            _beside(number, source, samples, rows) if contents is None else _inside(number, samples, rows, contents)
        )
        for count, frame in outcomes:
            if len(frame):
                yield frame
            tick(count)
    return _Treatment(resized, decoded)


def _urls(source: Source, choice: Choice) -> pl.DataFrame:
    """Return row and URL of what became pairs at ingest, by the same reading."""
    accepted = [
        pair.clean(frame)[0].select("row", "url") for unit in units([source], choice)[0] for frame, _ in read(unit)
    ]
    return pl.concat(accepted) if accepted else pl.DataFrame(schema={"row": pl.Int64, "url": pl.String})


def _beside(
    number: int, source: Source, samples: pl.DataFrame, rows: pl.DataFrame
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield what a shard knows that has its bytes in a tar or a folder, and of how many rows."""
    images = shards.images_beside(source, samples["key"])
    places = [images.get(key) for key in samples["key"]]
    yield len(samples), _outcomes(number, samples, rows, places, f"not among the bytes of {source.name}")


def _inside(
    number: int, samples: pl.DataFrame, rows: pl.DataFrame, contents: Iterator[list[bytes | None]]
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield what a shard knows that has its bytes in its metadata, some rows at a time, and of how many rows."""
    at = 0
    for contents_ in contents:
        images = [
            None if data is None else StoredImage("", at + i, len(data), data) for i, data in enumerate(contents_)
        ]
        part = rows.filter(pl.col("row").is_between(at + 1, at + len(contents_)))
        part = part.with_columns(pl.col("row") - at)
        frame = _outcomes(number, samples[at : at + len(contents_)], part, images, "its bytes are null")
        data = [
            contents_[row - 1] if status == "ok" else None for row, status in frame.select("row", "status").iter_rows()
        ]
        yield len(contents_), frame.with_columns(pl.col("row") + at, data=pl.Series("data", data, pl.Binary))
        at += len(contents_)


def _outcomes(
    number: int, samples: pl.DataFrame, rows: pl.DataFrame, images: Sequence[StoredImage | None], lost: str
) -> pl.DataFrame:
    """Return a row for each URL: what became of it, and where its bytes are; `row` counts the rows of `samples`."""
    columns: list[tuple[Any, ...]] = []
    reports = list(samples.select("status", "error_message").iter_rows())
    for row in rows["row"]:
        place = images[row - 1]
        end = judged(outcome(*reports[row - 1]), place, lost, MAX_IMAGE)
        where: tuple[Any, ...] = (None,) * 4
        if place is not None and end.status == "ok":
            where = (sniff(place.head), place.path, place.offset, place.size)
        columns.append((end.status != "ok", end.status, end.reason, end.retryable, *where))
    names = ("worse", "status", "reason", "retryable", "format", "path", "offset", "size")
    frame = pl.DataFrame(columns, {name: _OUTCOMES[name] for name in names}, orient="row")
    keyed = rows.with_columns(
        xxh3(pl.col("url")).alias("url_key"),
        xxh3(pl.concat_str("url", pl.lit("\0"))).alias("pair_key"),
        shard=pl.lit(number, pl.Int64),
        data=pl.lit(None, pl.Binary),
    )
    return keyed.hstack(frame).select(pl.col(name).cast(kind) for name, kind in _OUTCOMES.items())


def _merge(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a row a URL: one with bytes if there is one, then of the first shard."""
    ordered = rows.rechunk().sort("url_key", "pair_key", "worse", "shard", "row")
    return ordered.unique(["url_key", "pair_key"], keep="first", maintain_order=True)


def _part(run: _Run, part: int, frames: Iterator[pl.DataFrame], tick: Tick) -> tuple[PartInfo, dict[str, int]]:
    """Write one part of `images` and its tars, if a killed run has not."""
    table, facts = run.dataset.images, run.facts(part)
    if table.facts(part) != facts:
        tar = f"bytes/part-{part:05d}/{RUN:03d}-00000"
        # The tars appear before the part that names them.
        with table.writer(part, facts) as writer, TarWriter(run.dataset.store, tar) as tars:
            for piece in cut(_stored(run, whole, tars) for whole in _in_order(run, part, frames)):
                writer.write(piece)
                tick(len(piece))
    rows = sorted_rows(table, part, ["status"])
    return table.info(part), dict(rows.group_by("status").len().sort("status").iter_rows())


def _in_order(run: _Run, part: int, frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield what is known of a part's URLs in the order of `pairs`, in pieces."""
    urls = image_urls(run.dataset, part, None)
    named = urls.select("url", "key", name=names_of(urls["key"]))
    at = 0
    for frame in frames:
        end = f"{int(frame['url_key'][-1]):016x}"
        stop = at + int(named["key"][at:].search_sorted(end, side="right"))
        whole = with_images(named[at:stop], frame)
        # All are there, unless a file was changed meanwhile; then fetch asks for them.
        whole = whole.with_columns(pl.col("status").fill_null("untried"), pl.col("retryable").fill_null(True))
        yield from (whole[start : start + CHUNK] for start in range(0, len(whole), CHUNK))
        at = stop


def _stored(run: _Run, piece: pl.DataFrame, tars: TarWriter) -> pl.DataFrame:
    """Write the bytes of some URLs; return their rows."""
    places: list[tuple[str | None, int | None, int | None]] = []
    names = piece.select("name", "format").iter_rows()
    for (name, form), data in zip(names, _bodies(run, piece), strict=True):
        if data is None:
            places.append((None, None, None))
            continue
        place = tars.add(f"{name}.{EXTENSIONS[form]}", io.BytesIO(data), len(data))
        places.append((place.tar, place.offset, place.size))
    where = pl.DataFrame(places, {name: IMAGES[name] for name in ("tar", "offset", "size")}, orient="row")
    return piece.select("url", "status", "reason", "retryable").hstack(where).select(*IMAGES)


def _bodies(run: _Run, piece: pl.DataFrame) -> Iterator[bytes | None]:
    """Yield the bytes of each row, read some rows ahead."""
    rows = list(piece.select("shard", "status", "path", "offset", "size", "data").iter_rows())
    start = ahead = 0
    for number, (_, status, *_, size, _) in enumerate(rows):
        ahead += size if status == "ok" else 0
        if ahead > _AHEAD:
            stop = max(number, start + 1)
            yield from _read(run, rows[start:stop])
            ahead = sum(row[4] for row in rows[stop : number + 1] if row[1] == "ok")
            start = stop
    yield from _read(run, rows[start:])


def _read(run: _Run, rows: Sequence[tuple[Any, ...]]) -> list[bytes | None]:
    """Return the bytes of some rows, as many at once as their file system can."""
    bodies: list[bytes | None] = [row[5] for row in rows]
    unread = [i for i, row in enumerate(rows) if row[1] == "ok" and row[5] is None]
    for fs in {id(fs): fs for fs in (run.sources[rows[i][0]].fs for i in unread)}.values():
        of = [i for i in unread if run.sources[rows[i][0]].fs is fs]
        paths, starts, sizes = ([rows[i][column] for i in of] for column in (2, 3, 4))
        ends = [start + size for start, size in zip(starts, sizes, strict=True)]
        for i, data in zip(of, fs.cat_ranges(paths, starts, ends, on_error="return"), strict=True):
            if not isinstance(data, bytes) or len(data) != rows[i][4]:
                raise InputError(f"{rows[i][2]} changed while it was being read; run the same command again")
            bodies[i] = data
    return bodies
