"""What can fetch, by name, and whether it can here."""

from __future__ import annotations

import importlib.util
import sys

from align_data.common.errors import EngineError
from align_data.fetching.worker import HANDLER

FETCHERS = {"align-data": HANDLER, "img2dataset": "align_data.fetching.img2dataset.fetcher:handler"}
"""Name → the handler of the child processes that fetch."""


def handler_of(name: str) -> str:
    """Return a fetcher's handler; EngineError where it cannot run."""
    if name == "img2dataset":
        if sys.version_info >= (3, 13):
            raise EngineError("img2dataset needs Python 3.12 or older: omit --fetcher, or use such a Python")
        if importlib.util.find_spec("img2dataset") is None:
            raise EngineError("the fetcher img2dataset is not installed: pip install 'align-data[img2dataset]'")
    return FETCHERS[name]
