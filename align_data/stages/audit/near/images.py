"""The images of a dataset with what is measured of them: a row an image, by its first pair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from align_data.common.hashing import image_key
from align_data.data.columns import by_group
from align_data.data.layout import Dataset
from align_data.stages.audit.near.values import NearImage

SHOWN = ("width", "height", "nsfw")


def image_pieces(dataset: Dataset, part: int, signals: Sequence[str], *, texts: bool = False) -> Iterator[pl.DataFrame]:
    """Yield uid, url and signals of the images of a part, of those that were not taken down."""
    columns = ["uid", "url", *(["alt_text"] if texts else [])]
    streams = [dataset.pairs.pieces(part, columns)]
    streams += [dataset.measured(group).pieces(part, names) for group, names in sorted(by_group(signals).items())]
    last = ""
    for frames in zip(*streams, strict=True):
        piece = pl.concat(frames, how="horizontal")
        images = piece.filter(pl.col("url") != "", pl.col("url") != last).unique(
            "url", keep="first", maintain_order=True
        )
        last = piece["url"][-1] if len(piece) else last
        yield images


def near_image(part: int, row: Mapping[str, Any]) -> NearImage:
    """Return a row of `image_pieces` with texts as an image that is shown."""
    return NearImage(part, row["url"], row["uid"], row["alt_text"], *(row.get(name) for name in SHOWN))


def part_of(splits: Sequence[str], uid: str) -> int:
    """Return the part that a uid lies in, by the keys at which parts begin, after the first."""
    key = image_key(uid)
    return sum(split <= key for split in splits)


def uids_by_part(splits: Sequence[str], uids: Iterable[str]) -> dict[int, set[str]]:
    """Return uids by the part that they lie in."""
    parts: dict[int, set[str]] = {}
    for uid in uids:
        parts.setdefault(part_of(splits, uid), set()).add(uid)
    return parts
