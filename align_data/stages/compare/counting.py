"""One range of the URL's key in both sides: its pairs and URLs joined, and counted by all that a report divides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import polars as pl

from align_data.data.batches import FIRST_BATCH
from align_data.data.columns import columns
from align_data.data.image_table import image_places, sorted_rows
from align_data.data.ledger import outcome
from align_data.fetching.outcome import NOT_KEPT
from align_data.signals import find
from align_data.signals.base import Piece
from align_data.stages.compare.intersection import UidWriter
from align_data.stages.compare.sides import ComparedSide, KeyRange, of_one_dataset

NAMED = 20_000
"""Values of a signal of which a range counts each, those with the most pairs; a million hosts would fill the memory."""
SAME, SAME_SIZE, OTHER_SIZE, UNSEEN, GONE, CAME, NEITHER = IMAGES = (
    "same bytes",
    "other bytes, same size",
    "other bytes, other size",
    "not looked at in both",
    "gone",
    "came",
    "alive in neither",
)
"""What became of the image of a URL that both have asked for."""
UNTRIED = "untried"


@dataclass
class RangeTally:
    """What was counted in one range. Of a signal's values those that are not named are in `cut`."""

    pairs: pl.DataFrame
    """in_a, in_b, outcome_a, outcome_b and image of pairs, with their number."""
    urls: pl.DataFrame
    """in_a, in_b, other_texts, status_a, status_b, image and batch of URLs, with their number."""
    by: dict[str, pl.DataFrame] = field(default_factory=dict)
    """Signal → value, in_a, in_b, changed and image, with the number of pairs."""
    rot: pl.DataFrame | None = None
    """host and image of the URLs that were alive in A and that B asked for, with their number."""
    cut: dict[str, int] = field(default_factory=dict)
    """Signal → the most pairs of a value that is not named."""
    taken_down: tuple[int, int] = (0, 0)


def count_range(
    a: ComparedSide,
    b: ComparedSide,
    of: KeyRange,
    by: Sequence[str],
    stored: Sequence[frozenset[str]],
    uids: AbstractContextManager[UidWriter] | None,
) -> RangeTally:
    """Count one range, and write the uids of its pairs in both where there is a writer."""
    images, tally = _images(a, b, of), _Tallying(by)
    streams = [
        _slices(_pairs(side, part, of, by, measured), of.cuts)
        for side, part, measured in zip((a, b), (of.part_a, of.part_b), stored, strict=True)
    ]
    with uids or nullcontext() as writer:
        for rows_a, rows_b in zip(*streams, strict=True):
            living = [rows.filter(pl.col("url") != "") for rows in (rows_a, rows_b)]
            pairs = _joined(living, by)
            urls = _urls(pairs, images)
            pairs = pairs.join(urls.select("url", "image"), on="url", how="left", maintain_order="left")
            if writer is not None:
                writer.write(pairs.filter("in_a", "in_b"))
            tally.add(pairs, urls, (len(rows_a) - len(living[0]), len(rows_b) - len(living[1])))
    return tally.result()


class _Tallying:
    """Counts the slices of a range."""

    def __init__(self, by: Sequence[str]) -> None:
        self._by = by
        self._frames: dict[str, list[pl.DataFrame]] = defaultdict(list)
        self._taken_down = (0, 0)

    def add(self, pairs: pl.DataFrame, urls: pl.DataFrame, taken_down: tuple[int, int]) -> None:
        """Count one slice."""
        self._taken_down = (self._taken_down[0] + taken_down[0], self._taken_down[1] + taken_down[1])
        self._frames["pairs"].append(_number(pairs, "in_a", "in_b", "outcome_a", "outcome_b", "image"))
        of_urls = ("in_a", "in_b", "other_texts", "status_a", "status_b", "image", "batch")
        self._frames["urls"].append(_number(urls, *of_urls))
        changed = (pl.col("outcome_a") != pl.col("outcome_b")).fill_null(value=False)
        for name in self._by:
            divided = pairs.with_columns(changed=changed, value=pl.col(name))
            self._frames[f"by {name}"].append(_number(divided, "value", "in_a", "in_b", "changed", "image"))
        if "host" in self._by:
            alive = urls.filter(is_alive("status_a"), pl.col("status_b") != UNTRIED)
            self._frames["rot"].append(_number(alive, "host", "image"))

    def result(self) -> RangeTally:
        """Return the counts of all slices."""
        total = {name: _totals(frames) for name, frames in self._frames.items()}
        tally = RangeTally(total["pairs"], total["urls"], taken_down=self._taken_down)
        for name in self._by:
            tally.by[name], tally.cut[name] = _named(total[f"by {name}"], "value")
        if "rot" in total:
            tally.rot, tally.cut["rot"] = _named(total["rot"], "host")
        return tally


