"""The table `content`: what is measured of each URL's bytes, once, however many pairs have it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
from pydantic import ValidationError

from align_data.common.progress import Progress, Tick
from align_data.common.workers.pool import StopCheck, WorkerPool
from align_data.data.columns import check_identities
from align_data.data.image_table import chunks, image_urls, sorted_rows
from align_data.data.layout import Dataset
from align_data.data.ledger import open_ledger
from align_data.data.meta import ContentMeta, ImagesMeta, PairsMeta
from align_data.decoding.decoder import Decoder, Decoding, Item
from align_data.decoding.inspected import MAX_PIXELS, MEMORY, SECONDS, Check, ImageChecks, ImageLimits, Inspected
from align_data.decoding.nsfw import NsfwModel
from align_data.engines.base import Engine
from align_data.signals import SIGNALS, checks
from align_data.storage.image_formats import optional
from align_data.storage.tables import CHUNKED, Manifest, Meta, PartInfo, Table, cut
from align_data.storage.tars import Place

CHUNK = 512
"""Images that are finished together."""
_CHUNKS = "_content"
"""The folder of what is finished so."""
_ENDED = ("crashed", "hung", "memory")
"""What more time, on a machine with less to do, may change."""
_PLACED = ("url", "tar", "offset")
"""Whose bytes a row is of, and where they lie; the other columns are measured."""
_WAS = "sha256_was"
"""The SHA-256 that was measured, also where it is measured again: what lies there must still be the same bytes."""
_SOME = "scored before"
"""Which images are scored where others have come since, or have been forgotten, and no detector was given for them."""


@dataclass(frozen=True)
class Sight:
    """How images are checked."""

    nsfw: NsfwModel | None = None
    only_open: str | None = None
    """A ledger: what costs much is measured only on images that it keeps open."""
    max_pixels: int = MAX_PIXELS
    seconds: float = SECONDS
    memory: int = MEMORY
    chunk: int = field(default=CHUNK, repr=False)


@dataclass(frozen=True)
class _ContentRun:
    """What is the same for all parts. It travels to other machines."""

    dataset: Dataset
    pairs: Manifest[PairsMeta]
    images: Manifest[ImagesMeta]
    sight: Sight
    looks: Mapping[str, Mapping[str, Any] | None]
    """Each check's identity; None for one that is not taken."""
    further: tuple[Check, ...]
    """The checks of one signal each that are taken."""
    nsfw: NsfwModel | None
    """The detector, if scores are to be measured."""
    open: str | None
    """What says which images are open, for nsfw; None for all."""
    children: int

    @property
    def meta(self) -> ContentMeta:
        """What the whole table was made from."""
        looks = {name: None if identity is None else dict(identity) for name, identity in self.looks.items()}
        return ContentMeta(
            images=self.images.fingerprint,
            looks=looks,
            open=self.open,
            max_pixels=self.sight.max_pixels,
            seconds=self.sight.seconds,
        )

    def facts(self, part: int) -> dict[str, Any]:
        """Say what a part, or a chunk of it, was made from."""
        return {**self.meta.dump(), "images": self.images.parts[part].identity, "chunk": self.sight.chunk}


def _function(check: str) -> Check | None:
    """Return a check of one signal as the processes that decode images need it; None for any other check."""
    signal = SIGNALS.get(check)
    if signal is None or signal.function is None:
        return None
    function = signal.function
    return Check(signal.name, f"{function.__module__}:{function.__qualname__}", signal.type)


