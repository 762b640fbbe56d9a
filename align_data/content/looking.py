"""Looking at the images of a part: what is known of them stays, and what is not is measured, in child processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import polars as pl
from pydantic import ValidationError

from align_data.common.progress import Tick
from align_data.common.workers.pool import StopCheck, WorkerPool
from align_data.content.plan import ContentRun
from align_data.data.image_table import chunks, image_urls, sorted_rows
from align_data.data.meta import ContentMeta
from align_data.decoding.decoder import Decoder, Item
from align_data.decoding.inspected import ImageChecks, Inspected
from align_data.fetching.outcome import NOT_KEPT
from align_data.signals import checks
from align_data.signals.contracts import STORED
from align_data.storage.tables import Meta, PartInfo, Table, cut
from align_data.storage.tars import Place

CHUNKS = "_content"
"""The folder of what is finished together."""
_ENDED = ("crashed", "hung", "memory")
"""What more time, on a machine with less to do, may change."""
_PLACED = ("url", "tar", "offset")
"""Whose bytes a row is of, and where they lie."""
_BESIDE = (*_PLACED, *STORED)
"""What is not measured of the bytes as they were fetched; the other columns are."""
UNTRIED = Inspected("untried")
"""What is known of an image that nobody has looked at."""
_WAS = "sha256_was"
"""The SHA-256 that was measured, also where it is measured again: what lies there must still be the same bytes."""


def write_part(
    run: ContentRun, part: int, identity: str | None, images: pl.DataFrame, previous: pl.DataFrame | None, tick: Tick
) -> PartInfo:
    """Write one part beside its part of `images`, which has this identity.

    `previous` is what is measured already, a row for each of `images`; what it lacks is measured now.
    """
    table, facts = run.dataset.content, run.facts(identity)
    chunked = Table(run.dataset.store, f"{CHUNKS}/{part:05d}", table.contract, Meta)
    work = []
    for number, start, rows in chunks(len(images), run.sight.chunk):
        if chunked.facts(number) == facts:
            tick(rows)
        else:
            work.append((number, start, rows))
    is_open = image_urls(run.dataset, part, run.sight.only_open)["open"] if run.only_open else None

    def look_chunk(decoder: Decoder, chunk: tuple[int, int, int], check: StopCheck) -> None:
        number, start, rows = chunk
        old = previous[start : start + rows] if previous is not None else None
        wide = None if is_open is None else is_open[start : start + rows]
        checked = _look(run, decoder, images[start : start + rows], old, wide, tick, check)
        with chunked.writer(number, facts, run.columns) as writer:
            writer.write(checked)

    pool: WorkerPool[tuple[int, int, int], Decoder] = WorkerPool(run.children, lambda _: closing(Decoder(run.decoding)))
    pool.run(work, look_chunk)
    with table.writer(part, facts, run.columns) as writer:
        numbers = [number for number, *_ in chunks(len(images), run.sight.chunk)]
        for piece in cut(sorted_rows(chunked, number, run.columns) for number in numbers):
            writer.write(piece)
    assert writer.info is not None
    return writer.info


def known_of(run: ContentRun, table: Table[Any], number: int, rows: int) -> pl.DataFrame | None:
    """Return what a part of a table like `content` has of so many images, without what was measured otherwise than now.

    What was measured of an original that is not stored stays: nobody could measure it again. None where there is no
    such part, or nobody can tell how it was measured.
    """
    try:
        before = ContentMeta.model_validate(table.facts(number))
    except ValidationError:
        return None
    names = table.columns(number)
    stored = sorted_rows(table, number, [column.name for column in table.contract.columns if column.name in names])
    if len(stored) != rows:
        return None
    pixels = pl.col("width").cast(pl.Int64) * pl.col("height")
    low, high = sorted((before.max_pixels, run.sight.max_pixels))
    again = (pixels > low) & (pixels <= high)
    if run.sight.seconds > before.seconds:
        again |= pl.col("status").is_in(_ENDED)
    stale = [look for look in run.looks if before.looks.get(look) not in (None, run.looks[look])]
    outdated = {signal.name for look, signals in checks().items() if look in stale for signal in signals}
    measured = [name for name in stored.columns if name not in _BESIDE]
    fixed = irreplaceable(stored)
    valid = {name: fixed | (pl.lit(False) if name in outdated else ~again.fill_null(False)) for name in measured}
    previous = stored.with_columns(
        pl.col("sha256").alias(_WAS), *(pl.when(keep).then(pl.col(name)).alias(name) for name, keep in valid.items())
    )
    return previous.with_columns(pl.col("status").fill_null("untried"))


def irreplaceable(content: pl.DataFrame) -> pl.Expr:
    """Tell of which images the values are all that is left of the bytes that were fetched."""
    smaller = pl.col("stored_sha256").is_not_null() if "stored_sha256" in content.columns else pl.lit(False)
    return smaller | (pl.col("tar").is_null() & pl.col("sha256").is_not_null())


def _look(
    run: ContentRun,
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
        rows[place] = merged(rows[place], inspected, looks)
        tick(place + 1 - ticked, Counter([inspected.status]))
        ticked = place + 1
    tick(len(images) - ticked)
    values = [row.columns for row in rows]
    if run.reduced:
        for row, image, before in zip(values, images.iter_rows(named=True), olds, strict=True):
            row |= {name: before.get(name) if _same_place(image, before) else None for name in STORED}
    columns = run.dataset.content.contract.polars(*run.columns)
    measured = pl.Schema({name: type_ for name, type_ in columns.items() if name not in _PLACED})
    return images.select(_PLACED).hstack(pl.DataFrame(values, measured))


def _state(
    run: ContentRun, image: Mapping[str, Any], old: Mapping[str, Any], is_open: bool
) -> tuple[Inspected, ImageChecks | None]:
    """Return what is known of an image, and the looks that are still to be taken at it."""
    previous = _stored_values(run, old) if _same_place(image, old) else None
    if image["tar"] is None:
        if image["status"] == NOT_KEPT:
            lost = Inspected(image["status"], image["reason"])
            return previous if previous is not None and previous.sha256 is not None else lost, None
        final = not image["retryable"]
        return Inspected(image["status"], image["reason"], decodable=False if final else None), None
    if previous is not None and old.get("stored_sha256") is not None:
        return previous, None  # of the original, which is not there
    earlier = previous or UNTRIED
    looks = run.checks(earlier, is_open=is_open)
    return earlier, looks if looks.header or looks.decodes else None


def _stored_values(run: ContentRun, old: Mapping[str, Any]) -> Inspected:
    """Return what an earlier run measured of an image, in the columns that its table had."""
    further = {column: old[column] for column in run.further_columns if column in old}
    return Inspected(**{name: old[name] for name in Inspected._fields if name != "further"}, further=further)


def _same_place(image: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Tell whether what is known of an image is of the bytes that it has now."""
    return bool(old) and all(old[name] == image[name] for name in ("url", "tar", "offset"))


def merged(earlier: Inspected, inspected: Inspected, looks: ImageChecks) -> Inspected:
    """Put what was seen now over what was previous."""
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
