"""The charts of the audit page, as Vega-Lite: everything is counted before, so each is a few hundred numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from align_data.recipes.operators import Bound
from align_data.recipes.thresholds import Vocabulary
from align_data.signals import find
from align_data.stages.audit.curves import Bar, Curve, Point, bars, points
from align_data.stages.audit.survey import Overlap, Survey

Spec = dict[str, Any]
BARS, POINTS = 60, 160
"""Of a distribution and of a curve, about at most."""
COMBINATIONS = 25
ALL, OPEN, KEPT, PENDING, LINE = "#c3c9d1", "#3a6ea5", "#2e7d4f", "#d0962b", "#a3262a"
_HEIGHT = 210
_NUMBERS = alt.Axis(tickCount=8, labelOverlap=True)
_PAIRS = alt.Axis(format="~s", tickCount=5)
_WIDE = 100
"""A scale whose greatest value is more than this many times its least is logarithmic."""


def as_spec(chart: alt.TopLevelMixin) -> Spec:
    """Return a chart in the pages' style as Vega-Lite."""
    styled: alt.TopLevelMixin = chart.configure(
        font="system-ui, sans-serif",
        background="transparent",
        axis={"grid": False, "labelColor": "#444", "titleColor": "#444", "titleFontWeight": "normal"},
        view={"stroke": None},
    )
    # Checked against the schema in the tests: a check of each chart costs more than making it.
    spec: Spec = styled.to_dict(validate=False)
    return spec


def data(rows: Sequence[dict[str, Any]]) -> alt.InlineData:
    """Return rows as a chart takes them."""
    return alt.InlineData(values=list(rows))


def _scale(least: float, greatest: float) -> alt.Scale:
    wide = least >= 0 and greatest > _WIDE * max(least, 1)
    return alt.Scale(type="symlog", constant=1, nice=False) if wide else alt.Scale(nice=False, zero=False)


def distribution(curve: Curve) -> Spec | None:
    """Return the distribution of a rule's signal, of all pairs and of those that no other rule fails."""
    bars_ = bars(curve, BARS)
    if not bars_:
        return None
    signal = find(curve.rule.signal)
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
    x = alt.X("low:Q", title=title, scale=scale, axis=_NUMBERS)
    tips = [alt.Tooltip("value:N", title=signal.name), _tip("all pairs"), _tip("no other rule fails")]
    base = alt.Chart(data(rows))
    layers = [
        base.mark_rect(color=color, stroke="white", strokeWidth=0.3).encode(
            x=x, x2="high:Q", y=alt.Y(f"{name}:Q", title="pairs", axis=_PAIRS), y2=alt.datum(0), tooltip=tips
        )
        for name, color in (("all pairs", ALL), ("no other rule fails", OPEN))
    ]
    cuts = [{"at": _edge(end, whole)} for end in curve.rule.bounds]
    return as_spec(alt.layer(*layers, _line(cuts, "at")).properties(width="container", height=_HEIGHT))


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
    base = alt.Chart(data(rows))
    y = alt.Y("value:N", title=None, sort=alt.SortField("order"))
    tips = [alt.Tooltip("value:N"), _tip("all pairs"), _tip("no other rule fails")]
    layers = [
        base.mark_bar(color=color).encode(
            x=alt.X(f"{name}:Q", title=f"pairs by {title}", axis=_PAIRS), y=y, tooltip=tips
        )
        for name, color in (("all pairs", ALL), ("no other rule fails", OPEN))
    ]
    return as_spec(alt.layer(*layers).properties(width="container", height=max(60, 30 * len(rows))))


def _level(value: object) -> str:
    if value is None:
        return "any other value"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _tip(name: str, title: str | None = None) -> alt.Tooltip:
    return alt.Tooltip(f"{name}:Q", title=title or name, format=",.10~g")


def _line(rows: Sequence[dict[str, Any]], field: str) -> alt.Chart:
    chart: alt.Chart = alt.Chart(data(rows)).mark_rule(color=LINE, strokeDash=[4, 3], strokeWidth=1.5)
    return chart.encode(x=f"{field}:Q")