def measure_content(dataset: Dataset, names: Iterable[str], sight: Sight, engine: Engine, progress: Progress) -> bool:
    """Take the wanted checks of all images that have not been checked so; return whether there was anything to do."""
    pairs, images = dataset.ingested(), dataset.images.committed()
    assert images is not None
    before = dataset.content.committed()
    # What nearly every image signal is compared or joined by: the header costs nothing beside the rest.
    requested = {"header", *names}
    ledger = open_ledger(dataset, sight.only_open).facts.ledger if sight.only_open else None
    today = check_identities(sight.nsfw)
    stored = before.meta.looks if before is not None else {}
    # A check that nobody asks for now stays as it was.
    looks = {name: today[name] if name in requested and today[name] is not None else stored.get(name) for name in today}
    nsfw = sight.nsfw if "nsfw" in requested else None
    opened = ledger if nsfw is not None else before.meta.open if before is not None else None
    further = [check for name, of in looks.items() if of is not None and (check := _function(name)) is not None]
    run = _ContentRun(
        dataset, pairs, images, sight, looks, tuple(further), nsfw, opened, engine.children(len(pairs.parts))
    )
    # Chunks are there while parts are replaced: then the manifest may speak of parts that are no more.
    whole = dataset.content.whole(before) and not dataset.store.names(_CHUNKS)
    if before is not None and whole and _same(before.meta, run.meta):
        return False
    if nsfw is None and looks["nsfw"] is not None:
        run = replace(run, open=_SOME)
    rows = [part.rows for part in images.parts]
    dataset.content.change()
    infos = engine.map_parts("measure: images", lambda part, tick: _part(run, part, tick), rows, progress, "images")
    dataset.content.commit(infos, run.meta)
    dataset.store.clear(_CHUNKS, CHUNKED)
    return True


def _same(before: ContentMeta, now: ContentMeta) -> bool:
    """Tell whether nothing has changed; less time than there was changes nothing that has been seen.

    A check that was never taken is the same as one that is younger than the table, or that this version lacks.
    """
    stored = {name: look for name, look in before.looks.items() if look is not None and name in now.looks}
    taken = {name: look for name, look in now.looks.items() if look is not None}
    same = (before.images, before.open, before.max_pixels) == (now.images, now.open, now.max_pixels)
    return same and stored == taken and before.seconds >= now.seconds


def _part(run: _ContentRun, part: int, tick: Tick) -> PartInfo:
    table, facts = run.dataset.content, run.facts(part)
    if table.facts(part) == facts:
        tick(run.images.parts[part].rows)
        return table.info(part)
    images = sorted_rows(run.dataset.images, part)
    earlier = _earlier(run, table, part, len(images))
    chunked = Table(run.dataset.store, f"{_CHUNKS}/{part:05d}", table.contract, Meta)
    work = []
    for number, start, rows in chunks(len(images), run.sight.chunk):
        if chunked.facts(number) == facts:
            tick(rows)
        else:
            work.append((number, start, rows))
    is_open = image_urls(run.dataset, part, run.sight.only_open)["open"] if run.nsfw and run.open else None

    def look_chunk(decoder: Decoder, chunk: tuple[int, int, int], check: StopCheck) -> None:
        number, start, rows = chunk
        old = earlier[start : start + rows] if earlier is not None else None
        wide = None if is_open is None else is_open[start : start + rows]
        checked = _look(run, decoder, images[start : start + rows], old, wide, tick, check)
        with chunked.writer(number, facts) as writer:
            writer.write(checked)

    pool: WorkerPool[tuple[int, int, int], Decoder] = WorkerPool(
        run.children, lambda _: closing(Decoder(_decoding(run)))
    )
    pool.run(work, look_chunk)
    with table.writer(part, facts) as writer:
        for piece in cut(sorted_rows(chunked, number) for number, *_ in chunks(len(images), run.sight.chunk)):
            writer.write(piece)
    assert writer.info is not None
    return writer.info


def _decoding(run: _ContentRun) -> Decoding:
    sight = run.sight
    # What a fetch was asked to take for images is there, and nothing else of these formats.
    limits = ImageLimits(sight.max_pixels, sight.seconds, sight.memory, optional(run.images.meta.formats))
    return Decoding(run.dataset.store, run.nsfw, limits, run.further)


def _earlier(run: _ContentRun, table: Table[Any], number: int, rows: int) -> pl.DataFrame | None:
    """Return what an earlier run measured of a part, without what was measured otherwise than today."""
    try:
        before = ContentMeta.model_validate(table.facts(number))
    except ValidationError:  # there is none, or nobody can tell how it was measured
        return None
    stored = table.columns(number)
    stored_rows = sorted_rows(
        table, number, [column.name for column in table.contract.columns if column.name in stored]
    )
    if len(stored_rows) != rows:
        return None
    pixels = pl.col("width").cast(pl.Int64) * pl.col("height")
    low, high = sorted((before.max_pixels, run.sight.max_pixels))
    again = (pixels > low) & (pixels <= high)
    if run.sight.seconds > before.seconds:
        again |= pl.col("status").is_in(_ENDED)
    stale = [look for look in run.looks if before.looks.get(look) not in (None, run.looks[look])]
    outdated = {signal.name for look, signals in checks().items() if look in stale for signal in signals}
    measured = [name for name in stored_rows.columns if name not in _PLACED]
    valid = {name: pl.lit(False) if name in outdated else ~again.fill_null(False) for name in measured}
    earlier = stored_rows.with_columns(
        pl.col("sha256").alias(_WAS), *(pl.when(keep).then(pl.col(name)).alias(name) for name, keep in valid.items())
    )
    return earlier.with_columns(pl.col("status").fill_null("untried"))


