"""What can fetch, by name: our own, and every package below this one that has a value FETCHER."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping

from align_data import fetching
from align_data.common.errors import EngineError
from align_data.common.registry import registry
from align_data.fetching.fetcher import Fetcher
from align_data.fetching.worker import HANDLER

OWN = Fetcher("align-data", HANDLER)


def _further() -> Iterator[Fetcher]:
    for module in pkgutil.iter_modules(fetching.__path__, f"{fetching.__name__}."):
        if module.ispkg:
            fetcher = getattr(importlib.import_module(module.name), "FETCHER", None)
            if isinstance(fetcher, Fetcher):
                yield fetcher


FETCHERS: Mapping[str, Fetcher] = registry("fetchers", ((fetcher.name, fetcher) for fetcher in (OWN, *_further())))


def handler_of(name: str) -> str:
    """Return a fetcher's handler; EngineError where it cannot run, or there is none of this name."""
    if name not in FETCHERS:
        raise EngineError(f"{name!r} is not a fetcher: there are {', '.join(FETCHERS)}")
    why = FETCHERS[name].unavailable()
    if why is not None:
        raise EngineError(why)
    return FETCHERS[name].handler


def described() -> str:
    """Return what a help text says of the fetchers."""
    return " ".join(["Which client fetches.", *(fetcher.about for fetcher in FETCHERS.values() if fetcher.about)])
