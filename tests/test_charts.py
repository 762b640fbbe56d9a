"""What charts draw is what is counted: steps read off the drawing are the counts of a plain oracle, axes are readable."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import altair as alt
import oracle
import polars as pl
import pytest
import vl_convert
from conftest import Built, build, write_list
from hypothesis import given
from hypothesis import strategies as st
from test_ablate import ablation

from align_data.common.progress import Silent
from align_data.engines.local import LocalEngine
from align_data.recipes.operators import Bound
from align_data.recipes.plan import Plan
from align_data.recipes.reading import parse
from align_data.report import ablation_charts, audit_html, axes, calibration_charts, charts
from align_data.report.figures import Chart
from align_data.stages.audit import survey
from align_data.stages.audit.curves import Axis, Curve, Tally, bars, points, steps_are_exact
from align_data.stages.audit.leaves import Comparison
from align_data.stages.audit.roles import DROPPED, OPEN

OPS = ("ge", "gt", "le", "lt")
PAPERS = ("#ffffff", "#14181d")
"""Of the light and of the dark scheme."""


def curve_of(values: list[int], op: str, threshold: int) -> tuple[Comparison, Curve]:
    """Return the curve of a rule on whole numbers; every third pair fails another rule."""
    plan = Plan.unresolved(parse(f"name: r\nrules:\n  - {{signal: n_chars, {op}: {threshold}}}\n", "r.yaml"))
    leaf = Comparison(plan.rules[0])
    tally = Tally(Axis(leaf.test))
    roles = pl.Series([DROPPED if n % 3 == 0 else OPEN for n in range(len(values))], dtype=pl.Int8).to_numpy()
    tally.add(pl.Series(values, dtype=pl.Int32), roles)
    return leaf, tally.curve(tally.counts)


def kept(values: list[int], op: str, threshold: float) -> int:
    return sum(1 for n, value in enumerate(values) if n % 3 and oracle.OPERATORS[op](value, threshold))


def layers(chart: Chart, kind: str) -> list[dict[str, Any]]:
    return [layer for layer in chart.spec["layer"] if layer["mark"]["type"] == kind]


def rows(chart: Chart, layer: Mapping[str, Any]) -> list[dict[str, Any]]:
    of: list[dict[str, Any]] = chart.spec["datasets"][layer.get("data", chart.spec.get("data"))["name"]]
    return of


def height(steps: list[dict[str, Any]], at: float) -> int:
    """Read a step-after drawing: the height of the last step that begins at or before a place."""
    height_: int = [row["kept"] for row in steps if row["edge"] <= at][-1]
    return height_


numbers = st.one_of(
    st.lists(st.integers(0, 40), min_size=1, max_size=60),
    st.lists(st.integers(0, 999), min_size=1, max_size=300),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=40),
)


@given(numbers, st.sampled_from(OPS), st.integers(0, 60))
def test_a_step_is_as_high_as_its_thresholds_keep(values: list[int], op: str, threshold: int) -> None:
    leaf, curve = curve_of(values, op, threshold)
    chart = charts._sweep(leaf, curve, Bound(op, threshold))
    (area, _) = layers(chart, "area")
    assert area["mark"]["interpolate"] == "step-after"
    steps = rows(chart, area)
    for at, pairs, _ in chart.figures.rows:
        assert isinstance(at, int)
        assert pairs == kept(values, op, at) == height(steps, at)
    if "exact at" in chart.title:
        return
    edges = [row["edge"] for row in steps]
    assert edges == sorted(edges)
    for at in {*range(math.ceil(edges[0]), min(math.floor(edges[-1]), 1200) + 1), *values}:
        if edges[0] <= at <= edges[-1]:  # every threshold that the drawing has, also those that it has no row for
            assert height(steps, at) == kept(values, op, at), (at, values, op)


@given(numbers, st.sampled_from(OPS), st.integers(0, 60), st.integers(4, 30))
def test_a_curve_of_few_points_says_whether_it_is_all(values: list[int], op: str, threshold: int, limit: int) -> None:
    _, curve = curve_of(values, op, threshold)
    end = Bound(op, threshold)
    drawn = [point.value for point in points(curve, end, limit)]
    upward = op in ("ge", "lt")  # a threshold between two keeps what the greater keeps
    between = {
        at: next(value for value in drawn if value >= at) if upward else [value for value in drawn if value <= at][-1]
        for at in {*values, *(value + 1 for value in values), *(value - 1 for value in values)}
        if drawn[0] <= at <= drawn[-1]
    }
    told = all(
        sum(oracle.OPERATORS[op](value, at) for value in values)
        == sum(oracle.OPERATORS[op](value, stands) for value in values)
        for at, stands in between.items()
    )
    exact = steps_are_exact(curve, end, drawn)
    assert told or not exact
    if max(values) < 999:  # beyond it values are counted to three digits
        assert exact == told


def test_values_as_many_as_are_drawn_are_drawn_exactly() -> None:
    for op in OPS:
        values = [n * 7 for n in range(140)]
        leaf, curve = curve_of(values, op, 100)
        assert "exact at" not in charts._sweep(leaf, curve, Bound(op, 100)).title
        leaf, curve = curve_of([n * 7 % 999 for n in range(900)], op, 100)
        assert "(exact at" in charts._sweep(leaf, curve, Bound(op, 100)).title


@pytest.mark.parametrize(("op", "edge"), [("ge", 2.5), ("gt", 3.5), ("le", 3.5), ("lt", 2.5)])
def test_a_bar_is_around_its_number_and_a_threshold_between_bars(op: str, edge: float) -> None:
    _, curve = curve_of([1, 2, 3, 3, 4, 9], op, 3)
    chart = charts.distribution(curve)
    assert chart is not None
    drawn = rows(chart, layers(chart, "rect")[0])
    assert [(row["low"], row["high"], row["all pairs"]) for row in drawn] == [
        (0.5, 1.5, 1), (1.5, 2.5, 1), (2.5, 3.5, 2), (3.5, 4.5, 1), (8.5, 9.5, 1),
    ]  # fmt: skip
    (label,) = (rows(chart, layer) for layer in layers(chart, "text"))
    assert label == [{"at": edge, "label": f"{charts.SIGNS[op]} 3"}]
    assert chart.figures.rows[2] == ["3", 2, sum(1 for n in (2, 3) if n % 3)]


@given(st.integers(2, 50), st.integers(61, 99), st.sampled_from(OPS), st.integers(0, 150))
def test_bars_of_whole_numbers_are_equally_wide_but_at_the_threshold(
    least: int, span: int, op: str, threshold: int
) -> None:
    """Where widths took turns, every other bar was twice as high as its neighbours."""
    _, curve = curve_of([least + n for n in range(span)], op, threshold)
    got = bars(curve, charts.BARS)
    widths = {bar.high - bar.low for bar in got[1:-1] if bar.high is not None and bar.low is not None}
    assert len(widths) == 1


@given(st.floats(0, 1e3), st.floats(1.01, 1e12))
def test_a_logarithmic_axis_names_decades(least: float, factor: float) -> None:
    greatest = max(least, 1e-3) * factor
    named = axes.decades(least, greatest)
    assert len(named) <= 8
    assert named == sorted(set(named))
    assert all(least <= value <= greatest for value in named)
    powers = [10.0**power for power in range(-3, 16) if max(least, 1) <= 10.0**power <= greatest]
    if len(powers) <= 7:
        assert set(powers) <= set(named)


def test_labels_are_numbers_as_people_write_them() -> None:
    values = [0, 0.05, 0.5, 1, 20, 5000, 10_000, 2_500_000, 3_000_000_000, -2000]
    x = {
        "field": "x",
        "type": "ordinal",
        "axis": {"labelExpr": axes.across(0, 9)["axis"]["labelExpr"], "labelOverlap": False},
    }
    data = {"values": [{"x": value} for value in values]}
    spec = {"$schema": alt.SCHEMA_URL, "data": data, "mark": "point", "encoding": {"x": x}}
    svg = vl_convert.vegalite_to_svg(spec)
    labels = re.findall(r"<text[^>]*>([^<]+)</text>", svg)
    assert {"0", "0.05", "0.5", "1", "20", "5k", "10k", "2.5M", "3B"} <= {*labels}
    assert not {"0k", "0.0k", "500m", "50m"} & {*labels}


def test_counts_have_no_fractions_on_their_axis() -> None:
    _, curve = curve_of([1, 2, 3], "ge", 2)
    chart = charts.distribution(curve)
    assert chart is not None
    svg = vl_convert.vegalite_to_svg({**chart.spec, "width": 300})
    labels = re.findall(r"<text[^>]*>([^<]+)</text>", svg)
    assert labels.count("1") == 2  # of the pairs, and of the values
    assert not [label for label in labels if "." in label or label.endswith("m")]


RULES = """
name: every
rules:
  - {signal: n_words, between: [2, 5]}
  - {signal: n_chars, le: 30}
  - {signal: aspect, lt: 2.5}
  - {signal: rarest_ngram, top_k: 5}
  - {signal: script, in: [Latin]}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("charts")
    rows_ = [
        {
            "url": f"http://a.example/{n}",
            "alt_text": " ".join(["word", "other", f"w{n % 7}"] * (n % 4) or ["x"]),
            "declared_width": 100 + n,
            "declared_height": 100,
        }
        for n in range(300)
    ]
    return build(folder / "dataset", write_list(folder / "lists", rows_), RULES)


