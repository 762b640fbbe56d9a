"""The images that a calibration looks at: by chance, and the same for the same seed.

A part is a range of a hash, so images of one part are as good as drawn; of these the least by a hash of content and
seed are taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.hashing import xxh3
from align_data.common.progress import Progress
from align_data.data.embeddings import embedding_pieces
from align_data.data.image_table import PLACE, image_places, sorted_rows
from align_data.data.layout import Dataset
from align_data.data.meta import EmbeddedMeta
from align_data.storage.tables import Manifest

Halves = NDArray[np.float16]
_SEEN = {"phash": pl.Int64, "nsfw": pl.Float64}
"""What is known of images, where it is measured."""


@dataclass(frozen=True)
class ImageSample:
    """Distinct images with embeddings, in an order of chance."""

    rows: pl.DataFrame
    """A row an image: part, sha256, url, the columns of `Place`; phash and nsfw, null where they are not measured."""
    vectors: Halves

    @property
    def phashes(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Their pHashes, and which have one."""
        phash = self.rows["phash"]
        return phash.fill_null(0).to_numpy(), phash.is_not_null().to_numpy()


def sample(
    dataset: Dataset, name: str, manifest: Manifest[EmbeddedMeta], number: int, seed: int, progress: Progress
) -> ImageSample:
    """Draw `number` of the images of embedded/NAME whose bytes are there, all where there are fewer."""
    parts = np.random.default_rng(seed).permutation(len(manifest.parts)).tolist()
    chosen, vectors, drawn = [], [], 0
    with progress.step("calibrate: draw", number, "images") as tick:
        for part in parts:
            rows = _candidates(dataset, name, part, seed).head(number)
            chosen.append(rows)
            vectors.append(_vectors(dataset, name, manifest.meta.dim, rows))
            drawn += len(rows)
            tick(min(len(rows), number))
            if drawn >= number:
                break
    together = pl.concat(chosen).with_row_index("at")
    together = together.sort("order", "sha256", "url").unique("sha256", keep="first", maintain_order=True).head(number)
    at = together["at"].to_numpy()
    return ImageSample(together.drop("at", "order"), np.concatenate(vectors)[at])


def _candidates(dataset: Dataset, name: str, part: int, seed: int) -> pl.DataFrame:
    """Return the images of a part that have an embedding and bytes, by a hash of content and seed."""
    places = image_places(dataset, part).filter(pl.col("tar").is_not_null())
    places = places.rename({"sha256": "stored"}).rename({"original_sha256": "sha256"})
    measured = [name for name in _SEEN if name in dataset.content.columns(part)]
    seen = sorted_rows(dataset.content, part, ["url", *measured]).unique("url", keep="first")
    places = places.join(seen, on="url", how="left", maintain_order="left").with_columns(
        pl.lit(None, type_).alias(name) for name, type_ in _SEEN.items() if name not in measured
    )
    embedded = list(dataset.embedded(name).pieces(part, ["sha256"]))
    known = pl.concat([pl.DataFrame(schema={"sha256": pl.String}), *embedded])
    return (
        places.join(known, on="sha256", how="semi")
        .sort("url")
        .unique("sha256", keep="first", maintain_order=True)
        .with_columns(order=xxh3(pl.format("{} {}", pl.lit(seed), "sha256")), part=pl.lit(part))
        .select("part", "sha256", "url", "tar", "offset", "size", "stored", *_SEEN, "order")
        .sort("order", "sha256")
    )


def _vectors(dataset: Dataset, name: str, dim: int, rows: pl.DataFrame) -> Halves:
    """Return the embeddings of the images of one part, in their order."""
    wanted = rows.select("sha256").with_row_index("to")
    vectors = np.empty((len(rows), dim), np.float16)
    for part in rows["part"].unique().to_list():
        for piece in embedding_pieces(dataset.embedded(name), part, dim):
            at = piece.sha256.alias("sha256").to_frame().with_row_index("of").join(wanted, on="sha256")
            vectors[at["to"].to_numpy()] = piece.vectors[at["of"].to_numpy()]
    return vectors


def places_of(sample: ImageSample, number: int) -> Iterator[tuple[Any, ...]]:
    """Yield where the bytes of the first `number` images lie, as `Place` takes it."""
    columns = ["stored" if name == "sha256" else name for name in PLACE]
    return sample.rows.head(number).select(columns).iter_rows()
