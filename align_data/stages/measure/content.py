"""The table `content`: what is measured of each URL's bytes, once, however many pairs have it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import polars as pl

from align_data.common.errors import DatasetError
from align_data.common.progress import Progress, Tick
from align_data.content.looking import CHUNKS, irreplaceable, known_of, write_part
from align_data.content.plan import ContentRun, Sight, planned
from align_data.data.image_table import sorted_rows
from align_data.data.layout import Dataset
from align_data.data.meta import ContentMeta, ImagesMeta
from align_data.engines.base import Engine
from align_data.signals import checks
from align_data.storage.image_formats import optional
from align_data.storage.tables import CHUNKED, Manifest, PartInfo


def measure_content(dataset: Dataset, names: Iterable[str], sight: Sight, engine: Engine, progress: Progress) -> bool:
    """Take the wanted checks of all images that have not been checked so; return whether there was anything to do."""
    pairs, images = dataset.ingested(), dataset.images.committed()
    assert images is not None
    before, facts = dataset.content.committed(), images.meta
    children, formats = engine.children(len(pairs.parts)), optional(facts.formats)
    run = planned(dataset, names, sight, children, formats, reduced=facts.reduced)
    # Chunks are there while parts are replaced: then the manifest may speak of parts that are no more.
    whole = dataset.content.whole(before) and not dataset.store.names(CHUNKS)
    if before is not None and whole and _same(before.meta, run.meta(images.fingerprint)):
        return False
    run = run.written()
    rows = [part.rows for part in images.parts]
    dataset.content.change()
    infos = engine.map_parts(
        "measure: images", lambda part, tick: _part(run, images, part, tick), rows, progress, "images"
    )
    dataset.content.commit(infos, run.meta(images.fingerprint))
    dataset.store.clear(CHUNKS, CHUNKED)
    if run.reduced:
        _say_unmeasurable(run, len(rows), progress)
    return True


def _say_unmeasurable(run: ContentRun, parts: int, progress: Progress) -> None:
    """Say which checks could not be taken of images whose originals are not stored."""
    taken = {look: signals[0].name for look, signals in checks().items() if run.looks.get(look) is not None}
    unknown: Counter[str] = Counter()
    for part in range(parts):
        content = sorted_rows(run.dataset.content, part, run.columns)
        usable = content.filter(irreplaceable(content), pl.col("decodable").fill_null(True))
        unknown.update({look: usable[name].null_count() for look, name in taken.items()})
    for look, images in unknown.items():
        if images:
            progress.say(
                f"{look} stays unknown for {images:,} images that are stored smaller than fetched, or not at all: "
                "only their originals would tell; give it to fetch --look"
            )


def _same(before: ContentMeta, now: ContentMeta) -> bool:
    """Tell whether nothing has changed; less time than there was changes nothing that has been seen.

    A check that was never taken is the same as one that is younger than the table, or that this version lacks.
    """
    stored = {name: look for name, look in before.looks.items() if look is not None and name in now.looks}
    taken = {name: look for name, look in now.looks.items() if look is not None}
    was, is_now = ((meta.images, meta.open, meta.opens, meta.max_pixels) for meta in (before, now))
    same = was == is_now
    return same and stored == taken and before.seconds >= now.seconds


def _part(run: ContentRun, images: Manifest[ImagesMeta], part: int, tick: Tick) -> PartInfo:
    table, info = run.dataset.content, images.parts[part]
    if table.facts(part) == run.facts(info.identity):
        tick(info.rows)
        return table.info(part)
    rows = sorted_rows(run.dataset.images, part)
    previous = known_of(run, table, part, len(rows))
    if previous is None and run.reduced and len(rows):
        where = table.store.path(table.part_name(part))
        raise DatasetError(
            f"{where} is lost, and with it what was measured of images that are stored smaller than fetched, or not "
            "at all: put it back, or remove the folders images, content and bytes and fetch again"
        )
    return write_part(run, part, info.identity, rows, previous, tick)
