"""img2dataset as the transport: all of it is in this folder, which nothing else names."""

from __future__ import annotations

import importlib.util
import sys

from align_data.fetching.fetcher import Fetcher


def _unavailable() -> str | None:
    if sys.version_info >= (3, 13):
        return "img2dataset needs Python 3.12 or older: omit --fetcher, or use such a Python"
    if importlib.util.find_spec("img2dataset") is None:
        return "the fetcher img2dataset is not installed: pip install 'align-data[img2dataset]'"
    return None


FETCHER = Fetcher(
    "img2dataset",
    "align_data.fetching.img2dataset.fetcher:handler",
    "img2dataset (the extra img2dataset, Python 3.12 or older) uses the same guard, but requests no robots.txt, has no "
    "per-host limits, does not retry hosts that send Retry-After, and cannot cut a name lookup short at the deadline; "
    "--robots, --per-host, --per-address, --host-limits and --proxy do not apply to it.",
    ignored=("per_host", "per_address", "host_limits", "servers", "proxy", "robots", "look", "keep", "drop_failing"),
    unavailable=_unavailable,
)
