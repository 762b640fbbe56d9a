"""Writing one part of a table: Parquet under a contract, hashed on its way to the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_128

from align_data.storage import footers
from align_data.storage.contracts import Contract
from align_data.storage.manifests import PartInfo


class PartWriter:
    """Writes the pieces of one part; `info` is there once the part is."""

    def __init__(self, contract: Contract, columns: list[str] | None, path: str, hashed: bool) -> None:
        self._contract = contract
        self._target = _PartFile(path, hashed)
        self._rows = 0
        self.info: PartInfo | None = None
        schema = contract.arrow(columns)
        written = [column for column in contract.columns if column.name in schema.names]
        self._writer = pq.ParquetWriter(
            self._target,
            schema,
            compression={column.name: "zstd" if column.compressed else "none" for column in written},
            compression_level={column.name: 1 for column in written if column.compressed},
            use_dictionary=[column.name for column in written if column.dictionary and not column.differences],
            column_encoding={column.name: "DELTA_BINARY_PACKED" for column in written if column.differences},
            write_statistics=[column.name for column in written if column.statistics],
            store_schema=False,
            write_page_checksum=True,
        )

    def write(self, piece: pl.DataFrame | pa.Table) -> None:
        """Append one piece as one row group."""
        table = piece.to_arrow(compat_level=pl.CompatLevel.oldest()) if isinstance(piece, pl.DataFrame) else piece
        table = self._contract.check(table).combine_chunks()
        self._rows += table.num_rows
        if table.num_rows:
            self._writer.write_table(table, row_group_size=table.num_rows)

    def close(self, facts: Mapping[str, Any]) -> None:
        """Write the footer with `facts`."""
        self._writer.add_key_value_metadata(footers.entries(facts))
        end = self._target.hold()
        self._writer.close()
        sealed, seal = footers.sealed(b"".join(end))
        self._target.finish(sealed)
        self.info = PartInfo(self._rows, self._target.tell(), None, seal, self._target.hash)
        self._target.close()

    def abandon(self) -> None:
        """Close the file without caring what is in it."""
        self._target.hold()
        self._writer.close()
        self._target.close()


class _PartFile:
    """A file that a part is written to: hashed on its way, and its end held back until it is sealed."""

    closed = False

    def __init__(self, path: str, hashed: bool) -> None:
        self._file = Path(path).open("wb", buffering=0)  # noqa: SIM115 - closed with the part
        self._hash = xxh3_128() if hashed else None
        self._end: list[bytes] | None = None

    @property
    def hash(self) -> str | None:
        """The xxh3_128 of what was written; None where that is not wanted."""
        return self._hash.hexdigest() if self._hash is not None else None

    def write(self, content: Any) -> int:
        """Write all of some bytes, or hold them."""
        if self._end is not None:
            self._end.append(bytes(content))
        else:
            self._put(content)
        return len(content)

    def hold(self) -> list[bytes]:
        """Hold what is written from now on, and return the list that it goes to."""
        self._end = []
        return self._end

    def finish(self, end: bytes) -> None:
        """Write the end of the file, in place of what was held."""
        self._end = None
        self._put(end)

    def _put(self, content: Any) -> None:
        if self._hash is not None:
            self._hash.update(content)
        rest = memoryview(content)
        while rest:
            rest = rest[self._file.write(rest) :]

    def tell(self) -> int:
        """Return the bytes that were written, as pyarrow asks."""
        return self._file.tell() + sum(map(len, self._end or ()))

    def flush(self) -> None:
        """Do nothing: nothing waits."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()
