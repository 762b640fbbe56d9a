"""The charts of the audit page, as Vega-Lite: everything is counted before, so each is a few hundred numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from align_data.recipes.operators import Bound
from align_data.recipes.thresholds import Vocabulary
from align_data.report.axes import COUNTS, across, logarithmic
from align_data.report.figures import Cell, Chart, Figures
from align_data.report.vega_lite import (
    ALL,
    INK,
    KEPT,
    LINE,
    LOST,
    OPEN,
    PAPER,
    PENDING,
    SOFT,
    Channel,
    Spec,
    channel,
    choice,
    layered,
    marks,
    second,
    stacked,
)
from align_data.signals import Signal
from align_data.stages.audit.curves import Bar, Curve, Point, bars, points, steps_are_exact
from align_data.stages.audit.leaves import Comparison
from align_data.stages.audit.survey import Overlap, Survey

BARS, POINTS = 60, 160
"""Of a distribution and of a curve, about at most."""
COMBINATIONS = 25
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_HEIGHT = 210
_SETS = (("all pairs", ALL), ("no other rule fails", OPEN))
"""What a distribution is of: the column that a bar has it in, and its colour."""


def distribution(curve: Curve) -> Chart | None:
    """Return the distribution of a rule's signal, of all pairs and of those that no other rule fails."""
    signal = curve.test.definition
    shown = bars(curve, BARS)
    if curve.scale is None:
        return _levels(shown, signal) if shown else None
    return histogram(shown, signal, curve.test.bounds)


def histogram(shown: Sequence[Bar], signal: Signal, ends: Sequence[Bound]) -> Chart | None:
    """Return bars of numbers, with the ends of a test at their thresholds; None where there is no bar.

    A whole number's bar is around it, from half below to half above, so that a threshold lies between bars.
    """
    whole = signal.type != "float64"
    half = 0.5 if whole else 0.0
    rows: list[dict[str, Any]] = [
        {
            "low": bar.low - half,
            "high": (bar.high if bar.high is not None else bar.low + 1) - half,
            "value": _range(bar, whole),
            "all pairs": bar.pairs,
            "no other rule fails": bar.open,
        }
        for bar in shown
        if bar.low is not None
    ]
    if not rows:
        return None
    cuts = [_Threshold(end, end.value + (half if end.cuts_above else -half)) for end in ends]
    extent: list[float] = [*(row[side] for row in rows for side in ("low", "high")), *(cut.at for cut in cuts)]
    x = channel("low:Q", title=_titled(signal), **across(min(extent) + half, max(extent), whole=whole))
    tips = [channel("value:N", title=signal.name), *(_tip(name) for name, _ in _SETS)]
    layers = [
        marks(
            "rect",
            rows,
            {"x": x, "x2": second("high"), "y": _pairs(name), "y2": {"datum": 0}, "tooltip": tips},
            color=color,
            stroke=PAPER,
            strokeWidth=0.3,
        )
        for name, color in _SETS
    ]
    return Chart(
        f"Histogram of {signal.name}{_in_words(ends)}.",
        layered([*layers, *_lines(cuts)], _HEIGHT),
        _figures(signal, rows),
    )


def _titled(signal: Signal) -> str:
    return f"{signal.name} ({signal.unit})"


def _pairs(name: str, title: str = "pairs") -> Channel:
    return channel(f"{name}:Q", title=title, axis=COUNTS)


def _tip(name: str, title: str | None = None) -> Channel:
    return channel(f"{name}:Q", title=title or name, format=",.10~g")


def _range(bar: Bar, whole: bool) -> str:
    if bar.value is not None:
        return f"{bar.value:,}"
    if bar.high is None:
        return f"{bar.low:,} or more"
    return f"{bar.low:,} to {bar.high - 1:,}" if whole else f"{bar.low:.6g} to {bar.high:.6g}"


def _figures(signal: Signal, rows: Sequence[dict[str, Any]]) -> Figures:
    names = [name for name, _ in _SETS]
    return Figures([_titled(signal), *names], [[row["value"], *(row[name] for name in names)] for row in rows])


