"""Ablation of objectives and in rounds: the same pairs for each, the noise that a model detects, what it keeps."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ablate_fakes
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_ablate import BATCH, Case, ablation

from align_data.common.errors import TrainError
from align_data.report import ablation_html
from align_data.storage.store import Store
from align_data.storage.tables import digest
from align_data.train.ablate.differences import arms_compared, models_compared
from align_data.train.ablate.results import Ablation
from align_data.train.ablate.runs import AblationJob, RunOutcome, key
from align_data.train.ablate.similarities import area, best, noise_detected, read, write
from align_data.train.ablate.treatments import Treatment
from align_data.train.settings import TrainSettings
from align_data.train.zero_shot import Classes


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    for name in () if "real" in request.node.name else ("fit", "judge", "rate", "side"):
        monkeypatch.setattr(f"align_data.train.ablate.trainer.{name}", getattr(ablate_fakes, name))


def truth_of(case: Case) -> tuple[str, set[str]]:
    """Write a file that names the good texts; return it, and their uids."""
    good = {uid for uid, text in case.texts().items() if text.startswith("good text")}
    pl.DataFrame({"uid": sorted(good)}).write_csv(case.folder / "good.csv")
    return str(case.folder / "good.csv"), good


def pool_of(case: Case, out: str) -> dict[str, str]:
    """Return the alt-text of each pair that models scored, by uid, without those that are in the evaluation set."""
    scored = set(pl.read_parquet(next((case.folder / out / "runs").glob("*.parquet")))["uid"])
    pool = {uid: text for uid, text in case.texts().items() if uid in scored and text != "good copy"}
    assert len(pool) == case.pool == len(scored) - 3
    return pool


def arms_of(results: Any) -> dict[tuple[str, str, int], Any]:
    return {(arm["arm"], arm["objective"], arm["round"]): arm for arm in results["arms"]}


def by_hand(texts: Mapping[str, str], good: set[str], seed: int) -> float:
    """Return the area under the ROC curve of the fake model, over all pairs of pairs."""
    scores = {uid: ablate_fakes.similarity(uid, text, seed) for uid, text in texts.items()}
    pairs = [(scores[a], scores[b]) for a in texts for b in texts if a in good and b not in good]
    return sum(1 if one > two else 0.5 if one == two else 0 for one, two in pairs) / len(pairs)


# --- what is counted ---

few = st.lists(st.integers(0, 5).map(float), max_size=12)


@given(few, few)
def test_the_area_is_the_share_of_all_pairs(good: list[float], others: list[float]) -> None:
    found = area(np.array(good), np.array(others))
    if not good or not others:
        assert found is None
        return
    won = sum(1 if one > two else 0.5 if one == two else 0 for one in good for two in others)
    assert found == pytest.approx(won / (len(good) * len(others)))


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), max_size=20), st.floats(0.05, 1))
def test_a_model_keeps_the_most_similar_of_the_pool_and_nothing_else(
    some: list[tuple[int, bool, bool]], share: float
) -> None:
    uids = [f"{number * 7919 % 101:032x}" for number in range(len(some))]
    scored = [(uid, float(score)) for uid, (score, known, _) in zip(uids, some, strict=True) if known]
    similarities = pl.DataFrame(scored, {"uid": pl.String, "similarity": pl.Float64}, orient="row")
    pool = [uid for uid, (_, _, inside) in zip(uids, some, strict=True) if inside]
    ranked = sorted((-score, uid) for uid, score in scored if uid in pool)
    wanted = sorted(uid for _, uid in ranked[: round(share * len(pool))])
    assert best(similarities, pl.Series("uid", pool, pl.String), share) == wanted


def test_what_is_not_in_the_pool_is_neither_noise_nor_good() -> None:
    similarities = pl.DataFrame({"uid": ["a", "b", "c", "leak"], "similarity": [0.5, 0.1, 0.3, 0.9]})
    pool = pl.Series("uid", ["a", "b", "c", "unread"])
    assert noise_detected(similarities, pool, {"a", "leak"}) == 1
    assert noise_detected(similarities, pool, {"c"}) == 0.5
    assert noise_detected(similarities, pool, {"a", "b", "c"}) is None
    assert noise_detected(similarities, pool, ()) is None


def test_damaged_similarities_are_a_sentence(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert read(store, "none.parquet") is None
    write(store, "whole.parquet", pl.DataFrame({"uid": ["a"], "similarity": [0.5]}))
    whole = read(store, "whole.parquet")
    assert whole is not None
    assert whole.rows() == [("a", 0.5)]
    content = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[:-9])
    write(store, "nan.parquet", pl.DataFrame({"uid": ["a"], "similarity": [float("nan")]}))
    pl.DataFrame({"uid": [1], "similarity": [0.5]}).write_parquet(tmp_path / "other.parquet")
    for name in ("cut", "nan", "other"):
        with pytest.raises(TrainError, match=rf"{name}.parquet is not what a run's model made of the pool.*remove it"):
            read(store, f"{name}.parquet")


def test_each_arm_is_compared_within_its_objective_and_round_and_models_within_their_arm() -> None:
    grid = [
        Treatment(arm, objective, round_)
        for arm in ("none", "recipe", "oracle") for objective in ("softmax", "triplet") for round_ in (1, 2, 3)
    ]  # fmt: skip
    treatments = {str(number): treatment for number, treatment in enumerate(grid)}
    arms = [(treatments[one], treatments[two]) for one, two in arms_compared(treatments)]
    assert len(arms) == len(set(arms)) == 3 * 6  # recipe and oracle with none, oracle with recipe
    for one, two in arms:
        assert (one.objective, one.round) == (two.objective, two.round)
        assert (one.arm, two.arm) in {("recipe", "none"), ("oracle", "none"), ("oracle", "recipe")}
    models = [(treatments[one], treatments[two]) for one, two in models_compared(treatments)]
    wanted = {
        (Treatment(arm, "triplet", n), Treatment(arm, "softmax", n))
        for arm in ("none", "recipe", "oracle") for n in (1, 2, 3)
    } | {
        (Treatment(arm, objective, n), Treatment(arm, objective, 1))
        for arm in ("none", "recipe", "oracle") for objective in ("softmax", "triplet") for n in (2, 3)
    }  # fmt: skip
    assert len(models) == len(wanted)
    assert set(models) == wanted


# --- runs of before ---


class LaterSettings(TrainSettings):
    """Settings as they may be one day."""

    novelty: float | None = None
    accumulated: int = 1


def test_finished_runs_of_before_are_found_whatever_settings_come_later() -> None:
    # As it was when this was written; where it changes, every finished run is trained again.
    assert key(TrainSettings(), ["a", "b"], {"x": 1}) == (
        "38b6d5486733b5c92c7d7f25444395dc22fa7caf45febc430a11a98503a05412"
    )
    assert key(LaterSettings(), ["a", "b"], {"x": 1}) == key(TrainSettings(), ["a", "b"], {"x": 1})
    keys = {key(LaterSettings(novelty=n, accumulated=a), ["a"], {}) for n in (None, 0.5) for a in (1, 2)}
    assert len(keys) == 4


def test_metrics_by_other_classes_are_not_known_and_that_is_said(case: Case) -> None:
    classes = Classes({"a": "cat"}, ("cat", "dog"))
    job = AblationJob("pool", "eval", case.folder, ablate_fakes.fit, ablate_fakes.judge, 1, None, classes)
    assert job.classes_digest == digest({"labels": {"a": "cat"}, "names": ["cat", "dog"]})  # of what is chosen alone
    others = (Classes({"a": "dog"}, ("cat", "dog")), replace(classes, templates=("a {}",)), Classes({"a": "cat"}))
    assert len({replace(job, classes=each).classes_digest for each in (classes, None, *others)}) == 5
    found = ablation(3, none=0.1)
    told = replace(found, setup=replace(found.setup, labels=True, truth=True)).notes
    for metric in ("KNN accuracy", "Noise detected"):
        assert f"{metric} is not known of 3 runs, which were finished before it was asked for" in " ".join(told)
    assert not any("not known" in line for line in found.notes)


# --- objectives ---


def test_objectives_have_the_same_pairs_and_seeds_and_one_table(case: Case) -> None:
    truth, good = truth_of(case)
    asked = ["--seeds", "3", "--objectives", "softmax,sigmoid", "--truth", truth, "--bias", "-2"]
    done = case.run(
        *asked,
        out="objectives",
        arms="none,random",
    )
    assert done.exit_code == 0, done.output
    found = case.results("objectives")
    arms = arms_of(found)
    assert list(arms) == [(arm, name, 1) for arm in ("none", "random") for name in ("softmax", "sigmoid")]
    assert found["objectives"] == ["softmax", "sigmoid"]
    assert (found["settings"]["objective"], found["settings"]["bias"]) == ("softmax, sigmoid", -2)
    # Seed by seed, arm by arm; the fake model is as good as its pairs, so equal figures are equal pairs.
    for arm in ("none", "random"):
        one, two = (arms[arm, name, 1]["runs"] for name in ("softmax", "sigmoid"))
        assert [run["metrics"]["R@1"] for run in one] == [run["metrics"]["R@1"] for run in two]
        assert [run["metrics"]["good pairs"] for run in one] == [run["metrics"]["good pairs"] for run in two]
    assert len(case.trained("objectives")) == 2 * 2 * 3
    # What a model detects, against all pairs of pairs.
    texts = pool_of(case, "objectives")
    for arm in arms.values():
        for run in arm["runs"]:
            assert run["metrics"]["noise detected"] == pytest.approx(by_hand(texts, good, run["seed"]))
    assert found["chances"]["noise detected"] == 0.5
    compared = {
        (d["arm"], d["objective"], d["against"], d["against_objective"], d["metric"]) for d in found["differences"]
    }
    assert compared == {
        ("random", "softmax", "none", "softmax", "R@1"),
        ("random", "sigmoid", "none", "sigmoid", "R@1"),
        *(
            (arm, "sigmoid", arm, "softmax", metric)
            for arm in ("none", "random")
            for metric in ("R@1", "noise detected")
        ),
    }
    page = (case.folder / "objectives" / "ablation.html").read_text()
    for shown in (
        "random (sigmoid)",
        "noise detected",
        "by noise detected, none (sigmoid) cannot be distinguished from",
    ):
        assert shown in page
        assert shown in done.stdout.replace("\n", " ")
    assert "Left out: zero-shot accuracy and kNN accuracy, for want of classes of the evaluation pairs" in page


def test_what_a_run_of_before_does_not_know_is_said_and_not_trained_again(case: Case) -> None:
    assert case.run("--seeds", "2", out="before", arms="none").exit_code == 0
    assert list((case.folder / "before" / "runs").glob("*.parquet")) == []  # nobody wanted to know
    trained = case.trained("before")
    truth, _ = truth_of(case)
    asked = ["--seeds", "2", "--objectives", "softmax,sigmoid", "--truth", truth]
    assert case.run(*asked, out="before", arms="none").exit_code == 0
    assert len(case.trained("before")) == len(trained) + 2
    found = case.results("before")
    arms = arms_of(found)
    assert "noise detected" not in arms["none", "softmax", 1]["metrics"]
    assert arms["none", "sigmoid", 1]["metrics"]["noise detected"]["seeds"] == 2
    assert (
        "Noise detected is not known of 2 runs, which were finished before it was asked for: another --out trains them "
        "again"
    ) in found["notes"]


def test_without_truth_the_noise_is_left_out_with_a_sentence(case: Case) -> None:
    done = case.run("--seeds", "1", "--objectives", "softmax,triplet", out="untold", arms="none")
    assert done.exit_code == 0, done.output
    found = case.results("untold")
    assert "Left out: noise detected, for want of a file that lists the good pairs: --truth FILE" in found["notes"]
    assert not (case.folder / "untold" / "rated.txt").exists()
    alone = case.run("--seeds", "1", out="alone", arms="none")
    assert alone.exit_code == 0
    assert not any("Left out" in line for line in case.results("alone")["notes"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--objectives", "softmax,cosine"), "there is no objective cosine; there are: softmax, sigmoid, triplet, "),
        (("--objectives", "sigmoyd"), "there is no objective sigmoyd (did you mean sigmoid?)"),
        (
            ("--objectives", "softmax", "--objective", "sigmoid"),
            "--objectives lists every objective: leave --objective",
        ),
        (("--objectives", "softmax,sigmoid", "--margin", "0.3"), "--margin: 0.3: only --objective triplet takes it"),
        (("--objectives", "sigmoid,triplet", "--label-smoothing", "0.1"), "only --objective softmax takes it"),
        (("--objectives", "softmax,triplet", "--margin", "-1"), "--margin: -1.0"),
        (("--classes", "{folder}/classes.txt"), "give --labels too"),
        (("--keep", "0"), "--keep"),
        (("--rounds", "0"), "--rounds"),
        (("--rounds", "2", "--keep", "0.1"), "0.1 of the pool are 12 pairs, fewer than a batch of 16: give a larger"),
        (("--labels", "{folder}/labels.csv"), "none of the 1 labels matches a pair in the shards"),
        (("--labels", "{folder}/of.csv", "--classes", "{folder}/classes.txt"), "the label 'dog' is not one of the 2"),
    ],
)
def test_mistakes_are_sentences_before_anything_is_trained(case: Case, arguments: tuple[str, ...], said: str) -> None:
    (case.folder / "classes.txt").write_text("cat\nhorse\n")
    (case.folder / "labels.csv").write_text("uid,label\nx,cat\n")
    (case.folder / "of.csv").write_text(f"uid,label\n{case.samples[0].uid},dog\n")
    done = case.run(*(one.format(folder=case.folder) for one in arguments), out="wrong", arms="none")
    assert done.exit_code in (1, 2)
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.output
    assert not (case.folder / "wrong" / "runs").exists()


# --- rounds ---


def test_each_round_trains_on_what_the_last_ones_model_keeps(case: Case) -> None:
    truth, good = truth_of(case)
    done = case.run(
        "--seeds", "2", "--rounds", "3", "--keep", "0.4", "--truth", truth, out="rounds", arms="none,recipe"
    )
    assert done.exit_code == 0, done.output
    found = case.results("rounds")
    arms = arms_of(found)
    assert list(arms) == [(arm, "softmax", round_) for arm in ("none", "recipe") for round_ in (1, 2, 3)]
    assert (found["rounds"], found["keep"]) == (3, 0.4)
    in_pool = pool_of(case, "rounds")
    for arm in ("none", "recipe"):
        for run in arms[arm, "softmax", 2]["runs"]:
            ranked = sorted((-ablate_fakes.similarity(u, t, run["seed"]), u) for u, t in in_pool.items())
            kept = [uid for _, uid in ranked[: round(0.4 * case.pool)]]
            assert run["metrics"]["good pairs"] == pytest.approx(len(good & set(kept)) / len(kept))
        assert arms[arm, "softmax", 2]["pairs"] == round(0.4 * case.pool)
    # Both arms' models say the same of the pool here, so they keep the same pairs, and these are one run.
    assert len(case.trained("rounds")) == 2 * (2 + 1)
    differences = {(d["arm"], d["round"], d["against"], d["against_round"], d["metric"]) for d in found["differences"]}
    assert ("recipe", 3, "none", 3, "R@1") in differences
    assert ("none", 3, "none", 1, "noise detected") in differences
    assert ("none", 3, "none", 2, "R@1") not in differences
    page = html.unescape((case.folder / "rounds" / "ablation.html").read_text())
    assert "from the second on, a model trains on 0.4 of the pool" in page
    assert "recipe (round 3)" in page
    before = case.trained("rounds")
    again = case.run(
        "--seeds", "2", "--rounds", "3", "--keep", "0.4", "--truth", truth, out="rounds", arms="none,recipe"
    )
    assert again.exit_code == 0
    assert case.trained("rounds") == before
    assert case.results("rounds") == found


def test_a_run_of_before_that_scored_nothing_is_trained_again_for_the_next_round(case: Case) -> None:
    assert case.run("--seeds", "1", out="longer", arms="none").exit_code == 0
    assert case.run("--seeds", "1", "--rounds", "2", "--keep", "0.5", out="longer", arms="none").exit_code == 0
    assert case.trained("longer") == sorted([f"none 0 {case.pool}"] * 2 + [f"none 0 {round(0.5 * case.pool)}"])
    assert (case.folder / "longer" / "rated.txt").read_text() == "none 0\n"  # the last round's model is not asked


def test_rounds_after_one_that_failed_failed_too(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ablate_fakes.DIVERGES, "recipe:1")
    done = case.run("--seeds", "2", "--rounds", "3", "--keep", "0.5", out="ended", arms="none,recipe")
    assert done.exit_code == 0, done.output
    arms = arms_of(case.results("ended"))
    why = [[run["failure"] for run in arms["recipe", "softmax", round_]["runs"]] for round_ in (1, 2, 3)]
    assert why[0] == [None, "the loss is no number (nan) at step 3"]
    assert why[1] == why[2] == [None, "its round 1 failed"]
    assert arms["none", "softmax", 3]["metrics"]["R@1"]["seeds"] == 2
    assert "failed: recipe (round 2), seed 1: its round 1 failed" in done.stdout.replace("\n", " ")


# --- what is told ---


def models(**values: float) -> Ablation:
    """Return an ablation of two objectives whose figures are as given, by metric."""
    found = ablation(3, none=0.1, recipe=0.5)
    runs = [
        replace(run, objective=name, metrics={"R@1": run.metrics["R@1"] + more, **values})
        for run in found.runs
        for name, more in (("softmax", 0.0), ("sigmoid", 0.001 * run.seed))
    ]
    return replace(found, runs=runs, setup=replace(found.setup, objectives=["softmax", "sigmoid"]))


def test_chance_is_told_of_every_metric_that_models_are_compared_by() -> None:
    found = models(**{"noise detected": 0.5, "kNN accuracy": 0.9, "chance of kNN accuracy": 0.25})
    assert found.metrics == ["R@1", "kNN accuracy", "noise detected"]
    assert found.notes[1] == "Guessing gives kNN accuracy of 25.00 %; every arm is above it"
    assert found.notes[2] == (
        "Guessing gives noise detected of 50.00 %, and no arm is clearly above it: the models have learnt nothing that "
        "can be compared"
    )
    page = ablation_html(found)
    assert all(html.escape(line, quote=False) in page for line in found.notes)
    assert json.loads(json.dumps(found.to_json()))["chances"] == {
        "R@1": 0.1, "kNN accuracy": 0.25, "noise detected": 0.5,
    }  # fmt: skip


def test_quality_against_size_is_drawn_for_each_objective() -> None:
    found = ablation(3, none=0.1, recipe=0.5, **{"fraction:0.5": 0.3})
    both = [replace(run, objective=name) for run in found.runs for name in ("softmax", "triplet")]
    lines = replace(found, runs=both).lines
    assert list(lines) == ["softmax", "triplet"]
    assert lines["triplet"] == [
        ("raw", ["none (triplet)"]),
        ("filtered", ["fraction:0.5 (triplet)", "recipe (triplet)"]),
    ]


def test_a_run_alone_is_called_by_its_arm() -> None:
    run = RunOutcome("none", 0, 5, {}, {}, "nan")
    found = replace(ablation(1, none=0.1), runs=[run])
    assert found.title(run) == "none, seed 0"
    assert "Every run failed" in ablation_html(found)


def test_the_real_trainer_has_objectives_side_by_side(case: Case) -> None:
    pytest.importorskip("torch")
    truth, _ = truth_of(case)
    labels = "".join(f"{sample.uid},{('cat', 'dog')[n % 2]}\n" for n, sample in enumerate(case.samples))
    (case.folder / "of.csv").write_text(f"uid,label\n{labels}")
    (case.folder / "classes.txt").write_text("cat\ndog\n")
    few = ["--seeds", "1", "--samples", str(3 * BATCH), "--image-size", "16", "--truth", truth, "--rounds", "2"]
    classes = ["--labels", str(case.folder / "of.csv"), "--classes", str(case.folder / "classes.txt")]
    asked = [*few, *classes, "--objectives", "softmax,triplet", "--margin", "0.4", "--keep", "0.3"]
    done = case.run(*asked, out="real", arms="recipe")
    assert done.exit_code == 0, done.output
    found = case.results("real")
    arms = arms_of(found)
    assert len(arms) == 4
    for arm in arms.values():
        (run,) = arm["runs"]
        metrics = run["metrics"]
        assert list(arm["metrics"])[:4] == ["R@1", "zero-shot accuracy", "kNN accuracy", "noise detected"]
        assert metrics["chance of zero-shot accuracy"] == 0.5
        assert metrics["chance of kNN accuracy"] == pytest.approx(3 / 7)  # of seven images, four cats and three dogs
        assert 0 < metrics["noise detected"] < 1
    losses = [arms["recipe", name, 1]["runs"][0]["facts"]["first_loss"] for name in ("softmax", "triplet")]
    assert losses[0] > 1  # near the logarithm of the batch, for both: triplets begin with the softmax
    assert arms["recipe", "softmax", 2]["pairs"] == round(0.3 * case.pool) != case.recipe
