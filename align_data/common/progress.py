"""How a long stage says how far it is: an interface, and one that is silent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Protocol

NONE: Mapping[str, int] = MappingProxyType({})
"""No outcomes, and no counts."""


class Tick(Protocol):
    """Called from any thread with the number of units done since the last call.

    Where units can come to different ends, `outcomes` says how many came to which; 'ok' is the good one. `counts` is
    what else there is more of since, such as pairs where the units are bytes.
    """

    def __call__(self, units: int, outcomes: Mapping[str, int] = ..., counts: Mapping[str, int] = ..., /) -> None:
        """Count."""


class Progress(Protocol):
    """What a stage reports to while it runs."""

    def step(self, title: str, total: int | None, unit: str) -> AbstractContextManager[Tick]:
        """Show one step of `total` units (None if unknown) while the context is open; `unit` is what they are."""

    def say(self, sentence: str) -> None:
        """Tell the user one thing that matters."""


def ignore(_: int, __: Mapping[str, int] = NONE, ___: Mapping[str, int] = NONE, /) -> None:
    """Ignore ticks."""


class Silent:
    """Reports nothing."""

    @contextmanager
    def step(self, title: str, total: int | None, unit: str) -> Iterator[Tick]:  # noqa: ARG002
        """Show nothing."""
        yield ignore

    def say(self, sentence: str) -> None:
        """Say nothing."""
