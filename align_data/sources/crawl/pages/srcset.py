"""The candidates of a srcset attribute, as HTML's standard parses it: a URL may hold commas."""

from __future__ import annotations

import re

_URL = re.compile(r"[ \t\n\f\r,]*([^ \t\n\f\r]+)")
# Nearly all candidates: a URL that no comma ends, and one size or none.
_USUAL = re.compile(
    r"[ \t\n\f\r,]*+([^ \t\n\f\r]++)(?<!,)(?:[ \t\n\f\r]++(?:([0-9]{1,9})w|([0-9]{1,9}(?:\.[0-9]{1,9})?)x))?+"
    r"[ \t\n\f\r]*+(?:,|\Z)"
)
# What follows a URL up to a comma, of which there can be more within parentheses.
_DESCRIPTORS = re.compile(r"(?:[^(,]++|\([^)]*+\)?+)*+")
_DESCRIPTOR = re.compile(r"(?:[^ \t\n\f\r(]++|\([^)]*+\)?+)++")
_WHOLE = re.compile(r"[0-9]+")
_NUMBER = re.compile(r"-?(?:[0-9]+|[0-9]*\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DIGITS = 300
"""Of a number; one of more digits is not a size."""


def largest(srcset: str) -> str | None:
    """Return the URL of the candidate with the greatest width, or without widths density; the first of several."""
    best: str | None = None
    best_size = (False, -1.0)
    position = 0
    while candidate := _USUAL.match(srcset, position) or _URL.match(srcset, position):
        address, position = candidate[1], candidate.end()
        size: tuple[bool, float] | None
        if candidate.re is _USUAL:
            width, density = candidate[2], candidate[3]
            size = (bool(width), float(width or density or 1))
            size = None if width and not size[1] else size
        elif address.endswith(","):
            address, size = address.rstrip(","), (False, 1.0)
        else:
            descriptors = _DESCRIPTORS.match(srcset, position)
            size = _size(descriptors[0]) if descriptors else None
            position = descriptors.end() if descriptors else position
        if address and size is not None and size > best_size:
            best, best_size = address, size
    return best


def _size(descriptors: str) -> tuple[bool, float] | None:
    """Return whether a candidate's size is a width, and the size; None where the standard drops the candidate."""
    sizes: dict[str, float] = {}
    for descriptor in _DESCRIPTOR.findall(descriptors):
        unit, number = descriptor[-1], descriptor[:-1]
        form = _NUMBER if unit == "x" else _WHOLE
        if unit not in {"w", "h", "x"} or len(number) > _DIGITS or not form.fullmatch(number):
            return None
        size = float(number)
        if unit in sizes or size < 0 or (size == 0 and unit != "x"):
            return None
        sizes[unit] = size
    if "x" in sizes:
        return (False, sizes["x"]) if len(sizes) == 1 else None
    if "w" in sizes:
        return True, sizes["w"]
    return None if sizes else (False, 1.0)
