"""What the images of a part have learnt in all cells, put together: how near the nearest and the nearest earlier is."""

from __future__ import annotations

import polars as pl

from align_data.neighbours.embedding.cell import DESCENDING, EARLIER, FIRST, NEAREST, ORDER, SECOND
from align_data.neighbours.embedding.cosines import MILLION
from align_data.neighbours.embedding.images import by_bytes

_COUNTS = ("near", "rows", "floor_rows")


def answers(images: pl.DataFrame, learnt: pl.DataFrame) -> pl.DataFrame:
    """Return the `images` of a part, in their order, with what was LEARNT of them.

    `earlier` and `nearest` are cosines in millionths, `earlier_uid` and `nearest_uid` whose, all null where no image is
    within the floor; `near` is how many are within the threshold. `rows` and `floor_rows` are as learnt.
    """
    heads = by_bytes(images).select("sha256", pl.col("uid").alias("image"))
    joined = images.join(heads, on="sha256", maintain_order="left")
    for kind, name in ((NEAREST, "nearest"), (EARLIER, "earlier"), (FIRST, "first"), (SECOND, "second")):
        joined = joined.join(_best(learnt, kind, name), on="image", how="left", maintain_order="left")
    counts = learnt.filter(pl.col("kind") == NEAREST).group_by("image").agg(pl.col(_COUNTS).sum())
    copies = learnt.filter(pl.col("kind") == FIRST).select("image", pl.col("near").alias("copies"))
    joined = joined.join(counts, on="image", how="left", maintain_order="left")
    joined = joined.join(copies, on="image", how="left", maintain_order="left")
    is_first = pl.col("first_uid").is_null() | (pl.col("first_uid") == pl.col("uid"))
    # Of images with equal embeddings the first has the second for its nearest, and the others the first.
    mate = {name: pl.when(is_first).then(f"second_{name}").otherwise(f"first_{name}") for name in ORDER}
    joined = joined.with_columns(expression.alias(f"mate_{name}") for name, expression in mate.items())
    has_mate = pl.col("mate_uid").is_not_null()
    nearest_wins = ~has_mate | ((pl.col("nearest_cosine") == MILLION) & _before("nearest", "mate")).fill_null(False)
    # What is as near to them all and earlier than the first is earlier than each.
    earlier_wins = is_first | (pl.col("earlier_cosine") == MILLION).fill_null(False)
    near = pl.sum_horizontal(pl.col("near").fill_null(0), (pl.col("copies") - 1).fill_null(0))
    return joined.select(
        *images.columns,
        pl.when(nearest_wins).then("nearest_cosine").otherwise(MILLION).alias("nearest"),
        pl.when(nearest_wins).then("nearest_uid").otherwise("mate_uid").alias("nearest_uid"),
        pl.when(earlier_wins).then("earlier_cosine").otherwise(MILLION).alias("earlier"),
        pl.when(earlier_wins).then("earlier_uid").otherwise("first_uid").alias("earlier_uid"),
        near.alias("near"),
        pl.col("rows", "floor_rows").fill_null(0),
    )


def in_order(learnt: pl.DataFrame) -> pl.DataFrame:
    """Return rows of LEARNT by image and kind, the nearest first, in the declared order where equally near."""
    return learnt.sort(
        "image", "kind", "cosine", *ORDER, *_COUNTS, descending=[False, False, True, *DESCENDING, False, False, False]
    )


def _best(learnt: pl.DataFrame, kind: int, name: str) -> pl.DataFrame:
    """Return the nearest of one kind that any cell knows, a row an image."""
    best = in_order(learnt.filter(pl.col("kind") == kind)).unique("image", keep="first", maintain_order=True)
    return best.select("image", *(pl.col(column).alias(f"{name}_{column}") for column in ("cosine", *ORDER)))


def _before(a: str, b: str) -> pl.Expr:
    """Tell whether one image comes before another in the declared order."""
    area, sha256, uid = ((pl.col(f"{a}_{name}"), pl.col(f"{b}_{name}")) for name in ORDER)
    later = (sha256[0] < sha256[1]) | ((sha256[0] == sha256[1]) & (uid[0] < uid[1]))
    return (area[0] > area[1]) | ((area[0] == area[1]) & later)
