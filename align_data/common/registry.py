"""What is defined once and found by its name: signals, formats, fetchers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from align_data.common.errors import DefinitionError

T = TypeVar("T")


def registry(kind: str, named: Iterable[tuple[str, T]]) -> dict[str, T]:
    """Return values by name, in their order; DefinitionError where two have one name."""
    by_name: dict[str, T] = {}
    for name, value in named:
        if name in by_name:
            raise DefinitionError(f"two {kind} are called {name}: the name of each is its own")
        by_name[name] = value
    return by_name
