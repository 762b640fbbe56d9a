"""Stored embeddings: the vectors of `embedded/NAME` and `embedded_texts/NAME`, checked as they are read."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Self, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from align_data.common.errors import DatasetError
from align_data.data.layout import Dataset
from align_data.data.meta import EmbeddedMeta
from align_data.storage.store import make_work, writing
from align_data.storage.tables import Manifest, PartInfo, Table

Halves: TypeAlias = "NDArray[np.float16]"
"""(rows, dimension): of unit length, but for the rounding to float16."""
_TYPE = np.dtype("<f2")


@dataclass(frozen=True)
class PieceEmbeddings:
    """The embeddings of neighbouring images of a part, in the order of the table."""

    sha256: pl.Series
    vectors: Halves


@dataclass(frozen=True)
class PartEmbeddings:
    """The embeddings of a part's distinct images, in the order of the table: the keys in memory, the vectors in a file.

    A context manager: the file, which has no name, goes with it.
    """

    sha256: pl.Series
    dim: int
    _file: IO[bytes]

    @staticmethod
    def read(table: Table[EmbeddedMeta], part: int | None, dim: int) -> PartEmbeddings:
        """Read a part of embedded/NAME, None for no images.

        DatasetError for a vector that is not of `dim` finite numbers, and for two of an image.
        """
        keys = [pl.Series("sha256", [], pl.String)]
        work = make_work(table.store.work)
        with writing(work):
            file = tempfile.TemporaryFile(dir=work)  # noqa: SIM115 - closed with what is returned
        try:
            for piece in () if part is None else embedding_pieces(table, part, dim):
                keys.append(piece.sha256)
                with writing(work):
                    file.write(np.ascontiguousarray(piece.vectors, _TYPE).data)
            with writing(work):
                file.flush()
            sha256 = pl.concat(keys)
            if sha256.n_unique() != len(sha256):
                where = table.store.path(table.part_name(part or 0))
                raise DatasetError(f"{where} has two embeddings of one image; the dataset is damaged")
        except BaseException:
            file.close()
            raise
        return PartEmbeddings(sha256, dim, file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self.sha256)

    def rows_of(self, sha256: pl.Series) -> NDArray[np.int64]:
        """Return the row of each image; -1 where it has no embedding."""
        rows = pl.DataFrame({"sha256": self.sha256, "row": np.arange(len(self.sha256), dtype=np.int64)})
        joined = sha256.alias("sha256").to_frame().join(rows, on="sha256", how="left", maintain_order="left")
        numbers: NDArray[np.int64] = joined["row"].fill_null(-1).to_numpy()
        return numbers

    def vectors(self, rows: NDArray[np.int64]) -> Halves:
        """Return the embeddings of rows, in any order; neighbours are read at once."""
        vectors = np.empty((len(rows), self.dim), _TYPE)
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1).tolist()
        for start, stop in zip(starts, [*starts[1:], len(rows)], strict=False):
            os.preadv(self._file.fileno(), [vectors[start:stop].data], int(rows[start]) * self.dim * _TYPE.itemsize)
        return vectors


def committed_embeddings(dataset: Dataset, name: str) -> Manifest[EmbeddedMeta]:
    """Return the manifest of embedded/NAME; DatasetError where it is not there, or not whole."""
    table = dataset.embedded(name)
    manifest = table.committed()
    if manifest is not None and not manifest.changing and table.whole(manifest):
        return manifest
    url = shlex.quote(dataset.store.url)
    if manifest is not None or table.uncommitted:
        raise DatasetError(
            f"{dataset.store.path(table.name)} is not whole: embedding did not finish, or files are missing; run "
            f"align-data embed MODEL {url} --as {name} again"
        )
    names = [name for name in dataset.embeddings() if dataset.embedded(name).committed() is not None]
    raise DatasetError(
        f"{dataset.store.url} has no embeddings {name!r} (there are: {', '.join(names) or 'none'}): run "
        f"align-data embed MODEL {url} --as {name}"
    )


def same_part(table: Table[EmbeddedMeta], part: int) -> PartInfo:
    """Return what an existing part is: by the manifest, where it is the part that that names, so that none is read."""
    manifest, now = table.committed(), table.now(part)
    named = manifest.parts[part] if manifest is not None and part < len(manifest.parts) else None
    return named if named is not None and named.footer == now.footer else table.info(part)


def commit_embeddings(table: Table[EmbeddedMeta], infos: Sequence[PartInfo], meta: EmbeddedMeta) -> None:
    """Commit a table of embeddings, unless it is committed as it is."""
    now = table.committed()
    if now is None or now.changing or (list(now.parts), now.meta) != (list(infos), meta):
        table.commit(infos, meta)


def change_embeddings(table: Table[EmbeddedMeta], source: dict[str, Any]) -> None:
    """Say that parts of a table are about to be replaced, unless all are there and follow from this."""
    before = table.committed()
    if before is None or not table.whole(before) or before.meta.source != source:
        table.change()


def embedding_pieces(table: Table[EmbeddedMeta], part: int, dim: int) -> Iterator[PieceEmbeddings]:
    """Read a part of embedded/NAME piece by piece; DatasetError for a vector that is not of `dim` finite numbers."""
    for piece in table.arrow_pieces(part, ["sha256", "embedding"]):
        series = pl.from_arrow(piece["sha256"])
        assert isinstance(series, pl.Series)
        yield PieceEmbeddings(series.alias("sha256"), _vectors(table, part, piece["embedding"], dim))


def text_pieces(table: Table[EmbeddedMeta], part: int, dim: int) -> Iterator[Halves]:
    """Yield the pieces of a part of embedded_texts/NAME, row for row with those of pairs; zeros for a null."""
    for piece in table.arrow_pieces(part, ["embedding"]):
        column = piece["embedding"]
        vectors = np.zeros((len(column), dim), np.float16)
        vectors[column.is_valid().to_numpy()] = _vectors(table, part, column.drop_null(), dim)
        yield vectors


def unit(vectors: Halves) -> NDArray[np.float64]:
    """Return embeddings with a length of 1, which they had before they were rounded to float16."""
    exact: NDArray[np.float64] = vectors.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=-1, keepdims=True)
    exact /= np.where(lengths > 0, lengths, 1)
    return exact


def halves(vectors: NDArray[np.float32]) -> Halves:
    """Return embeddings as they are stored."""
    return vectors.astype(np.float16)


def column_of(vectors: Halves) -> pa.Array:
    """Return embeddings as a column of the table."""
    rows, dim = vectors.shape
    width = dim * _TYPE.itemsize
    offsets = np.arange(0, (rows + 1) * width, width, dtype=np.int64)[: rows + 1]
    values = np.ascontiguousarray(vectors, _TYPE)
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(values)]
    )


def _vectors(table: Table[EmbeddedMeta], part: int, column: pa.ChunkedArray, dim: int) -> Halves:
    width = dim * _TYPE.itemsize
    array = column.combine_chunks().cast(pa.large_binary())
    array = array if isinstance(array, pa.Array) else pa.concat_arrays(array.chunks)
    _, offsets, values = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    where = table.store.path(table.part_name(part))
    if len(array) and not (np.diff(ends) == width).all():
        raise DatasetError(f"{where} has an embedding that is not of {dim} numbers; the dataset is damaged")
    if not len(array):
        return np.empty((0, dim), np.float16)
    vectors = np.frombuffer(values, _TYPE, count=len(array) * dim, offset=int(ends[0])).reshape(-1, dim)
    if not np.isfinite(vectors).all():
        raise DatasetError(f"{where} has an embedding that is not of numbers (NaN); the dataset is damaged")
    return vectors
