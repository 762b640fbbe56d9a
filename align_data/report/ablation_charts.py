"""The charts of an ablation, as Vega-Lite: arms with their intervals, differences, and quality against size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

from align_data.report.charts import ALL, KEPT, LINE, OPEN, Spec, as_spec, data

if TYPE_CHECKING:
    from align_data.train.ablate.intervals import SeedMean
    from align_data.train.ablate.results import Ablation, Difference

_PERCENT = alt.Axis(format=".0%", tickCount=8)
_ROW = 26
"""Pixels of an arm."""
_HEIGHT = 260


def forest(ablation: Ablation, metric: str) -> Spec:
    """Return each arm's mean and interval, with a small mark for every seed."""
    rows = [
        {"arm": arm, "pairs": ablation.size(arm), **_row(by)}
        for arm in ablation.arms
        if (by := ablation.estimate(arm, metric)) is not None
    ]
    seeds = [
        {"arm": arm, "seed": seed, "value": value}
        for arm in ablation.arms
        for seed, value in ablation.values(arm, metric).items()
    ]
    x = alt.Scale(zero=True, nice=True)
    marks = (
        alt.Chart(data(seeds))
        .mark_circle(size=28, color=ALL, opacity=1)
        .encode(
            x=alt.X("value:Q", scale=x, axis=_PERCENT, title=metric),
            y=_arms(ablation.arms),
            tooltip=[alt.Tooltip("arm:N"), alt.Tooltip("seed:Q"), alt.Tooltip("value:Q", format=".1%")],
        )
    )
    tips = [alt.Tooltip("arm:N"), alt.Tooltip("pairs:Q", format=","), *_tips()]
    return _drawn([marks, *_whiskers(rows, ablation.arms, alt.value(OPEN), tips, metric)], len(ablation.arms))


def differences(differences_: Sequence[Difference], arms: Sequence[str]) -> Spec:
    """Return the differences to one arm; in colour those that are distinguishable from 0."""
    rows = [
        {"arm": difference.arm, "distinguishable": bool(difference.distinguishable), **_row(difference.by)}
        for difference in differences_
    ]
    charted = [arm for arm in arms if any(difference.arm == arm for difference in differences_)]
    zero = alt.Chart(data([{"mean": 0}])).mark_rule(color=LINE, strokeDash=[4, 3]).encode(x="mean:Q")
    color = alt.condition("datum.distinguishable", alt.value(KEPT), alt.value("#7a8490"))
    title = f"difference to {differences_[0].against}, paired by seed"
    return _drawn([zero, *_whiskers(rows, charted, color, [alt.Tooltip("arm:N"), *_tips()], title)], len(charted))


def sizes(ablation: Ablation, lines: Sequence[tuple[str, Sequence[str]]], metric: str) -> Spec:
    """Return quality against size, a line for each name with its arms."""
    rows = [
        {"data": name, "arm": arm, "pairs": ablation.size(arm), **_row(by)}
        for name, arms in lines
        for arm in arms
        if (by := ablation.estimate(arm, metric)) is not None
    ]
    base = alt.Chart(data(rows)).encode(
        x=alt.X("pairs:Q", title="pairs trained on", scale=alt.Scale(type="log", nice=False, padding=12)),
        color=alt.Color("data:N", title=None, scale=alt.Scale(domain=[n for n, _ in lines], range=[OPEN, KEPT])),
    )
    y = alt.Y("mean:Q", axis=_PERCENT, title=metric)
    tips = [alt.Tooltip("arm:N"), alt.Tooltip("pairs:Q", format=","), *_tips()]
    layers = [
        base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", axis=_PERCENT, title=metric), y2="high:Q"),
        base.mark_line(strokeWidth=2).encode(y=y),
        base.mark_circle(size=70, opacity=1).encode(y=y, tooltip=tips),
    ]
    return as_spec(alt.layer(*layers).properties(width="container", height=_HEIGHT))


def _row(by: SeedMean) -> dict[str, Any]:
    """Return an estimate as a row; without an interval it is as wide as nothing."""
    return {
        "mean": by.mean,
        "low": by.mean if by.low is None else by.low,
        "high": by.mean if by.high is None else by.high,
        "seeds": by.seeds,
    }


def _tips() -> list[alt.Tooltip]:
    return [*(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("mean", "low", "high")), alt.Tooltip("seeds:Q")]


def _arms(arms: Sequence[str]) -> alt.Y:
    return alt.Y("arm:N", sort=list(arms), title=None, axis=alt.Axis(labelLimit=260, domain=False, ticks=False))


def _whiskers(
    rows: list[dict[str, Any]], arms: Sequence[str], color: Any, tips: list[alt.Tooltip], title: str
) -> list[alt.Chart]:
    base = alt.Chart(data(rows)).encode(y=_arms(arms), color=color, tooltip=tips)
    x = alt.X("low:Q", axis=_PERCENT, title=title)
    return [
        base.mark_rule(strokeWidth=2.5).encode(x=x, x2="high:Q"),
        base.mark_square(size=80, opacity=1).encode(x=alt.X("mean:Q", axis=_PERCENT, title=title)),
    ]


def _drawn(layers: Sequence[alt.Chart], arms: int) -> Spec:
    return as_spec(alt.layer(*layers).properties(width="container", height=max(60, _ROW * arms)))
