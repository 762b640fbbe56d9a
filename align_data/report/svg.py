"""Charts drawn while a page is made: pictures in the page itself, that need no script and are the same in print."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

import vl_convert
from markupsafe import Markup

WIDTH = 440
"""Pixels that a chart is wide for which its place is: drawn so, it is scaled to the place."""
_NAMESPACE = "http://www.w3.org/2000/svg"
_LONG = re.compile(r"-?\d+\.\d{3,}(?:e-?\d+)?")
"""A length with more digits than anybody can see."""
_NOT_WRITTEN = re.compile(
    "[\\0-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\ufdd0-\\ufdef"
    + "".join(chr((plane << 16) | end) for plane in range(17) for end in (0xFFFE, 0xFFFF))
    + "]"
)
"""Characters that XML or HTML cannot have: over some of them what draws the chart ends the process."""
_UNKNOWN = "\ufffd"
_DROPPED = (
    "aria-hidden",
    "aria-roledescription",
    "aria-label",
    "class",
    "font-family",
    "opacity",
    "pointer-events",
    "role",
)
"""Attributes that say what the page says: its style has the font, the chart's label the rest."""
_LENGTHS = ("d", "transform", "x", "x1", "x2", "y", "y1", "y2", "width", "height")


def svg(spec: Mapping[str, Any], label: str) -> Markup:
    """Return a chart as an SVG element, with a label for those who do not see it; every text in it is escaped."""
    root = ET.fromstring(vl_convert.vegalite_to_svg(_writable(_sized(spec))))  # noqa: S314 - made here, and without entities
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_NAMESPACE}}}")
        _shorten(element.attrib)
    for parent in root.iter():
        for child in [child for child in parent if _is_nothing(child)]:
            parent.remove(child)
    root.attrib.update({"role": "img", "aria-label": _writable(label)})
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - it escapes


def _sized(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a chart with a width in place of that of its place."""
    return {**spec, "width": WIDTH} if spec.get("width") == "container" else dict(spec)


def _writable(part: Any) -> Any:
    """Return a part of a chart with U+FFFD for each character that it cannot have.

    It is not spelt out: in an axis's title Vega would read the escape as the character.
    """
    if isinstance(part, str):
        return _NOT_WRITTEN.sub(_UNKNOWN, part)
    if isinstance(part, Mapping):
        return {name: _writable(value) for name, value in part.items()}
    return list(map(_writable, part)) if isinstance(part, list | tuple) else part


def _shorten(attributes: dict[str, str]) -> None:
    for name in _DROPPED:
        if name != "opacity" or attributes.get(name) == "1":
            attributes.pop(name, None)
    for name in _LENGTHS:
        if name in attributes:
            attributes[name] = _LONG.sub(lambda match: f"{float(match[0]):.2f}", attributes[name])


def _is_nothing(element: ET.Element) -> bool:
    """Tell whether an element shows nothing: an empty group, a background without colour."""
    if element.tag == "path":
        return not {"fill", "stroke"} & element.attrib.keys()
    return element.tag == "g" and not len(element)