def test_every_chart_of_the_page_has_its_figures_and_words(built: Built) -> None:
    there = survey(built.dataset, "every", LocalEngine(Path(built.dataset.store.root) / "_w", 2), Silent())
    drawn = [charts.overlaps(there.overlaps, [rule.name for rule in there.plan.recipe.rules])]
    for rule in there.plan.rules:
        leaf = Comparison(rule)
        drawn += [charts.distribution(there.curves[rule.name]), *charts.sweeps(there, leaf, there.curves[rule.name])]
    found = ablation(none=0.1, recipe=0.5, **{"fraction:0.5": 0.3, "fraction:0.5:none": 0.05})
    drawn += [
        ablation_charts.forest(found, "R@1"),
        ablation_charts.differences([d for d in found.differences if d.against == "none"], found.arms),
        ablation_charts.sizes(found, found.lines["softmax"], "R@1"),
    ]
    assert len(drawn) == 1 + 5 + 5 + 3
    for chart in drawn:
        assert chart is not None
        alt.Chart.from_dict(chart.spec, validate=True)
        assert chart.spec["description"] == chart.about
        assert chart.figures.rows
        assert {len(row) for row in chart.figures.rows} == {len(chart.figures.heads)}
        text = str(chart.spec)
        assert not re.search(r"#[0-9a-f]{3,6}\b|'(white|black|grey)'", text)  # the scheme of the page has the colours
    pages = audit_html(there, built.dataset, Silent(), pictures=False)
    for name in set(re.findall(r"var\((--[a-z]+)\)", pages)):
        assert f"{name}:" in pages, name


