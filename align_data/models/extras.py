"""The packages that models need, which are extras: a sentence where one is missing."""

from __future__ import annotations

import importlib.util

from align_data.common.errors import SignalError


def need(extra: str, *packages: str) -> None:
    """Raise SignalError where a package of an extra is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise SignalError(f"this model needs {package}, of the extra {extra}: pip install 'align-data[{extra}]'")
