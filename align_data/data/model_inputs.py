"""What of a dataset a model can see: the images that can be decoded, and where their bytes lie."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import polars as pl

from align_data.common.errors import DatasetError, SignalError
from align_data.data.columns import scored_by
from align_data.data.embeddings import committed_embeddings
from align_data.data.image_table import image_places, sorted_rows
from align_data.data.layout import Dataset
from align_data.data.meta import EmbeddedMeta, ImagesMeta
from align_data.decoding.inspected import ImageLimits
from align_data.models.encoder import Encoder, Vectors
from align_data.models.sharing import SharedModel
from align_data.storage.tables import Manifest

T = TypeVar("T")


def decodable_images(dataset: Dataset, purpose: str) -> Manifest[ImagesMeta]:
    """Return the manifest of the images; DatasetError where there are none, or it is not known which can be decoded.

    `purpose` is what the images are wanted for, as a verb.
    """
    images, url = dataset.images.committed(), dataset.store.url
    quoted = shlex.quote(url)
    if images is None:
        raise DatasetError(
            f"{url} has no images to {purpose}: run align-data fetch {quoted}, then align-data measure {quoted}"
        )
    content = dataset.content.committed()
    known = content is not None and content.meta.looks.get("pixels") is not None
    if content is None or not known or content.meta.images != images.fingerprint or not dataset.content.whole(content):
        raise DatasetError(
            f"it is unknown, or outdated, which images of {url} can be decoded: run align-data measure {quoted}"
        )
    return images


def limits_of(dataset: Dataset) -> ImageLimits:
    """Return what an image may cost: what it could when it was told which can be decoded."""
    content = dataset.content.committed()
    assert content is not None
    return ImageLimits(content.meta.max_pixels, content.meta.seconds)


def source_of(dataset: Dataset) -> dict[str, Any]:
    """Return what the embeddings of all images follow from, beside the model."""
    return {key: value for key, value in scored_by(dataset, None).items() if key != "model"}


def current_embeddings(dataset: Dataset, name: str) -> Manifest[EmbeddedMeta]:
    """Return the manifest of embedded/NAME; DatasetError where it is not whole, or not of the images that there are."""
    embedded = committed_embeddings(dataset, name)
    source = {key: value for key, value in embedded.meta.source.items() if key != "open"}
    if source != source_of(dataset) or len(embedded.parts) != len(dataset.ingested().parts):
        raise DatasetError(
            f"{dataset.store.path(dataset.embedded(name).name)} is not of the images that there are now: embed them "
            f"again: align-data embed {shlex.quote(embedded.meta.spec)} {shlex.quote(dataset.store.url)} --as {name}"
        )
    return embedded


def meta_of(shared: SharedModel, source: dict[str, Any], left_out: int = 0) -> EmbeddedMeta:
    """Return what the manifest of a table of embeddings says of itself."""
    encoder = shared.encoder
    identity = encoder.identity
    return EmbeddedMeta(
        model=shared.digest,
        kind=identity.kind,
        versions=dict(identity.versions),
        spec=shared.spec,
        device=encoder.device,
        dim=encoder.dim,
        curvature=encoder.space.curvature,
        source=source,
        left_out=left_out,
    )


def image_rows(dataset: Dataset, part: int) -> pl.DataFrame:
    """Return the images of a part that can be decoded, a row a URL: `row` in images, url, original_sha256 and PLACE."""
    rows = image_places(dataset, part).with_row_index("row")
    known = sorted_rows(dataset.content, part, ["url", "decodable"]).unique("url", keep="first")
    usable = rows.join(known, on="url", how="left", maintain_order="left")
    return usable.filter("decodable", pl.col("tar").is_not_null(), pl.col("original_sha256").is_not_null())


def check_side(dataset: Dataset, side: int, parts: int, purpose: str) -> None:
    """Raise DatasetError where a model sees images larger than they are stored; `purpose` as of `decodable_images`."""
    content = dataset.content.committed()
    if content is None or not content.meta.reduced:
        return
    for part in range(parts):
        least = image_places(dataset, part)["reduced"].drop_nulls().to_list()
        if least and min(least) < side:
            raise DatasetError(
                f"the model sees {side} x {side} pixels, and images of {dataset.store.url} are stored with a shorter "
                f"side of {min(least)} (fetch --keep): {purpose} with a smaller model, or fetch them again into a "
                f"dataset of their own, with --keep {side}"
            )


def embedded_by(encoder: Encoder, embeds: Callable[[Sequence[T]], Vectors], rows: Sequence[T]) -> Vectors:
    """Return what an encoder makes of images or texts; SignalError where that is not a vector of numbers for each."""
    if not rows:
        return np.empty((0, encoder.dim), np.float32)
    vectors = np.asarray(embeds(rows), np.float32)
    if vectors.shape != (len(rows), encoder.dim):
        raise SignalError(
            f"the model gives an array of {vectors.shape} for {len(rows)} rows, not of {(len(rows), encoder.dim)}: it "
            "does not embed as it says of itself"
        )
    if not np.isfinite(vectors).all():
        raise SignalError("the model's embeddings are not numbers (NaN): its training has diverged, or it is damaged")
    return vectors
