"""The charts of pages as they were before they were drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import vl_convert


@contextmanager
def recorded() -> Iterator[list[dict[str, Any]]]:
    """Give the list of the Vega-Lite specifications that are drawn meanwhile."""
    drawn: list[dict[str, Any]] = []
    draw = vl_convert.vegalite_to_svg

    def record(spec: dict[str, Any]) -> str:
        drawn.append(spec)
        return draw(spec)

    with patch("vl_convert.vegalite_to_svg", record):
        yield drawn
