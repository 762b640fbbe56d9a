"""How a long stage says how far it is: an interface, and one that is silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Tick = Callable[[int], None]
"""Called from any thread with the number of units done since the last call."""


class Progress(Protocol):
    """What a stage reports to while it runs."""

    def step(self, title: str, total: int | None, unit: str) -> AbstractContextManager[Tick]:
        """Show one step of `total` units (None if nobody knows) for as long as the context is open."""

    def say(self, sentence: str) -> None:
        """Tell the user one thing that matters."""


class Silent:
    """Reports nothing."""

    @contextmanager
    def step(self, title: str, total: int | None, unit: str) -> Iterator[Tick]:  # noqa: ARG002
        """Show nothing."""
        yield lambda _: None

    def say(self, sentence: str) -> None:
        """Say nothing."""
