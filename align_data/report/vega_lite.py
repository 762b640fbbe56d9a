"""Vega-Lite as plain data: the few forms that the pages' charts are made of, in the pages' style.

Altair would make the same of twice as many words; to import it and to copy its objects takes a second.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

Spec = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]
Channel = Mapping[str, Any]
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.4.1.json"
_KINDS = {"Q": "quantitative", "N": "nominal", "O": "ordinal"}
ALL, OPEN, KEPT, PENDING, LOST = (f"var(--{name})" for name in ("pool", "open", "kept", "pending", "lost"))
INK, SOFT, LINE, PAPER = (f"var(--{name})" for name in ("ink", "soft", "line", "paper"))
"""Colours that the page's style sheet names, so that a chart is of the page's scheme, light or dark."""
_STYLE = {
    "view": {"continuousWidth": 300, "continuousHeight": 300, "stroke": None},
    "axis": {
        "domainColor": SOFT,
        "grid": False,
        "labelColor": SOFT,
        "tickColor": SOFT,
        "titleColor": SOFT,
        "titleFontWeight": "normal",
    },
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "legend": {"labelColor": SOFT, "titleColor": SOFT},
    "mark": {"aria": False},
}


def channel(field: str, **options: Any) -> Channel:
    """Return a channel of a field, which is followed by its kind: ':Q' for numbers, ':N' for names, ':O' in order."""
    name, _, kind = field.rpartition(":")
    return dict(sorted({"field": name, "type": _KINDS[kind], **options}.items()))


def second(field: str) -> Channel:
    """Return the channel of where a mark ends that begins at another field."""
    return {"field": field}


def choice(test: Mapping[str, Any], value: Any, otherwise: Any) -> Channel:
    """Return a channel that has a value where the test holds, and another where it does not."""
    return {"condition": {**test, "value": value}, "value": otherwise}


def marks(kind: str, rows: Rows, encoding: Mapping[str, Any], **options: Any) -> Spec:
    """Return a chart, or a layer of one, of one kind of mark, with what its channels show of rows."""
    mark = {"type": kind, **dict(sorted(options.items()))}
    return {"data": {"values": list(rows)}, "mark": mark, "encoding": dict(sorted(encoding.items()))}


def layered(layers: Sequence[Spec], height: int, **options: Any) -> Spec:
    """Return layers on top of each other as a chart that is as wide as its place."""
    size = {"height": height, **options, "width": "container"}
    return _whole("layer", layers, size)


def stacked(charts: Sequence[Spec], spacing: int) -> Spec:
    """Return charts below each other as one."""
    return _whole("vconcat", charts, {"spacing": spacing})


def _whole(form: str, charts: Sequence[Spec], options: Mapping[str, Any]) -> Spec:
    """Return a whole chart; rows that several parts of it have are in it once."""
    names = [_name(chart["data"]["values"]) for chart in charts]
    datasets = {name: chart["data"]["values"] for name, chart in zip(names, charts, strict=True)}
    shared = {"data": {"name": names[0]}} if len(datasets) == 1 else {}
    parts = [{**chart, "data": {"name": name}} for name, chart in zip(names, charts, strict=True)]
    if shared:
        parts = [{key: value for key, value in part.items() if key != "data"} for part in parts]
    return {"config": _STYLE, **shared, form: parts, **options, "$schema": SCHEMA, "datasets": datasets}


def _name(rows: Rows) -> str:
    return f"data-{hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:32]}"
