"""Evaluation images by their embeddings: the file that eval-index writes, and what a dataset keeps of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from align_data.common.errors import DatasetError, InputError
from align_data.data.embeddings import Halves, column_of, committed_embeddings
from align_data.data.layout import Dataset
from align_data.data.meta import EvaluationsMeta
from align_data.storage import footers
from align_data.storage.contracts import contract
from align_data.storage.frames import frame
from align_data.storage.output_file import OutputFile
from align_data.storage.part_writer import PartWriter
from align_data.storage.store import Store
from align_data.storage.tables import cut

_LENGTH_ERROR = 0.01
_READ = "make it with align-data eval-index --model"


def write_index(target: OutputFile, names: Sequence[str], vectors: Halves, model: str) -> None:
    """Write the index of evaluation images that a model with this digest has embedded."""
    rows = pl.DataFrame(
        {"name": pl.Series(names, dtype=pl.String), "embedding": pl.Series(column_of(vectors), dtype=pl.Binary)}
    )
    with target.create() as path:
        writer = PartWriter(contract("evaluations"), None, path, hashed=False)
        for piece in cut([rows.sort("name", "embedding")]):
            writer.write(piece)
        writer.close({"model": model, "dim": vectors.shape[1]})


def keep_index(dataset: Dataset, name: str, file: str) -> None:
    """Keep an index with a dataset, for the embeddings `name`; InputError for a file that cannot be that."""
    embedded = committed_embeddings(dataset, name).meta
    rows, facts = _read(file)
    if facts.get("model") != embedded.model:
        raise InputError(
            f"{file} was embedded by another model than embedded/{name}: {_digest(facts.get('model'))}, not "
            f"{_digest(embedded.model)}; {_READ} {embedded.spec}"
        )
    if not len(rows):
        raise InputError(f"{file} has no evaluation images; {_READ} {embedded.spec}")
    content = b"".join(rows["embedding"])
    sizes = rows["embedding"].bin.size().unique().to_list()
    vectors = np.frombuffer(content, "<f2") if sizes == [2 * embedded.dim] else None
    if vectors is None or not _sound(vectors.reshape(-1, embedded.dim)):
        raise InputError(
            f"{file} has an embedding that is not of {embedded.dim} numbers, of unit length; it is damaged"
        )
    table = dataset.evaluations(name)
    table.retract()
    with table.writer(0, {"model": embedded.model}) as writer:
        for piece in cut([rows.unique().sort("name", "embedding")]):
            writer.write(piece)
    assert writer.info is not None
    table.commit([writer.info], EvaluationsMeta(model=embedded.model, dim=embedded.dim))


def kept_index(dataset: Dataset, name: str) -> tuple[list[str], Halves]:
    """Return names and embeddings of what is kept, by name."""
    manifest = dataset.evaluations(name).committed()
    assert manifest is not None
    rows = pl.concat(list(dataset.evaluations(name).pieces(0, ["name", "embedding"])))
    vectors = np.frombuffer(b"".join(rows["embedding"]), "<f2").reshape(-1, manifest.meta.dim)
    return rows["name"].to_list(), vectors


def _read(file: str) -> tuple[pl.DataFrame, dict[str, Any]]:
    folder, _, name = file.rpartition("/")
    form = contract("evaluations")
    try:
        store = Store(folder or ("/" if file.startswith("/") else "."), own=False)
        if store.local and Path(store.path(name)).is_fifo():  # it would be waited for until somebody writes to it
            raise ValueError("it is not a regular file")
        source = store.open(name)
        footer = footers.read(source)
        table = pa.parquet.ParquetFile(source, page_checksum_verification=True).read(form.arrow().names)
        return frame(form.check(table)), footer.facts or {}
    except (OSError, ImportError, pa.ArrowException, ValueError, KeyError, DatasetError) as error:
        why = " ".join(str(error).split())[:200]
        raise InputError(f"{file} is not an index of evaluation images by embedding: {why}; {_READ} MODEL") from error


def _sound(vectors: Halves) -> bool:
    exact = vectors.astype(np.float64)
    if not np.isfinite(exact).all():
        return False
    return bool((np.abs(np.linalg.norm(exact, axis=1) - 1) <= _LENGTH_ERROR).all())


def _digest(value: Any) -> str:
    return f"{value[:12]}…" if isinstance(value, str) else "an unknown one"
