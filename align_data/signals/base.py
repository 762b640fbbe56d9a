"""What a signal is, and the piece of a table that it is measured on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, cast

import polars as pl

from align_data.signals.words import words

Kind = Literal["row", "corpus", "image", "score"]
T = TypeVar("T")
Type = Literal["int32", "int64", "float64", "string", "bool"]


Look = Literal["header", "pixels", "nsfw"]
"""How far an image has to be looked into: its first bytes, all of its pixels, or with a detector."""
GivenBy = Literal["evaluation", "blocklist"]


class Given(Protocol):
    """What the user gave, for signals to compare images with."""

    def nearest(self, frame: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
        """Return the distance to the nearest evaluation image, and its name; null for null."""
        ...

    def blocked(self, rows: pl.DataFrame) -> pl.Series:
        """Tell which images are on a list; null where it cannot be told."""
        ...


class Piece:
    """At most 100,000 pairs, and what several signals need of them, made once."""

    def __init__(self, frame: pl.DataFrame, given: Given | None = None) -> None:
        self.frame = frame
        self._given = given
        self._made: dict[object, object] = {}

    def once(self, make: Callable[[pl.DataFrame], T]) -> T:
        """Return make(frame), made at the first call."""
        if make not in self._made:
            self._made[make] = make(self.frame)
        return cast("T", self._made[make])

    @property
    def given(self) -> Given:
        """What the user gave to compare with."""
        assert self._given is not None
        return self._given

    @property
    def words(self) -> pl.Series:
        """Each text's words in lower case, as lists."""
        return self.once(_lower_words)


def _lower_words(frame: pl.DataFrame) -> pl.Series:
    return words(frame["alt_text"].str.to_lowercase())


Measure = Callable[[Piece], pl.Series]


@dataclass(frozen=True)
class Signal:
    """One signal: what it is, in which group of columns it lies, and for row signals how it is measured."""

    name: str
    kind: Kind
    group: str
    """The columns that it is stored beside: text, corpus, image, or 'score.NAME'."""
    type: Type
    unit: str
    about: str
    source: str
    needs: tuple[str, ...]
    """The columns of `pairs` that it is measured from."""
    content: tuple[str, ...] = ()
    """The columns of `content` that it is measured from, where images have been fetched."""
    look: Look | None = None
    """What has to be looked at for these."""
    given: GivenBy | None = None
    """The table, given by the user, that it compares with."""
    without_images: bool = False
    """Whether something can be said of it where nothing has been fetched."""
    lacks: str | None = None
    """What it needs of the user beside images, as the end of a sentence."""
    measure: Measure | None = None
    """Piece to column, for row signals; the others need more than one piece."""
    version: int = 1
    """Raised when the same input would give another value."""
    params: Mapping[str, Callable[[], str | None]] = field(default_factory=dict)
    """What else decides the value, such as a model's hash, by name; None where it is not installed here."""
    missing: Callable[[], str | None] = field(default=lambda: None)
    """Why it cannot be measured here and how to mend that, as the end of a sentence; None if it can."""
    null: str = "it is not measured for them"
    """Why a value can be missing where the signal is measured, as the end of a sentence."""
    none: int | None = None
    """The stored value that stands for 'has none', shown so."""
    erased_by_takedown: bool | None = None
    """Whether a takedown takes the value out: it holds, or tells, what identifies a pair. Text must say it."""

    def __post_init__(self) -> None:
        if self.erased_by_takedown is None and self.type == "string":
            raise TypeError(f"the signal {self.name} holds text: say whether a takedown erases it")

    def shown(self, value: Any) -> Any:
        """Return a value as a reader should see it: 'none' where it stands for that."""
        return "none" if value is not None and value == self.none else value

    def identity(self, stored: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what must be equal for a stored value to be this signal's, by what is installed or was `stored`."""
        installed = {name: param() for name, param in self.params.items()} if stored is None else stored
        return {"version": self.version, **{name: value for name in self.params if (value := installed.get(name))}}
