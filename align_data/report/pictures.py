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
        for url, picture in _shrunk(Thumbnails(dataset.store), places):
            tick(1)
            if picture is not None:
                found[url] = picture
    return found


def of_images(images: Mapping[str, bytes]) -> Pictures:
    """Return a thumbnail of each image that can be decoded, by what it goes by."""
    return {name: picture for name, picture in _shrunk(Thumbnails(None), images) if picture is not None}


def _places(dataset: Dataset, part: int, urls: set[str]) -> Iterator[tuple[str, Place]]:
    for piece in dataset.images.pieces(part, ["url", "tar", "offset", "size"]):
        for url, *place in piece.filter(pl.col("url").is_in(list(urls)) & pl.col("tar").is_not_null()).iter_rows():
            yield url, Place(*place)


def _shrunk(setup: Thumbnails, images: Mapping[str, Place] | Mapping[str, bytes]) -> Iterator[tuple[str, str | None]]:
    child: Child | None = None
    try:
        for name, image in images.items():
            child = child or Child(HANDLER, setup)
            try:
                (made,) = child.ask(image)
                yield name, None if made is None else _data_url(*made)
            except ChildDiedError:  # by this image: the next has another child
                child.close()
                child = None
                yield name, None
    finally:
        if child is not None:
            child.close()


def _data_url(extension: str, content: bytes) -> str:
    kind = {"jpg": "jpeg"}.get(extension, extension)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
