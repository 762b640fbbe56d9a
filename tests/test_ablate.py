"""The ablation: arms against an oracle, statistics against scipy, planted leaks, and a whole run with a fake trainer."""

from __future__ import annotations

import html
import io
import json
import math
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import ablate_fakes
import altair as alt
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result
from drawn_charts import recorded
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy import stats
from test_shards import fetched, jpeg

from align_data.cli import main
from align_data.common.errors import DatasetError, InputError, RecipeError
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.decoding.inspected import MAX_PIXELS, ImageChecks
from align_data.decoding.inspection import inspect
from align_data.decoding.render import How, render
from align_data.engines.local import LocalEngine
from align_data.recipes.model import Recipe
from align_data.recipes.plan import Plan
from align_data.recipes.reading import parse
from align_data.report import ablation_html
from align_data.stages.export import Form, export
from align_data.stages.measure import measure
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.storage.store import Store
from align_data.train.ablate.arms import Arm, uids
from align_data.train.ablate.arms import parse as arms_of
from align_data.train.ablate.design import RESULTS
from align_data.train.ablate.intervals import difference, estimate
from align_data.train.ablate.leaks import DISTANCE, Leaks, allowed, evaluation, leaking
from align_data.train.ablate.pool import Pool
from align_data.train.ablate.results import Ablation, Setup
from align_data.train.ablate.runs import RunOutcome
from align_data.train.ablate.truth import good_pairs
from align_data.train.shards import Sample, Shards

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
import tiny_pictures
import tiny_web

RULES = ("n_words", "n_chars", "decodable", "aspect")
BATCH = 16


def plan_of(off: tuple[str, ...] = ()) -> Plan:
    tests: list[dict[str, Any]] = [{"ge": 3}, {"ge": 3}, {"eq": True}, {"lt": 3}]
    rules = [{"signal": name, **test} for name, test in zip(RULES, tests, strict=True)]
    return Plan.unresolved(Recipe.model_validate({"name": "r", "rules": rules}), off=off)


def pool_of(masks: list[tuple[int, int, int, int]], drop_pending: bool = False, **given_: Any) -> Pool:
    names = ["failed", "unknown", "failed:other", "unknown:other"]
    rows = pl.DataFrame(masks, dict.fromkeys(names, pl.Int64), orient="row")
    return Pool(
        plan_of(), rows.insert_column(0, uid_column(len(masks))), len(masks), drop_pending=drop_pending, **given_
    )


def uid_column(number: int) -> pl.Series:
    return pl.Series("uid", [f"{n * 7919 % 10_007:032x}" for n in range(number)], pl.String)


bits = st.integers(0, 2 ** len(RULES) - 1)
masks_ = st.lists(
    st.tuples(bits, bits, bits, bits).map(lambda m: (m[0], m[1] & ~m[0], m[2], m[3] & ~m[2])), min_size=1, max_size=40
)


@given(masks_, st.sampled_from(["none", "recipe", "without:aspect", "only:n_chars", "ledger:other"]))
def test_arms_are_what_the_masks_say(masks: list[tuple[int, int, int, int]], name: str) -> None:
    pool = pool_of(masks, drop_pending=True)
    wanted = []
    for uid, (failed, unknown, other_failed, other_unknown) in zip(pool.rows["uid"], masks, strict=True):
        verdicts = {}
        for place, rule in enumerate(RULES):
            if name == "ledger:other":
                fails, open_ = other_failed >> place & 1, other_unknown >> place & 1
            else:
                fails, open_ = failed >> place & 1, unknown >> place & 1
            verdicts[rule] = "fail" if fails else "unknown" if open_ else "pass"
        asked = {"none": (), "without:aspect": RULES[:3], "only:n_chars": ("n_chars",)}.get(name, RULES)
        if all(verdicts[rule] == "pass" for rule in asked):
            wanted.append(uid)
    (arm,) = arms_of([name], pool.plan)
    if not wanted:
        with pytest.raises(DatasetError, match=f"the arm {name} has no pair with an image"):
            uids(arm, pool, 0)
    else:
        assert uids(arm, pool, 0) == sorted(wanted)


