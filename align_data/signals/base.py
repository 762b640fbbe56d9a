"""What a signal is, and the piece of a table that it is measured on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast, get_args

import polars as pl
from numpy.typing import NDArray

from align_data.common.errors import DefinitionError
from align_data.signals.word_keys import WordKeys, word_keys
from align_data.storage.contracts import Column

if TYPE_CHECKING:  # images are decoded in processes of their own
    from PIL.Image import Image

    from align_data.signals.user_lists import UserList

Kind = Literal["row", "corpus", "image", "score", "near", "list", "derived"]
OPEN: tuple[Kind, ...] = ("score", "near", "list")
"""The kinds of signals whose names are open: their user chose them."""
_NUMBERS = ("int32", "int64", "float64")
PREFIXES = {
    "similarity": "score",
    "itm": "itm",
    "head": "head",
    "earlier_similarity": "near",
    "nearest_similarity": "near",
    "nearest_duplicate": "near",
    "near_duplicates": "near",
    "eval_similarity": "eval",
    "eval_nearest": "eval",
    "random": "derived",
    "label": "derived",
    "list": "list",
    "entries": "list",
    "host_rank": "list",
    "rarest_word": "list",
    "balance": "balance",
}
"""How the names of open families begin, before _NAME; and their groups, before .NAME."""
_NAME = re.compile(rf"(?!(?:{'|'.join(PREFIXES)})_)[a-z][a-z0-9_]*")
_GROUP = re.compile(rf"text|caption|corpus|image|copies|derived|(?:{'|'.join(sorted(set(PREFIXES.values())))})\..+")
T = TypeVar("T")
Type = Literal["int32", "int64", "float64", "string", "bool"]

DETECTORS = ("text", "faces")
"""The checks by a model that `align-data model add` puts in place."""
CHECKS = ("header", "pixels", "nsfw", *DETECTORS)
"""The checks of an image that need no function of their own: of its first bytes, of all of its pixels, by a detector. A
check by a function of one column has the name of its signal."""
CHOSEN = ("nsfw", "texture", *DETECTORS)
"""The checks that cost so much that they are taken only where the user chooses them."""
Reference = Literal["evaluation", "blocklist"]


class References(Protocol):
    """What the user wants images compared with."""

    def nearest(self, frame: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
        """Return the distance to the nearest evaluation image, and its name; null for null."""
        ...

    def blocked(self, rows: pl.DataFrame) -> pl.Series:
        """Tell which images are on a list; null where it cannot be told."""
        ...


class Piece:
    """At most 100,000 pairs, with what several signals need of them computed once."""

    def __init__(
        self,
        frame: pl.DataFrame,
        references: References | None = None,
        lists: Mapping[str, UserList] = MappingProxyType({}),
        marks: Mapping[str, pl.DataFrame] = MappingProxyType({}),
    ) -> None:
        self.frame = frame
        self.marks = marks
        """Uid and mark of the labels that its signals ask for, by name."""
        self.lists = lists
        """The user's lists that its signals ask for, by name."""
        self._references = references
        self._computed: dict[object, object] = {}

    def once(self, compute: Callable[[pl.DataFrame], T]) -> T:
        """Return compute(frame), computed at the first call."""
        if compute not in self._computed:
            self._computed[compute] = compute(self.frame)
        return cast("T", self._computed[compute])

    def computed(self, compute: Callable[[Piece], T]) -> T:
        """Return compute(piece), computed at the first call."""
        if compute not in self._computed:
            self._computed[compute] = compute(self)
        return cast("T", self._computed[compute])

    @property
    def references(self) -> References:
        """What the user wants images compared with."""
        assert self._references is not None
        return self._references

    @property
    def words(self) -> WordKeys:
        """The words of the texts in lower case."""
        return self.once(_words)


def _words(frame: pl.DataFrame) -> WordKeys:
    return word_keys(frame["alt_text"])


Measure = Callable[[Piece], pl.Series]
Check = Callable[["Image"], float | str | None] | Callable[["Image"], Mapping[str, float | None]]
"""An image, upright and in RGB, to a value of the signal's type; None where it has none. It must not change the image.
One that several signals share returns the values of all by name.

A function of a module, by whose name the processes that decode images import it."""
Reduce = Callable[..., NDArray[Any]]
"""The totals of all rows' keys, one row's behind another's, how many each row has, and what else the asker kept of each
key, to a value a row."""


