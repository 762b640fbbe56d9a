"""What the search for copies holds between its moves: tables that are there while it runs, each with its parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.hashing import Hashes, pair_keys
from align_data.data.layout import Dataset
from align_data.neighbours.scratch import COPIES
from align_data.signals.copies import SIGNALS
from align_data.storage.contracts import Column, Contract
from align_data.storage.tables import Meta, Table

_IMAGES = {
    "key": "The mixed pHash.",
    "tie": "64 bits of the SHA-256.",
    "part": "The part of content that the images are in.",
    "same_bytes": "Images of all parts with these bytes.",
    "url_key": "The smallest key of their URLs in this part.",
}
_HASHES = {
    "key": "The mixed pHash, by which rows are sorted.",
    "phash": "The pHash.",
    "images": "Images that have it.",
    "area": "Width times height of the first of them.",
    "tie": "64 bits of its SHA-256.",
    "url_key": "The key of its URL.",
}
_NEARNESS = {
    "near": "Images of other pHashes near it.",
    "earlier": "The distance to the nearest that has an earlier one.",
}
_TABLES = {
    "images": _IMAGES,
    "hashes": _HASHES,
    "partial": {"key": _HASHES["key"], **_NEARNESS},
    "near": {**_HASHES, **_NEARNESS},
}


def mixed(phashes: Hashes) -> Hashes:
    """Return a key for each pHash, a different one for each: equal ranges of keys are about equally full."""
    return pair_keys(phashes, np.zeros(1, np.uint64))


def working(dataset: Dataset, name: str) -> Table[Meta]:
    """Return one of these tables."""
    if name == "values":
        columns = tuple(signal.column for signal in SIGNALS)  # row for row with `content`
    else:
        columns = tuple(
            Column(column, "int64", False, about, dictionary=False) for column, about in _TABLES[name].items()
        )
    return Table(dataset.store, f"{COPIES}/{name}", Contract(f"{COPIES}/{name}", "A step of copies.", columns), Meta)


def copies_of(dataset: Dataset, part: int) -> pl.DataFrame:
    """Return what the search has come to of each image of a part, row for row with `content`."""
    return whole(working(dataset, "values"), part)


def signed(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with their 64 bits as signed integers: tables have no others."""
    return rows.with_columns(
        pl.col(name).reinterpret(signed=True) for name, type_ in rows.schema.items() if type_ == pl.UInt64
    )


def unsigned(rows: pl.DataFrame, *names: str) -> pl.DataFrame:
    """Return rows with these columns as the hashes that they are."""
    return rows.with_columns(pl.col(name).reinterpret(signed=False) for name in names)


def whole(table: Table[Meta], part: int, columns: list[str] | None = None) -> pl.DataFrame:
    """Return all rows of a part."""
    selected = columns or list(table.contract.polars())
    empty = pl.DataFrame(schema=table.contract.polars(*selected))
    return pl.concat([empty, *table.pieces(part, selected)])


def arrays(frames: Iterable[pl.DataFrame], names: Sequence[str], rows: int) -> dict[str, NDArray[np.int64]]:
    """Return columns of `rows` rows that come in frames, 64 bits each, as they are."""
    columns = {name: np.empty(rows, np.int64) for name in names}
    at = 0
    for frame in frames:
        for name, column in columns.items():
            column[at : at + len(frame)] = frame[name].to_numpy().view(np.int64)
        at += len(frame)
    assert at == rows, f"{at} rows of {rows}"
    return columns