def test_the_vocabulary_steps_to_the_nearer_size(built: Built) -> None:
    there = survey(built.dataset, "every", LocalEngine(Path(built.dataset.store.root) / "_w", 2), Silent())
    leaf = Comparison(next(rule for rule in there.plan.rules if rule.name == "rarest_ngram"))
    (chart,) = charts.sweeps(there, leaf, there.curves["rarest_ngram"])
    steps, table = rows(chart, layers(chart, "area")[0]), chart.figures.rows
    for (size, _, pairs, _), (larger, _, more, _) in pairwise(table):
        assert isinstance(size, int)
        assert isinstance(larger, int)
        assert height(steps, (size + larger) / 2 - 0.25) == pairs
        assert height(steps, (size + larger) / 2 + 0.25) == more


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_kinds_of_copies_stand_out_from_light_and_from_dark_paper() -> None:
    for colour in calibration_charts._COLORS:
        for paper in PAPERS:
            low, high = sorted([luminance(colour), luminance(paper)])
            assert (high + 0.05) / (low + 0.05) >= 3


def test_seeds_that_agree_have_no_interval_anywhere() -> None:
    found = ablation(none=0.1, recipe=0.5)
    same = [replace(run, metrics={"R@1": 0.25 if run.arm == "none" else 0.5}) for run in found.runs]
    agreed = replace(found, runs=same)
    (difference,) = agreed.differences
    assert difference.distinguishable is None
    assert difference.sentence == (
        "recipe cannot be distinguished from none: +25.0 at each of 3 seeds; without any spread there is no interval"
    )
    assert agreed.shown("recipe", "R@1") == "50.0"
    for chart in (ablation_charts.forest(agreed, "R@1"), ablation_charts.differences([difference], agreed.arms)):
        whiskers = [layer for layer in layers(chart, "rule") if "x2" in layer["encoding"]]
        assert [row for layer in whiskers for row in rows(chart, layer)] == []
    (data,) = agreed.to_json()["differences"]
    assert (data["low"], data["high"], data["distinguishable"]) == (None, None, None)
    nearly = [replace(run, metrics={"R@1": 0.5 + run.seed * 1e-4}) for run in found.runs]
    assert re.fullmatch(r"50\.0 ± 0\.0[1-9]\d?", replace(found, runs=nearly).shown("recipe", "R@1"))
    (narrow,) = replace(
        found, runs=[run if run.arm == "none" else replace(run, metrics={"R@1": 0.2}) for run in nearly]
    ).differences
    ends = re.fullmatch(r".* interval (\S+) to (\S+)", narrow.sentence)
    assert ends is not None
    assert ends[1] != ends[2]


@pytest.mark.parametrize(
    ("signal", "test", "values"),
    [
        ("n_chars", "ge: 3", [5]),
        ("n_chars", "gt: 9000000000000000000", [0, 1, 2**31 - 1]),
        ("n_chars", "le: 1.0e+300", [0, 0]),
        ("n_chars", "ge: -5", [999, 1000, 1001]),
        ("aspect", "lt: 3", [1.0, 2.5, 1e300]),
        ("aspect", "between: [0.1, 0.2]", [1e-9, 1e-8]),
        ("aspect", "gt: -1", [3.0, 3.0]),
    ],
)
def test_no_value_or_threshold_breaks_a_drawing(signal: str, test: str, values: list[float]) -> None:
    plan = Plan.unresolved(parse(f"name: r\nrules:\n  - {{signal: {signal}, {test}}}\n", "r.yaml"))
    leaf = Comparison(plan.rules[0])
    tally = Tally(Axis(leaf.test))
    dtype = pl.Int32 if signal == "n_chars" else pl.Float64
    tally.add(pl.Series(values, dtype=dtype), pl.Series([OPEN] * len(values), dtype=pl.Int8).to_numpy())
    curve = tally.curve(tally.counts)
    for chart in [charts.distribution(curve), *(charts._sweep(leaf, curve, end) for end in leaf.test.bounds)]:
        assert chart is not None
        svg = vl_convert.vegalite_to_svg({**chart.spec, "width": 300})
        assert not re.search("NaN|Infinity|undefined", svg)
        assert re.search(r"<text[^>]*>−?\d", svg), "an axis without a number"
