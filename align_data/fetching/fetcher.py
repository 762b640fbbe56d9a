"""What a fetcher is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Fetcher:
    """One thing that fetches: another is a package below `align_data.fetching` with a value FETCHER."""

    name: str
    handler: str
    """What its child processes run, as 'module:function'."""
    about: str = ""
    """What a help text says of it."""
    ignored: tuple[str, ...] = ()
    """The options of `align-data fetch` that are not for it."""
    unavailable: Callable[[], str | None] = lambda: None
    """Why it cannot run here; None where it can."""
