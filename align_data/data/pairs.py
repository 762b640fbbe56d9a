"""What a pair is: its URL and text made canonical, its keys, and how equal pairs become one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.flat_texts import Bytes, Rows, flat_bytes, odd_bytes, rows_with
from align_data.common.hashing import Hashes, uid, xxh3
from align_data.common.sorting import argsort
from align_data.signals.page import opts_out
from align_data.sources.lists.batches import COLUMNS, MAX_BYTES
from align_data.sources.lists.column_names import PROVENANCE
from align_data.storage.tables import PIECE_BYTES, PIECE_ROWS, recut

DECLARED = ("declared_width", "declared_height", "page_url", "declared_language", "license", "source_uid")
"""What the input says beside URL and text."""
BESIDE = (*DECLARED, *PROVENANCE)
"""And what a crawl says: of equal pairs one row's tuple of all these is kept.

That of a row whose page opts out, if there is one; of several the smallest, nulls last.
"""

_OPEN = "open"
"""Whether a row's page does not opt out, while equal pairs are compared."""
_BLANK = np.uint8(0x20)
_CONTROL = r"[\x00-\x1f\x7f]"
# White space is what Python's str.isspace says: Unicode's, and the four separators of ASCII.
_CONTROL_NOT_SPACE = r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]"
# All white space but a single plain space, which stays.
_SPACE = r"[\s\x1c-\x1f]{2,}|[\s\x1c-\x1f--\ ]"
# With a host: what stands before an @ is none.
_ABSOLUTE = r"^[hH][tT][tT][pP][sS]?://(?:[^/?#@]*@)?[^/?#@:\s][^/?#@]*(?:[/?#]|$)"
# The usual form of it: no white space, no control character and no @ is in such a URL besides.
_USUAL = r"^https?://[0-9A-Za-z]"
# No character before U+0300 is changed by NFC, whatever follows it.
_COMPOSABLE = r"[^\x00-\x{2ff}]"


def normalise(texts: pl.Series) -> pl.Series:
    """Return texts in NFC, without control characters, white space collapsed; null becomes the empty text."""
    texts = texts.fill_null("")
    at = pl.Series(_odd_texts(texts))
    if not len(at):
        return texts
    rewritten = texts.gather(at).str.replace_all(_CONTROL_NOT_SPACE, "")
    composable = rewritten.str.contains(_COMPOSABLE).arg_true()
    if len(composable):
        rewritten = rewritten.scatter(composable, rewritten.gather(composable).str.normalize("NFC"))
    return texts.scatter(at, rewritten.str.replace_all(_SPACE, " ").str.strip_chars(" "))


def _odd_texts(texts: pl.Series) -> Rows:
    """Return the rows of texts that may not be canonical, by one look at all bytes: nearly all stay as they are.

    Canonical are ASCII's visible characters and, by the first bytes that UTF-8 gives them, those from U+00C0 to U+02FF,
    with single spaces inside.
    """
    content, ends = flat_bytes(texts)
    odd = odd_bytes(content, _is_odd_in_text)
    filled = ends[:-1] < ends[1:]
    for edges in (ends[:-1][filled], ends[1:][filled] - 1):
        odd[edges[content[edges] == _BLANK]] = True
    return rows_with(odd, ends)


def _is_odd_in_text(content: Bytes) -> NDArray[np.bool_]:
    above = content - _BLANK
    odd = above >= 0xCC - _BLANK  # a first byte of U+0300 and more, or below a blank
    odd |= above == 0x7F - _BLANK
    odd |= above == 0xC2 - _BLANK  # of U+0080 to U+00BF
    blank = above == 0
    odd[1:] |= blank[1:] & blank[:-1]
    return odd


def _odd_urls(urls: pl.Series) -> Rows:
    """Return the rows of URLs that hold anything but visible ASCII, or an @."""
    content, ends = flat_bytes(urls)
    return rows_with(odd_bytes(content, _is_odd_in_url), ends)


