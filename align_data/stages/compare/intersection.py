"""The uids of the pairs that both sides have, as a folder of Parquet files and a list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
import pyarrow.parquet as pq

from align_data.common.errors import OutputError
from align_data.storage.store import Store

LIST = "uids.txt"
"""One uid a line, which takedown, label and measure --list take; written last."""
_OURS = re.compile(r"part-\d{5,}\.parquet")
_COLUMN = "uid"


class UidWriter:
    """Writes the uids of some rows into a file."""

    def __init__(self, path: str, *, same_images: bool) -> None:
        self._path, self._same_images = path, same_images

    def write(self, rows: pl.DataFrame) -> None:
        """Write the uids of pairs that are in both, in their order."""
        chosen = rows.filter(pl.col("image") == "same bytes") if self._same_images else rows
        pq.write_table(chosen.select(_COLUMN).to_arrow(), self._path)


class UidFolder:
    """A folder that gets the uids. It travels to other machines."""

    def __init__(self, url: str, *, same_images: bool = False) -> None:
        self.url, self.same_images = url, same_images
        self._store = Store(url)

    def check(self) -> None:
        """Raise OutputError where something lies in the folder that a run which did not finish has not left."""
        names = self._store.names()
        if LIST in names or any(not _OURS.fullmatch(name) for name in names):
            raise OutputError(f"{self.url} is not empty: name a new folder for the uids")

    def begin(self) -> None:
        """Remove what a run left that did not finish."""
        self.check()
        for name in self._store.names():
            self._store.remove(name)

    @contextmanager
    def writer(self, number: int) -> Iterator[UidWriter]:
        """Give what writes the uids of one range; the file appears when the context ends."""
        with self._store.create(_part(number)) as path:
            yield UidWriter(path, same_images=self.same_images)

    def finish(self, ranges: int) -> int:
        """Write the list, and return how many uids there are."""
        number = 0
        with self._store.create(LIST) as path, open(path, "w", encoding="ascii") as out:  # noqa: PTH123 - as it is
            for part in range(ranges):
                with self._store.read(_part(part)) as file:
                    uids = pq.read_table(file, columns=[_COLUMN])[_COLUMN].to_pylist()
                out.writelines(f"{uid}\n" for uid in uids)
                number += len(uids)
        return number


def _part(number: int) -> str:
    return f"part-{number:05d}.parquet"