@dataclass(frozen=True)
class PoolCount:
    """What is counted over the whole pool for a corpus signal."""

    keys: str
    """Pairs with equal `texts`, input `rows` with equal texts, pairs with equal `folded` texts or with equal `urls`,
    occurrences of `ngrams`, or, of a group such as balance.NAME, pairs whose texts have an entry of the list."""
    reduce: Reduce | None = None
    """For n-grams and entries, of which a row has several: what their totals become."""


@dataclass(frozen=True)
class Signal:
    """One signal: what it is, its column, and how it is measured."""

    name: str
    kind: Kind
    group: str
    """The columns that it is stored beside: text, caption, corpus, image, copies, or one such as 'score.NAME'."""
    type: Type
    unit: str
    about: str
    source: str
    needs: tuple[str, ...]
    """The columns of `pairs` that it is measured from."""
    nullable: bool = False
    """Whether the value can be missing where the signal is measured."""
    repeats: bool = True
    """Whether many pairs share a value: of values that hardly repeat a dictionary would only cost time."""
    content: tuple[str, ...] = ()
    """The columns of `content` that it is measured from, where images have been fetched."""
    check: str | None = None
    """The check of the images that measures these: one of CHECKS, the signal's own name, or one that others share."""
    function: Check | None = None
    """What its own check does."""
    reference: Reference | None = None
    """The table of the user's that it compares with."""
    without_images: bool = False
    """Whether something can be said of it where nothing has been fetched."""
    lacks: str | None = None
    """What it needs of the user beside images, as the end of a sentence."""
    measure: Measure | None = None
    """Piece to column, for row and image signals; the others need more than one piece."""
    counted: PoolCount | None = None
    """What corpus signals are measured from."""
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
    within: int | None = None
    """The distance that it looks up to where its user names no other; what is further is `none`. None for no limit."""
    former: str | None = None
    """What earlier versions called it, with a dot: old tables and recipes still do."""
    on_request: bool = False
    """Whether it is measured only where it is named, by the user or by a recipe: of row and corpus signals."""
    erased_by_takedown: bool | None = None
    """Whether a takedown takes the value out: it holds, or tells, what identifies a pair. Text must say it."""

    def __post_init__(self) -> None:
        self._check_words()
        if self.erased_by_takedown is None and self.type == "string":
            raise DefinitionError(f"the signal {self.name} holds text: say whether a takedown erases it")
        if (self.function is not None) != (self.check not in (None, *CHECKS)):
            raise DefinitionError(f"the signal {self.name} needs a function exactly where it has a check of its own")

    def _check_words(self) -> None:
        """Raise DefinitionError for a field whose value no stage would know."""
        words = {"kind": (self.kind, get_args(Kind)), "type": (self.type, get_args(Type))}
        for name, (word, known_words) in words.items():
            if word not in known_words:
                raise DefinitionError(f"the signal {self.name} has the {name} {word!r}, not {', '.join(known_words)}")
        if self.kind not in (*OPEN, "derived") and not _NAME.fullmatch(self.name):
            raise DefinitionError(
                f"{self.name!r} is not a signal's name: lower-case letters, digits and _, as a column, so without a "
                "dot; and not similarity_… or another that a model's user names"
            )
        if not _GROUP.fullmatch(self.group):
            raise DefinitionError(
                f"the signal {self.name} has the group {self.group!r}, not text, caption, corpus, image or copies"
            )
        if not isinstance(self.needs, tuple) or not isinstance(self.content, tuple):
            raise DefinitionError(f"the signal {self.name} needs tuples of columns: write ('alt_text',)")
        if self.kind in ("row", "image") and self.measure is None:
            raise DefinitionError(f"the signal {self.name} has no measure: a function from a piece to a column")

    @property
    def column(self) -> Column:
        """Its column in the table of its group, or in `content`."""
        return Column(
            self.name,
            self.type,
            self.nullable,
            self.about,
            erased=bool(self.erased_by_takedown),
            dictionary=self.repeats and self.type != "float64",
            former=self.former,
        )

    @property
    def number(self) -> bool:
        """Whether its values are numbers."""
        return self.type in _NUMBERS

    @property
    def checked(self) -> bool:
        """Whether it is a column of `content`: a value of the image's bytes alone."""
        return self.content == (self.name,)

    def shown(self, value: Any) -> Any:
        """Return a value as a reader should see it: 'none' where it stands for that."""
        return "none" if value is not None and value == self.none else value

    def identity(self, stored: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what must be equal for a stored value to be this signal's, by what is installed or was `stored`."""
        installed = {name: param() for name, param in self.params.items()} if stored is None else stored
        return {"version": self.version, **{name: value for name in self.params if (value := installed.get(name))}}