def _levels(shown: Sequence[Bar], signal: Signal) -> Chart:
    rows = [
        {"value": _level(bar.value), "all pairs": bar.pairs, "no other rule fails": bar.open, "order": number}
        for number, bar in enumerate(shown)
    ]
    y = channel("value:N", title=None, sort={"field": "order"})
    tips = [channel("value:N"), *(_tip(name) for name, _ in _SETS)]
    layers = [
        marks("bar", rows, {"x": _pairs(name, f"pairs by {_titled(signal)}"), "y": y, "tooltip": tips}, color=color)
        for name, color in _SETS
    ]
    return Chart(f"Pairs by {signal.name}.", layered(layers, max(60, 30 * len(rows))), _figures(signal, rows))


def _level(value: object) -> str:
    if value is None:
        return "any other value"
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class _Threshold:
    """An end of a test, and where its line is drawn."""

    end: Bound
    at: float

    @property
    def label(self) -> str:
        return _label(self.end)


def _label(end: Bound) -> str:
    value = end.value
    return f"{SIGNS[end.op]} {f'{value:,}' if isinstance(value, int) else f'{value:,.6g}'}"


def _in_words(ends: Sequence[Bound]) -> str:
    return f"; in force: {' and '.join(_label(end) for end in ends)}" if ends else ""


def _lines(cuts: Sequence[_Threshold], labels: Sequence[str] = ()) -> Iterator[Spec]:
    """Yield the lines of thresholds with what they are above the chart: that of a lower end to the left of its line."""
    for number, cut in enumerate(cuts):
        row = [{"at": cut.at, "label": labels[number] if labels else cut.label}]
        x = channel("at:Q")
        left = cut.end.lower and len(cuts) > 1
        yield marks("rule", row, {"x": x}, color=LOST, strokeDash=[4, 3], strokeWidth=1.5)
        yield marks(
            "text",
            row,
            {"x": x, "y": {"value": -5}, "text": channel("label:N")},
            align="right" if left else "left",
            baseline="bottom",
            color=LOST,
            dx=2 if left else -2,
            fontSize=11,
        )


def sweeps(survey: Survey, leaf: Comparison, curve: Curve) -> list[Chart]:
    """Return the curves of a test: pairs kept and pending against its threshold, one for each of its ends."""
    vocabulary = survey.plan.vocabularies.get(leaf.rule.name)
    return [
        _vocabulary(survey, curve, end, vocabulary) if vocabulary is not None else _sweep(leaf, curve, end)
        for end in leaf.test.bounds
    ]


def _sweep(leaf: Comparison, curve: Curve, end: Bound) -> Chart:
    test = leaf.test
    counted = list(points(curve, end, POINTS))
    values = [point.value for point in counted]
    exact = curve.whole and steps_are_exact(curve, end, values)
    side = f"the {'lower' if end.lower else 'upper'} end" if len(test.bounds) > 1 else "the threshold"
    named = f"{test.signal} {SIGNS[end.op]}"
    drawn = _Drawn(
        counted,
        values,
        _beginnings(values, late=not end.cuts_above) if curve.whole else None,
        channel(
            "edge:Q",
            title=f"{named} threshold ({test.definition.unit})",
            **across(values[0], values[-1], whole=curve.whole),
        ),
        _Threshold(end, end.value),
        (named,),
    )
    return _curve(drawn, f"kept against {side}{_exactness(exact, len(values))}")


def _exactness(exact: bool, number: int) -> str:
    return "" if exact else f" (exact at {number:,} thresholds; in between, the count lies between theirs)"


def _beginnings(values: Sequence[float], *, late: bool) -> list[float]:
    """Return where the step of each threshold of whole numbers begins; and where the last ends.

    Half below it; or, where what is kept is the same at all thresholds between it and the earlier one (`late`), half
    above that one.
    """
    starts = [values[0] - 0.5, *(value + 0.5 for value in values[:-1])] if late else [value - 0.5 for value in values]
    return [*starts, values[-1] + 0.5]


