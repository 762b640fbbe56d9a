"""What `align-data plan` says before a run, against what the run then comes to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result
from hostile_web import Page, jpeg, serve
from hypothesis import given, settings
from hypothesis import strategies as st

from align_data.cli import main
from align_data.stages.forecast.figures import Clusters, Figure, assumed, counted
from align_data.stages.forecast.sample import HashSample

RECIPE = """
name: mine
rules:
  - {signal: n_words, between: [2, 6]}
  - {signal: images_per_text, le: 3}
  - {signal: texts_per_image, le: 4}
  - {signal: min_side, gt: 200}
  - {signal: nsfw, lt: 0.5}
"""


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def planned(*words: object) -> dict[str, Any]:
    return json.loads(call("plan", *words, "--json").stdout)


def pool(rows: int, seed: int) -> pl.DataFrame:
    """Rows with copies, texts of many URLs, URLs of many texts, sizes, and some that are no pairs."""
    random = np.random.default_rng(seed)
    urls = [f"http://h{random.zipf(1.6) % 97}.example/{seed}/{i}" for i in random.integers(0, rows, rows)]
    texts = [
        " ".join(f"w{word}" for word in random.integers(0, 50, 1 + int(random.integers(0, 9)))) for _ in range(rows)
    ]
    for at in np.flatnonzero(random.random(rows) < 0.15):
        texts[at] = f"heavy text {random.zipf(1.5) % 40}"
    for at in np.flatnonzero(random.random(rows) < 0.05):
        urls[at] = f"http://hot.example/{random.zipf(1.7) % 30}"
    for at in np.flatnonzero(random.random(rows) < 0.1):
        urls[at], texts[at] = urls[at - 1], texts[at - 1]
    for at in np.flatnonzero(random.random(rows) < 0.01):
        urls[at] = "not a URL"
    sides = [None if random.random() < 0.3 else int(random.integers(50, 900)) for _ in range(rows)]
    return pl.DataFrame({"url": urls, "text": texts, "width": sides, "height": sides})


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(RECIPE)
    return tmp_path / "mine.yaml"


@pytest.mark.parametrize(
    "write",
    [pl.DataFrame.write_parquet, pl.DataFrame.write_csv, pl.DataFrame.write_ndjson],
    ids=["parquet", "csv", "jsonl"],
)
def test_a_small_input_is_counted_and_the_run_says_the_same(
    tmp_path: Path, recipe: Path, write: Callable[[pl.DataFrame, Path], None], request: pytest.FixtureRequest
) -> None:
    path = tmp_path / f"list.{request.node.callspec.id}"
    write(pool(3000, 1), path)
    plan = planned(path, "--recipe", recipe)
    ran = json.loads(call("run", path, "--recipe", recipe, "--out", tmp_path / "out", "--json").stdout)
    account, audit = ran["account"], ran["audit"]
    rows = {name: figure["value"] for name, figure in plan["rows"].items()}
    assert {figure["basis"] for figure in plan["rows"].values()} == {"counted"}
    assert rows["rows"] == account["rows"]
    assert (rows["pairs"], rows["merged"], rows["rejected"]) == tuple(
        account[n] for n in ("pairs", "merged", "rejected")
    )
    assert plan["reasons"] == account["reasons"]
    assert rows["dropped"] == audit["dropped"]
    assert rows["open"] == audit["kept"] + audit["pending"]
    assert [(r["rule"], r["fail"]["value"], r["unknown"]["value"]) for r in plan["rules"]] == [
        (r["rule"], r["fail"], r["unknown"]) for r in audit["rules"]
    ]
    pairs = pl.read_parquet(tmp_path / "out" / "pairs")
    masks = pl.read_parquet(tmp_path / "out" / "verdicts" / "mine")
    open_ = pairs.hstack(masks.select("failed")).filter(pl.col("failed") == 0)
    assert plan["fetch"]["urls"] == {"value": open_["url"].n_unique(), "unit": "URLs", "basis": "counted"}
    assert rows["urls"] == pairs["url"].n_unique()
    hosts = pl.col("url").str.extract("//([^/]*)", 1)
    assert rows["hosts"] == pairs.select(hosts.n_unique()).item()
    most = open_.unique("url").select(hosts.value_counts(sort=True)).unnest("url")["count"].head(5).to_list()
    assert [host["urls"]["value"] for host in plan["hosts"]] == most


def test_a_sample_tells_the_pool_within_its_intervals(tmp_path: Path, recipe: Path) -> None:
    """Of 95 % intervals some few may be missed; none by much, and half of all are met by less than half."""
    missed, z = [], []
    for seed in range(5):
        pool(20_000, seed).write_parquet(tmp_path / f"{seed}.parquet")
        exact = planned(tmp_path / f"{seed}.parquet", "--recipe", recipe)
        sample = planned(tmp_path / f"{seed}.parquet", "--recipe", recipe, "--sample", 4000)
        assert sample["rows"]["rows"] == exact["rows"]["rows"]
        assert sample["rows"]["rejected"] == exact["rows"]["rejected"]
        assert sample["rows"]["hosts"] == exact["rows"]["hosts"]
        told = {
            name: (sample["rows"][name], exact["rows"][name]) for name in ("pairs", "merged", "urls", "dropped", "open")
        }
        told |= {a["rule"]: (a["fail"], b["fail"]) for a, b in zip(sample["rules"], exact["rules"], strict=True)}
        told["fetch"] = (sample["fetch"]["urls"], exact["fetch"]["urls"])
        for name, (estimate, truth) in told.items():
            assert estimate["basis"] == "sampled"
            off = abs(estimate["value"] - truth["value"])
            assert off <= 3 * estimate["error"] + 1e-9, (seed, name, estimate, truth)
            z.append(off / estimate["error"] if estimate["error"] else 0.0)
            missed += [(seed, name)] if off > estimate["error"] + 1e-9 else []
    assert len(missed) <= 0.15 * len(z), missed
    assert np.median(z) < 0.5


def test_a_probe_asks_a_few_urls_under_the_guard(tmp_path: Path, recipe: Path) -> None:
    with serve() as web:
        sizes = {f"/{n}.jpg": jpeg(n, 32 + n) for n in range(60)}
        web.pages |= {path: _answering(content) for path, content in sizes.items() if int(path[1:-4]) % 3}
        urls = [web.url(path) for path in sizes]
        pl.DataFrame({"url": urls, "text": [f"two words {n}" for n in range(60)]}).write_parquet(tmp_path / "l.parquet")
        words = (tmp_path / "l.parquet", "--recipe", recipe, "--probe")
        everything = planned(*words, 100, "--allow-network", "127.0.0.0/8")["fetch"]
        assert everything["alive"] == {
            "value": pytest.approx(40 / 60),
            "unit": "images/URL",
            "basis": "probed",
            "error": pytest.approx(0.12, abs=0.01),
        }
        alive = [len(content) for path, content in sizes.items() if int(path[1:-4]) % 3]
        assert everything["bytes"]["value"] == pytest.approx(40 * sum(alive) / 40, rel=1e-4)
        assert sorted(asked.path for asked in web.seen.asked) == sorted(sizes)
        assert planned(*words, 7, "--allow-network", "127.0.0.0/8")["fetch"]["alive"]["basis"] == "probed"
        assert len(web.seen.asked) == 60 + 7
        guarded = planned(*words, 60)["fetch"]
        assert guarded["alive"]["value"] == 0
        assert len(web.seen.asked) == 60 + 7


def _answering(content: bytes) -> Page:
    return lambda talk: talk.answer(content, "Content-Type: image/jpeg")


def test_what_no_sample_tells_is_said(tmp_path: Path, recipe: Path) -> None:
    recipe.write_text("name: mine\nrules:\n  - {signal: rarest_ngram, ge: 3}\n  - {signal: n_words, ge: 2}\n")
    pool(3000, 2).write_parquet(tmp_path / "list.parquet")
    plan = planned(tmp_path / "list.parquet", "--recipe", recipe, "--sample", 500)
    assert plan["rules"][0]["fail"] is None
    assert plan["notes"] == [
        "no sample tells rarest_ngram, which is of the pool as a whole: it is taken to drop nothing, so dropped pairs are a lower bound, and URLs an upper one"
    ]
    whole = planned(tmp_path / "list.parquet", "--recipe", recipe)
    assert whole["rules"][0]["fail"]["value"] > 0
    assert whole["notes"] == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.parquet", None, "nothing matches"),
        ("empty.csv", "", "is empty, not even a header"),
        ("text.csv", "a,b\n1,2\n", "no column found for url"),
        ("cut.parquet", "PAR1 and no more", "cut.parquet"),
    ],
)
def test_what_ingest_refuses_is_the_same_sentence(
    tmp_path: Path, recipe: Path, name: str, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    refused = call("plan", tmp_path / name, "--recipe", recipe, code=1).stderr
    assert words in refused
    ingested = call("ingest", tmp_path / name, "--out", tmp_path / "out", code=1).stderr
    assert refused.splitlines()[-1] == ingested.splitlines()[-1]


def test_a_list_of_no_rows_is_a_plan_of_nothing(tmp_path: Path, recipe: Path) -> None:
    (tmp_path / "header.csv").write_text("url,text\n")
    plan = planned(tmp_path / "header.csv", "--recipe", recipe)
    assert {figure["value"] for figure in plan["rows"].values()} == {0}
    assert plan["fetch"]["urls"]["value"] == 0


def test_a_recipe_that_cannot_decide_is_refused_before_rows_are_read(tmp_path: Path) -> None:
    pool(100, 3).write_parquet(tmp_path / "list.parquet")
    refused = call("plan", tmp_path / "list.parquet", "--recipe", "cc3m", code=1).stderr
    assert "leaves the threshold of" in refused
    assert "plan: read" not in refused


def test_prices_make_money_and_executors_seconds(tmp_path: Path, recipe: Path) -> None:
    pool(1000, 4).write_parquet(tmp_path / "list.parquet")
    words = (tmp_path / "list.parquet", "--recipe", recipe, "--core-hour", 2, "--gb-month", 3, "--executors", 5)
    plan = planned(*words)
    work = sum(stage["core_seconds"]["value"] for stage in plan["stages"].values())
    assert plan["money"]["core_hours"]["value"] == pytest.approx(2 * work / 3600, abs=1e-6)
    disk = sum(stage["disk"]["value"] for stage in plan["stages"].values() if stage["disk"] is not None)
    assert plan["money"]["storage_month"]["value"] == pytest.approx(3 * disk / 1e9, rel=1e-3)
    assert set(plan["money"]) == {"core_hours", "storage_month"}
    images = plan["stages"]["images"]
    assert images["executor_seconds"]["value"] == pytest.approx(images["core_seconds"]["value"] / 20, rel=1e-3)
    assert planned(*words[:3])["money"] == {}
    assert "Money" in call("plan", *words).stdout


def test_the_heaviest_host_is_the_floor_of_a_fetch(tmp_path: Path, recipe: Path) -> None:
    urls = [f"http://one.example/{i}" for i in range(900)] + [f"http://h{i}.example/" for i in range(100)]
    pl.DataFrame({"url": urls, "text": [f"two words{i}" for i in range(1000)]}).write_parquet(tmp_path / "l.parquet")
    fetch = planned(tmp_path / "l.parquet", "--recipe", recipe, "--per-host", 2, "--connections", 1000)["fetch"]
    assert fetch["hours"] == fetch["hours_by_heaviest_host"]
    assert fetch["hours"]["value"] == pytest.approx(900 * 0.5 / 2 / 3600)


PAIRS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12)), max_size=80)


@settings(deadline=None)
@given(PAIRS, st.integers(1, 40), st.integers(1, 7))
def test_a_hash_sample_has_all_rows_of_the_keys_below_its_bound(
    pairs: list[tuple[int, int]], limit: int, batch: int
) -> None:
    sample = HashSample(limit, lambda rows: rows["url"].hash(), [])
    rows = pl.DataFrame(
        {"url": [f"http://a/{u}" for u, _ in pairs], "alt_text": [f"t{t}" for _, t in pairs]},
        schema={"url": pl.String, "alt_text": pl.String},
    )
    for start in range(0, len(rows), batch):
        sample.add(rows[start : start + batch])
    held = sample.merged()
    below = rows.filter(rows["url"].hash() < round(sample.share * 2**64)) if sample.share < 1 else rows
    expected = below.group_by("url", "alt_text").len()
    assert sorted(held.select("url", "alt_text", "copies").rows()) == sorted(expected.rows())
    assert len(held) <= limit or held["url"].n_unique() == 1
    assert len(held) > 0 or not pairs
    if len(rows.unique()) <= limit:
        assert sample.share == 1


def test_clusters_are_unbiased_and_their_intervals_cover() -> None:
    """10,000 clusters of uneven rows, of which a tenth are drawn 400 times."""
    random = np.random.default_rng(7)
    rows = random.integers(1, 9, 10_000).astype(float)
    of = np.minimum(rows, random.integers(0, 4, 10_000))
    estimates = []
    for _ in range(400):
        drawn = random.random(10_000) < 0.1
        figure = Clusters(rows[drawn], 0.1, counted(rows.sum(), "rows")).total(of[drawn], "pairs")
        estimates.append((figure.value, figure.error))
    values, errors = np.array(estimates, float).T
    assert values.mean() == pytest.approx(of.sum(), rel=0.005)
    assert 0.92 < (np.abs(values - of.sum()) <= errors).mean() < 0.98


def test_a_product_is_worth_what_its_lesser_factor_is() -> None:
    sampled = Figure(100.0, "URLs", "sampled", 3.0)
    product = sampled.times(Figure(2.0, "", "probed", 0.08), "images")
    assert (product.value, product.unit, product.basis, product.error) == (200.0, "images", "probed", 10.0)
    unknown = sampled.times(assumed(0.5, "", "a paper"))
    assert (unknown.basis, unknown.error, unknown.worth) == ("assumed", None, "assumed (a paper)")
    assert counted(2, "rows").plus(sampled).worth == "sampled ± 2.9%"