def _totals(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    rows = pl.concat(frames)
    return rows.group_by(pl.exclude("number")).agg(pl.col("number").sum())


def is_alive(status: str) -> pl.Expr:
    """Return whether a URL gave an image by its status: one whose bytes nobody wanted to keep is alive too."""
    return pl.col(status).is_in(["ok", NOT_KEPT]).fill_null(value=False)


def _number(rows: pl.DataFrame, *names: str) -> pl.DataFrame:
    return rows.group_by(names).agg(pl.len().cast(pl.Int64).alias("number"))


def _named(rows: pl.DataFrame, name: str) -> tuple[pl.DataFrame, int]:
    """Return the rows of the values with the most pairs, and the most pairs of another one."""
    sizes = rows.group_by(name).agg(pl.col("number").sum())
    if len(sizes) <= NAMED:
        return rows, 0
    sizes = sizes.sort("number", name, descending=[True, False])
    return rows.join(sizes.head(NAMED).select(name), on=name, nulls_equal=True), int(sizes["number"][NAMED])


def _pairs(
    side: ComparedSide, part: int, of: KeyRange, by: Sequence[str], measured: frozenset[str]
) -> Iterator[pl.DataFrame]:
    """Yield the pairs of a side in a range, by uid: uid, url, batch, outcome, and what they are divided by."""
    within = pl.col("uid") >= of.begin
    if of.end is not None:
        within &= pl.col("uid") < of.end
    has_batches = FIRST_BATCH in side.dataset.pairs.columns(part)
    batch = pl.col(FIRST_BATCH) if has_batches else pl.lit(None, pl.String)
    if side.batch is not None:
        within &= pl.col(FIRST_BATCH) == side.batch
    read = ["uid", "url", *(["alt_text"] if set(by) - measured - {"host"} else []), *([FIRST_BATCH] * has_batches)]
    yield pl.DataFrame(schema=dict.fromkeys(["uid", "url", "batch", "outcome", *by], pl.String))
    for piece in _with_outcomes(
        side, part, columns(side.dataset, part, read, [name for name in by if name in measured])
    ):
        rows = piece.filter(within)
        computed = [find(name) for name in by if name not in measured]
        frame = Piece(rows)
        rows = rows.with_columns(
            *(signal.measure(frame).alias(signal.name) for signal in computed if signal.measure is not None),
            batch.alias("batch"),
        )
        yield rows.select("uid", "url", "batch", "outcome", *by)


def _slices(frames: Iterator[pl.DataFrame], cuts: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Yield the rows of frames that ascend by uid, parted at keys: one frame more than there are cuts."""
    pending: list[pl.DataFrame] = []
    remaining = list(cuts)
    for frame in frames:
        rows = frame
        while remaining and len(rows) and rows["uid"][-1] >= remaining[0]:
            below = int((rows["uid"] < remaining.pop(0)).sum())
            yield pl.concat([*pending, rows[:below]])
            pending, rows = [], rows[below:]
        pending.append(rows)
    yield pl.concat(pending)
    for _ in remaining:
        yield pending[0].clear()


def _with_outcomes(side: ComparedSide, part: int, pieces: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield pieces with what the ledger makes of their pairs; null without a ledger."""
    if side.ledger is None:
        for piece in pieces:
            yield piece.with_columns(pl.lit(None, pl.String).alias("outcome"))
        return
    verdicts = side.dataset.ledger(side.ledger).pieces(part, ["failed", "unknown"])
    for piece, masks in zip(pieces, verdicts, strict=True):
        yield piece.with_columns(masks.select(outcome()).to_series())


def _joined(sides: Sequence[pl.DataFrame], by: Sequence[str]) -> pl.DataFrame:
    """Return the pairs of both sides, each once: which has it, both outcomes, the batch in A, and what else is said."""
    own = [
        rows.rename({name: f"{name}_{which}" for name in rows.columns if name != "uid"}).with_columns(
            pl.lit(value=True).alias(f"in_{which}")
        )
        for rows, which in zip(sides, "ab", strict=True)
    ]
    together = own[0].join(own[1], on="uid", how="full", coalesce=True).sort("uid")
    return together.select(
        "uid",
        pl.col("in_a", "in_b").fill_null(value=False),
        "outcome_a",
        "outcome_b",
        pl.col("batch_a").alias("batch"),
        *(pl.coalesce(f"{name}_a", f"{name}_b").alias(name) for name in ("url", *by)),
    )


def _images(a: ComparedSide, b: ComparedSide, of: KeyRange) -> list[pl.DataFrame | None]:
    """Return what each side knows of its images; None of a dataset without, and of batches, which have the same."""
    if of_one_dataset(a, b):
        own = _seen(a, of.part_a)
        return [own, own]
    return [_seen(a, of.part_a), _seen(b, of.part_b)]


def _seen(side: ComparedSide, part: int) -> pl.DataFrame | None:
    """Return url, status, and the original's sha256 and size, of the images of a part."""
    dataset = side.dataset
    if dataset.images.committed() is None:
        return None
    status = sorted_rows(dataset.images, part, ["url", "status"])
    seen = image_places(dataset, part).select("original_sha256", "original_width", "original_height")
    return pl.concat([status, seen], how="horizontal").rename(lambda name: name.removeprefix("original_"))


def _urls(pairs: pl.DataFrame, images: Sequence[pl.DataFrame | None]) -> pl.DataFrame:
    """Return the URLs of pairs: which side has them, whether their texts differ, and what became of their images."""
    host = pl.col("host").first() if "host" in pairs.columns else pl.lit(None, pl.String).alias("host")
    urls = pairs.group_by("url", maintain_order=True).agg(
        pl.col("in_a", "in_b").any(),
        (pl.col("in_a") != pl.col("in_b")).any().alias("other_texts"),
        pl.col("batch").drop_nulls().first(),
        host,
    )
    urls = urls.with_columns(other_texts=pl.col("other_texts") & pl.col("in_a") & pl.col("in_b"))
    for which, seen in zip("ab", images, strict=True):
        known = seen if seen is not None else pl.DataFrame(schema=_SEEN)
        named = known.rename({name: f"{name}_{which}" for name in _SEEN if name != "url"})
        urls = urls.join(named, on="url", how="left", maintain_order="left")
        status = pl.when(f"in_{which}").then(pl.col(f"status_{which}").fill_null(UNTRIED))
        urls = urls.with_columns(status.alias(f"status_{which}"))
    return urls.with_columns(_image().alias("image"))


_SEEN = {"url": pl.String, "status": pl.String, "sha256": pl.String, "width": pl.Int32, "height": pl.Int32}


def _image() -> pl.Expr:
    """Return what became of the image of a URL, one of IMAGES; null where not both have asked for it."""
    asked = (pl.col("status_a") != UNTRIED) & (pl.col("status_b") != UNTRIED)
    a, b = is_alive("status_a"), is_alive("status_b")
    looked_at = pl.col("sha256_a").is_not_null() & pl.col("sha256_b").is_not_null()
    other_size = pl.col("width_a").ne_missing(pl.col("width_b")) | pl.col("height_a").ne_missing(pl.col("height_b"))
    return (
        pl.when(~asked.fill_null(value=False))
        .then(None)
        .when(a & ~b)
        .then(pl.lit(GONE))
        .when(b & ~a)
        .then(pl.lit(CAME))
        .when(~a)
        .then(pl.lit(NEITHER))
        .when(~looked_at)
        .then(pl.lit(UNSEEN))
        .when(pl.col("sha256_a") == pl.col("sha256_b"))
        .then(pl.lit(SAME))
        .when(other_size)
        .then(pl.lit(OTHER_SIZE))
        .otherwise(pl.lit(SAME_SIZE))
    )
