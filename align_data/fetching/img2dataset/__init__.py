"""img2dataset as the transport: all of it is in this folder, which nothing else names."""

from __future__ import annotations

import importlib.util
import sys

from align_data.fetching.fetcher import Fetcher


def _unavailable() -> str | None:
    if sys.version_info >= (3, 13):
        return "img2dataset needs Python 3.12 or older: leave out --fetcher, or use such a Python"
    if importlib.util.find_spec("img2dataset") is None:
        return "the fetcher img2dataset is not installed: pip install 'align-data[img2dataset]'"
    return None


FETCHER = Fetcher(
    "img2dataset",
    "align_data.fetching.img2dataset.fetcher:handler",
    "img2dataset (the extra img2dataset, Python 3.12 or older) does so under the same guard, but has no limits for a "
    "host, comes back to none that asks for time (Retry-After), and cannot cut a name look-up short at the deadline; "
    "--per-host, --per-address, --host-limits and --proxy are not for it.",
    ignored=("per_host", "per_address", "host_limits", "proxy"),
    unavailable=_unavailable,
)
