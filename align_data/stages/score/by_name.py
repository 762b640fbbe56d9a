"""Scores from embeddings that are stored: no image is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.errors import SignalError
from align_data.common.progress import Tick
from align_data.data.embeddings import PartEmbeddings, text_pieces, unit
from align_data.data.image_table import sorted_rows, with_images
from align_data.data.layout import Dataset
from align_data.data.meta import EmbeddedMeta
from align_data.data.model_inputs import embedded_by
from align_data.models.encoder import ModelIdentity
from align_data.models.sharing import SharedModel
from align_data.models.spaces import space_of
from align_data.stages.score.run import Values
from align_data.storage.tables import Manifest

_WINDOW = 4096
"""Neighbouring pairs whose vectors are held as float64."""


class EmbeddingHead(Protocol):
    """A small model on embeddings. It travels to other machines."""

    @property
    def identity(self) -> ModelIdentity:
        """What decides its scores."""

    def check_encoder(self, digest: str, dim: int, /) -> None:
        """Raise SignalError where it does not belong to the encoder of some embeddings."""

    def score(self, vectors: NDArray[np.floating[Any]], /) -> Values:
        """Return what it says of each embedding."""


def stored_texts(dataset: Dataset, name: str) -> Manifest[EmbeddedMeta] | None:
    """Return the manifest of embedded_texts/NAME; None where it is not of these pairs, or not of the images' model."""
    table, images = dataset.embedded_texts(name), dataset.embedded(name).committed()
    manifest = table.committed()
    if manifest is None or images is None or manifest.changing or not table.whole(manifest):
        return None
    same = (manifest.meta.model, manifest.meta.dim) == (images.meta.model, images.meta.dim)
    current = manifest.meta.source == {"pairs": dataset.ingested().fingerprint}
    return manifest if same and current else None


@dataclass(frozen=True)
class _Embedded:
    """The images of pairs by a table of embeddings."""

    dataset: Dataset
    name: str
    manifest: Manifest[EmbeddedMeta]

    def identity(self, part: int) -> str | None:
        """Return what else the scores of a part follow from: the embeddings."""
        return self.manifest.parts[part].identity

    @property
    def vectors(self) -> dict[str, Any]:
        """What the signal's identity says of the embeddings."""
        return {"images": "float16", "fingerprint": self.manifest.fingerprint}

    def _images(self, part: int) -> PartEmbeddings:
        return PartEmbeddings.read(self.dataset.embedded(self.name), part, self.manifest.meta.dim)

    def _pieces(self, part: int, images: PartEmbeddings) -> Iterator[tuple[pl.DataFrame, NDArray[np.int64]]]:
        """Yield the pieces of pairs, and which embedding the image of each row has, -1 for none."""
        content = sorted_rows(self.dataset.content, part, ["url", "sha256"]).unique("url", keep="first")
        for piece in self.dataset.pairs.pieces(part, ["url", "alt_text"]):
            yield piece, images.rows_of(with_images(piece, content)["sha256"])


@dataclass(frozen=True)
class StoredScores(_Embedded):
    """How near each pair's embeddings are, the image's as it is stored."""

    shared: SharedModel | None
    texts: Manifest[EmbeddedMeta] | None
    """Of the stored embeddings of the texts, where these are taken."""

    @property
    def vectors(self) -> dict[str, Any]:
        """What the signal's identity says of the embeddings."""
        return super().vectors if self.texts is None else {**super().vectors, "texts": "float16"}

    def scores(self, part: int, tick: Tick, scored: Iterator[NDArray[np.bool_]] | None = None) -> Iterator[Values]:  # noqa: ARG002 - a cosine costs less than a look
        """Yield a score for each row of each piece of pairs, NaN where there is none."""
        stored, space = None, space_of(self.manifest.meta.curvature)
        if self.texts is not None:
            stored = text_pieces(self.dataset.embedded_texts(self.name), part, self.texts.meta.dim)
        with self._images(part) as images:
            for piece, rows in self._pieces(part, images):
                texts = None if stored is None else next(stored)
                scores = np.full(len(piece), np.nan)
                for start in range(0, len(piece), _WINDOW):
                    window = slice(start, start + _WINDOW)
                    has = np.flatnonzero(rows[window] >= 0) + start
                    read = self._read(piece["alt_text"].gather(has)) if texts is None else unit(texts[has])
                    scores[has] = space.paired(unit(images.vectors(rows[has])), read)
                    tick(len(rows[window]))
                yield scores

    def _read(self, texts: pl.Series) -> NDArray[np.floating[Any]]:
        assert self.shared is not None
        encoder = self.shared.encoder
        return embedded_by(encoder, encoder.texts, texts.to_list())


@dataclass(frozen=True)
class HeadScores(_Embedded):
    """What a head says of each image's embedding."""

    head: EmbeddingHead

    def scores(self, part: int, tick: Tick, scored: Iterator[NDArray[np.bool_]] | None = None) -> Iterator[Values]:  # noqa: ARG002 - a cosine costs less than a look
        """Yield a score for each row of each piece of pairs, NaN where there is none."""
        with self._images(part) as images:
            of_image = np.full(len(images), np.nan)
            for rows in np.split(np.arange(len(images)), range(_WINDOW, len(images), _WINDOW)):
                of_image[rows] = self._said(unit(images.vectors(rows)))
            for piece, rows in self._pieces(part, images):
                tick(len(piece))
                yield np.where(rows >= 0, of_image[rows], np.nan) if len(of_image) else np.full(len(piece), np.nan)

    def _said(self, vectors: Values) -> Values:
        values = np.asarray(self.head.score(vectors), np.float64)
        if values.shape != (len(vectors),) or not np.isfinite(values).all():
            raise SignalError("the head's scores are not numbers (NaN), or not one for each image: it is damaged")
        return values
