"""Thumbnails of the pairs that a page shows, made where a hostile image cannot take the run down."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from align_data.children import Child, ChildDiedError
from align_data.children.values import WrongValueError, of
from align_data.decoding.nsfw import SLACK
from align_data.decoding.thumbnail import HANDLER, MOST, SECONDS
from align_data.formats import EXTENSIONS
from align_data.layout import Dataset
from align_data.progress import Progress
from align_data.stages.audit.picks import Sample
from align_data.tars import Place, TarReader

Pictures = Mapping[str, str]
"""URL of an image, or what else it goes by → a data: URL of its thumbnail."""


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
        for url, picture in _shrunk(_read(dataset, places)):
            tick(1)
            if picture is not None:
                found[url] = picture
    return found


def of_images(images: Mapping[str, bytes]) -> Pictures:
    """Return a thumbnail of each image that can be decoded, by what it goes by."""
    return {name: picture for name, picture in _shrunk(images.items()) if picture is not None}


def _places(dataset: Dataset, part: int, urls: set[str]) -> Iterator[tuple[str, Place]]:
    for piece in dataset.images.pieces(part, ["url", "tar", "offset", "size"]):
        for url, *place in piece.filter(pl.col("url").is_in(list(urls)) & pl.col("tar").is_not_null()).iter_rows():
            yield url, Place(*place)


def _read(dataset: Dataset, places: Mapping[str, Place]) -> Iterator[tuple[str, bytes | None]]:
    """Yield the bytes of each image; None for what cannot be read."""
    reader = TarReader(dataset.store)
    try:
        for url, place in places.items():
            try:
                yield url, reader.read(place)
            except OSError:
                yield url, None
    finally:
        reader.close()


def _shrunk(images: Iterable[tuple[str, bytes | None]]) -> Iterator[tuple[str, str | None]]:
    child: Child | None = None
    try:
        for name, content in images:
            if content is None:
                yield name, None
                continue
            child = child or Child(HANDLER, None, most=MOST + 2**10)
            try:
                yield name, child.one(content, _data_url, 2 * SECONDS + SLACK)
            except ChildDiedError:  # by this image: the next has another child
                child.close()
                child = None
                yield name, None
    finally:
        if child is not None:
            child.close()


def _data_url(said: Any) -> str | None:
    """Return a thumbnail as a data: URL; WrongValueError for what is none."""
    if said is None:
        return None
    extension, content = of(tuple[str, bytes], said)
    if extension not in EXTENSIONS.values():
        raise WrongValueError("not an ending of an image")
    kind = {"jpg": "jpeg"}.get(extension, extension)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
