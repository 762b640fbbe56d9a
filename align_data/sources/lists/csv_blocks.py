"""A block of delimited lines as rows: whole lines through pyarrow's parser, the others as they were read before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from align_data.common.errors import InputError
from align_data.sources.lists.batches import Batch, Rejects, valid_utf8
from align_data.sources.lists.csv_lines import IntArray, Lines
from align_data.sources.lists.csv_quotes import Record
from align_data.storage.tables import PIECE_ROWS

_LATIN = "latin-1"
"""Every byte is a character, so that pyarrow can say which row it skips; the bytes are taken back from it."""


@dataclass(frozen=True)
class CsvBlock:
    """The lines from `start` to before `behind`; `records` are those that are not rows by themselves.

    `row` is the number of its first row.
    """

    lines: Lines
    start: int
    behind: int
    records: Sequence[Record]
    row: int

    @cached_property
    def _rows(self) -> tuple[IntArray, Any]:
        """Return the number of each line's row, and which lines are rows by themselves."""
        lines = self.lines
        alone = lines.ends[: self.behind] > lines.starts[: self.behind]
        alone[: self.start] = False
        begins = alone.copy()
        for record in self.records:
            alone[record.start : record.end + 1] = False
            begins[record.start : record.end + 1] = False
            begins[record.start] = True
        return self.row - 1 + np.cumsum(begins), alone

    @property
    def behind_row(self) -> int:
        """The number of the row behind the block."""
        numbers, _ = self._rows
        return int(numbers[-1]) + 1 if len(numbers) else self.row

    def batches(
        self, columns: Mapping[str, int], width: int, delimiter: str, quotes: bool
    ) -> Iterator[tuple[Batch, Rejects]]:
        """Yield the rows, in their order; `columns` are our names and the positions of the fields."""
        numbers, alone = self._rows
        rejects = Rejects()
        names = sorted({str(place) for place in columns.values()}, key=int)
        parsed, rows = self._parsed(numbers[alone], names, width, delimiter, quotes, rejects)
        whole = [record for record in self.records if not record.fault]
        for record in self.records:
            if record.fault:
                text = self.lines.data[self.lines.starts[record.start] : self.lines.ends[record.end]]
                detail = f"{record.fault}: {text.decode('utf-8', 'backslashreplace')}"
                rejects.add(int(numbers[record.start]), "bad_row", detail)
        if whole:
            read = {name: pa.array([record.fields[int(name)] for record in whole], pa.binary()) for name in names}
            rows = np.append(rows, numbers[[record.start for record in whole]])
            order = np.argsort(rows)
            parsed = {name: pa.concat_arrays([parsed[name], read[name]]).take(order) for name in names}
            rows = rows[order]
        for start in range(0, max(1, len(rows)), PIECE_ROWS):
            piece = {role: parsed[str(place)].slice(start, PIECE_ROWS) for role, place in columns.items()}
            yield Batch(piece, rows[start : start + PIECE_ROWS]), rejects
            rejects = Rejects()

    def _parsed(
        self, numbers: IntArray, names: Sequence[str], width: int, delimiter: str, quotes: bool, rejects: Rejects
    ) -> tuple[dict[str, pa.Array], IntArray]:
        """Return the columns of the lines that are rows by themselves, as bytes, and the numbers of their rows."""
        body = self._body()
        encoding = "utf8" if valid_utf8(body) else _LATIN
        ragged: list[pacsv.InvalidRow] = []

        def skip(row: pacsv.InvalidRow) -> str:
            ragged.append(row)
            return "skip"

        if not len(numbers):
            return {name: pa.array([], pa.binary()) for name in names}, numbers
        table = pacsv.read_csv(
            pa.BufferReader(body),
            # One thread: the parser knows the number of a row that it skips only then.
            pacsv.ReadOptions(
                use_threads=False,
                block_size=len(body) + 1,
                column_names=[str(place) for place in range(width)],
                encoding=encoding,
            ),
            pacsv.ParseOptions(delimiter=delimiter, quote_char='"' if quotes else False, invalid_row_handler=skip),
            pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.binary()), include_columns=names),
        )
        if len(table) + len(ragged) != len(numbers):
            raise InputError(f"{len(numbers):,} lines of a list were read as {len(table) + len(ragged):,} rows")
        for ragged_row in ragged:
            text = ragged_row.text.encode(encoding).decode("utf-8", "backslashreplace")
            fields = f"{ragged_row.actual_columns} fields, not {ragged_row.expected_columns}"
            rejects.add(int(numbers[ragged_row.number - 1]), "bad_row", f"{fields}: {text}")
        columns = {name: table.column(name).combine_chunks() for name in names}
        if encoding == _LATIN:
            columns = {name: _bytes(column) for name, column in columns.items()}
        return columns, np.delete(numbers, [ragged_row.number - 1 for ragged_row in ragged])

    def _body(self) -> bytes:
        """Return the lines that are rows by themselves, and blank ones."""
        lines, edges = self.lines, [self.start]
        for record in self.records:
            edges += [record.start, record.end + 1]
        edges.append(self.behind)
        if not len(lines):
            return b""
        at = np.append(lines.starts, lines.stops[-1])[edges].tolist()
        if at[0] == 0 and at[-1] == len(lines.data) and not self.records:
            return lines.data
        return b"".join(lines.data[begin:end] for begin, end in zip(at[::2], at[1::2], strict=True))


def _bytes(column: pa.Array) -> pa.Array:
    """Return values that were read as Latin-1, and are UTF-8 now, as the bytes that stand in the file."""
    if pc.all(pc.string_is_ascii(column.cast(pa.string()))).as_py() is not False:
        return column
    return pa.array([value.decode().encode(_LATIN) for value in column.to_pylist()], pa.binary())
