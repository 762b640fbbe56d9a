"""The forms of the names that we write: what a table, a manifest or a note says is a name only if it has its form.

A dataset or an export may come from a stranger, and a name that is read becomes a path that is opened, written anew or
removed. No form has a way out of the folder in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from align_data.common.errors import DatasetError

_SHOWN = 80
"""Characters of a wrong name that a sentence shows."""


@dataclass(frozen=True)
class NamePattern:
    """What the names of one kind look like: `pattern` is understood alike by Python and by Polars."""

    pattern: str
    kind: str
    """What such a name is of, with an example, as the end of a sentence."""

    def fits(self, name: Any) -> bool:
        """Tell whether this is such a name."""
        return isinstance(name, str) and re.fullmatch(self.pattern, name) is not None

    def check(self, name: Any, where: str) -> str:
        """Return a name that was read; DatasetError, which begins with `where` it stands, for any other value."""
        if not self.fits(name):
            raise DatasetError(f"{where}: {display(name)} is not the name of {self.kind}")
        return str(name)


def display(value: Any) -> str:
    """Return a wrong value as a sentence can show it."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


_SPLIT = "[A-Za-z][A-Za-z0-9_-]{0,99}"

TAR_STEM = r"[0-9]{3,9}-[0-9]{5,9}(?:-[0-9]{1,9})?(?:-t[0-9]{4,9})?\.tar"
"""What the tars of fetched images are called, in the folder of their part."""

TAR = NamePattern(rf"bytes/part-[0-9]{{5,9}}/{TAR_STEM}", "a tar of images, such as bytes/part-00000/001-00000.tar")
SPLIT = NamePattern(_SPLIT, "a split, such as val")
_WORD = "[A-Za-z0-9_=-]{0,99}"
_STEM = rf"(?:[A-Za-z0-9]{_WORD}/){{0,3}}(?:[A-Za-z0-9]{_WORD}?)?[0-9]{{5,12}}{_WORD}"
SHARD_STEM = NamePattern(_STEM, "a shard, such as data/train-00000-of-00003")
"""A shard without its ending; it has no dot."""
TAR_SHARD = NamePattern(rf"{_STEM}\.tar", "a WebDataset shard, such as 00000.tar")
PARQUET_SHARD = NamePattern(rf"{_STEM}\.parquet", "a Parquet shard, such as 00000.parquet")
FOLDER_SHARD = NamePattern(_STEM, "a shard that is a folder of files, such as 00000")
UIDS = NamePattern(r"uids\.npy", "the file of uids, uids.npy")
INDEX = NamePattern(r"index\.(?:pq|parquet)", "the index, index.pq")
IMAGE = NamePattern(r"[0-9a-f]{16}(?:-[0-9]{1,9})?\.[a-z0-9]{2,5}", "an image: 16 hex digits and its format's ending")
MEMBER = NamePattern(r"[0-9a-f]{32}\.[a-z0-9]{2,5}", "a sample's member: 32 hex digits and an ending")
MEMBER_OR_METADATA = NamePattern(
    rf"{MEMBER.pattern}|metadata\.parquet", "a file of a shard: 32 hex digits and an ending, or metadata.parquet"
)
BESIDE = NamePattern(
    rf"README\.md|croissant\.json|wids-{_SPLIT}\.json|{_SPLIT}\.tsv"
    rf"|(?:[A-Za-z0-9]{_WORD}/){{0,3}}sizes\.json|{_STEM}_stats\.json",
    "a file beside the shards, such as README.md",
)


def tar_of(part: int) -> NamePattern:
    """Return the form of the tars that have the images of one part."""
    number = f"{part:05d}"
    return NamePattern(
        rf"bytes/part-{number}/{TAR_STEM}", f"a tar of this part's images, such as bytes/part-{number}/001-00000.tar"
    )
