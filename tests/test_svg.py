"""Charts as pictures: what is drawn is what was counted, to a hundredth of a pixel, and a text stays a text."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("vl_convert", reason="needs the extra report")

from align_data.report.svg import WIDTH, svg
from align_data.report.vega_lite import KEPT, channel, layered, marks

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "&amp;",
    "\u202eevil",
    "日本",
    "]]>",
    "var(--x)",
]


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=12))
def test_bars_are_as_high_as_what_was_counted(counts: list[int]) -> None:
    rows = [{"at": n, "pairs": number} for n, number in enumerate(counts)]
    y = channel("pairs:Q", scale={"domain": [0, max(counts)], "nice": False})
    bars = marks("bar", rows, {"x": channel("at:O"), "y": y, "color": {"value": KEPT}})
    root = ET.fromstring(svg(layered([bars], 200), "a chart"))
    paths = [of.attrib["d"] for of in root.iter("path") if of.get("fill") == KEPT]
    heights = [float(re.search(r"v(-?[\d.]+)", path)[1]) for path in paths]  # type: ignore[index]
    assert heights == pytest.approx([200 * number / max(counts) for number in counts], abs=0.011)


def test_a_text_stays_a_text_and_nothing_else_is_there() -> None:
    rows = [{"name": name, "pairs": 1} for name in HOSTILE]
    bars = marks("bar", rows, {"x": channel("pairs:Q"), "y": channel("name:N", title='<b onclick="x">')})
    drawn = svg(layered([bars], 200), HOSTILE[1])
    root = ET.fromstring(drawn)
    assert {of.tag for of in root.iter()} <= {"svg", "g", "path", "line", "text"}
    assert set(HOSTILE) <= {of.text for of in root.iter("text")}
    names = {name for of in root.iter() for name in of.attrib}
    assert not {name for name in names if name.startswith("on") or name in ("href", "style", "id")}
    assert root.attrib["aria-label"] == HOSTILE[1]
    assert "url(" not in drawn


def test_a_chart_as_wide_as_its_place_is_scaled_to_it() -> None:
    bars = marks("bar", [{"a": 1}], {"x": channel("a:Q")})
    root = ET.fromstring(svg(layered([bars], 100), ""))
    _, _, width, _ = map(float, root.attrib["viewBox"].split())
    assert width >= WIDTH
    assert root.attrib["role"] == "img"


@pytest.mark.parametrize("sign", ["\0", "\x0b", "\x85", "\ud800", "\uffff", "\U000fffff"])
def test_what_a_page_cannot_have_is_replaced(sign: str) -> None:
    """Undone, it ends the process that draws: a licence or a class of a pool can have it."""
    rows = [{"name": f"a{sign}b", "pairs": 1}]
    bars = marks("bar", rows, {"x": channel("pairs:Q", title=f"x{sign}"), "y": channel("name:N")})
    root = ET.fromstring(svg(layered([bars], 200), f"of {sign}"))
    assert {"a\ufffdb", "x\ufffd"} <= {of.text for of in root.iter("text")}
    assert root.attrib["aria-label"] == "of \ufffd"
