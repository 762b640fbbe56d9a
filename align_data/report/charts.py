"""The charts of the audit page, as Vega-Lite: everything is counted before, so each is a few hundred numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from align_data.recipes.operators import Bound
from align_data.recipes.thresholds import Vocabulary
from align_data.report.vega_lite import Channel, Rows, Spec, channel, choice, layered, marks, second, stacked
from align_data.stages.audit.curves import Bar, Curve, Point, bars, points
from align_data.stages.audit.leaves import Comparison
from align_data.stages.audit.survey import Overlap, Survey

BARS, POINTS = 60, 160
"""Of a distribution and of a curve, about at most."""
COMBINATIONS = 25
ALL, OPEN, KEPT, PENDING, LINE = "#c3c9d1", "#3a6ea5", "#2e7d4f", "#d0962b", "#a3262a"
_HEIGHT = 210
_NUMBERS = {"labelOverlap": True, "tickCount": 8}
_PAIRS = {"format": "~s", "tickCount": 5}
_WIDE = 100
"""A scale whose greatest value is more than this many times its least is logarithmic."""


def _scale(least: float, greatest: float) -> dict[str, Any]:
    wide = least >= 0 and greatest > _WIDE * max(least, 1)
    return {"constant": 1, "nice": False, "type": "symlog"} if wide else {"nice": False, "zero": False}


def distribution(curve: Curve) -> Spec | None:
    """Return the distribution of a rule's signal, of all pairs and of those that no other rule fails."""
    bars_ = bars(curve, BARS)
    if not bars_:
        return None
    signal = curve.test.definition
    title = f"{signal.name} ({signal.unit})"
    if curve.scale is None:
        return _levels(bars_, title)
    whole = curve.whole
    greatest = max(bar.high if bar.high is not None else (bar.low or 0) for bar in bars_)
    rows = [
        {
            "low": bar.low,
            "high": bar.high if bar.high is not None else greatest,
            "value": _range(bar, whole),
            "all pairs": bar.pairs,
            "no other rule fails": bar.open,
        }
        for bar in bars_
        if bar.low is not None
    ]
    if not rows:
        return None
    scale = _scale(min(bar.low for bar in bars_ if bar.low is not None), greatest)
    x = channel("low:Q", title=title, scale=scale, axis=_NUMBERS)
    tips = [channel("value:N", title=signal.name), _tip("all pairs"), _tip("no other rule fails")]
    layers = [
        marks(
            "rect",
            rows,
            {"x": x, "x2": second("high"), "y": _pairs(name), "y2": {"datum": 0}, "tooltip": tips},
            color=color,
            stroke="white",
            strokeWidth=0.3,
        )
        for name, color in (("all pairs", ALL), ("no other rule fails", OPEN))
    ]
    cuts = [{"at": _edge(end, whole)} for end in curve.test.bounds]
    return layered([*layers, _line(cuts, "at")], _HEIGHT)


def _pairs(name: str, title: str = "pairs") -> Channel:
    return channel(f"{name}:Q", title=title, axis=_PAIRS)


def _edge(end: Bound, whole: bool) -> float:
    """Return where a bar's edge is at a threshold: of whole numbers, behind the last that is on its side."""
    return end.value + 1 if whole and end.cuts_above else end.value


def _range(bar: Bar, whole: bool) -> str:
    if bar.value is not None:
        return f"{bar.value:,}"
    if bar.high is None:
        return f"{bar.low:,} or more"
    return f"{bar.low:,} to {bar.high - 1:,}" if whole else f"{bar.low:.6g} to {bar.high:.6g}"


def _levels(bars_: Sequence[Bar], title: str) -> Spec:
    rows = [
        {"value": _level(bar.value), "all pairs": bar.pairs, "no other rule fails": bar.open, "order": number}
        for number, bar in enumerate(bars_)
    ]
    y = channel("value:N", title=None, sort={"field": "order"})
    tips = [channel("value:N"), _tip("all pairs"), _tip("no other rule fails")]
    layers = [
        marks("bar", rows, {"x": _pairs(name, f"pairs by {title}"), "y": y, "tooltip": tips}, color=color)
        for name, color in (("all pairs", ALL), ("no other rule fails", OPEN))
    ]
    return layered(layers, max(60, 30 * len(rows)))


def _level(value: object) -> str:
    if value is None:
        return "any other value"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _tip(name: str, title: str | None = None) -> Channel:
    return channel(f"{name}:Q", title=title or name, format=",.10~g")


def _line(rows: Rows, field: str) -> Spec:
    return marks("rule", rows, {"x": channel(f"{field}:Q")}, color=LINE, strokeDash=[4, 3], strokeWidth=1.5)


@dataclass(frozen=True)
class SweepChart:
    """A curve of one end of a rule."""

    title: str
    spec: Spec


