"""Recipes that nobody would write but somebody might: none hangs, overflows without a word or meets another's column."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from planted_signals import outcomes, planted

from align_data.common.errors import AlignDataError
from align_data.common.progress import Silent
from align_data.engines.local import LocalEngine
from align_data.recipes.model import Recipe
from align_data.recipes.overrides import override_all
from align_data.recipes.plan import Plan
from align_data.recipes.reading import load, parse
from align_data.recipes.scores import MAX_SCORES
from align_data.recipes.verdicts import sentence
from align_data.stages.decision import Decision, decide_ledger

ROWS: list[dict[str, Any]] = [
    {"n_words": n % 7, "aspect": 1 + n / 10, "format": [None, "", "png", "a.b", "else", "é"][n % 6]} for n in range(24)
]


def recipe(scores: dict[str, Any] | None = None, **rule: Any) -> Recipe:
    data = {"name": "hostile", "rules": [{"name": "rule", **rule}], **({"scores": scores} if scores else {})}
    return parse(json.dumps(data), "hostile.yaml")


def terms(*weights: float) -> list[dict[str, Any]]:
    return [
        {"signal": signal, "weight": weight} for signal, weight in zip(("aspect", "n_words"), weights, strict=False)
    ]


OVERFLOWS = {
    "infinite": {"s": {"sum": terms(1e308)}},
    "infinity less infinity": {"s": {"sum": terms(1.7e308, -1.7e308)}},
    "nothing times infinity": {"a": {"sum": terms(1.7e308)}, "s": {"product": [{"signal": "a", "weight": 0}]}},
    "infinite on a scale": {"a": {"sum": terms(1.7e308)}, "s": {"sum": [{"signal": "a", "scale": "rank"}]}},
}


@pytest.mark.parametrize("scores", OVERFLOWS.values(), ids=OVERFLOWS)
def test_a_score_that_overflows_is_a_sentence(scores: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(AlignDataError, match=r"the score \w is beyond what a float holds"):
        outcomes(tmp_path / "dataset", recipe(scores, signal="s", ge=0), ROWS)


@pytest.mark.parametrize("weight", [2**64, -(10**400)])
def test_a_weight_beyond_64_bits_is_a_sentence(weight: int) -> None:
    with pytest.raises(AlignDataError, match=r"beyond what 64 bits hold|too large"):
        recipe({"s": {"sum": terms(weight)}}, signal="s", ge=0)


@pytest.mark.parametrize("name", ["uid", "url", "alt_text", "copies", "failed", "unknown", "rank_rule", "rank_"])
def test_no_score_is_called_like_a_column_beside_it(name: str) -> None:
    with pytest.raises(AlignDataError, match=f"the score {name} has the name of"):
        recipe({name: {"sum": terms(1)}}, signal=name, ge=0)


def test_scores_of_scores_follow_from_their_signals_however_many_ways_lead_there(tmp_path: Path) -> None:
    doubled: dict[str, Any] = {"s0": {"sum": terms(1)}}
    for n in range(1, MAX_SCORES):
        doubled[f"s{n}"] = {"max": [{"signal": f"s{n - 1}"}, {"signal": f"s{n - 1}"}]}
    of_scores = recipe(doubled, signal=f"s{MAX_SCORES - 1}", ge=2)
    plan = Plan.unresolved(of_scores)
    assert plan.signals == ["aspect"]
    row = {"aspect": 1.5, **dict.fromkeys(doubled, 1.5)}
    assert len(sentence(plan, plan.rules[0], row, "fails")) < 100 * MAX_SCORES
    assert outcomes(tmp_path / "dataset", of_scores, ROWS) == [(int(row["aspect"] < 2), 0) for row in ROWS]
    with pytest.raises(AlignDataError, match=f"at most {MAX_SCORES} scores, not {MAX_SCORES + 1}"):
        recipe({**doubled, "another": {"sum": terms(1)}}, signal="another", ge=2)


@pytest.mark.parametrize("rows", [10, 1000])
def test_the_limit_of_classes_is_of_each_rule_over_the_whole_pool(
    rows: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("align_data.data.pool.MOST_CLASSES", 30)

    def decide(classes: int, signals: int) -> None:
        of_hosts = [{"page_host": f"host {n % classes}", "aspect": 1 + n / 100, "n_words": 1} for n in range(60)]
        dataset, _ = planted(tmp_path / f"{classes}", of_hosts, rows)
        rules = [
            {"name": name, "signal": name, "top_fraction": 0.5, "per": "page_host"} for name in ("aspect", "n_words")
        ]
        data = {"name": "classes", "rules": rules[:signals]}
        decide_ledger(Decision(Recipe.model_validate(data)), dataset, LocalEngine(dataset.store.work, 1), Silent())

    decide(30, 2)
    with pytest.raises(AlignDataError, match="per page_host: it has more than 30 classes"):
        decide(31, 1)


@pytest.mark.parametrize("form", ["any", "all"])
def test_a_rule_of_thousands_of_tests_decides(form: str, tmp_path: Path) -> None:
    many = recipe(None, **{form: [{"signal": "aspect", "ge": n} for n in range(2, 2000)]})
    passes = (lambda value: value >= 2) if form == "any" else (lambda value: value >= 1999)
    assert outcomes(tmp_path / "dataset", many, ROWS) == [(int(not passes(row["aspect"])), 0) for row in ROWS]


OF_CLASSES: dict[str, Any] = {
    "ge": ([1, 1.5, 2, 3], lambda value, of: value >= of),
    "eq": ([1, 2.0, 3, 3], lambda value, of: value == of),
    "between": ([[1, 2], [0.5, 2], [3, 3], [4, 4]], lambda value, of: of[0] <= value <= of[1]),
    "in": ([[1], [1, 2], [3, 4], [5, 6, 1]], lambda value, of: value in of),
}


@pytest.mark.parametrize("op", OF_CLASSES)
def test_a_value_for_thousands_of_classes_decides_as_class_by_class(op: str, tmp_path: Path) -> None:
    values, passes = OF_CLASSES[op]
    classes = {f"class {n}": values[n % 4] for n in range(1500)}
    classes |= {"": values[1], "png": values[2], "a.b": values[3], "else": values[0]}
    many = recipe(None, signal="n_words", by="format", **{op: classes})

    def masks(row: dict[str, Any]) -> tuple[int, int]:
        if row["format"] is None:
            return 0, 1
        return int(not passes(row["n_words"], classes.get(row["format"], classes["else"]))), 0

    assert outcomes(tmp_path / "dataset", many, ROWS) == [masks(row) for row in ROWS]


def test_the_class_of_an_empty_text_can_be_set(tmp_path: Path) -> None:
    by_class = recipe(None, signal="n_words", by="format", ge={"": "unspecified", "else": 0})
    decided = outcomes(tmp_path / "dataset", by_class, ROWS, ["rule.ge.=7"])
    assert [failed for failed, _ in decided] == [int(row["format"] == "") for row in ROWS]


def test_a_class_that_is_no_text_or_has_classes_is_a_sentence() -> None:
    for classes, problem in ((r'{"\ud800": 3, else: 5}', "surrogate"), ("{a: {b: 3}, else: 5}", "no classes of its")):
        text = f"name: x\nrules:\n- {{name: c, signal: n_words, by: format, ge: {classes}}}"
        with pytest.raises(AlignDataError, match=f"line 3: .*{problem}"):
            parse(text, "hostile.yaml")


def test_a_score_may_be_as_great_as_a_float(tmp_path: Path) -> None:
    great = recipe({"s": {"product": [*terms(1e200), {"signal": "aspect", "weight": 1e90}]}}, signal="s", ge=4.1e290)
    assert outcomes(tmp_path / "dataset", great, ROWS) == [(int(row["aspect"] ** 2 < 4.1), 0) for row in ROWS]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_recipe_that_waits_or_is_large_is_refused_unread(tmp_path: Path) -> None:
    pipe, large = tmp_path / "pipe.yaml", tmp_path / "large.yaml"
    os.mkfifo(pipe)
    large.touch()
    os.truncate(large, 2**40)  # sparse: it takes no room
    for file, problem in ((pipe, "not a regular file"), (large, "at most 1,048,576 are read")):
        with pytest.raises(AlignDataError, match=problem):
            load(str(file))


@pytest.mark.parametrize("second", ["between.Latin=2,9", "between=1,9", "ge=3"])
def test_a_test_of_several_is_set_once(second: str) -> None:
    by_class = {"signal": "n_chars", "by": "script", "between": {"Latin": [1, 9], "else": [1, 2]}}
    several = recipe(None, any=[{"signal": "n_words", "ge": 1}, by_class])
    apart = ["rule.n_chars.between.Latin=2,8", "rule.n_chars.between.else=2,8", "rule.n_words.ge=2"]
    assert override_all(several, apart, []).rules[0].phrase().count("2 to 8") == 2
    with pytest.raises(AlignDataError, match="--set gives rule two tests"):
        override_all(several, ["rule.n_chars.between.Latin=2,8", f"rule.n_chars.{second}"], [])
