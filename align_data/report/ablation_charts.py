"""The charts of an ablation, as Vega-Lite: arms with their intervals, differences, and quality against size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from align_data.report.axes import POINTS, SHARES, logarithmic
from align_data.report.figures import Cell, Chart, Figures
from align_data.report.vega_lite import (
    KEPT,
    LOST,
    OPEN,
    SOFT,
    Channel,
    Rows,
    Spec,
    channel,
    choice,
    layered,
    marks,
    second,
)

if TYPE_CHECKING:
    from align_data.train.ablate.differences import Difference
    from align_data.train.ablate.intervals import SeedMean
    from align_data.train.ablate.results import Ablation

_ROW = 26
"""Pixels of an arm."""
_HEIGHT = 260


def forest(ablation: Ablation, metric: str) -> Chart:
    """Return each arm's mean and interval, with a small mark for every seed, and chance."""
    estimates = {arm: by for arm in ablation.names if (by := ablation.estimate(arm, metric)) is not None}
    rows = [{"arm": arm, "pairs": ablation.size(arm), **_row(by)} for arm, by in estimates.items()]
    seeds = [
        {"arm": arm, "seed": seed, "value": value}
        for arm in ablation.names
        for seed, value in ablation.values(arm, metric).items()
    ]
    encoding = {
        "x": channel("value:Q", scale={"nice": True, "zero": True}, axis=SHARES, title=metric),
        "y": _arms(ablation.names),
        "tooltip": [channel("arm:N"), channel("seed:Q"), channel("value:Q", format=".2%")],
    }
    values = marks("circle", seeds, encoding, size=28, color=SOFT, opacity=1)
    tips = [channel("arm:N"), channel("pairs:Q", format=","), *_tips()]
    whiskers = _whiskers(rows, ablation.names, {"value": OPEN}, tips, (metric, SHARES))
    figures = Figures(
        ["arm", "pairs", f"{metric} (%)", "from", "to", "seeds"],
        [[arm, ablation.size(arm), *_cells(by, ".2f")] for arm, by in estimates.items()],
    )
    layers = [values, *whiskers, *_at(ablation.chance, "chance")]
    return Chart(
        f"{metric} of each arm, with its 95 % interval over seeds.", _drawn(layers, len(ablation.names)), figures
    )


def differences(differences_: Sequence[Difference], arms: Sequence[str]) -> Chart:
    """Return the differences to one arm; in colour those that are distinguishable from 0."""
    rows = [
        {"arm": difference.arm, "distinguishable": bool(difference.distinguishable), **_row(difference.by)}
        for difference in differences_
    ]
    charted = [arm for arm in arms if any(difference.arm == arm for difference in differences_)]
    color = choice({"test": "datum.distinguishable"}, KEPT, SOFT)
    against = differences_[0].against
    title = f"points above {against}, paired by seed"
    layers = [*_at(0, against), *_whiskers(rows, charted, color, [channel("arm:N"), *_tips()], (title, POINTS))]
    figures = Figures(
        ["arm", f"points above {against}", "from", "to", "seeds"],
        [[difference.arm, *_cells(difference.by, "+.2f")] for difference in differences_],
    )
    return Chart(
        f"By how much each arm exceeds {against}, with the 95 % interval.", _drawn(layers, len(charted)), figures
    )


def sizes(ablation: Ablation, lines: Sequence[tuple[str, Sequence[str]]], metric: str) -> Chart:
    """Return quality against size, a line for each name with its arms."""
    estimates = {
        (name, arm): by for name, arms in lines for arm in arms if (by := ablation.estimate(arm, metric)) is not None
    }
    rows = [
        {"data": name, "arm": arm, "pairs": ablation.size(arm), **_row(by)} for (name, arm), by in estimates.items()
    ]
    numbers = [max(1, row["pairs"]) for row in rows]
    x = logarithmic(min(numbers, default=1), max(numbers, default=1), padding=12)
    colors = {"domain": [name for name, _ in lines], "range": [OPEN, KEPT]}
    base = {
        "x": channel("pairs:Q", title="pairs trained on", **x),
        "color": channel("data:N", title=None, scale=colors),
    }
    y = channel("mean:Q", axis=SHARES, title=metric)
    low = channel("low:Q", axis=SHARES, title=metric)
    tips = [channel("arm:N"), channel("pairs:Q", format=","), *_tips()]
    layers = [
        *_intervals(rows, {**base, "y": low, "y2": second("high")}, strokeWidth=2),
        marks("line", rows, {**base, "y": y}, strokeWidth=2),
        marks("circle", rows, {**base, "y": y, "tooltip": tips}, size=70, opacity=1),
    ]
    figures = Figures(
        ["data", "arm", "pairs", f"{metric} (%)", "from", "to", "seeds"],
        [[name, arm, ablation.size(arm), *_cells(by, ".2f")] for (name, arm), by in estimates.items()],
    )
    return Chart(
        f"{metric} against the number of pairs, of raw and of filtered data.", layered(layers, _HEIGHT), figures
    )


def _row(by: SeedMean) -> dict[str, Any]:
    """Return an estimate as a row; what has no interval has no ends."""
    low, high = by.interval or (None, None)
    return {"mean": by.mean, "low": low, "high": high, "seeds": by.seeds}


def _cells(by: SeedMean, form: str) -> list[Cell]:
    """Return an estimate in percent as cells of a table."""
    ends = by.interval or (None, None)
    shown = [None if value is None else format(100 * value, form).replace("-", "−") for value in (by.mean, *ends)]
    return [*shown, by.seeds]


def _intervals(rows: Rows, encoding: Mapping[str, Any], **options: Any) -> list[Spec]:
    """Return a line from end to end of each interval, as a layer; none where no row has one, which has no extent."""
    ranged = [row for row in rows if row["low"] is not None]
    return [marks("rule", ranged, encoding, **options)] if ranged else []


def _tips() -> list[Channel]:
    return [*(channel(f"{name}:Q", format=".2%") for name in ("mean", "low", "high")), channel("seeds:Q")]


def _arms(arms: Sequence[str]) -> Channel:
    axis = {"domain": False, "labelLimit": 260, "ticks": False}
    return channel("arm:N", sort=list(arms), title=None, axis=axis)


def _at(value: float, label: str) -> list[Spec]:
    """Return a line from top to bottom, with what it is above it."""
    row = [{"mean": value, "label": label}]
    encoding = {"x": channel("mean:Q"), "y": {"value": -4}, "text": channel("label:N")}
    return [
        marks("rule", row, {"x": channel("mean:Q")}, color=LOST, strokeDash=[4, 3]),
        marks("text", row, encoding, align="left", baseline="bottom", color=LOST, dx=-2, fontSize=11),
    ]


def _whiskers(
    rows: Rows, arms: Sequence[str], color: Channel, tips: Sequence[Channel], axis: tuple[str, Mapping[str, Any]]
) -> list[Spec]:
    base = {"y": _arms(arms), "color": color, "tooltip": tips}
    low, mean = (channel(f"{name}:Q", axis=axis[1], title=axis[0]) for name in ("low", "mean"))
    return [
        *_intervals(rows, {**base, "x": low, "x2": second("high")}, strokeWidth=2.5),
        marks("square", rows, {**base, "x": mean}, size=80, opacity=1),
    ]


def _drawn(layers: Sequence[Spec], arms: int) -> Spec:
    return layered(layers, max(60, _ROW * arms))
