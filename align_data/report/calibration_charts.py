"""The charts of a calibration, as Vega-Lite: which copies a threshold finds, and how many false pairs."""

from __future__ import annotations

from typing import Any

from align_data.data.calibration import Calibration, CurvePoint
from align_data.decoding.augmenting.augmentations import AUGMENTATIONS
from align_data.report.charts import LINE, OPEN
from align_data.report.vega_lite import Channel, Spec, channel, layered, marks, second

_POINTS = 160
"""Of a curve, about at most."""
_HEIGHT = 260
_COLORS = ("#3a6ea5", "#c3662b", "#2e7d4f", "#7b5aa6", "#a3262a", "#8c6d31", "#d46ba8", "#4fa5ad", "#66707c")


def found_copies(calibration: Calibration) -> Spec:
    """Return a line for each kind of copy: the share that a threshold finds."""
    rows = [
        {"threshold": point.threshold, "kind": AUGMENTATIONS[kind].about, "found": share}
        for point in _thinned(calibration.curve)
        for kind, share in point.copies.items()
    ]
    kinds = [AUGMENTATIONS[kind].about for kind in calibration.kinds]
    encoding = {
        "x": _threshold(),
        "y": channel("found:Q", title="copies found", axis={"format": ".0%", "tickCount": 5}, scale={"domain": [0, 1]}),
        "color": channel(
            "kind:N",
            title=None,
            scale={"domain": kinds, "range": list(_COLORS[: len(kinds)])},
            legend={"columns": 3, "labelLimit": 220, "orient": "bottom"},
        ),
        "tooltip": [channel("kind:N"), channel("threshold:Q"), channel("found:Q", format=".1%")],
    }
    lines = marks("line", rows, encoding, interpolate="step-before", strokeWidth=2)
    return layered([lines, *_cut(calibration)], _HEIGHT)


def false_pairs(calibration: Calibration) -> Spec:
    """Return how many of a million random pairs a threshold takes for copies, with the interval."""
    points = _thinned(calibration.curve)
    least = min(point.high for point in points) / 10  # the scale has no 0
    rows = [
        {
            "threshold": point.threshold,
            "high": point.high,
            "low": max(least, point.low),
            "counted": max(least, point.per_million),
            "pairs": point.false_pairs,
            "per million": point.per_million,
        }
        for point in points
    ]
    scale = {"nice": False, "type": "log"}

    def y(name: str) -> Channel:
        title = "random pairs found, per million"
        return channel(f"{name}:Q", title=title, scale=scale, axis={"format": "~g", "tickCount": 6})

    x = _threshold()
    tips = [
        channel("threshold:Q"),
        channel("pairs:Q", title="random pairs found", format=","),
        *(channel(f"{name}:Q", format=".3~g") for name in ("per million", "low", "high")),
    ]
    layers = [
        marks("area", rows, {"x": x, "y": y("low"), "y2": second("high")}, color=OPEN, opacity=0.22),
        marks("line", rows, {"x": x, "y": y("counted"), "tooltip": tips}, color=OPEN, strokeWidth=2),
        marks("rule", [{"high": calibration.allowed}], {"y": y("high")}, color=LINE, strokeDash=[2, 3]),
        *_cut(calibration),
    ]
    return layered(layers, _HEIGHT)


def _threshold() -> Channel:
    return channel("threshold:Q", title="threshold (cosine)", scale={"nice": False, "zero": False})


def _cut(calibration: Calibration) -> list[Spec]:
    if calibration.threshold is None:
        return []
    rows: list[dict[str, Any]] = [{"threshold": calibration.threshold}]
    return [marks("rule", rows, {"x": channel("threshold:Q")}, color=LINE, strokeDash=[4, 3], strokeWidth=1.5)]


def _thinned(points: list[CurvePoint]) -> list[CurvePoint]:
    """Return some of the points, the last among them."""
    step = -(-len(points) // _POINTS)
    return points[::-1][::step][::-1]
