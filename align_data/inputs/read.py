"""Reading an input unit by unit into frames of text columns; what is no text goes to the rejected rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import polars as pl
import pyarrow as pa

from align_data.errors import InputError
from align_data.inputs import delimited, jsonl, parquet
from align_data.inputs.columns import Choice
from align_data.inputs.find import Source
from align_data.inputs.rows import COLUMNS, Batch, Rejects, texts
from align_data.inputs.text import Reading

UNIT_ROWS = 1_000_000


@dataclass(frozen=True)
class Unit:
    """What one task reads: some row groups of a Parquet file, or a whole file of another format."""

    source: Source
    columns: dict[str, str]
    first_row: int = 0
    groups: tuple[int, ...] = ()
    layout: delimited.Layout | None = None
    rows: int | None = None
    """How many rows it has; None where only reading tells."""


def units(
    sources: Sequence[Source],
    choice: Choice,
    reading: Reading = Reading(),  # noqa: B008 - frozen
) -> tuple[list[Unit], list[str]]:
    """Look at every file's columns; return the units in order, and what the user should be told.

    Raises InputError for a file that cannot be read or understood.
    """
    found: list[Unit] = []
    notes: list[str] = []
    _applies(reading, sources)
    for stored in sources:
        source = replace(stored, encoding=reading.encoding)
        with _sentence(source):
            if source.format == "parquet":
                columns, said, groups = parquet.look(source, choice)
                found += [
                    Unit(source, columns, first, some, rows=sum(groups[group] for group in some))
                    for first, some in parquet.stretches(groups, UNIT_ROWS)
                ]
            elif source.format == "jsonl":
                columns, said = jsonl.look(source, choice)
                found.append(Unit(source, columns))
            else:
                layout = delimited.look(source, choice, reading)
                found.append(Unit(source, layout.columns, layout=layout))
                said = layout.said
        if said not in notes:
            notes.append(said)
    return found, notes


def _applies(reading: Reading, sources: Sequence[Source]) -> None:
    """Raise InputError for what is said of reading text where no list is such text."""
    formats = {source.format for source in sources}
    for name in reading.given():
        of = ("csv", "tsv", "jsonl") if name == "encoding" else ("csv", "tsv")
        if not formats & set(of):
            raise InputError(f"--{name} is for {', '.join(of[:-1])} and {of[-1]}, and no input is one: leave it out")


def read(unit: Unit) -> Iterator[tuple[pl.DataFrame, Rejects]]:
    """Yield frames of COLUMNS and `row`, the row's number in the file from 1; beside each the rows rejected on the way.

    Texts are valid UTF-8, sizes positive integers or null. Raises InputError if the file breaks off or is damaged.
    """
    with _sentence(unit.source):
        for batch, rejects in _batches(unit):
            frame = texts(batch, rejects)
            absent = [pl.lit(None, dtype).alias(name) for name, dtype in COLUMNS.items() if name not in frame.columns]
            yield frame.with_columns(absent).select("row", *COLUMNS), rejects


def _batches(unit: Unit) -> Iterator[tuple[Batch, Rejects]]:
    if unit.source.format == "parquet":
        return parquet.read(unit.source, unit.columns, unit.groups, unit.first_row)
    if unit.source.format == "jsonl":
        return jsonl.read(unit.source, unit.columns)
    assert unit.layout is not None
    return delimited.read(unit.source, unit.layout)


@contextmanager
def _sentence(source: Source) -> Iterator[None]:
    """Turn what a reading library says of a file into an InputError that names it."""
    try:
        yield
    except (OSError, pa.ArrowException, EOFError) as error:
        what = " ".join(str(error).split())
        raise InputError(f"cannot read {source.path} to its end: {what}; mend the file or leave it out") from error