@given(masks_, st.integers(0, 50), st.integers(0, 50))
def test_random_is_as_many_as_recipe_drawn_by_the_seed(
    masks: list[tuple[int, int, int, int]], one: int, two: int
) -> None:
    pool = pool_of([*masks, (0, 0, 0, 0)], drop_pending=True)
    recipe, random = Arm("recipe", "recipe"), Arm("random", "random")
    found = uids(random, pool, one)
    assert found == uids(random, pool, one)
    assert len(set(found)) == len(found) == len(uids(recipe, pool, one))
    assert set(found) <= set(pool.rows["uid"])
    assert len(uids(random, pool, two)) == len(found)


def test_each_seed_draws_anew_and_every_pair_comes_up_as_often() -> None:
    pool = pool_of([(n % 2, 0, 0, 0) for n in range(60)])
    drawn = [uids(Arm("random", "random"), pool, seed) for seed in range(400)]
    assert len({tuple(some) for some in drawn}) == 400
    often = pl.Series([uid for some in drawn for uid in some]).value_counts()["count"]
    assert len(often) == 60
    assert stats.chisquare(often.to_numpy()).pvalue > 0.001


@pytest.mark.parametrize("of", ["recipe", "none"])
def test_fractions_are_nested_and_of_the_size_asked_for(of: str) -> None:
    pool = pool_of([(n % 4 == 0, 0, 0, 0) for n in range(80)])
    whole = uids(Arm(of, of), pool, 3)
    tail = "" if of == "recipe" else ":none"
    found = [uids(arms_of([f"fraction:{share}{tail}"], pool.plan)[0], pool, 3) for share in (0.25, 0.5, 1)]
    assert [len(some) for some in found] == [round(len(whole) * share) for share in (0.25, 0.5, 1)]
    assert set(found[0]) < set(found[1]) < set(found[2]) == set(whole)


def test_pending_pairs_are_a_sentence_unless_they_are_dropped() -> None:
    masks = [(0, 0, 0, 0), (0, 8, 0, 0), (1, 8, 0, 0)]
    with pytest.raises(DatasetError, match="1 pairs of the arm recipe are pending"):
        uids(Arm("recipe", "recipe"), pool_of(masks), 0)
    assert len(uids(Arm("recipe", "recipe"), pool_of(masks, drop_pending=True), 0)) == 1
    assert len(uids(Arm("without:aspect", "without", "aspect"), pool_of(masks), 0)) == 2
    assert len(uids(Arm("none", "none"), pool_of(masks), 0)) == 3
    with pytest.raises(DatasetError, match="the arm recipe has no pair with an image, and 2 pairs are pending"):
        uids(Arm("recipe", "recipe"), pool_of([(0, 8, 0, 0)] * 2, drop_pending=True), 0)


def test_names_of_arms() -> None:
    plan = plan_of(off=("n_chars",))
    each = [arm.name for arm in arms_of(["without:each", "none", "none"], plan)]
    assert each == ["without:n_words", "without:decodable", "without:aspect", "none"]
    both = [arm.name for arm in arms_of(["recipe"], plan, [0.5, 1])]
    assert both == ["recipe", "fraction:0.5:none", "fraction:0.5", "none"]
    for name, said in {
        "recipes": "there is no arm recipes (did you mean recipe?); there are: none, recipe, random, oracle",
        "without:aspekt": "r has no rule aspekt (did you mean aspect?)",
        "only:n_chars": "the ledger was decided without the rule n_chars",
        "without:": "there is no arm without:",
        "fraction:1.5": "fraction:1.5 is not an arm; write it as fraction:0.1",
        "fraction:nan": "fraction:nan is not an arm",
        "fraction:0.5:random": "is not an arm",
    }.items():
        with pytest.raises(RecipeError, match=re.escape(said)):
            arms_of([name], plan)


