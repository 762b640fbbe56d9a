"""Stored embeddings: what is written is read, whatever else reads Parquet; what is damaged is a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from align_data.common.errors import DatasetError, SignalError
from align_data.data.embeddings import PartEmbeddings, column_of, committed_embeddings, text_pieces, unit
from align_data.data.layout import Dataset
from align_data.storage.store import Store

KEYS = [f"{number:064x}" for number in range(7)]
VECTORS = np.random.default_rng(5).normal(size=(7, 5)).astype(np.float16)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    dataset = Dataset(Store(tmp_path / "dataset"))
    with dataset.embedded("eye").writer(0, {}) as writer:
        for rows in (slice(0, 4), slice(4, 7)):
            writer.write(pa.table({"sha256": pa.array(KEYS[rows]), "embedding": column_of(VECTORS[rows])}))
    return dataset


def test_vectors_are_read_as_they_were_written(dataset: Dataset) -> None:
    with PartEmbeddings.read(dataset.embedded("eye"), 0, 5) as read:
        assert read.sha256.to_list() == KEYS
        for rows in (range(7), [3, 6, 0, 1, 2, 2, 1], [6], []):
            assert np.array_equal(read.vectors(np.array(rows, np.int64)), VECTORS[list(rows)])
        assert read.rows_of(pl.Series([KEYS[3], "unknown", KEYS[6], None, KEYS[3]])).tolist() == [3, -1, 6, -1, 3]
    with PartEmbeddings.read(dataset.embedded("eye"), None, 5) as nothing:
        assert (len(nothing), nothing.vectors(np.array([], np.int64)).shape) == (0, (0, 5))
    lengths = np.linalg.norm(unit(VECTORS), axis=1)
    assert np.abs(lengths - 1).max() < 1e-15
    assert unit(np.zeros((1, 5), np.float16)).tolist() == [[0.0] * 5]
    # Without our code: each value is the row's numbers, one behind another.
    stored = pq.read_table(f"{dataset.store.url}/embedded/eye/part-00000.parquet")["embedding"].to_pylist()
    assert [np.frombuffer(value, "<f2").tolist() for value in stored] == VECTORS.tolist()


def test_texts_are_row_for_row_and_a_null_is_zeros(dataset: Dataset) -> None:
    table = dataset.embedded_texts("eye")
    with table.writer(0, {}) as writer:
        writer.write(pl.DataFrame({"embedding": [VECTORS[0].tobytes(), None]}))
        writer.write(pl.DataFrame({"embedding": [None, None]}, {"embedding": pl.Binary}))
    first, second = text_pieces(table, 0, 5)
    assert np.array_equal(first, [VECTORS[0], np.zeros(5)])
    assert np.array_equal(second, np.zeros((2, 5)))


def test_what_is_damaged_or_absent_is_a_sentence(dataset: Dataset) -> None:
    with pytest.raises(
        DatasetError, match=r"part-00000.parquet has an embedding that is not of 4 numbers; the dataset"
    ):
        PartEmbeddings.read(dataset.embedded("eye"), 0, 4)
    with dataset.embedded("eye").writer(0, {}) as writer:
        bad = np.full((1, 5), np.nan, np.float16)
        writer.write(pa.table({"sha256": pa.array(KEYS[:1]), "embedding": column_of(bad)}))
    with pytest.raises(DatasetError, match=r"an embedding that is not of numbers \(NaN\)"):
        PartEmbeddings.read(dataset.embedded("eye"), 0, 5)
    with dataset.embedded("eye").writer(0, {}) as writer:
        writer.write(pa.table({"sha256": pa.array(KEYS[:1] * 2), "embedding": column_of(VECTORS[:2])}))
    with pytest.raises(DatasetError, match=r"part-00000.parquet has two embeddings of one image"):
        PartEmbeddings.read(dataset.embedded("eye"), 0, 5)
    with pytest.raises(DatasetError, match=r"embedded/eye is not whole: .* run align-data embed MODEL .* --as eye"):
        committed_embeddings(dataset, "eye")
    with pytest.raises(DatasetError, match=r"no embeddings 'ear' \(there are: none\): run align-data embed"):
        committed_embeddings(dataset, "ear")
    with pytest.raises(SignalError, match="is not a valid score name"):
        dataset.embedded("../pairs")
    assert dataset.embeddings() == ["eye"]
