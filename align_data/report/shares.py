"""Shares as a reader should see them."""

from __future__ import annotations

import math


def share(number: float, whole: float) -> str:
    """Return a percentage; what is not all, or not nothing, is never shown as it."""
    if not whole:
        return "–"
    part = number / whole
    digits = 1 if part == 0 or part >= 0.001 else min(6, -math.floor(math.log10(part)) - 2)
    text = f"{part:.{digits}%}"
    if number < whole and text == "100.0%":
        return "> 99.9%"
    return text