values = st.lists(st.floats(0, 1), min_size=2, max_size=9)


@given(values)
def test_intervals_are_students(some: list[float]) -> None:
    found = estimate(some)
    mean = math.fsum(some) / len(some)
    error = math.sqrt(math.fsum((x - mean) ** 2 for x in some) / (len(some) - 1) / len(some))
    half = stats.t.ppf(0.975, len(some) - 1) * error
    assert found.low is not None
    assert found.high is not None
    assert found.mean == pytest.approx(mean, abs=1e-12)
    assert found.low == pytest.approx(mean - half, abs=1e-9)
    assert found.high == pytest.approx(mean + half, abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=3, max_size=9))
def test_paired_differences_are_the_paired_t_tests(some: list[tuple[int, int]]) -> None:
    a = {seed: one / 1000 for seed, (one, _) in enumerate(some)}
    b = {seed: two / 1000 for seed, (_, two) in enumerate(some)}
    if len({one - two for one, two in some}) == 1:
        return  # scipy's t-test divides by nothing here
    found = difference({**a, 99: 1.0}, {**b, 98: 0.0})  # of seeds that only one has nothing is said
    test = stats.ttest_rel(list(a.values()), list(b.values()))
    interval = test.confidence_interval(0.95)
    assert found is not None
    assert found.low == pytest.approx(interval.low, abs=1e-9)
    assert found.high == pytest.approx(interval.high, abs=1e-9)
    if abs(test.pvalue - 0.05) > 1e-9:
        assert found.holds_zero == (test.pvalue > 0.05)


def test_one_seed_has_no_interval() -> None:
    assert estimate([0.5]).holds_zero is None
    assert difference({0: 1.0}, {1: 1.0}) is None


