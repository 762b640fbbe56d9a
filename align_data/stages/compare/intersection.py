"""The uids of the pairs that both sides have, as a folder of Parquet files and a list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from align_data.common.errors import OutputError
from align_data.storage.store import Store

LIST = "uids.txt"
"""One uid a line, which takedown, label and measure --list take; written last."""
_OURS = re.compile(r"part-\d{5,}\.parquet")
_COLUMN = "uid"
_AT_ONCE = 2**16
_SCHEMA = pa.schema([pa.field(_COLUMN, pa.string(), nullable=False)])


class UidWriter:
    """Writes the uids of some rows into a file, again and again."""

    def __init__(self, file: pq.ParquetWriter, *, same_images: bool) -> None:
        self._file, self._same_images = file, same_images

    def write(self, rows: pl.DataFrame) -> None:
        """Write the uids of pairs that are in both, in their order."""
        chosen = rows.filter(pl.col("image") == "same bytes") if self._same_images else rows
        self._file.write_table(chosen.select(_COLUMN).to_arrow().cast(_SCHEMA))


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
        with self._store.create(_part(number)) as path, pq.ParquetWriter(path, _SCHEMA) as file:
            yield UidWriter(file, same_images=self.same_images)

    def finish(self, ranges: int) -> int:
        """Write the list, and return how many uids there are."""
        number = 0
        with self._store.create(LIST) as path, open(path, "w", encoding="ascii") as out:  # noqa: PTH123 - as it is
            for part in range(ranges):
                with self._store.read(_part(part)) as file:
                    for rows in pq.ParquetFile(file).iter_batches(_AT_ONCE):
                        out.writelines(f"{uid}\n" for uid in rows[_COLUMN].to_pylist())
                        number += len(rows)
        return number


def _part(number: int) -> str:
    return f"part-{number:05d}.parquet"
