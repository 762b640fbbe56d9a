"""Reading an input unit by unit into frames of text columns; what is not text goes to the rejected rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import polars as pl
import pyarrow as pa

from align_data.common.errors import InputError
from align_data.sources.files.damage import DamagedError
from align_data.sources.lists import registry
from align_data.sources.lists.batches import COLUMNS, Rejects, numbers, texts
from align_data.sources.lists.column_names import NEEDED, PROVENANCE, SCORE, Choice, usual
from align_data.sources.lists.encodings import Reading
from align_data.sources.lists.input_format import Unit
from align_data.sources.lists.source import Source

_EVERYWHERE = {name: dtype for name, dtype in COLUMNS.items() if name not in (*PROVENANCE, SCORE)}


def units(
    sources: Sequence[Source],
    choice: Choice,
    reading: Reading = Reading(),  # noqa: B008 - frozen
) -> tuple[list[Unit], list[str]]:
    """Look at every file's columns; return the units in order, and what the user should be told.

    Raises InputError for a file that cannot be read or understood.
    """
    planned: list[Unit] = []
    notes: list[str] = []
    _applies(reading, sources)
    for stored in sources:
        source = replace(stored, encoding=reading.encoding)
        with _sentence(source):
            own, note = registry.FORMATS[source.format].units(source, choice, reading)
        constants = _constants(source, own[0].columns)
        if constants:
            note += f"; by its folders: {', '.join(role for role, _ in constants)}"
        planned += [replace(unit, constants=constants) for unit in own]
        if note not in notes:
            notes.append(note)
    return planned, notes


def _constants(source: Source, columns: Mapping[str, str]) -> tuple[tuple[str, str | None], ...]:
    """Return what the folders say of our columns, but for URL and text, where the file itself says nothing."""
    partition = dict(source.folders)
    present = {*NEEDED, *(role for role, name in columns.items() if name)}
    return tuple((role, partition[name]) for role, name in usual(list(partition)).items() if role not in present)


def _applies(reading: Reading, sources: Sequence[Source]) -> None:
    """Raise InputError for an option on reading text where no list is of a format that has it."""
    formats = {source.format for source in sources}
    for name in reading.named():
        fitting = registry.with_option(name)
        if not formats & set(fitting):
            those = registry.joined(fitting, "and")
            raise InputError(f"--{name} applies to {those}, and no input is one: omit it")


def read(unit: Unit) -> Iterator[tuple[pl.DataFrame, Rejects]]:
    """Yield frames of COLUMNS and `row`, the row's number in the file from 1; beside each the rows rejected on the way.

    Texts are valid UTF-8, sizes positive integers or null. Of what a crawl says a frame has the unit's columns alone; a
    score is there where one was named, and is as the file has it, a number or text.
    Raises InputError if the file breaks off or is damaged.
    """
    with _sentence(unit.source):
        format_ = registry.FORMATS[unit.source.format]
        for batch, rejects in format_.read(unit):
            frame = texts(batch, rejects, nulls=format_.nulls)
            yield _whole(frame, dict(unit.constants)), rejects


def _whole(frame: pl.DataFrame, constants: Mapping[str, str | None]) -> pl.DataFrame:
    """Return a frame with all columns: what the rows do not say the folders do, or nobody."""
    partition = [pl.lit(value or None, pl.String).alias(name) for name, value in constants.items()]
    # Lines of JSON may each have another key: one without it is of its folder.
    own = [name for name in constants if name in frame.columns]
    own_values = frame.select(pl.col(name).alias(f"own {name}") for name in own)
    frame = frame.with_columns(partition).with_columns(numbers(constants))
    if own:
        frame = frame.hstack(own_values).with_columns(pl.coalesce(f"own {name}", name).alias(name) for name in own)
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in _EVERYWHERE.items() if name not in frame.columns]
    frame = frame.with_columns(absent)
    return frame.select("row", *(name for name in COLUMNS if name in frame.columns))


@contextmanager
def _sentence(source: Source) -> Iterator[None]:
    """Turn what a reading library says of a file into an InputError that names it."""
    try:
        yield
    except (OSError, pa.ArrowException, EOFError, DamagedError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cannot read {source.path} to its end: {reason}; repair the file or leave it out") from error
