"""Thumbnails of the pairs that a page shows, made where a hostile image cannot take the run down."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import polars as pl

from align_data.children import Child, ChildDiedError
from align_data.decoding.thumbnail import HANDLER, Thumbnails
from align_data.layout import Dataset
from align_data.progress import Progress
from align_data.stages.audit.picks import Sample
from align_data.tars import Place

Pictures = Mapping[str, str]
"""URL of an image → a data: URL of its thumbnail."""


def pictures(dataset: Dataset, samples: Iterable[Sample], progress: Progress) -> Pictures:
    """Return a thumbnail of each sample's image, as far as it has been fetched and can be decoded."""
    if dataset.images.committed() is None:
        return {}
    urls: dict[int, set[str]] = defaultdict(set)
    for sample in samples:
        urls[sample.part].add(sample.url)
    places = {url: place for part, some in sorted(urls.items()) for url, place in _places(dataset, part, some)}
    with progress.step("audit: pictures", len(places), "images") as tick:
        found = {}
        for url, content in _shrunk(dataset, places):
            tick(1)
            if content is not None:
                extension, some_bytes = content
                kind = {"jpg": "jpeg"}.get(extension, extension)
                found[url] = f"data:image/{kind};base64,{base64.b64encode(some_bytes).decode()}"
    return found


def _places(dataset: Dataset, part: int, urls: set[str]) -> Iterator[tuple[str, Place]]:
    for piece in dataset.images.pieces(part, ["url", "tar", "offset", "size"]):
        for url, *place in piece.filter(pl.col("url").is_in(list(urls)) & pl.col("tar").is_not_null()).iter_rows():
            yield url, Place(*place)


def _shrunk(dataset: Dataset, places: Mapping[str, Place]) -> Iterator[tuple[str, tuple[str, bytes] | None]]:
    child: Child | None = None
    try:
        for url, place in places.items():
            child = child or Child(HANDLER, Thumbnails(dataset.store))
            try:
                (made,) = child.ask(place)
                yield url, made
            except ChildDiedError:  # by this image: the next has another child
                child.close()
                child = None
                yield url, None
    finally:
        if child is not None:
            child.close()
