"""The images of a dataset that have embeddings: which they are, in which order, and on their way to cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.errors import DatasetError
from align_data.data.embeddings import embedding_pieces
from align_data.data.image_table import image_places
from align_data.data.layout import Dataset
from align_data.neighbours.embedding.cell import DESCENDING, ORDER, ROW
from align_data.neighbours.embedding.codebook import Codebook
from align_data.neighbours.embedding.cosines import Halves, is_unit, lengths

_MOVED = 2**14
"""Embeddings that are brought to their cells at once."""
PREFIX = 16
"""Digits of a SHA-256 that chance is taken from."""


@dataclass(frozen=True)
class EmbeddedImages:
    """The images with embeddings of the name `name`. It travels to other machines."""

    dataset: Dataset
    name: str
    dim: int

    def images(self, part: int) -> pl.DataFrame:
        """Return the images of a part that have embeddings, in the declared order: url, area, sha256 and uid.

        `uid` is of an image's first pair, and is as bytes, as `sha256` is.
        """
        pairs = pl.concat(
            [
                pl.DataFrame(schema={"uid": pl.String, "url": pl.String}),
                *(_first_pairs(piece) for piece in self.dataset.pairs.pieces(part, ["uid", "url"])),
            ]
        )
        table = self.dataset.embedded(self.name)
        embedded = pl.concat(
            [pl.DataFrame(schema={"sha256": pl.String}), *table.pieces(part, ["sha256"])],
        )
        places = image_places(self.dataset, part).select(
            "url",
            pl.col("original_sha256").alias("sha256"),
            area=(pl.col("original_width").cast(pl.Int64) * pl.col("original_height")).fill_null(0),
        )
        images = places.join(embedded, on="sha256", how="semi").join(_first_pairs(pairs), on="url")
        return images.select("url", "area", pl.col("sha256").str.decode("hex"), pl.col("uid").str.decode("hex")).sort(
            *ORDER, descending=DESCENDING
        )

    def hashes(self, part: int) -> pl.Series:
        """Return the SHA-256, in hex, of each distinct image of a part."""
        return self.images(part).select(pl.col("sha256").bin.encode("hex")).to_series().unique()

    def vectors(self, part: int, hashes: pl.Series) -> Iterator[tuple[pl.Series, Halves]]:
        """Yield SHA-256 (hex) and embedding of those images of a part that are among `hashes`, some at a time.

        An embedding without length is near nothing, and left out. DatasetError for one of another length than 1.
        """
        table = self.dataset.embedded(self.name)
        for piece in embedding_pieces(table, part, self.dim):
            for start in range(0, len(piece.sha256), _MOVED):
                sha256, halves = piece.sha256[start : start + _MOVED], piece.vectors[start : start + _MOVED]
                length = lengths(halves)
                if not (is_unit(length) | (length == 0)).all():
                    raise DatasetError(
                        f"{table.store.path(table.part_name(part))} has an embedding that is not of unit length; the "
                        "dataset is damaged"
                    )
                chosen = (length > 0) & sha256.is_in(hashes.implode()).to_numpy()
                yield sha256.filter(pl.Series(chosen)), halves[chosen]

    def to_cells(self, part: int, codebook: Codebook, margin: float) -> Iterator[pl.DataFrame]:
        """Yield the rows of a part (ROW) for all cells that its images are in."""
        distinct = by_bytes(self.images(part))
        hashes = distinct.select(pl.col("sha256").bin.encode("hex")).to_series()
        for sha256, halves in self.vectors(part, hashes):
            cells = codebook.cells(halves, margin)
            row, place = np.nonzero(cells >= 0)
            embedded = pl.DataFrame(
                {
                    "sha256": sha256.str.decode("hex"),
                    "cells": rows_as_bytes(cells.astype("<i4")),
                    "embedding": rows_as_bytes(halves.astype("<f2")),
                    "row": np.arange(len(halves)),
                }
            )
            moved = pl.DataFrame({"row": row, "key": cells[row, place].astype(np.uint64)})
            yield (
                embedded.join(distinct, on="sha256", maintain_order="left")
                .with_columns(url_key("uid").alias("tie"))
                .join(moved, on="row")
                .select(*ROW)
            )

    def sampled(self, part: int, images: int, total: int) -> tuple[pl.Series, Halves]:
        """Return SHA-256 and embedding of about so many of all images, chosen by SHA-256, that this part has."""
        hashes, vectors = [pl.Series("sha256", [], pl.String)], [np.empty((0, self.dim), np.float16)]
        current = self.hashes(part)
        for sha256, halves in self.vectors(part, current.filter(current.str.head(PREFIX) <= bound_of(images, total))):
            hashes.append(sha256)
            vectors.append(halves)
        return pl.concat(hashes), np.concatenate(vectors)


def bound_of(images: int, total: int) -> str:
    """Return the greatest beginning of a SHA-256 that about so many of all images have, as hex digits."""
    return f"{min(2**64 - 1, 2**64 * images // max(1, total)):016x}"


def _first_pairs(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return uid and URL of the first pair with each URL; what was taken down has none."""
    return pairs.filter(pl.col("url") != "").unique("url", keep="first", maintain_order=True)


def by_bytes(images: pl.DataFrame) -> pl.DataFrame:
    """Return a row for equal bytes among images in the declared order: the first, the second if any, how many."""
    second = [pl.col(name).get(1, null_on_oob=True).alias(f"second_{name}") for name in ("area", "uid")]
    return (
        images.group_by("sha256", maintain_order=True)
        .agg(pl.col("area", "uid").first(), *second, pl.len().cast(pl.Int64).alias("images"))
        .with_columns(pl.when(pl.col("second_uid").is_not_null()).then("sha256").alias("second_sha256"))
    )


def rows_as_bytes(array: NDArray[np.generic]) -> pl.Series:
    """Return the rows of an array as one binary value each."""
    width = array.shape[1] * array.dtype.itemsize
    content = np.ascontiguousarray(array).tobytes()
    return pl.Series([content[at : at + width] for at in range(0, len(content), width)], dtype=pl.Binary)


def url_key(column: str) -> pl.Expr:
    """Return the key of an image's URL by its uid as bytes: the number that the first half is."""
    return pl.col(column).bin.slice(0, 8).bin.reinterpret(dtype=pl.UInt64, endianness="big")
