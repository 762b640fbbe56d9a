"""The charts of an ablation, as Vega-Lite: arms with their intervals, differences, and quality against size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from align_data.report.charts import ALL, KEPT, LINE, OPEN
from align_data.report.vega_lite import Channel, Rows, Spec, channel, choice, layered, marks, second

if TYPE_CHECKING:
    from align_data.train.ablate.intervals import SeedMean
    from align_data.train.ablate.results import Ablation, Difference

_PERCENT = {"format": ".0%", "tickCount": 8}
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
    encoding = {
        "x": channel("value:Q", scale={"nice": True, "zero": True}, axis=_PERCENT, title=metric),
        "y": _arms(ablation.arms),
        "tooltip": [channel("arm:N"), channel("seed:Q"), channel("value:Q", format=".1%")],
    }
    values = marks("circle", seeds, encoding, size=28, color=ALL, opacity=1)
    tips = [channel("arm:N"), channel("pairs:Q", format=","), *_tips()]
    return _drawn([values, *_whiskers(rows, ablation.arms, {"value": OPEN}, tips, metric)], len(ablation.arms))


def differences(differences_: Sequence[Difference], arms: Sequence[str]) -> Spec:
    """Return the differences to one arm; in colour those that are distinguishable from 0."""
    rows = [
        {"arm": difference.arm, "distinguishable": bool(difference.distinguishable), **_row(difference.by)}
        for difference in differences_
    ]
    charted = [arm for arm in arms if any(difference.arm == arm for difference in differences_)]
    zero = marks("rule", [{"mean": 0}], {"x": channel("mean:Q")}, color=LINE, strokeDash=[4, 3])
    color = choice({"test": "datum.distinguishable"}, KEPT, "#7a8490")
    title = f"difference to {differences_[0].against}, paired by seed"
    return _drawn([zero, *_whiskers(rows, charted, color, [channel("arm:N"), *_tips()], title)], len(charted))


def sizes(ablation: Ablation, lines: Sequence[tuple[str, Sequence[str]]], metric: str) -> Spec:
    """Return quality against size, a line for each name with its arms."""
    rows = [
        {"data": name, "arm": arm, "pairs": ablation.size(arm), **_row(by)}
        for name, arms in lines
        for arm in arms
        if (by := ablation.estimate(arm, metric)) is not None
    ]
    scale = {"nice": False, "padding": 12, "type": "log"}
    colors = {"domain": [name for name, _ in lines], "range": [OPEN, KEPT]}
    base = {
        "x": channel("pairs:Q", title="pairs trained on", scale=scale),
        "color": channel("data:N", title=None, scale=colors),
    }
    y = channel("mean:Q", axis=_PERCENT, title=metric)
    low = channel("low:Q", axis=_PERCENT, title=metric)
    tips = [channel("arm:N"), channel("pairs:Q", format=","), *_tips()]
    layers = [
        marks("rule", rows, {**base, "y": low, "y2": second("high")}, strokeWidth=2),
        marks("line", rows, {**base, "y": y}, strokeWidth=2),
        marks("circle", rows, {**base, "y": y, "tooltip": tips}, size=70, opacity=1),
    ]
    return layered(layers, _HEIGHT)


def _row(by: SeedMean) -> dict[str, Any]:
    """Return an estimate as a row; without an interval it is as wide as nothing."""
    return {
        "mean": by.mean,
        "low": by.mean if by.low is None else by.low,
        "high": by.mean if by.high is None else by.high,
        "seeds": by.seeds,
    }


def _tips() -> list[Channel]:
    return [*(channel(f"{name}:Q", format=".1%") for name in ("mean", "low", "high")), channel("seeds:Q")]


def _arms(arms: Sequence[str]) -> Channel:
    axis = {"domain": False, "labelLimit": 260, "ticks": False}
    return channel("arm:N", sort=list(arms), title=None, axis=axis)


def _whiskers(rows: Rows, arms: Sequence[str], color: Channel, tips: Sequence[Channel], title: str) -> list[Spec]:
    base = {"y": _arms(arms), "color": color, "tooltip": tips}
    low, mean = (channel(f"{name}:Q", axis=_PERCENT, title=title) for name in ("low", "mean"))
    return [
        marks("rule", rows, {**base, "x": low, "x2": second("high")}, strokeWidth=2.5),
        marks("square", rows, {**base, "x": mean}, size=80, opacity=1),
    ]


def _drawn(layers: Sequence[Spec], arms: int) -> Spec:
    return layered(layers, max(60, _ROW * arms))
