"""Every error that a user can cause or mend, each a sentence: what, where, what is allowed.

AlignDataError
├── InputError     an input that cannot be found, read or understood
├── DatasetError   a dataset that is missing, incomplete, stale, busy or of another version
├── DefinitionError  a signal or a format that is defined wrongly, in our code or in yours
├── EngineError    an engine that cannot start, or that broke down
├── OutputError    a place that cannot be written
├── RecipeError    a recipe, rule or override that says something that cannot be
├── SignalError    a signal asked for by name that cannot be measured
└── TrainError     a training run that cannot begin, or that came to nothing
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from align_data.common.secrets import mask


class AlignDataError(Exception):
    """The base of all errors that align-data raises on purpose; its text is for the user, and has no secret in it."""

    def __str__(self) -> str:
        return mask(super().__str__())


class InputError(AlignDataError):
    """An input that cannot be found, read or understood."""


class DatasetError(AlignDataError):
    """A dataset that is missing, incomplete, stale, busy or of another version."""


class EngineError(AlignDataError):
    """An engine that cannot start, or that broke down."""


class DefinitionError(AlignDataError, TypeError):
    """A signal or a format that is defined wrongly: a fault of the code, for whoever adds one."""


class OutputError(AlignDataError):
    """A place that cannot be written."""


class RecipeError(AlignDataError):
    """A recipe, a rule or an override that says something that cannot be."""


class SignalError(AlignDataError):
    """A signal requested by name that cannot be measured."""


class TrainError(AlignDataError):
    """A training run that cannot begin, or that came to nothing."""


_TRAVEL = {
    kind.__name__: kind
    for kind in (
        *(AlignDataError, InputError, DatasetError, DefinitionError, EngineError),
        *(OutputError, RecipeError, SignalError, TrainError),
    )
}
_LONGEST = 10_000
"""Characters of an error from another process, at most."""


def departing(error: AlignDataError) -> tuple[str, str]:
    """Return an error as it goes to another process: the name of its kind, and its text."""
    name = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _TRAVEL)
    return name, str(error).encode("utf-8", "backslashreplace").decode()[:_LONGEST]


def arrived(name: str, text: str) -> AlignDataError:
    """Return an error that came from another process; ValueError for a kind that none has.

    What its text has that a terminal obeys is spelt out.
    """
    if name not in _TRAVEL or len(text) > _LONGEST:
        raise ValueError(f"not an error of align-data: {name[:40]!r}")
    return _TRAVEL[name](printable(text))


def printable(text: str) -> str:
    """Return a text with what a terminal obeys spelt out; only line feeds stay."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in text
    )


def encodable(text: str) -> bool:
    """Tell whether a text can be encoded as UTF-8: invalid bytes reach us as halves of surrogate pairs."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return ' (did you mean …?)' with the allowed word nearest to `word`, or '' if none is near."""
    near = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""