@dataclass(frozen=True)
class SweepChart:
    """A curve of one end of a rule."""

    title: str
    spec: Spec


def sweeps(survey: Survey, curve: Curve) -> list[SweepChart]:
    """Return the curves of a rule: pairs kept and pending against its threshold, one for each of its ends."""
    rule = curve.rule
    charts = []
    for end in rule.bounds:
        drawn_points = list(points(curve, end, POINTS))
        vocabulary = survey.plan.vocabularies.get(rule.name)
        if vocabulary is not None:
            charts.append(
                SweepChart("kept against the size of the vocabulary", _vocabulary(survey, drawn_points, vocabulary))
            )
            continue
        side = f"the {'lower' if end.lower else 'upper'} end" if len(rule.bounds) > 1 else "the threshold"
        x = alt.X(
            "at:Q",
            title=f"{rule.name} {end.op}",
            scale=_scale(drawn_points[0].value, drawn_points[-1].value),
            axis=_NUMBERS,
        )
        drawn = _Drawn([_row(point, point.value) for point in drawn_points], x, end.value, [_tip("at", rule.signal)])
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
    x = alt.X("at:Q", title="n-grams in the vocabulary", scale=alt.Scale(type="log", nice=False), axis=_NUMBERS)
    tips = [_tip("at", "n-grams"), _tip("seen", "seen at least")]
    return _curve(_Drawn([_row(point, size) for point, size in sizes if size], x, vocabulary.used, tips), "linear")


@dataclass(frozen=True)
class _Drawn:
    """What a curve is drawn of."""

    rows: list[dict[str, Any]]
    x: alt.X
    at: float
    """Where the threshold in force is."""
    tips: list[alt.Tooltip]


def _curve(drawn: _Drawn, steps: Any) -> Spec:
    """Draw kept, and pending above it, as areas; the mouse finds the nearest point."""
    base = alt.Chart(data(drawn.rows)).transform_calculate(top="datum.kept + datum.pending").encode(x=drawn.x)
    kept_area = base.mark_area(color=KEPT, opacity=0.85, interpolate=steps).encode(
        y=alt.Y("kept:Q", title="pairs", axis=_PAIRS)
    )
    pending_area = base.mark_area(color=PENDING, opacity=0.55, interpolate=steps).encode(y="kept:Q", y2="top:Q")
    near = alt.selection_point(nearest=True, on="pointerover", fields=["at"], empty=False, name="near")
    near_only = alt.condition(near, alt.value(1), alt.value(0))
    tips = [*drawn.tips, _tip("kept"), _tip("pending")]
    dots = base.mark_point(filled=True, size=45, color="#222").encode(y="top:Q", opacity=near_only, tooltip=tips)
    layers = alt.layer(kept_area, pending_area, _line([{"at": drawn.at}], "at"), dots.add_params(near))
    return as_spec(layers.properties(width="container", height=_HEIGHT))


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
    x = alt.X("order:O", axis=None)
    width = max(180, 24 * len(top))
    color = alt.condition("datum.alone", alt.value(LINE), alt.value("#55606e"))
    bars_ = (
        alt.Chart(data(rows))
        .mark_bar()
        .encode(
            x=x,
            y=alt.Y("pairs:Q", title="pairs that fail exactly these", axis=_PAIRS),
            color=color,
            tooltip=[alt.Tooltip("set:N", title="fail exactly"), _tip("pairs")],
        )
    )
    matrix = (
        alt.Chart(data(dots))
        .mark_circle(size=110, opacity=1)
        .encode(
            x=x,
            y=alt.Y("rule:N", sort=named, title=None, axis=alt.Axis(domain=False, ticks=False, labelLimit=220)),
            color=alt.condition("datum.in", alt.value("#2b333d"), alt.value("#e3e6ea")),
            tooltip=[alt.Tooltip("set:N", title="fail exactly")],
        )
    )
    upper = bars_.properties(width=width, height=170)
    return as_spec(alt.vconcat(upper, matrix.properties(width=width, height=20 * len(named)), spacing=4))
