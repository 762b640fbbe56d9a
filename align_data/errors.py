"""Every error that a user can cause or mend, each a sentence: what, where, what is allowed.

AlignDataError
├── InputError     an input that cannot be found, read or understood
├── DatasetError   a dataset that is missing, incomplete, stale, busy or of another version
├── EngineError    an engine that cannot start, or that broke down
├── OutputError    a place that cannot be written
├── RecipeError    a recipe, rule or override that says something that cannot be
├── SignalError    a signal asked for by name that cannot be measured
└── TrainError     a training run that cannot begin, or that came to nothing
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from align_data.secrets import mask


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


class OutputError(AlignDataError):
    """A place that cannot be written."""


class RecipeError(AlignDataError):
    """A recipe, a rule or an override that says something that cannot be."""


class SignalError(AlignDataError):
    """A signal asked for by name that cannot be measured."""


class TrainError(AlignDataError):
    """A training run that cannot begin, or that came to nothing."""


def encodable(text: str) -> bool:
    """Tell whether a text can be UTF-8: bytes that are none reach us as halves of surrogate pairs."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return ' (did you mean …?)' with the allowed word nearest to `word`, or '' if none is near."""
    near = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""
