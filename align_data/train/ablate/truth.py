"""A file that lists the good pairs, for the arm `oracle`."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from align_data.common.errors import InputError
from align_data.common.hashing import keys, uid
from align_data.data.pairs import normalise

GOOD = "caption"


def good_pairs(file: str) -> frozenset[str]:
    """Return the uids of the pairs that a Parquet or CSV file names: by `uid`, or by `url` and `alt_text`.

    Of a file with a column `kind` only the rows are good whose kind is `caption`. Raises InputError for any other file.
    """
    try:
        rows = pl.read_csv(file, infer_schema=False) if Path(file).suffix == ".csv" else pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"cannot read {file}: {' '.join(str(error).split())[:200]}; give Parquet or CSV") from error
    if "kind" in rows.columns:
        rows = rows.filter(pl.col("kind") == GOOD)
    if "uid" in rows.columns:
        return frozenset(rows["uid"].drop_nulls().cast(pl.String).to_list())
    if not {"url", "alt_text"} <= set(rows.columns):
        raise InputError(f"{file} names no pairs: it needs a column uid, or url and alt_text")
    urls = rows["url"].cast(pl.String).fill_null("").str.strip_chars()
    texts = normalise(rows["alt_text"].cast(pl.String))
    identity = pl.DataFrame({"url": urls, "text": texts}).select(pl.concat_str("url", pl.lit("\0"), "text")).to_series()
    return frozenset(uid(keys(urls), keys(identity)).to_list())
