"""The images of a dataset: a row a URL, in the order in which the URLs first come in `pairs`."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from align_data.layout import Dataset
from align_data.progress import Tick
from align_data.schema import contract
from align_data.tables import Table

IMAGES = contract("images").polars()
"""The columns of the table `images`."""


def asked_of(dataset: Dataset, part: int, ledger: str | None, tick: Tick | None = None) -> pl.DataFrame:
    """Return the URLs of a part: `url`, `key`, and `open`, whether a pair with it is not dropped by the ledger.

    What was taken down has none.
    """
    pieces = dataset.pairs.pieces(part, ["uid", "url"])
    masks = dataset.ledger(ledger).pieces(part, ["failed"]) if ledger is not None else None
    found: list[pl.DataFrame] = []
    for piece in pieces:
        is_open = pl.lit(True) if masks is None else (next(masks)["failed"] == 0).alias("open")
        one = piece.select(pl.col("uid").str.head(16).alias("key"), "url", is_open.alias("open"))
        found.append(_distinct(one.filter(pl.col("url") != "")))
        if tick is not None:
            tick(len(piece))
    return (
        _distinct(pl.concat(found))
        if found
        else pl.DataFrame(schema={"key": pl.String, "url": pl.String, "open": pl.Boolean})
    )


def _distinct(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("url", maintain_order=True).agg(pl.col("key").first(), pl.col("open").any())


def untried(urls: pl.Series) -> pl.DataFrame:
    """Return the rows of URLs that nobody has asked for."""
    empty = [pl.lit(None, IMAGES[name]).alias(name) for name in ("reason", "tar", "offset", "size")]
    frame = urls.to_frame("url").with_columns(*empty, status=pl.lit("untried"), retryable=pl.lit(True))
    return frame.select(*IMAGES)


def sorted_rows(table: Table, part: int, columns: list[str] | None = None) -> pl.DataFrame:
    """Return all rows of one part of a table like `images`, in their order."""
    names = columns or list(table.contract.polars())
    pieces = list(table.pieces(part, names))
    if pieces:
        return pl.concat(pieces)
    return pl.DataFrame(schema=table.contract.polars(*names))


def chunks(rows: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, first row and rows of each chunk of a part."""
    for number, start in enumerate(range(0, rows, size)):
        yield number, start, min(size, rows - start)


def names_of(keys: pl.Series) -> pl.Series:
    """Return a name for each URL of a part: its key, with a number behind it where two URLs share one."""
    frame = keys.to_frame("key").with_columns(again=pl.int_range(pl.len()).over("key"))
    plain = pl.when(pl.col("again") == 0).then(pl.col("key"))
    return frame.select(plain.otherwise(pl.format("{}-{}", "key", "again"))).to_series()
