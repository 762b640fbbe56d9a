"""What a format of lists is: how a file of it is known, what it is made of, and how its rows are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from align_data.common.errors import DefinitionError
from align_data.sources.lists.batches import Batch, Rejects
from align_data.sources.lists.column_names import Choice
from align_data.sources.lists.encodings import Reading
from align_data.sources.lists.source import Source


@dataclass(frozen=True)
class Unit:
    """What one task reads: a whole file, or the part of it that its format has cut out."""

    source: Source
    columns: dict[str, str]
    """Our column → the file's."""
    section: Any = None
    """What its format needs to know to read it."""
    rows: int | None = None
    """How many rows it has; None where only reading tells."""
    constants: tuple[tuple[str, str | None], ...] = ()
    """Our columns that the folders above the file say, for all its rows."""


@dataclass(frozen=True)
class InputFormat:
    """One format of lists. A new one is a module with such a value, a line in `registry`, and a test."""

    name: str
    title: str
    """What a sentence calls it."""
    endings: tuple[str, ...]
    units: Callable[[Source, Choice, Reading], tuple[list[Unit], str]]
    """A file's units, at least one, and what the user is told of its columns; InputError for what cannot be read."""
    read: Callable[[Unit], Iterator[tuple[Batch, Rejects]]]
    """The rows of a unit; beside each batch those that were rejected on the way."""
    magic: tuple[bytes, ...] = ()
    """What a file of it begins like, by which it is known where its name does not tell."""
    options: frozenset[str] = frozenset()
    """The fields of `Reading` that say how it is read."""
    compressed: bool = False
    """Whether the ending of a codec may follow its own."""
    nulls: bool = True
    """Whether a value can be missing, and not only empty."""
    ambiguous: tuple[str, ...] = ()
    """Endings that other files have too: in a folder these are not taken for lists."""

    def __post_init__(self) -> None:
        if not isinstance(self.endings, tuple) or not all(ending.startswith(".") for ending in self.endings):
            raise DefinitionError(f"the format {self.name} has the endings {self.endings!r}: write ('.orc',)")