def _is_odd_in_url(content: Bytes) -> NDArray[np.bool_]:
    odd = content - np.uint8(0x21) >= 0x7F - 0x21
    odd |= content == ord("@")
    return odd


def clean(
    rows: pl.DataFrame, rewrite: Callable[[pl.Series], pl.Series] = lambda texts: texts
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows that are pairs, made canonical; and row, reason and detail of those that are not.

    Their texts are rewritten before they are made canonical.
    """
    suspect = _suspect(rows)
    rejected = _NONE_REJECTED
    if len(suspect):
        rows, rejected = _judged(rows, pl.Series(suspect))
    return rows.with_columns(normalise(rewrite(rows["alt_text"]))), rejected


def _suspect(rows: pl.DataFrame) -> Rows:
    """Return the places of the rows that may be none: all whose URL is not of the usual form, or long."""
    usual = pl.col("url").str.contains(_USUAL)
    sizes = pl.col("url", "alt_text").str.len_bytes()
    if (rows.select(pl.max_horizontal(sizes.max())).item() or 0) > MAX_BYTES:
        usual &= pl.max_horizontal(sizes) <= MAX_BYTES
    suspect = ~rows.select(usual.fill_null(False)).to_series().to_numpy()
    suspect[_odd_urls(rows["url"])] = True
    return np.flatnonzero(suspect)


def _judged(rows: pl.DataFrame, at: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows without those of `at` that are not pairs, and these; the URLs of the others made canonical."""
    looked = rows[at].with_columns(pl.col("url").str.strip_chars())
    url = pl.col("url")
    long = [(name, pl.col(name).str.len_bytes()) for name in ("url", "alt_text")]
    visible = url.str.replace_all(_CONTROL, "\N{REPLACEMENT CHARACTER}")
    reasons = [
        (url.is_null() | (url == ""), "url_missing", pl.lit("")),
        *((size > MAX_BYTES, "too_long", pl.format(f"{name} of {{}} bytes", size)) for name, size in long),
        (url.str.contains(_CONTROL), "url_control_character", visible),
        (~url.str.contains(_ABSOLUTE), "url_not_http", url),
    ]
    is_rejected = looked.select(pl.any_horizontal([fails.fill_null(False) for fails, _, _ in reasons])).to_series()
    rows = rows.with_columns(rows["url"].scatter(at, looked["url"]))
    if not is_rejected.any():
        return rows, _NONE_REJECTED
    remaining = pl.Series(np.ones(len(rows), dtype=bool)).scatter(at, ~is_rejected)
    return rows.filter(remaining), looked.filter(is_rejected).select("row", *_rejection(reasons))


def _rejection(reasons: list[tuple[pl.Expr, str, pl.Expr]]) -> tuple[pl.Expr, pl.Expr]:
    """Return reason and detail of the first that is true."""
    reason = pl.coalesce([pl.when(fails).then(pl.lit(name)) for fails, name, _ in reasons])
    detail = pl.coalesce([pl.when(fails).then(value.str.slice(0, 200)) for fails, _, value in reasons])
    return reason.alias("reason"), detail.alias("detail")


_NONE_REJECTED = pl.DataFrame(schema={"row": pl.Int64, "reason": pl.String, "detail": pl.String})


def keyed(rows: pl.DataFrame, declared: Sequence[str] = DECLARED) -> pl.DataFrame:
    """Return rows with url_key, pair_key, a count of one copy each, and the `declared` columns."""
    return rows.select(
        xxh3(pl.col("url")).alias("url_key"),
        xxh3(pl.concat_str("url", pl.lit("\0"), "alt_text")).alias("pair_key"),
        "url",
        "alt_text",
        pl.lit(1, pl.Int64).alias("copies"),
        *(name if name in rows.columns else pl.lit(None, COLUMNS[name]).alias(name) for name in declared),
    )


def merge(rows: pl.DataFrame) -> pl.DataFrame:
    """Return keyed rows sorted by their keys, equal pairs made one: copies added, one row's declared tuple kept.

    An opt-out is never lost so. Merging is associative: some rows can be merged before all are.
    """
    rows = rows.rechunk()  # gathering from many small chunks takes five times as long
    url_key, pair_key = rows["url_key"].to_numpy(), rows["pair_key"].to_numpy()
    order = _order(url_key, pair_key)
    starts_group = np.ones(len(order), dtype=bool)
    starts_group[1:] = (np.diff(url_key[order]) != 0) | (np.diff(pair_key[order]) != 0)
    if starts_group.all():
        return rows[order]
    starts = np.flatnonzero(starts_group)
    copies = np.add.reduceat(rows["copies"].to_numpy()[order], starts)
    chosen = order[starts]
    sizes = np.diff(starts, append=len(order))
    # Only the groups of several rows are compared column by column.
    group = np.repeat(np.arange(len(starts)), sizes)
    several = np.flatnonzero(sizes[group] > 1)
    declared = [name for name in BESIDE if name in rows.columns]
    members = pl.DataFrame({"group": group[several], "row": order[several]})
    members = members.hstack([rows[name][order[several]] for name in declared])
    if "robots" in declared:
        members = members.with_columns((~opts_out(members["robots"])).fill_null(True).alias(_OPEN))
        declared = [_OPEN, *declared]
    best = members.sort("group", *declared, nulls_last=True).unique("group", keep="first", maintain_order=True)
    chosen[best["group"].to_numpy()] = best["row"].to_numpy()
    return rows[chosen].with_columns(copies=copies)


def _order(url_key: Hashes, pair_key: Hashes) -> NDArray[np.intp]:
    """Return the order by url_key, then pair_key: a fast sort, and one by both keys for URLs with several texts."""
    order, ordered = argsort(url_key)
    same = ordered[1:] == ordered[:-1]
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    tied_order = order[tied]
    order[tied] = tied_order[np.lexsort((pair_key[tied_order], url_key[tied_order]))]
    return order


def finished(rows: pl.DataFrame) -> pl.DataFrame:
    """Return merged rows as the table `pairs` has them: the uid for the keys, nulls for what no input declares.

    What no input says of a crawl has no column.
    """
    ids = uid(rows["url_key"].to_numpy(), rows["pair_key"].to_numpy())
    absent = [pl.lit(None, COLUMNS[name]).alias(name) for name in DECLARED if name not in rows.columns]
    return rows.with_columns(ids, *absent).select(table_columns(rows.columns))


def table_columns(declared: Iterable[str]) -> list[str]:
    """Return the columns of `pairs` where inputs declare these, in their order."""
    names = set(declared)
    return ["uid", "url", "alt_text", "copies", *DECLARED, *(name for name in PROVENANCE if name in names)]


def pieces(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Cut rows into pieces of at most PIECE_ROWS rows and, but for a single row, PIECE_BYTES of text."""
    return recut(frames, _end)


_BYTES = (pl.col("url").str.len_bytes() + pl.col("alt_text").str.len_bytes()).cast(pl.Int64)


def size(rows: pl.DataFrame, columns: Sequence[str] = ()) -> int:
    """Return the bytes of all URLs and texts, and of the texts in other columns."""
    texts = [pl.col(name).str.len_bytes().sum() for name in columns if rows.schema.get(name) == pl.String]
    return int(rows.select(pl.sum_horizontal(_BYTES.sum(), *texts)).item())


def _end(rows: pl.DataFrame) -> int | None:
    """Return where the first piece of `rows` ends, or None if it may go on behind them."""
    head = rows[:PIECE_ROWS]
    sizes = head.select(_BYTES.cum_sum()).to_series().to_numpy()
    fit = int(np.searchsorted(sizes, PIECE_BYTES, side="right"))
    if fit < len(head):
        return max(1, fit)
    return PIECE_ROWS if len(head) == PIECE_ROWS else None
