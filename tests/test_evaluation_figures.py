"""Calibration, recall by language and several templates: against definitions in plain Python, and planted truth."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_evaluate import Fake, Row, call, fake, opened, rows, uid_of, write_shards

from align_data.common.errors import InputError
from align_data.common.progress import Silent
from align_data.train.evaluate import evaluate
from align_data.train.labels import checked_templates, read_labels
from align_data.train.metrics import unit
from align_data.train.reliability import reliability
from align_data.train.zero_shot import Classes

__all__ = ["fake"]


@given(
    st.lists(st.tuples(st.integers(0, 60).map(lambda n: n / 60), st.sampled_from([0, 0.5, 1])), min_size=1),
    st.integers(1, 20),
)
def test_the_calibration_error_is_what_its_definition_says(drawn: list[tuple[float, float]], bins: int) -> None:
    confidence, correct = (np.array(column, float) for column in zip(*drawn, strict=True))
    found = reliability(confidence, correct, bins=bins)
    want = 0.0
    for place, each in enumerate(found.bins):
        above, up_to = place / bins, (place + 1) / bins
        own = [pair for pair in drawn if above < pair[0] <= up_to or (place == 0 and pair[0] == 0)]
        assert (each.above, each.up_to, each.predictions) == (above, up_to, len(own))
        if own:
            said, right = (sum(column) / len(own) for column in zip(*own, strict=True))
            assert (each.confidence, each.accuracy) == (pytest.approx(said), pytest.approx(right))
            want += len(own) / len(drawn) * abs(right - said)
        else:
            assert each.confidence is each.accuracy is None
    assert found.ece == pytest.approx(want, abs=1e-12)


def test_a_calibrated_model_lies_where_one_is_expected_and_a_boastful_one_above() -> None:
    chance = np.random.default_rng(1)
    inside = 0
    for seed in range(60):
        confidence = chance.random(200)
        found = reliability(confidence, (chance.random(200) < confidence).astype(float), seed)
        inside += found.calibrated_low <= found.ece <= found.calibrated_high
    assert inside >= 50  # 57 of 60 are expected; fewer than 50 in 1 of 1,000
    sure = reliability(np.full(200, 0.95), (np.arange(200) % 2).astype(float))
    assert sure.ece == pytest.approx(0.45)
    assert sure.ece > sure.calibrated_high
    assert reliability(np.ones(5), np.ones(5)).calibrated_high == 0


def test_confidence_is_the_softmax_of_cosines_over_the_temperature(tmp_path: Path) -> None:
    model = Fake(blur=1.0)
    model.temperature = 0.2  # type: ignore[misc]
    names = tuple(f"class {n}" for n in range(6))
    labels = {f"http://h/{n}.png": f"class {n % 6}" for n in range(30)}
    found = evaluate(model, opened(tmp_path, rows(30)), Silent(), classes=Classes(labels, names)).zero_shot
    assert found is not None
    images = unit(model.table[:30] + model.noise[:30]).astype(float)
    confidences, error = [], [0.0] * 15
    for row, image in enumerate(images):
        odds = [math.exp(float(image @ model.table[n].astype(float)) / 0.2) for n in range(6)]
        confidences.append(max(odds) / sum(odds))
        right = odds.index(max(odds)) == row % 6
        error[math.ceil(confidences[-1] * 15) - 1] += right - confidences[-1]
    assert found.reliability.ece == pytest.approx(sum(map(abs, error)) / 30, abs=1e-5)
    assert sum(each.predictions for each in found.reliability.bins) == 30


def test_a_cold_model_is_sure_and_nothing_overflows(tmp_path: Path) -> None:
    model = Fake()
    model.temperature = 1e-6  # type: ignore[misc]
    labels = {f"http://h/{n}.png": f"class {(n + 1) % 9}" for n in range(9)}
    classes = Classes(labels, tuple(f"class {n}" for n in range(9)))
    found = evaluate(model, opened(tmp_path, rows(9)), Silent(), classes=classes).zero_shot
    assert found is not None
    assert (found.reliability.ece, found.reliability.calibrated_high) == pytest.approx((1, 0), abs=1e-9)


def test_each_language_is_evaluated_as_if_its_pairs_were_all(tmp_path: Path) -> None:
    """English is known, German is shuffled, and each sees its own pairs alone."""
    some = [Row(n, f"number {n}") for n in range(30)]
    some += [Row(30 + n, f"Zahl {30 + (n * 7 + 3) % 20}") for n in range(20)]
    some += [Row(1, "again 1"), Row(60, "no language 60")]
    languages = {uid_of(row.image, place): "de" if "Zahl" in row.text else "en" for place, row in enumerate(some[:-1])}
    model = Fake()
    found = evaluate(model, opened(tmp_path / "all", some), Silent(), languages=languages)
    assert found.languages is not None
    assert list(found.languages) == ["de", "en"]
    for language, own in found.languages.items():
        alone = [row for place, row in enumerate(some) if languages.get(uid_of(row.image, place)) == language]
        assert own.pairs == len(alone) == {"de": 20, "en": 31}[language]
        assert own.retrieval == evaluate(model, opened(tmp_path / language, alone), Silent()).retrieval
    assert found.languages["en"].retrieval.text_to_image.r_at_1.value == 1
    assert found.languages["de"].retrieval.text_to_image.r_at_1.value < 0.2
    assert [note.partition(" is not")[0] for note in found.notes] == ["text to image R@1 of the language 'de'"]
    with pytest.raises(InputError, match="none of the 1 languages matches a pair"):
        evaluate(model, opened(tmp_path / "all", some), Silent(), languages={"x": "en"})


def test_templates_are_checked_and_each_counts_once() -> None:
    assert checked_templates(["a {}", "the {}", "a {}"]) == ("a {}", "the {}")
    for bad in ("a photo", "{} {}", ""):
        with pytest.raises(InputError, match=re.escape("must contain {} exactly once")):
            checked_templates([bad])


@pytest.mark.usefixtures("fake")
def test_the_command_takes_templates_and_languages(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", rows(40))
    truth = pl.DataFrame({"uid": [uid_of(n, n) for n in range(40)]}).with_columns(
        label=pl.Series([f"{n % 4}" for n in range(40)]), language=pl.Series(["en", "[bold]de"] * 20)
    )
    truth.write_csv(tmp_path / "truth.csv")
    (tmp_path / "classes.txt").write_text("0\n1\n2\n3\n")
    (tmp_path / "more.txt").write_text("the {}\n")
    asked = ("evaluate", "model", shards, "--labels", tmp_path / "truth.csv", "--classes", tmp_path / "classes.txt")
    asked += ("--languages", tmp_path / "truth.csv")
    several = ("--template", "a {}", "--template", "one {}", "--templates", tmp_path / "more.txt")
    said = json.loads(call(*asked, *several, "--json").stdout)
    assert said["zero_shot"]["templates"] == 3
    assert sum(each["predictions"] for each in said["zero_shot"]["reliability"]["bins"]) == 40
    assert said["languages"]["en"]["retrieval"]["text_to_image"]["r_at_1"]["value"] == 1
    shown = call(*asked).stdout
    assert re.search(r"\[bold\]de +│ +20 │ 100.0% \(100.0% to 100.0%\) │ +5.00%", shown)
    assert "expected calibration error: " in shown
    assert "--template needs the names" in call("evaluate", "model", shards, "--template", "a {}", code=2).stderr
    assert "exactly once" in call(*asked, "--template", "a", code=1).stderr
    (tmp_path / "labels.csv").write_text("uid,label\na,b\n")
    with pytest.raises(InputError, match="columns uid, label: languages need uid or url, and language"):
        read_labels(str(tmp_path / "labels.csv"), "language")