def _look(
    run: _ContentRun,
    decoder: Decoder,
    images: pl.DataFrame,
    old: pl.DataFrame | None,
    is_open: pl.Series | None,
    tick: Tick,
    check: Callable[[], None],
) -> pl.DataFrame:
    """Return the rows of one chunk: what is known stays, and what is not is checked."""
    rows: list[Inspected] = []
    items: list[Item] = []
    at: list[int] = []
    opens = is_open.to_list() if is_open is not None else [True] * len(images)
    olds = old.to_dicts() if old is not None else [{}] * len(images)
    ticked = 0
    for number, image in enumerate(images.iter_rows(named=True)):
        inspected, looks = _state(run, image, olds[number], opens[number])
        rows.append(inspected)
        if looks is not None:
            was = olds[number][_WAS] if _same_place(image, olds[number]) else None
            items.append((Place(image["tar"], image["offset"], image["size"], was), looks))
            at.append(number)
    # Strict, so that the decoder is read to its end: else its last answer would be taken for the next chunk's.
    for place, (_, looks), inspected in zip(at, items, decoder.look(items, check), strict=True):
        rows[place] = _merged(rows[place], inspected, looks)
        tick(place + 1 - ticked, Counter([inspected.status]))
        ticked = place + 1
    tick(len(images) - ticked)
    columns = run.dataset.content.contract.polars()
    measured = pl.Schema({name: type_ for name, type_ in columns.items() if name not in _PLACED})
    return images.select(_PLACED).hstack(pl.DataFrame([row.columns for row in rows], measured))


def _state(
    run: _ContentRun, image: Mapping[str, Any], old: Mapping[str, Any], is_open: bool
) -> tuple[Inspected, ImageChecks | None]:
    """Return what is known of an image, and the looks that are still to be taken at it."""
    if image["tar"] is None:
        final = not image["retryable"]
        return Inspected(image["status"], image["reason"], decodable=False if final else None), None
    earlier = _stored_values(run, old) if _same_place(image, old) else Inspected("untried")
    further = [
        check.name
        for check in run.further
        if earlier.further.get(check.name) is None and earlier.decodable is not False
    ]
    looks = ImageChecks(
        header=earlier.sha256 is None,
        pixels=run.looks["pixels"] is not None and earlier.decodable is None,
        nsfw=run.nsfw is not None and earlier.nsfw is None and earlier.decodable is not False and is_open,
        checks=tuple(further),
    )
    return earlier, looks if looks.header or looks.decodes else None


def _stored_values(run: _ContentRun, old: Mapping[str, Any]) -> Inspected:
    """Return what an earlier run measured of an image, in the columns that its table had."""
    further = {check.name: old[check.name] for check in run.further if check.name in old}
    return Inspected(**{name: old[name] for name in Inspected._fields if name != "further"}, further=further)


def _same_place(image: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Tell whether what is known of an image is of the bytes that it has now."""
    return bool(old) and all(old[name] == image[name] for name in ("url", "tar", "offset"))


def _merged(earlier: Inspected, inspected: Inspected, looks: ImageChecks) -> Inspected:
    """Put what was seen now over what was known."""
    new = {name: value for name, value in inspected._asdict().items() if value is not None}
    new["further"] = {**earlier.further, **inspected.further}
    if inspected.decodable and not looks.pixels:  # the detector had it decoded; that says nothing of its pHash
        del new["decodable"]
    merged = earlier._replace(**new)
    if inspected.status != "ok":
        return merged
    # A verdict that this look did not ask for stays.
    again = [*(["score"] if looks.nsfw else []), *looks.checks]
    failed = (earlier.reason or "").removeprefix("no ").partition(":")[0].split(", ")
    stays = earlier.decodable is False or (earlier.status == "unscored" and not set(failed) & set(again))
    return merged._replace(status=earlier.status if stays else "ok", reason=earlier.reason if stays else None)