def _vocabulary(survey: Survey, curve: Curve, end: Bound, vocabulary: Vocabulary) -> Chart:
    """Return the curve by the size of the vocabulary; a size between two is that of the nearer."""
    sizes = {size: point for point in points(curve, end, POINTS) if (size := survey.vocabulary(point.value))}
    ascending = sorted(sizes)
    between = [(a + b) / 2 for a, b in pairwise(ascending)]
    exact = {survey.vocabulary(count) for count, _ in survey.classes} <= {*sizes}
    used = _Threshold(end, vocabulary.used)
    drawn = _Drawn(
        [sizes[size] for size in ascending],
        ascending,
        [ascending[0], *between, ascending[-1]],
        channel("edge:Q", title="n-grams in the vocabulary", **logarithmic(ascending[0], ascending[-1])),
        used,
        ("n-grams", "seen at least"),
        f"{vocabulary.used:,}",
    )
    return _curve(drawn, f"kept against the size of the vocabulary{_exactness(exact, len(sizes))}")


@dataclass(frozen=True)
class _Drawn:
    """What a curve is drawn of."""

    points: Sequence[Point]
    at: Sequence[float]
    """Where each point is."""
    edges: Sequence[float] | None
    """Where the step of each begins, and the last ends; None where straight lines lead from point to point."""
    x: Channel
    in_force: _Threshold
    heads: tuple[str, ...]
    """What `at` is; and what a point's threshold is, where that is another number."""
    label: str | None = None
    """Of the threshold in force, where it is not its value."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        rows = [
            {"edge": edge, "at": at, "kept": point.kept, "pending": point.pending}
            for point, at, edge in zip(self.points, self.at, self.edges or self.at, strict=False)
        ]
        return [*rows, {**rows[-1], "edge": self.edges[-1]}] if self.edges is not None else rows

    @property
    def figures(self) -> Figures:
        rows: list[list[Cell]] = [
            [*(at, point.value)[: len(self.heads)], point.kept, point.pending]
            for point, at in zip(self.points, self.at, strict=True)
        ]
        return Figures([*self.heads, "kept", "pending"], rows)


def _curve(drawn: _Drawn, title: str) -> Chart:
    """Draw kept, and pending above it, as areas."""
    top = {"transform": [{"calculate": "datum.kept + datum.pending", "as": "top"}]}
    rows, steps = drawn.rows, "linear" if drawn.edges is None else "step-after"

    def area(color: str, **y: Channel) -> Spec:
        encoding = {"x": drawn.x, **y}
        return {**marks("area", rows, encoding, color=color, opacity=1, interpolate=steps), **top}

    layers = [
        area(KEPT, y=_pairs("kept")),
        area(PENDING, y=channel("kept:Q"), y2=second("top")),
        *_lines([drawn.in_force], [drawn.label] if drawn.label else []),
    ]
    return Chart(
        f"Pairs kept and pending by the threshold of {drawn.heads[0]}{_in_words([drawn.in_force.end])}.",
        layered(layers, _HEIGHT),
        drawn.figures,
        title,
    )


def overlaps(sets: Sequence[Overlap], rules: Sequence[str]) -> Chart | None:
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
        "color": choice({"test": "datum.alone"}, LOST, SOFT),
        "tooltip": [tip, _tip("pairs")],
    }
    axis = {"domain": False, "labelLimit": 220, "ticks": False}
    matrix = {
        "x": x,
        "y": channel("rule:N", sort=named, title=None, axis=axis),
        "color": choice({"test": "datum.in"}, INK, LINE),
        "tooltip": [tip],
    }
    lower = marks("circle", dots, matrix, size=110, opacity=1)
    drawing = stacked(
        [
            {**marks("bar", rows, upper), "height": 170, "width": width},
            {**lower, "height": 20 * len(named), "width": width},
        ],
        spacing=4,
    )
    figures = Figures(["fail exactly", "pairs"], [[key, overlap.pairs] for key, overlap in zip(keys, top, strict=True)])
    return Chart("Pairs by the set of rules that they fail, the commonest sets first.", drawing, figures)
