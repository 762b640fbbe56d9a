"""The images of a dataset: a row a URL, in the order in which the URLs first come in `pairs`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from align_data.common.errors import DatasetError
from align_data.common.hashing import image_key
from align_data.common.progress import Tick
from align_data.data.layout import Dataset
from align_data.signals.contracts import STORED
from align_data.storage import names
from align_data.storage.contracts import contract
from align_data.storage.tables import Table
from align_data.storage.tars import BLOCK, Place

IMAGES = contract("images").polars()
"""The columns of the table `images`."""


def image_urls(dataset: Dataset, part: int, ledger: str | None, tick: Tick | None = None) -> pl.DataFrame:
    """Return the URLs of a part: `url`, `key`, and `open`, whether a pair with it is not dropped by the ledger.

    What was taken down has none.
    """
    pieces = dataset.pairs.pieces(part, ["uid", "url"])
    masks = dataset.ledger(ledger).pieces(part, ["failed"]) if ledger is not None else None
    urls: list[pl.DataFrame] = []
    for piece in pieces:
        is_open = pl.lit(True) if masks is None else (next(masks)["failed"] == 0).alias("open")
        keyed = piece.select(image_key(pl.col("uid")).alias("key"), "url", is_open.alias("open"))
        urls.append(_distinct(keyed.filter(pl.col("url") != "")))
        if tick is not None:
            tick(len(piece))
    return (
        _distinct(pl.concat(urls))
        if urls
        else pl.DataFrame(schema={"key": pl.String, "url": pl.String, "open": pl.Boolean})
    )


def _distinct(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("url", maintain_order=True).agg(pl.col("key").first(), pl.col("open").any())


def untried(urls: pl.Series) -> pl.DataFrame:
    """Return the rows of URLs that no fetch has requested."""
    empty = [pl.lit(None, IMAGES[name]).alias(name) for name in ("reason", "tar", "offset", "size")]
    frame = urls.to_frame("url").with_columns(*empty, status=pl.lit("untried"), retryable=pl.lit(True))
    return frame.select(*IMAGES)


def sorted_rows(table: Table[Any], part: int, columns: list[str] | None = None) -> pl.DataFrame:
    """Return all rows of one part of a table like `images`, in their order.

    Raises DatasetError for a row that names a tar, or a place in one, that we cannot have written.
    """
    selected = columns or list(table.contract.polars())
    pieces = list(table.pieces(part, selected))
    rows = pl.concat(pieces) if pieces else pl.DataFrame(schema=table.contract.polars(*selected))
    if "tar" in selected:
        _check_places(table, part, rows)
    return rows


def _check_places(table: Table[Any], part: int, rows: pl.DataFrame) -> None:
    form = names.tar_of(part) if table.name in ("images", "content") else names.TAR
    tar = pl.col("tar").fill_null("")
    misplaced = {"tar": ~tar.str.contains(f"^(?:{form.pattern})$")}
    for column, least in (("offset", BLOCK), ("size", 0)):
        if column in rows.columns:
            misplaced[column] = (pl.col(column) < least).fill_null(True)
    if "offset" in misplaced:
        misplaced["offset"] |= pl.col("offset") % BLOCK != 0
    impossible = pl.col("tar").is_not_null() & pl.any_horizontal(misplaced.values())
    for row in rows.with_row_index("row").filter(impossible).head(1).iter_rows(named=True):
        where = f"row {row['row'] + 1:,} of {table.store.path(table.part_name(part))}"
        form.check(row["tar"], where)
        place = ", ".join(f"{name} {row[name]}" for name in ("offset", "size") if name in misplaced)
        raise DatasetError(f"{where}: {place} is not where an image can lie in {row['tar']}")


def image_places(dataset: Dataset, part: int) -> pl.DataFrame:
    """Return url, tar, offset and size of the images of a part, and what was measured of them, null where nothing was.

    `sha256` is of the bytes that lie there, the columns ORIGINAL are of the image as it was fetched, and `reduced` has
    the shorter side of what lies there where that is a smaller image.
    """
    place = ["url", "tar", "offset"]
    rows = sorted_rows(dataset.images, part, [*place, "size"])
    if not dataset.content.has(part):
        return rows.with_columns(pl.lit(None, type_).alias(name) for name, type_ in _MEASURED.items())
    stored = set(dataset.content.columns(part))
    needed = ["sha256", "width", "height", *STORED]
    content = sorted_rows(dataset.content, part, [*place, *(name for name in needed if name in stored)])
    content = content.with_columns(
        pl.lit(None, content_type).alias(name)
        for name, content_type in dataset.content.contract.polars(*needed).items()
        if name not in stored
    )
    smaller = pl.min_horizontal("stored_width", "stored_height").cast(pl.Int32)
    content = content.unique("url", keep="first").select(
        *place,
        pl.coalesce("stored_sha256", "sha256").alias("sha256"),
        *(pl.col(name).alias(of) for of, name in ORIGINAL.items()),
        pl.when(pl.col("stored_sha256").is_not_null()).then(smaller).alias("reduced"),
    )
    # Without bytes there is no place, which is the same of every image then.
    return rows.join(content, on=place, how="left", maintain_order="left", nulls_equal=True)


ORIGINAL = {"original_sha256": "sha256", "original_width": "width", "original_height": "height"}
"""Column of `image_places` → what it is in `content`."""
_MEASURED = {
    "sha256": pl.String,
    "original_sha256": pl.String,
    "original_width": pl.Int32,
    "original_height": pl.Int32,
    "reduced": pl.Int32,
}


def with_images(rows: pl.DataFrame, images: pl.DataFrame) -> pl.DataFrame:
    """Return rows of pairs in their order, each with the columns of its image: of the row of `images` with its URL."""
    return rows.join(images, on="url", how="left", maintain_order="left")


PLACE = ("tar", "offset", "size", "sha256")
"""The columns of `image_places` that are a `Place`."""


def place_of(row: Mapping[str, Any]) -> Place | None:
    """Return where an image's bytes lie by a row of `image_places`; None where there are none."""
    return None if row["tar"] is None else Place(*(row[name] for name in PLACE))


def chunks(rows: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, first row and rows of each chunk of a part."""
    for number, start in enumerate(range(0, rows, size)):
        yield number, start, min(size, rows - start)


def names_of(keys: pl.Series) -> pl.Series:
    """Return a name for each URL of a part: its key, with a number behind it where two URLs share one."""
    frame = keys.to_frame("key").with_columns(again=pl.int_range(pl.len()).over("key"))
    plain = pl.when(pl.col("again") == 0).then(pl.col("key"))
    return frame.select(plain.otherwise(pl.format("{}-{}", "key", "again"))).to_series()
