"""Pictures: a thumbnail of a pair's image by address, made when a browser asks for it and kept for a while."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

import polars as pl
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from align_data.common.errors import DatasetError
from align_data.common.secrets import mask
from align_data.data import tombstones
from align_data.data.image_pairs import image_pairs
from align_data.data.layout import Dataset
from align_data.explorer.rendering import explorer_of, root_of
from align_data.report.thumbnails import PicturedImage, places_of
from align_data.storage.tars import Place


class PairedImage(PicturedImage, Protocol):
    """An image that a page shows, by the pair that has it."""

    @property
    def uid(self) -> str:
        """The uid of that pair."""


class ImageOfPair(NamedTuple):
    """The image of a pair, as a page shows it."""

    part: int
    uid: str
    url: str
    alt_text: str = ""
    nsfw: float | None = None


class PictureAddresses(dict[str, str]):
    """The address of the thumbnail of each image by its URL, of those that have been fetched."""

    lost: tuple[str, ...] = ()
    """Nothing is read yet: what cannot be read says so in its own place."""


def usable(values: Mapping[str, Any]) -> bool:
    """Tell by its values whether an image may have a picture: it is not measured to be none."""
    return values.get("decodable") is not False


def addresses(request: Request, dataset: Dataset, images: Iterable[PairedImage]) -> PictureAddresses:
    """Return where a page finds the thumbnails of images."""
    cache, listed = explorer_of(request).pictures, list(images)
    cache.begin(taken_down := tombstones.fingerprint(dataset))
    places = places_of(dataset, listed)
    thumbnails = PictureAddresses()
    for image in listed:
        if (place := places.get(image.url)) is not None and image.url not in thumbnails:
            cache.keep(image.uid, place, taken_down)
            at = urlencode({"at": f"{place.tar}:{place.offset}:{(place.sha256 or '')[:16]}"})
            thumbnails[image.url] = f"{root_of(request)}/picture/{image.uid}?{at}"
    return thumbnails


def _picture(request: Request) -> Response:
    """Answer with a thumbnail, or with a sentence that a page shows in its place.

    The explorer alone keeps it, not the browser: of what is taken down nothing is shown from then on.
    """
    explorer, uid = explorer_of(request), request.path_params["uid"]
    dataset = explorer.dataset()
    explorer.pictures.begin(taken_down := tombstones.fingerprint(dataset))
    try:
        place = explorer.pictures.place(uid) or _looked_up(dataset, uid)
        kind, content = explorer.pictures.thumbnail(place, taken_down)
    except OSError as error:
        return PlainTextResponse(f"No picture: its bytes cannot be read: {mask(error.strerror or str(error))}", 404)
    except DatasetError as error:
        return PlainTextResponse(f"No picture: {error}", 404)
    return Response(content, media_type=kind)


def _looked_up(dataset: Dataset, uid: str) -> Place:
    """Return where the image of a pair lies; DatasetError where there is no such pair, or no image of it."""
    pairs = image_pairs(dataset, uid).filter(pl.col("uid") == uid, pl.col("url") != "")
    for part, url in pairs.select("part", "url").iter_rows():
        if (place := places_of(dataset, [ImageOfPair(part, uid, url)]).get(url)) is not None:
            return place
    raise DatasetError(f"no image of the pair {uid[:64]} has been fetched")


ROUTES = [Route("/picture/{uid}", _picture)]
