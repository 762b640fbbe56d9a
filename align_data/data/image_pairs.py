"""The pairs of one image, found by the key that their uids begin with: of one part, a piece or two of it are read."""

from __future__ import annotations

import polars as pl

from align_data.common.hashing import image_key
from align_data.data.layout import Dataset
from align_data.data.tombstones import part_of


def image_pairs(dataset: Dataset, uid: str) -> pl.DataFrame:
    """Return part, piece, row, uid, url and alt_text of the pairs whose image is that of a uid; none for no uid."""
    part, key = part_of(dataset.ingested(), uid), image_key(uid)
    found = [pl.DataFrame(schema=_COLUMNS)]
    for number, (least, greatest) in enumerate(dataset.pairs.piece_statistics(part, "uid")):
        if image_key(least) <= key <= image_key(greatest):
            rows = dataset.pairs.piece(part, number, _OF_PAIRS).with_row_index("row")
            rows = rows.filter(image_key(pl.col("uid")) == key)
            found.append(rows.select(pl.lit(part).alias("part"), pl.lit(number).alias("piece"), "row", *_OF_PAIRS))
    return pl.concat(found, how="vertical_relaxed")


_OF_PAIRS = ["uid", "url", "alt_text"]
_COLUMNS = {"part": pl.Int64, "piece": pl.Int64, "row": pl.Int64, **dict.fromkeys(_OF_PAIRS, pl.String)}
