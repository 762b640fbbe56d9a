"""URLs as an export may hand them on: without user, password and what signs them."""

from __future__ import annotations

import polars as pl

from align_data.common.secrets import strip

_URLS = ("url", "page_url")
_CANDIDATE = "[@=%]"
"""What no URL is without that has anything to strip."""


def stripped(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with their URLs stripped; the uid stays, so that they can still be joined."""
    return rows.with_columns(_strip(rows[name]) for name in _URLS if name in rows.columns)


def _strip(urls: pl.Series) -> pl.Series:
    at = urls.str.contains(_CANDIDATE).fill_null(False).arg_true()
    return urls.clone().scatter(at, [strip(url) for url in urls.gather(at)])
