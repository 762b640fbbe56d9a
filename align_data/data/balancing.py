"""How often the entries of a list are in the pool, and the thresholds of balancing that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from align_data.common.errors import DatasetError
from align_data.data.layout import Dataset
from align_data.data.user_lists import load
from align_data.signals.base import Piece
from align_data.signals.user_lists import PhraseList


def entry_counts(dataset: Dataset, name: str) -> pl.DataFrame:
    """Return class, entry and count of each entry of a list: how many pairs of the pool have it.

    Of entries that are equal to the matcher only the first one has pairs. DatasetError where balance_NAME has not been
    measured.
    """
    counts, manifest = dataset.counts(f"balance.{name}"), dataset.user_list(name).committed()
    measured = counts.committed()
    if manifest is None or measured is None or measured.meta.pairs != dataset.ingested().fingerprint:
        raise DatasetError(f"balance_{name} of {dataset.store.url} is not measured: align-data measure measures it")
    by_entry = load(dataset, [name])[name]
    assert isinstance(by_entry, PhraseList)
    rows = pl.concat(list(dataset.user_list(name).pieces(0, ["class", "entry"])))
    keyed = rows.with_columns(pl.Series("key", by_entry.keys.view("int64")))
    parts = [counts.pieces(part, ["key", "count"]) for part in range(len(measured.parts))]
    totals = pl.concat([piece for pieces in parts for piece in pieces])
    joined = keyed.join(totals, on="key", how="left", maintain_order="left")
    is_first = joined["key"].is_first_distinct()
    return joined.select("class", "entry", pl.when(is_first).then("count").otherwise(0).fill_null(0).alias("count"))


def matched_entries(dataset: Dataset, name: str, pair: Mapping[str, Any]) -> list[tuple[str, int | None]]:
    """Return the entries of a list that a pair's text has, and how many pairs of the pool have each, the rarest first.

    Of a list whose balance is not measured the counts are None.
    """
    by_entry = load(dataset, [name])[name]
    if not isinstance(by_entry, PhraseList):
        return []
    piece = Piece(pl.DataFrame({column: [pair[column]] for column in ("uid", "url", "alt_text")}))
    at = by_entry.matches(piece).entries
    rows = pl.concat(list(dataset.user_list(name).pieces(0, ["entry"])))
    sought = pl.DataFrame({"entry": rows["entry"].gather(at), "key": by_entry.keys[at].view("int64")})
    counts = dataset.counts(f"balance.{name}")
    measured = counts.committed()
    totals = [pl.DataFrame(schema={"key": pl.Int64, "count": pl.Int64})]
    for part in range(len(measured.parts) if measured is not None else 0):
        pieces = counts.pieces(part, ["key", "count"])
        totals += [totals_of.filter(pl.col("key").is_in(sought["key"].implode())) for totals_of in pieces]
    return sought.join(pl.concat(totals), on="key", how="left").sort("count", "entry").select("entry", "count").rows()


def thresholds_like(dataset: Dataset, name: str, of_class: str, threshold: float) -> dict[str, int]:
    """Return for each class of a list the threshold that leaves it the tail that one class has with its own.

    MetaCLIP 2's way (Chuang et al. 2025): the tail is what share of all occurrences of entries is of those that fewer
    pairs have than the threshold; each class gets the count of an entry at which its share comes nearest to that one.
    DatasetError for a class without an entry in the pool.
    """
    seen = entry_counts(dataset, name).filter(pl.col("count") > 0)
    counts = {
        str(of): np.sort(frame["count"].to_numpy()) for (of,), frame in seen.partition_by("class", as_dict=True).items()
    }
    if of_class not in counts:
        raise DatasetError(f"no entry of {of_class!r} is in the pool; there are those of {', '.join(sorted(counts))}")
    own = counts[of_class]
    tail = own[own < threshold].sum() / own.sum()
    nearest = {of: abs(ascending.cumsum() / ascending.sum() - tail).argmin() for of, ascending in counts.items()}
    return {of: int(counts[of][at]) for of, at in sorted(nearest.items())}