def scene(number: int) -> bytes:
    """Return a smooth image, as a photograph is: its copies hash alike."""
    grid = np.random.default_rng(number).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(grid).resize((120, 90), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def recompressed(content: bytes) -> bytes:
    out = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        ImageEnhance.Brightness(image.resize((100, 75))).enhance(1.03).save(out, "JPEG", quality=70)
    return out.getvalue()


RECIPE = """
name: some
rules:
  - {signal: n_chars, ge: 6, source: chosen}
  - {signal: n_words, ge: 2, source: chosen}
"""
PAIRS, GONE, EVALUATION = 120, 5, 12


def dataset_of(folder: Path, first: int, number: int, texts: Any, images: dict[str, bytes]) -> Dataset:
    rows = [{"url": f"http://h/{folder.name}/{n}.jpg", "alt_text": texts(n)} for n in range(number)]
    dataset = fetched(folder, rows + [{"url": url, "alt_text": "good copy"} for url in images], {
        **{row["url"]: scene(first + n) for n, row in enumerate(rows) if n >= GONE}, **images,
    })  # fmt: skip
    engine = LocalEngine(folder / "_work", 2)
    measure(dataset, engine, Silent(), ["phash"])
    for off, name in (((), "some"), (("n_words",), "other")):
        decide_ledger(Decision(parse(RECIPE, "some.yaml"), off=off, name=name), dataset, engine, Silent())
    return dataset


class Case:
    """A dataset, evaluation shards, and what of the first is in the second."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        held = dataset_of(folder / "eval", 50_000, EVALUATION, lambda n: f"good scene {n}", {})
        engine = LocalEngine(folder / "_work", 2)
        self.evaluation = str(folder / "eval-shards")
        export(held, "some", Store(self.evaluation), Form(), engine, Silent(), drop_pending=True)
        self.samples = list(Shards.open(self.evaluation))
        assert len(self.samples) == EVALUATION - GONE
        planted = {
            self.samples[0].url: scene(90_777),  # the URL, with another image today
            "http://copy/1.jpg": recompressed(self.samples[1].image),
            "http://copy/2.jpg": self.samples[2].image,
        }
        texts = ("good text {}", "bad", "badtextbad{}")
        self.dataset = dataset_of(folder / "pool", 0, PAIRS, lambda n: texts[n % 3].format(n), planted)
        self.pool = PAIRS - GONE
        self.recipe = sum(n % 3 == 0 for n in range(GONE, PAIRS))
        assert self.pool > self.recipe > 2 * BATCH

    def run(self, *arguments: str, out: str = "out", arms: str = "none,recipe,random") -> Result:
        where = ["--recipe", "some", "--eval", self.evaluation, "--out", str(self.folder / out)]
        few = ["--batch", str(BATCH), "--samples", str(10 * BATCH), "--arms", arms]
        return CliRunner().invoke(main, ["ablate", self.dataset.store.url, *where, *few, *arguments])

    def results(self, out: str = "out") -> Any:
        return json.loads((self.folder / out / RESULTS).read_text())

    def texts(self) -> dict[str, str]:
        """Return the alt-text of every pair of the dataset, by uid."""
        parts = range(len(self.dataset.ingested().parts))
        pieces = [piece for part in parts for piece in self.dataset.pairs.pieces(part, ["uid", "alt_text"])]
        return dict(pl.concat(pieces).iter_rows())

    def trained(self, out: str = "out") -> list[str]:
        return sorted((self.folder / out / "trained.txt").read_text().splitlines())


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("ablate"))


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    for name in () if "real" in request.node.name else ("fit", "judge", "rate", "side"):
        monkeypatch.setattr(f"align_data.train.ablate.trainer.{name}", getattr(ablate_fakes, name))


def test_a_whole_run(case: Case) -> None:
    ledgers = case.dataset.ledgers()
    arms = "none,recipe,random,ledger:other,without:n_words,only:n_words"
    done = case.run("--seeds", "3", "--fractions", "0.5,1", "--json", arms=arms)
    assert done.exit_code == 0, done.output
    found = case.results()
    assert json.loads(done.stdout) == found
    # One URL, and of the two copies each by its pHash; the rest of the pool is no copy of anything.
    assert found["leaks"] == {"uid": 0, "url": 1, "phash": 2, "pairs": 3, "distance": DISTANCE}
    assert "3 pairs are in the evaluation set and taken out of every arm" in done.stderr
    sizes = {arm["arm"]: arm["pairs"] for arm in found["arms"]}
    assert sizes["none"] == found["pool"] == case.pool
    assert sizes["recipe"] == sizes["random"] == case.recipe
    assert (
        sizes["ledger:other"]
        == sizes["without:n_words"]
        == sizes["recipe"] + sum(n % 3 == 2 for n in range(GONE, PAIRS))
    )
    assert sizes["only:n_words"] == sizes["recipe"]
    assert sizes["fraction:0.5:none"] == round(case.pool / 2)
    arm = {arm["arm"]: arm for arm in found["arms"]}
    assert arm["recipe"]["metrics"]["R@1"]["mean"] == pytest.approx(0.5 + 0.1)
    assert [run["seed"] for run in arm["none"]["runs"]] == [0, 1, 2]
    told = {(one["arm"], one["against"]): one for one in found["differences"]}
    assert told["recipe", "none"]["distinguishable"]
    random, recipe = (
        {run["seed"]: run["metrics"]["R@1"] for run in arm[name]["runs"]} for name in ("random", "recipe")
    )
    mean = sum(recipe[seed] - random[seed] for seed in range(3)) / 3
    assert told["recipe", "random"]["mean"] == pytest.approx(mean)
    # Arms of the same pairs are one run: only:n_words is recipe, without:n_words is ledger:other.
    assert len(case.trained()) == 3 * 6
    assert case.dataset.ledgers() == ledgers
    assert {path.name for path in (case.folder / "out").iterdir() if not path.name.startswith(("pool-", "."))} == {
        "runs", RESULTS, "ablation.html", "trained.txt",
    }  # fmt: skip


def test_the_real_trainer_is_called_as_it_wants_to_be(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    small = ["--seeds", "1", "--samples", str(3 * BATCH), "--image-size", "16"]
    done = case.run(*small, out="real", arms="none,recipe")
    assert done.exit_code == 0, done.output
    found = {arm["arm"]: arm["runs"][0] for arm in case.results("real")["arms"]}
    for run in found.values():
        assert run["facts"]["steps"] == 3
        assert run["facts"]["first_loss"] == pytest.approx(math.log(BATCH), abs=0.7)
        ways = [run["metrics"][f"{way} R@1"] for way in ("image to text", "text to image")]
        assert run["metrics"]["R@1"] == pytest.approx(sum(ways) / 2)
    assert found["none"]["facts"]["last_loss"] != found["recipe"]["facts"]["last_loss"]
    triplets = case.run(*small, "--objective", "triplet", "--softmax-share", "0", out="triplets", arms="none,recipe")
    assert triplets.exit_code == 0, triplets.output
    assert case.results("triplets")["settings"]["objective"] == "triplet"
    for arm in case.results("triplets")["arms"]:
        assert 0 < arm["runs"][0]["facts"]["first_loss"] < 1  # near twice the margin, not the logarithm
        assert arm["runs"][0]["facts"]["temperature"] is None


def test_what_is_finished_is_not_done_again(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert case.run("--seeds", "2", out="again", arms="none,recipe").exit_code == 0
    before, first = case.results("again"), case.trained("again")
    second = case.run("--seeds", "2", out="again", arms="none,recipe")
    assert second.exit_code == 0
    assert case.trained("again") == first
    assert case.results("again") == before
    # One file less is one run more, and the same numbers; another seed is a run for each arm.
    sorted((case.folder / "again" / "runs").iterdir())[0].unlink()
    assert case.run("--seeds", "3", "--jobs", "2", out="again", arms="none,recipe").exit_code == 0
    assert len(case.trained("again")) == len(first) + 1 + 2
    kept = [[run["metrics"] for run in arm["runs"][:2]] for arm in case.results("again")["arms"]]
    assert kept == [[run["metrics"] for run in arm["runs"]] for arm in before["arms"]]
    # Other settings are other runs.
    assert case.run("--seeds", "1", "--samples", str(20 * BATCH), out="again", arms="none").exit_code == 0
    assert len(case.trained("again")) == len(first) + 1 + 2 + 1


def test_a_run_that_diverges_is_a_failure_of_its_own(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ablate_fakes.DIVERGES, "recipe:1")
    done = case.run("--seeds", "3", "--jobs", "2", out="diverged", arms="none,recipe")
    assert done.exit_code == 0, done.output
    assert "recipe, seed 1: failed: the loss is no number (nan) at step 3" in done.stderr
    recipe = case.results("diverged")["arms"][1]
    assert [run["failure"] is None for run in recipe["runs"]] == [True, False, True]
    assert recipe["metrics"]["R@1"]["seeds"] == 2
    assert [one["seeds"] for one in case.results("diverged")["differences"] if one["against"] == "none"] == [2]
    assert "the loss is no number" in (case.folder / "diverged" / "ablation.html").read_text()
    # It is tried again, and then it is there.
    monkeypatch.delenv(ablate_fakes.DIVERGES)
    assert case.run("--seeds", "3", out="diverged", arms="none,recipe").exit_code == 0
    assert case.results("diverged")["arms"][1]["metrics"]["R@1"]["seeds"] == 3
    assert len(case.trained("diverged")) == 6
    monkeypatch.setenv(ablate_fakes.DIVERGES, "none:0")
    alone = case.run("--seeds", "1", out="alone", arms="none")
    assert alone.exit_code == 1
    assert "every run failed; the first error: the loss is no number (nan) at step 3" in alone.stderr


def test_a_process_that_dies_ends_the_run_and_what_was_finished_stays(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ablate_fakes.DIES, "none:1")
    done = case.run("--seeds", "2", out="died", arms="recipe,none")
    assert done.exit_code == 1
    assert (
        "the process that trained none, seed 1, ended with exit 9: there may be too little memory for so many; use fewer --jobs"
        in done.stderr
    )
    assert not (case.folder / "died" / RESULTS).exists()
    monkeypatch.delenv(ablate_fakes.DIES)
    assert case.run("--seeds", "2", out="died", arms="recipe,none").exit_code == 0
    assert case.trained("died") == sorted(f"{arm} {seed} {n}" for seed in (0, 1) for arm, n in (
        ("recipe", case.recipe), ("none", case.pool)))  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "arms", "said"),
    [
        ((), "nothing", "there is no arm nothing"),
        ((), "ledger:nowhere", "has no ledger nowhere"),
        ((), "oracle", "the arm oracle needs a file that lists the good pairs: --truth FILE"),
        (("--batch", "64"), "none,recipe", "the arm recipe has 38 pairs, fewer than a batch of 64"),
        (("--truth", "{folder}/none.csv"), "oracle", "the arm oracle has no pair with an image"),
        (("--truth", "{folder}/missing.parquet"), "oracle", "cannot read"),
        (("--eval", "{folder}/nowhere"), "none", "has no shards"),
    ],
)
def test_mistakes_are_sentences_before_anything_is_trained(
    case: Case, arguments: tuple[str, ...], arms: str, said: str
) -> None:
    (case.folder / "none.csv").write_text("uid\nx\n")
    done = case.run(*(one.format(folder=case.folder) for one in arguments), out="wrong", arms=arms)
    assert done.exit_code == 1
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.output
    assert not (case.folder / "wrong" / "runs").exists()


def test_the_oracle_trains_on_what_the_truth_names(case: Case) -> None:
    pairs = case.dataset.pairs
    rows = pl.concat([piece for part in range(len(case.dataset.ingested().parts))
                      for piece in pairs.pieces(part, ["uid", "url", "alt_text"])])  # fmt: skip
    good = rows.filter(pl.col("alt_text").str.starts_with("good text"))
    truth = rows.select("url", "alt_text", kind=pl.when(pl.col("uid").is_in(good["uid"].implode())).then(
        pl.lit("caption")).otherwise(pl.lit("boilerplate")))  # fmt: skip
    truth.write_parquet(case.folder / "truth.parquet")
    assert good_pairs(str(case.folder / "truth.parquet")) == set(good["uid"])
    good.select("uid").write_csv(case.folder / "truth.csv")
    assert good_pairs(str(case.folder / "truth.csv")) == set(good["uid"])
    done = case.run("--truth", str(case.folder / "truth.parquet"), "--seeds", "1", out="oracle", arms="oracle,none")
    assert done.exit_code == 0, done.output
    assert case.results("oracle")["arms"][0]["pairs"] == case.recipe
    (case.folder / "bad.csv").write_text("id\n1\n")
    with pytest.raises(InputError, match="names no pairs: it needs a column uid, or url and alt_text"):
        good_pairs(str(case.folder / "bad.csv"))


def test_leaks_are_found_by_each_way_and_by_no_other(case: Case) -> None:
    found = evaluation(case.samples, "eval")
    one, two = case.samples[:2]
    far = found.phashes[0] ^ np.int64(0xFFFF)  # 16 bits
    near = found.phashes[1] ^ np.int64(0b1111)  # 4 bits
    rows = pl.DataFrame(
        {
            "uid": [one.uid, "0" * 32, "1" * 32, "2" * 32, "3" * 32],
            "url": ["http://x/1", two.url, "http://x/2", "http://x/3", "http://x/4"],
            "phash": pl.Series([far, far, near, far, None], dtype=pl.Int64),
        }
    )
    marked, counted = leaking(rows, found, 4)
    assert marked.to_list() == [True, True, True, False, False]
    assert counted == Leaks(1, 1, 1, 3, 4)
    assert leaking(rows, found, 3)[0].to_list() == [True, True, False, False, False]


def test_copies_in_the_tiny_web_are_found_and_nothing_else_is() -> None:
    held = tiny_web.make_evaluation(100, 3, 30)
    rows = tiny_web.make(120, 3, {"test_copy": 0.2}, "http://tiny", 30)
    drawn = [(row, tiny_pictures.content(row.picture)) for row in rows if row.picture and row.kind != "many_texts"]
    phashes = [inspect(content or b"", ImageChecks(header=False), MAX_PIXELS).phash for _, content in drawn]
    # As they are in exported shards: a good deal smaller.
    shards = [
        Sample(
            f"{n:032x}",
            f"http://tiny/{each.path}",
            "",
            render(tiny_pictures.content(each) or b"", How("shortest", 128))[0],
        )
        for n, each in enumerate(held)
    ]
    table = pl.DataFrame(
        {"uid": [f"x{n}" for n in range(len(drawn))], "url": [row.url for row, _ in drawn], "phash": phashes},
        {"uid": pl.String, "url": pl.String, "phash": pl.Int64},
    )
    marked, counted = leaking(table, evaluation(shards, "eval"), 6)
    copies = [row.kind == "test_copy" for row, _ in drawn]
    assert sum(copies) == 24
    assert marked.to_list() == copies
    assert counted.phash == counted.pairs == 24


def test_the_rule_on_eval_distance_says_how_near_is_too_near() -> None:
    def plan(**test: Any) -> Plan:
        return Plan.unresolved(Recipe.model_validate({"name": "r", "rules": [{"signal": "eval_distance", **test}]}))

    assert allowed(plan(gt=6)) == 6
    assert allowed(plan(ge=6)) == 5
    assert allowed(plan(gt=6.5)) == 6
    assert allowed(plan(ge=6.5)) == 6  # 6 is dropped
    assert allowed(plan(between=[7, 64])) == 6
    assert allowed(plan(le=6)) == DISTANCE  # it keeps copies
    assert allowed(plan_of()) == DISTANCE


def test_an_empty_evaluation_is_a_sentence() -> None:
    with pytest.raises(DatasetError, match="eval has no pair"):
        evaluation([], "eval")


def test_a_damaged_evaluation_is_a_sentence(case: Case, tmp_path: Path) -> None:
    (tmp_path / "00000.tar").write_bytes(jpeg(1) * 100)
    done = case.run("--eval", str(tmp_path), out="damaged", arms="none")
    assert done.exit_code == 1
    assert str(tmp_path) in done.stderr


ATTACK = "</script><script>window.hacked = 1</script>"


def ablation(seeds: int = 3, **values: float) -> Ablation:
    leaks = Leaks(0, 0, 0, 0, 4)
    setup = Setup(ATTACK, ATTACK, ATTACK, 10, 100, 90, 3, leaks, seeds, {"size": ATTACK, "samples": 100}, {})
    runs = [
        RunOutcome(arm, seed, 50 - len(arm), {"R@1": value + seed * 0.01 * (1 + value), "median rank": 3.0}, {})
        for arm, value in values.items()
        for seed in range(seeds)
    ]
    return Ablation(setup, list(values), runs)


def test_the_page_is_whole_and_nothing_planted_runs() -> None:
    values_ = {"none": 0.1, "recipe": 0.5, "fraction:0.5": 0.3, "fraction:0.5:none": 0.05, ATTACK: 0.11}
    found = ablation(**values_)
    failed = RunOutcome("recipe", 9, 44, {}, {}, ATTACK)
    with recorded() as drawn:
        content = ablation_html(replace(found, runs=[*found.runs, failed]))
    assert "<script" not in content
    policy = html.unescape(re.findall(r'Content-Security-Policy" content="([^"]*)"', content)[0])
    assert "default-src 'none'; script-src 'none'" in policy
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", content)
    assert len(drawn) == 1 + 2 + 1
    for spec in drawn:
        alt.Chart.from_dict(spec, validate=True)


def test_what_cannot_be_told_apart_is_said() -> None:
    found = ablation(none=0.1, recipe=0.5, random=0.1)
    said = [one.sentence for one in found.differences]
    assert any(one.startswith("recipe is better than none: +40.4, 95 % interval") for one in said)
    assert any(one.startswith("random cannot be distinguished from none: +0.0") for one in said)
    assert all("which shows nothing" in one.sentence for one in ablation(1, none=0.1, recipe=0.5).differences)
    assert "Every run failed" in ablation_html(
        replace(found, runs=[RunOutcome("none", 0, 5, {}, {}, "nan")], arms=["none"])
    )


def test_the_verdict_says_what_guessing_gives_and_what_the_pool_is() -> None:
    found = ablation(none=0.1, recipe=0.5, random=0.1)  # of 10 pairs to evaluate on, one of which is right by chance
    assert found.notes[0] == "Guessing gives R@1 of 10.00 %; not clearly above it: none, random"
    assert found.notes[1] == (
        "The arm none is the pool: 90 pairs with an image that was fetched and decodes. The images of 3 of 100 pairs "
        "are not fetched; align-data fetch takes only pairs that the recipe leaves open, and all with --all"
    )
    told = [replace(run, metrics={**run.metrics, "chance": 0.7}) for run in found.runs]
    guessing = replace(found, runs=told, setup=replace(found.setup, unfetched=0, untested=["n_words", "n_chars"]))
    assert guessing.metrics == found.metrics
    assert guessing.notes[0] == (
        "Guessing gives R@1 of 70.00 %, and no arm is clearly above it: the models have learnt nothing that can be "
        "compared"
    )
    assert guessing.notes[1] == (
        "The arm none is the pool: 90 pairs with an image that was fetched and decodes. Not tested, because no pair of "
        "the pool fails them, or hardly any: n_words, n_chars"
    )
    page = ablation_html(guessing)
    assert all(html.escape(line, quote=False) in page for line in guessing.notes)
    low = replace(found, setup=replace(found.setup, evaluation_pairs=100))
    assert low.notes[0] == "Guessing gives R@1 of 1.00 %; every arm is above it"


def test_a_pool_of_what_was_left_open_tests_no_rule_of_texts() -> None:
    everything = [(0, 0, 0, 0), (0b1000, 0, 0, 0), (0b0101, 0, 0, 0)]
    assert pool_of(everything).untested == ["n_chars"]
    assert pool_of(everything[:2]).untested == ["n_words", "n_chars", "decodable"]
    sampled = pool_of(everything, failing={"n_words": 10, "decodable": 11, "aspect": 1})
    assert sampled.untested == ["n_chars", "decodable"]
    assert replace(pool_of(everything[:2]), plan=plan_of(off=("n_words",))).untested == ["n_chars", "decodable"]


def test_a_damaged_pool_is_no_smaller_arm_of_the_real_trainer(case: Case) -> None:
    pytest.importorskip("torch")
    few = ["--samples", str(3 * BATCH), "--image-size", "16"]
    assert case.run("--seeds", "1", *few, out="real-damaged", arms="none").exit_code == 0
    (shard,) = (case.folder / "real-damaged").glob("pool-*/*.tar")
    content = shard.read_bytes()
    other = shard.with_name("00001.tar")  # the pool as it would be with one more, of which nothing can be read
    manifest = json.loads((shard.parent / "manifest.json").read_text())
    more = {**manifest["shards"][0], "name": other.name}
    (shard.parent / "manifest.json").write_text(json.dumps({**manifest, "shards": [*manifest["shards"], more]}))
    other.write_bytes(content[:-2000])
    done = case.run("--seeds", "2", *few, out="real-damaged", arms="none")
    assert done.exit_code == 1
    assert "the ablation's own shards are damaged" in done.stderr
    assert f"remove {shard.parent} and run it again" in done.stderr.replace("\n", " ")
    shutil.rmtree(shard.parent)
    assert case.run("--seeds", "2", *few, out="real-damaged", arms="none").exit_code == 0
    assert [run["failure"] for run in case.results("real-damaged")["arms"][0]["runs"]] == [None, None]
