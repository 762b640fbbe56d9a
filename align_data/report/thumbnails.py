"""Thumbnails of the pairs that a page shows, made where a hostile image cannot take the run down."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import polars as pl

from align_data.common.errors import DatasetError
from align_data.common.progress import Progress
from align_data.common.workers import SLACK, Child, ChildDiedError
from align_data.common.workers.values import WrongValueError, of
from align_data.data.image_table import image_places, place_of
from align_data.data.layout import Dataset
from align_data.storage.image_formats import EXTENSIONS
from align_data.storage.tars import Place, TarReader

Pictures = Mapping[str, str]
"""URL of an image, or what else it goes by → a data: URL of its thumbnail."""


class PicturedImage(Protocol):
    """An image that a page shows."""

    @property
    def part(self) -> int:
        """Where it is."""

    @property
    def url(self) -> str:
        """Its URL."""


class SamplePictures(dict[str, str]):
    """The thumbnails of samples by URL; `lost` has the reason for each image whose bytes could not be read."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: list[str] = []


def pictures(dataset: Dataset, images: Iterable[PicturedImage], progress: Progress) -> SamplePictures:
    """Return a thumbnail of each image, as far as it has been fetched and can be decoded."""
    thumbnails = SamplePictures()
    places = places_of(dataset, images)
    with progress.step("page: pictures", len(places), "images") as tick:
        for url, picture in _shrunk(_read(dataset, places, thumbnails.lost)):
            tick(1)
            if picture is not None:
                thumbnails[url] = picture
    if thumbnails.lost:
        progress.say(f"{len(thumbnails.lost):,} pictures could not be read, the first: {thumbnails.lost[0]}")
    return thumbnails


def of_images(images: Mapping[str, bytes]) -> Pictures:
    """Return a thumbnail of each image that can be decoded, by what it goes by."""
    return {name: picture for name, picture in _shrunk(images.items()) if picture is not None}


def places_of(dataset: Dataset, images: Iterable[PicturedImage]) -> dict[str, Place]:
    """Return where the bytes of each image lie by its URL, of those that have been fetched."""
    if dataset.images.committed() is None:
        return {}
    urls: dict[int, set[str]] = defaultdict(set)
    for image in images:
        urls[image.part].add(image.url)
    return {url: place for part, part_urls in sorted(urls.items()) for url, place in _places(dataset, part, part_urls)}


def _places(dataset: Dataset, part: int, urls: set[str]) -> Iterator[tuple[str, Place]]:
    for row in image_places(dataset, part).filter(pl.col("url").is_in(list(urls))).iter_rows(named=True):
        if (place := place_of(row)) is not None:
            yield row["url"], place


def _read(dataset: Dataset, places: Mapping[str, Place], lost: list[str]) -> Iterator[tuple[str, bytes | None]]:
    """Yield the bytes of each image; None for what cannot be read, and why goes to `lost`."""
    reader = TarReader(dataset.store)
    try:
        for url, place in places.items():
            try:
                yield url, reader.read(place)
            except OSError as error:
                lost.append(f"cannot read {place.tar}: {error.strerror or error}")
                yield url, None
            except DatasetError as error:
                lost.append(str(error))
                yield url, None
    finally:
        reader.close()


def _shrunk(images: Iterable[tuple[str, bytes | None]]) -> Iterator[tuple[str, str | None]]:
    with Shrinking() as shrinking:
        for name, content in images:
            thumbnail = shrinking.thumbnail(content) if content is not None else None
            yield name, thumbnail and f"data:{thumbnail[0]};base64,{base64.b64encode(thumbnail[1]).decode()}"


class Shrinking:
    """Makes thumbnails in a child process, another after an image by which one ended; a context that ends it."""

    def __init__(self) -> None:
        self._child: Child | None = None

    def __enter__(self) -> Shrinking:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def thumbnail(self, content: bytes) -> tuple[str, bytes] | None:
        """Return media type and bytes of the thumbnail of an image; None where it cannot be decoded."""
        from align_data.decoding.thumbnail import HANDLER, MAX_BYTES, SECONDS  # noqa: PLC0415 - Pillow

        self._child = self._child or Child(HANDLER, None, max_bytes=MAX_BYTES + 2**10)
        try:
            return self._child.ask_once(content, _checked, 2 * SECONDS + SLACK)
        except ChildDiedError:  # by this image
            self.close()
            return None

    def close(self) -> None:
        """End the child, where there is one."""
        child, self._child = self._child, None
        if child is not None:
            child.close()


def _checked(answer: Any) -> tuple[str, bytes] | None:
    """Return a thumbnail's media type and bytes; WrongValueError for what is none."""
    if answer is None:
        return None
    extension, content = of(tuple[str, bytes], answer)
    if extension not in EXTENSIONS.values():
        raise WrongValueError("not an ending of an image")
    return f"image/{'jpeg' if extension == 'jpg' else extension}", content
