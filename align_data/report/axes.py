"""Axes that can be read: a logarithmic one names its decades, one of whole numbers has no fractions on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

_LABEL = "abs(datum.value) >= 1000 ? replace(format(datum.value, '~s'), 'G', 'B') : format(datum.value, '~g')"
"""Of a number: 0, 0.05, 20, 5k, 10M, 2B."""
_WIDE = 100
"""A scale whose greatest value is more than this many times its least is logarithmic."""
_LABELS = 8
"""On a logarithmic axis, at most."""
_DIGITS: Sequence[Sequence[int]] = (range(1, 10), (1, 2, 5), (1,))
_WHOLE = {"labelExpr": f"datum.value % 1 ? '' : {_LABEL}", "tickMinStep": 1}
COUNTS = {**_WHOLE, "tickCount": 5}
"""The axis of numbers of pairs."""
SHARES = {"labelExpr": "format(100 * datum.value, '~g') + '%'", "tickCount": 6}
"""The axis of shares, in percent."""
POINTS = {"labelExpr": "datum.value ? format(100 * datum.value, '+~g') : '0'", "tickCount": 6}
"""The axis of differences of shares, in percentage points."""


def across(least: float, greatest: float, *, whole: bool = False) -> dict[str, Any]:
    """Return the scale and the axis of a channel whose values go from one number to another."""
    if least >= 0 and greatest > _WIDE * max(least, 1):
        return _logarithmic({"constant": 1, "type": "symlog"}, least, greatest)
    axis = {"labelExpr": _LABEL, "labelOverlap": True, "tickCount": _LABELS, **(_WHOLE if whole else {})}
    return {"axis": axis, "scale": {"nice": False, "zero": False}}


def logarithmic(least: float, greatest: float, **options: Any) -> dict[str, Any]:
    """Return a logarithmic scale and its axis; `least` is above 0, and options are the scale's."""
    return _logarithmic({"type": "log", **options}, least, greatest)


def _logarithmic(scale: dict[str, Any], least: float, greatest: float) -> dict[str, Any]:
    axis = {"labelExpr": _LABEL, "values": decades(least, greatest)}
    return {"axis": axis, "scale": {**scale, "nice": False}}


def decades(least: float, greatest: float) -> list[float]:
    """Return what a logarithmic axis names: every power of ten, between them 2 and 5, or all, where there is room.

    Where there are very many, it is every second power or fewer; 0 is named where the axis has it.
    """
    powers = range(math.floor(math.log10(least)) if least > 0 else 0, math.floor(math.log10(max(greatest, 1))) + 1)
    zero = [0.0] if least <= 0 else []
    for digits in _DIGITS:
        values = [value for power in powers for d in digits if least <= (value := float(f"{d}e{power}")) <= greatest]
        if len(values) + len(zero) <= _LABELS:
            return zero + values
    step = -(-len(values) // (_LABELS - len(zero)))
    return zero + values[::step]