def sweeps(survey: Survey, leaf: Comparison, curve: Curve) -> list[SweepChart]:
    """Return the curves of a test: pairs kept and pending against its threshold, one for each of its ends."""
    test = leaf.test
    charts = []
    for end in test.bounds:
        drawn_points = list(points(curve, end, POINTS))
        vocabulary = survey.plan.vocabularies.get(leaf.rule.name)
        if vocabulary is not None:
            charts.append(
                SweepChart("kept against the size of the vocabulary", _vocabulary(survey, drawn_points, vocabulary))
            )
            continue
        side = f"the {'lower' if end.lower else 'upper'} end" if len(test.bounds) > 1 else "the threshold"
        x = channel(
            "at:Q",
            title=f"{leaf.rule.name if leaf.plain else test.signal} {end.op}",
            scale=_scale(drawn_points[0].value, drawn_points[-1].value),
            axis=_NUMBERS,
        )
        drawn = _Drawn([_row(point, point.value) for point in drawn_points], x, end.value, [_tip("at", test.signal)])
        charts.append(SweepChart(f"kept against {side}", _curve(drawn, _steps(curve, end, drawn_points))))
    return charts


def _row(point: Point, at: float) -> dict[str, Any]:
    return {"at": at, "seen": point.value, "kept": point.kept, "pending": point.pending}


def _steps(curve: Curve, end: Bound, drawn_points: Sequence[Point]) -> str:
    """Return how to draw between points: as steps where there is nothing between them."""
    if not curve.whole or drawn_points[-1].value - drawn_points[0].value >= len(drawn_points):
        return "linear"
    return "step-after" if end.cuts_above else "step-before"


def _vocabulary(survey: Survey, drawn_points: Sequence[Point], vocabulary: Vocabulary) -> Spec:
    sizes = [(point, survey.vocabulary(point.value)) for point in drawn_points]
    x = channel("at:Q", title="n-grams in the vocabulary", scale={"nice": False, "type": "log"}, axis=_NUMBERS)
    tips = [_tip("at", "n-grams"), _tip("seen", "seen at least")]
    return _curve(_Drawn([_row(point, size) for point, size in sizes if size], x, vocabulary.used, tips), "linear")


@dataclass(frozen=True)
class _Drawn:
    """What a curve is drawn of."""

    rows: list[dict[str, Any]]
    x: Channel
    at: float
    """Where the threshold in force is."""
    tips: list[Channel]


def _curve(drawn: _Drawn, steps: str) -> Spec:
    """Draw kept, and pending above it, as areas; the mouse finds the nearest point."""
    top = {"transform": [{"calculate": "datum.kept + datum.pending", "as": "top"}]}

    def area(color: str, opacity: float, **y: Channel) -> Spec:
        encoding = {"x": drawn.x, **y}
        return {**marks("area", drawn.rows, encoding, color=color, opacity=opacity, interpolate=steps), **top}

    near = {"name": "near", "select": {"type": "point", "fields": ["at"], "nearest": True, "on": "pointerover"}}
    encoding = {
        "x": drawn.x,
        "y": channel("top:Q"),
        "opacity": choice({"param": "near", "empty": False}, 1, 0),
        "tooltip": [*drawn.tips, _tip("kept"), _tip("pending")],
    }
    dots = {**marks("point", drawn.rows, encoding, filled=True, size=45, color="#222"), "name": "dots", **top}
    layers = [
        area(KEPT, 0.85, y=_pairs("kept")),
        area(PENDING, 0.55, y=channel("kept:Q"), y2=second("top")),
        _line([{"at": drawn.at}], "at"),
        dots,
    ]
    return layered(layers, _HEIGHT, params=[{**near, "views": ["dots"]}])


def overlaps(sets: Sequence[Overlap], rules: Sequence[str]) -> Spec | None:
    """Return an UpSet plot: what the commonest sets of rules have in common that pairs fail."""
    top = sets[:COMBINATIONS]
    named = [rule for rule in rules if any(rule in overlap.rules for overlap in top)]
    if not top:
        return None
    keys = [" and ".join(overlap.rules) for overlap in top]
    rows = [
        {"set": key, "order": n, "pairs": overlap.pairs, "alone": len(overlap.rules) == 1}
        for n, (key, overlap) in enumerate(zip(keys, top, strict=True))
    ]
    dots = [
        {"set": key, "order": n, "rule": rule, "in": rule in overlap.rules}
        for n, (key, overlap) in enumerate(zip(keys, top, strict=True))
        for rule in named
    ]
    x = channel("order:O", axis=None)
    width = max(180, 24 * len(top))
    tip = channel("set:N", title="fail exactly")
    upper = {
        "x": x,
        "y": _pairs("pairs", "pairs that fail exactly these"),
        "color": choice({"test": "datum.alone"}, LINE, "#55606e"),
        "tooltip": [tip, _tip("pairs")],
    }
    axis = {"domain": False, "labelLimit": 220, "ticks": False}
    matrix = {
        "x": x,
        "y": channel("rule:N", sort=named, title=None, axis=axis),
        "color": choice({"test": "datum.in"}, "#2b333d", "#e3e6ea"),
        "tooltip": [tip],
    }
    lower = marks("circle", dots, matrix, size=110, opacity=1)
    return stacked(
        [
            {**marks("bar", rows, upper), "height": 170, "width": width},
            {**lower, "height": 20 * len(named), "width": width},
        ],
        spacing=4,
    )
