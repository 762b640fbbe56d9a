"""Open families of signals: what a user's model or list says. Their names end in a NAME, which the user chose."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from align_data.common.errors import SignalError
from align_data.signals.base import PREFIXES, Signal

OF_LISTS = ("list", "balance")
"""What stands before the dot of the groups whose NAME is a list's."""
_OF_PREFIX = {"label": "label"}
"""What a NAME is of, where it is not a list or a score."""
NAME = "[a-z0-9][a-z0-9_-]{0,63}"


@dataclass(frozen=True)
class Family:
    """Signals that differ in their NAME alone."""

    prefix: str
    """Their name before _NAME."""
    group: str
    """The group that each lies in, before .NAME: beside those of other families of it."""
    signal: Callable[[str], Signal]
    """A NAME that is valid to its signal."""

    def __post_init__(self) -> None:
        assert PREFIXES.get(self.prefix) == self.group, f"signals/base.py does not know the family {self.prefix}"

    @property
    def shown(self) -> Signal:
        """The signal as lists of signals show the family."""
        return self.signal("NAME")

    @property
    def pattern(self) -> str:
        """What the names of its signals look like, as a regular expression."""
        return rf"^{self.prefix}_{NAME}$"

    def named(self, name: str) -> Signal:
        """Return the signal of a NAME; SignalError where it cannot be one."""
        return self.signal(check_name(name, _OF_PREFIX.get(self.prefix, "list" if self.group in OF_LISTS else "score")))


def check_name(name: str, what: str = "score") -> str:
    """Return a NAME that what a model or a list says can be stored under; SignalError for any other name of `what`."""
    if not re.fullmatch(NAME, name):
        raise SignalError(
            f"{name[:200]!r} is not a valid {what} name: use lower-case letters, digits, '-' and '_', "
            "64 at most, the first a letter or a digit"
        )
    return name


def split(name: str) -> tuple[str, str] | None:
    """Return prefix and NAME of a signal's name of now; None for one of no open family."""
    for prefix in PREFIXES:
        rest = name.removeprefix(f"{prefix}_")
        if rest and rest != name:
            return prefix, rest
    return None


def open_group(group: str) -> tuple[str, str] | None:
    """Return what a group is called before and behind the dot; None for a group of no open family."""
    family, dot, name = group.partition(".")
    return (family, name) if dot and family in PREFIXES.values() and re.fullmatch(NAME, name) else None


def of_group(families: dict[str, Family], group: str) -> Iterator[Signal]:
    """Yield the signals of a group such as near.NAME, side by side in its table."""
    family, _, name = group.partition(".")
    for each in families.values():
        if each.group == family:
            yield each.signal(name)
