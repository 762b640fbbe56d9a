"""Reading an input unit by unit into frames of text columns; what is no text goes to the rejected rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import polars as pl
import pyarrow as pa

from align_data.common.errors import InputError
from align_data.sources.lists import delimited, jsonl, parquet
from align_data.sources.lists.batches import COLUMNS, Batch, Rejects, size, texts
from align_data.sources.lists.column_names import NEEDED, Choice, usual
from align_data.sources.lists.encodings import Reading
from align_data.sources.lists.inputs import Source
from align_data.sources.lists.parquet_footer import Group
from align_data.sources.lists.thrift import DamagedError

UNIT_ROWS = 1_000_000


@dataclass(frozen=True)
class Unit:
    """What one task reads: some row groups of a Parquet file, or a whole file of another format."""

    source: Source
    columns: dict[str, str]
    first_row: int = 0
    groups: tuple[Group, ...] = ()
    layout: delimited.Layout | None = None
    rows: int | None = None
    """How many rows it has; None where only reading tells."""
    constants: tuple[tuple[str, str | None], ...] = ()
    """Our columns that the folders above the file say, for all its rows."""


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
            some, said = _units(source, choice, reading)
        constants = _constants(source, some[0].columns)
        if constants:
            said += f"; by its folders: {', '.join(role for role, _ in constants)}"
        found += [replace(unit, constants=constants) for unit in some]
        if said not in notes:
            notes.append(said)
    return found, notes


def _units(source: Source, choice: Choice, reading: Reading) -> tuple[list[Unit], str]:
    """Return the units of one file, at least one, and what the user should be told of it."""
    if source.format == "parquet":
        columns, said, groups = parquet.look(source, choice)
        stretches = parquet.stretches(groups, UNIT_ROWS)
        return [Unit(source, columns, first, some, rows=_rows(some)) for first, some in stretches], said
    if source.format == "jsonl":
        columns, said = jsonl.look(source, choice)
        return [Unit(source, columns)], said
    layout = delimited.look(source, choice, reading)
    return [Unit(source, layout.columns, layout=layout)], layout.said


def _rows(groups: Sequence[Group]) -> int | None:
    """Return how many rows there are; None for lists of captions, each of which is one."""
    captions = any(chunk.leaf.repetition for group in groups for chunk in group.chunks)
    return None if captions else sum(group.rows for group in groups)


def _constants(source: Source, columns: Mapping[str, str]) -> tuple[tuple[str, str | None], ...]:
    """Return what the folders say of our columns, but for URL and text, where the file itself says nothing."""
    said = dict(source.folders)
    there = {*NEEDED, *(role for role, name in columns.items() if name)}
    return tuple((role, said[name]) for role, name in usual(list(said)).items() if role not in there)


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
            yield _whole(frame, dict(unit.constants)), rejects


def _whole(frame: pl.DataFrame, constants: Mapping[str, str | None]) -> pl.DataFrame:
    """Return a frame with all of COLUMNS: what the rows do not say the folders do, or nobody."""
    said = [pl.lit(value or None, pl.String).alias(name) for name, value in constants.items()]
    sizes = [size(name) for name in constants if COLUMNS[name] == pl.Int32]
    # Lines of JSON may each have another key: one without it is of its folder.
    own = [name for name in constants if name in frame.columns]
    kept = frame.select(pl.col(name).alias(f"own {name}") for name in own)
    frame = frame.with_columns(said).with_columns(sizes)
    if own:
        frame = frame.hstack(kept).with_columns(pl.coalesce(f"own {name}", name).alias(name) for name in own)
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in COLUMNS.items() if name not in frame.columns]
    return frame.with_columns(absent).select("row", *COLUMNS)


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
    except (OSError, pa.ArrowException, EOFError, DamagedError) as error:
        what = " ".join(str(error).split())
        raise InputError(f"cannot read {source.path} to its end: {what}; mend the file or leave it out") from error
