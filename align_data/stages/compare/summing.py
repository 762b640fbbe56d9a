"""What was counted range by range, made into what a reader is told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import polars as pl

from align_data.common.errors import DatasetError
from align_data.common.secrets import mask
from align_data.data.batches import batches_of
from align_data.data.layout import Dataset
from align_data.data.ledger import OUTCOMES
from align_data.stages.compare.comparison import (
    ByValue,
    DatasetComparison,
    LinkRot,
    ListedUids,
    SideTotals,
    StillAlive,
    ValueCounts,
)
from align_data.stages.compare.counting import (
    CAME,
    GONE,
    IMAGES,
    OTHER_SIZE,
    SAME,
    SAME_SIZE,
    UNTRIED,
    RangeTally,
    is_alive,
)
from align_data.stages.compare.sides import ComparedSide, batch_meta, of_one_dataset
from align_data.storage.manifests import unchecked

LISTED = 50
"""Values of a signal that are listed."""
_BOTH, _ONLY_A, _ONLY_B = (
    pl.col("in_a") & pl.col("in_b"),
    pl.col("in_a") & ~pl.col("in_b"),
    pl.col("in_b") & ~pl.col("in_a"),
)
_PLACES = {"both": _BOTH, "only_a": _ONLY_A, "only_b": _ONLY_B}


def summed(
    a: ComparedSide,
    b: ComparedSide,
    tallies: Sequence[RangeTally],
    by: Sequence[str],
    notes: Sequence[str],
    exported: ListedUids | None,
) -> DatasetComparison:
    """Return what all ranges come to."""
    pairs = pl.concat([tally.pairs for tally in tallies])
    urls = pl.concat([tally.urls for tally in tallies])
    taken = [sum(tally.taken_down[side] for tally in tallies) for side in (0, 1)]
    logs = [_fetched(side.dataset) for side in ((a,) if of_one_dataset(a, b) else (a, b))]
    totals = [
        _side(side, which, pairs, urls, number, times)
        for side, which, number, (times, _) in zip((a, b), "ab", taken, (logs * 2)[:2], strict=True)
    ]
    both = urls.filter("in_a", "in_b")
    in_both = {name: _sum(urls, where) for name, where in _PLACES.items()}
    comparable = not of_one_dataset(a, b) and all(side.dataset.images.committed() is not None for side in (a, b))
    return DatasetComparison(
        totals[0],
        totals[1],
        {name: _sum(pairs, where) for name, where in _PLACES.items()},
        in_both | {"other_texts": _sum(both, pl.col("other_texts"))},
        {name: _sum(both, pl.col("image") == name) for name in IMAGES} if comparable else None,
        _by_status(both, GONE, "status_b") if comparable else {},
        _by_status(both, CAME, "status_a") if comparable else {},
        _verdicts(pairs.filter(_BOTH)) if a.ledger is not None and b.ledger is not None else None,
        {name: _by_value(tallies, name) for name in by},
        _rot(a, tallies, both, totals) if comparable else None,
        exported,
        [*notes, *_why_no_images(a, b), *(note for _, unreadable in logs for note in unreadable)],
    )


def _sum(rows: pl.DataFrame, where: pl.Expr) -> int:
    return int(rows.filter(where)["number"].sum())


def _side(
    side: ComparedSide, which: str, pairs: pl.DataFrame, urls: pl.DataFrame, taken: int, times: list[str]
) -> SideTotals:
    present, outcome, status = pl.col(f"in_{which}"), pl.col(f"outcome_{which}"), f"status_{which}"
    batch = batch_meta(side)
    return SideTotals(
        mask(side.url),
        side.batch,
        _sum(pairs, present),
        taken,
        _sum(urls, present),
        _sum(urls, present & (pl.col(status) != UNTRIED)),
        _sum(urls, present & is_alive(status)),
        {name: _sum(pairs, present & (outcome == name)) for name in OUTCOMES} if side.ledger is not None else None,
        times,
        batch.account.merged if batch is not None else None,
    )


def _by_status(urls: pl.DataFrame, image: str, status: str) -> dict[str, int]:
    """Return how many URLs with this end have each status; the most first."""
    rows = urls.filter(pl.col("image") == image).group_by(status).agg(pl.col("number").sum())
    return dict(rows.sort("number", status, descending=[True, False]).iter_rows())


def _verdicts(pairs: pl.DataFrame) -> list[list[int]]:
    of = {(a, b): n for a, b, n in pairs.group_by("outcome_a", "outcome_b").agg(pl.col("number").sum()).iter_rows()}
    return [[of.get((a, b), 0) for b in OUTCOMES] for a in OUTCOMES]


def _by_value(tallies: Sequence[RangeTally], name: str) -> ByValue:
    rows = pl.concat([tally.by[name] for tally in tallies])
    image = pl.col("image")
    counted = {
        **_PLACES,
        "same": _BOTH & (image == SAME),
        "other": _BOTH & image.is_in([SAME_SIZE, OTHER_SIZE]),
        "gone": _BOTH & (image == GONE),
        "changed": _BOTH & pl.col("changed"),
    }
    sums = [pl.col("number").filter(where).sum().alias(of) for of, where in counted.items()]
    values = rows.group_by("value").agg(pl.col("number").sum(), *sums)
    values = values.sort("number", "value", descending=[True, False], nulls_last=True)
    listed = [ValueCounts(**row) for row in values.head(LISTED).drop("number").iter_rows(named=True)]
    every = sum(int(tally.pairs["number"].sum()) for tally in tallies)
    further = max(0, len(values) - LISTED)
    return ByValue(
        listed, further, every - int(values["number"].head(LISTED).sum()), sum(tally.cut[name] for tally in tallies)
    )


def _rot(a: ComparedSide, tallies: Sequence[RangeTally], both: pl.DataFrame, totals: Sequence[SideTotals]) -> LinkRot:
    asked = both.filter(is_alive("status_a"), pl.col("status_b") != UNTRIED)
    hosts = [tally.rot for tally in tallies if tally.rot is not None]
    by_host = [] if not hosts else _still(pl.concat(hosts), "host")
    added = {batch.name: batch.added for batch in batches_of(a.dataset, a.dataset.ingested())}
    by_batch = []
    if len(added) > 1:
        found = {row.of: row for row in _still(asked, "batch")}
        by_batch = [
            StillAlive(name, found[name].urls, found[name].still, when) for name, when in added.items() if name in found
        ]
    return LinkRot(
        _sum(asked, pl.lit(value=True)),
        _sum(asked, pl.col("image") != GONE),
        _days(totals[0].fetched, totals[1].fetched),
        by_host[:LISTED],
        by_batch,
    )


def _still(urls: pl.DataFrame, of: str) -> list[StillAlive]:
    rows = urls.group_by(of).agg(
        pl.col("number").sum().alias("urls"), pl.col("number").filter(pl.col("image") != GONE).sum().alias("still")
    )
    return [StillAlive(*row) for row in rows.sort("urls", of, descending=[True, False]).iter_rows()]


def _days(a: Sequence[str], b: Sequence[str]) -> float | None:
    if not (a and b):
        return None
    return round((datetime.fromisoformat(b[-1]) - datetime.fromisoformat(a[-1])).total_seconds() / 86_400, 1)


def _fetched(dataset: Dataset) -> tuple[list[str], list[str]]:
    """Return the first and the last time that the log has of images that were asked for, and what cannot be read of it.

    No times of a log that has none.
    """
    times: list[str] = []
    unreadable: list[str] = []
    for name in filter(_ENTRY.fullmatch, dataset.store.names("_log")):
        try:
            entry = unchecked(dataset.store.read_bytes(f"_log/{name}") or b"", dataset.store.path(f"_log/{name}"))
            command, tables = entry["command"][:1], entry.get("tables", {})
            if command == ["fetch"] or ("images" in tables and command != ["add"]):
                times.append(datetime.fromisoformat(entry["began"]).isoformat(timespec="seconds"))
        except (DatasetError, OSError, ValueError, TypeError, KeyError):
            where = mask(dataset.store.path(f"_log/{name}"))
            unreadable.append(f"{where} cannot be understood, so images may have been fetched at other times too")
    return ([min(times), max(times)] if times else []), unreadable


_ENTRY = re.compile(r"\d{8}T[\d.]+\.json")


def _why_no_images(a: ComparedSide, b: ComparedSide) -> list[str]:
    if of_one_dataset(a, b):
        return ["two batches of one dataset have one image for a URL, so images are not compared"]
    without = [mask(side.url) for side in (a, b) if side.dataset.images.committed() is None]
    return [f"{' and '.join(without)}: no images have been fetched, so images are not compared"] if without else []
