"""The charts of a calibration, as Vega-Lite: which copies a threshold finds, and how many false pairs."""

from __future__ import annotations

from typing import Any

from align_data.data.calibration import Calibration, CurvePoint
from align_data.decoding.augmenting.augmentations import AUGMENTATIONS
from align_data.report.axes import SHARES, logarithmic
from align_data.report.figures import Chart, Figures
from align_data.report.vega_lite import LOST, OPEN, Channel, Spec, channel, layered, marks, second

_POINTS = 160
"""Of a curve, about at most."""
_HEIGHT = 260
_COLORS = ("#3a78c2", "#c3662b", "#2e8b57", "#8f68c4", "#d1495b", "#94732d", "#c44f96", "#2b8c96", "#76808c")
"""Each stands out, three to one, from light and from dark paper."""


def found_copies(calibration: Calibration) -> Chart:
    """Return a line for each kind of copy: the share that a threshold finds."""
    rows = [
        {"threshold": point.threshold, "kind": AUGMENTATIONS[kind].about, "found": share}
        for point in _thinned(calibration.curve)
        for kind, share in point.copies.items()
    ]
    kinds = [AUGMENTATIONS[kind].about for kind in calibration.kinds]
    encoding = {
        "x": _threshold(),
        "y": channel("found:Q", title="copies found", axis=SHARES, scale={"domain": [0, 1]}),
        "color": channel(
            "kind:N",
            title=None,
            scale={"domain": kinds, "range": list(_COLORS[: len(kinds)])},
            legend={"columns": 3, "labelLimit": 220, "orient": "bottom"},
        ),
        "tooltip": [channel("kind:N"), channel("threshold:Q"), channel("found:Q", format=".1%")],
    }
    lines = marks("line", rows, encoding, interpolate="step-before", strokeWidth=2)
    figures = Figures(
        ["threshold", *kinds],
        [
            [f"{point.threshold:g}", *(f"{point.copies[kind]:.1%}" for kind in calibration.kinds)]
            for point in _thinned(calibration.curve)
        ],
    )
    return Chart(
        "The share of copies that a threshold finds, by kind.", layered([lines, *_cut(calibration)], _HEIGHT), figures
    )


def false_pairs(calibration: Calibration) -> Chart:
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
    axis = logarithmic(least, max(calibration.allowed, *(point.high for point in points)))

    def y(name: str) -> Channel:
        return channel(f"{name}:Q", title="random pairs found, per million", **axis)

    x = _threshold()
    tips = [
        channel("threshold:Q"),
        channel("pairs:Q", title="random pairs found", format=","),
        *(channel(f"{name}:Q", format=".3~g") for name in ("per million", "low", "high")),
    ]
    layers = [
        marks("area", rows, {"x": x, "y": y("low"), "y2": second("high")}, color=OPEN, opacity=0.22),
        marks("line", rows, {"x": x, "y": y("counted"), "tooltip": tips}, color=OPEN, strokeWidth=2),
        marks("rule", [{"high": calibration.allowed}], {"y": y("high")}, color=LOST, strokeDash=[2, 3]),
        *_cut(calibration),
    ]
    figures = Figures(
        ["threshold", "random pairs found", "per million", "from", "to"],
        [[f"{p.threshold:g}", p.false_pairs, p.per_million, p.low, p.high] for p in points],
    )
    return Chart("Random pairs that a threshold takes for copies, per million.", layered(layers, _HEIGHT), figures)


def _threshold() -> Channel:
    return channel("threshold:Q", title="threshold (cosine)", scale={"nice": False, "zero": False})


def _cut(calibration: Calibration) -> list[Spec]:
    if calibration.threshold is None:
        return []
    rows: list[dict[str, Any]] = [{"threshold": calibration.threshold, "label": f"≥ {calibration.threshold:g}"}]
    x = channel("threshold:Q")
    encoding = {"x": x, "y": {"value": -4}, "text": channel("label:N")}
    return [
        marks("rule", rows, {"x": x}, color=LOST, strokeDash=[4, 3], strokeWidth=1.5),
        marks("text", rows, encoding, align="right", baseline="bottom", color=LOST, dx=2, fontSize=11),
    ]


def _thinned(points: list[CurvePoint]) -> list[CurvePoint]:
    """Return some of the points, the last among them."""
    step = -(-len(points) // _POINTS)
    return points[::-1][::step][::-1]
