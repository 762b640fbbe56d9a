"""The tiny web end to end over a real HTTP server: every rule on images against the truth that nothing reads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from conftest import read
from onnx_models import magenta_model

from align_data.data.layout import Dataset
from align_data.recipes.reading import load
from align_data.storage.store import Store

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples"))
from tiny_server import serve  # noqa: E402

SHARED = ROOT.parent / "shared" / "data" / "images"
ALLOW = ["--allow-network", "127.0.0.0/8"]


def cli(*arguments: object) -> str:
    """Run a command as a user does; return what it printed."""
    code = "from align_data.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True)
class Web:
    """A tiny web, fetched, measured and decided."""

    dataset: Dataset
    truth: pl.DataFrame
    model: Path

    @property
    def found(self) -> pl.DataFrame:
        """Every pair with what was measured, its verdicts, and what it was made as."""
        tables = ["pairs", "measured/image", "verdicts/align"]
        frames = [read(self.dataset, name) for name in tables]
        pairs = pl.concat([frames[0], frames[1], frames[2]], how="horizontal")
        made = self.truth.filter(pl.col("kind") != "duplicate").unique(["url", "alt_text"], keep="first")
        return pairs.join(made.rename({"width": "true_width", "height": "true_height"}), on=["url", "alt_text"])


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    folder = tmp_path_factory.mktemp("web")
    script, out = str(ROOT / "examples" / "tiny_web.py"), folder / "dataset"
    with serve(folder / "web") as base:
        arguments = ["--out", str(folder / "web"), "--images", "1500", "--seed", "5", "--pictures", base]
        arguments += [item for kind in ("gone", "cut_off", "web_page", "exposed", "test_copy", "small_inside")
                      for item in ("--rate", f"{kind}=0.03")]  # fmt: skip
        subprocess.run([sys.executable, script, *arguments], check=True, capture_output=True)
        rules = ["--recipe", "align", "--set", "rarest_ngram.ge=3"]
        cli("run", folder / "web" / "pairs.parquet", *rules, "--out", out)
        cli("fetch", out, "--recipe", "align", *ALLOW, "--per-host", 16)
        asked = read(Dataset(Store(out)), "images")
        magenta_model(folder / "magenta.onnx")
        cli("eval-index", folder / "web" / "evaluation", "--out", folder / "evaluation.parquet")
        given = ["--eval-index", folder / "evaluation.parquet", "--nsfw-model", folder / "magenta.onnx"]
        cli("measure", out, *given, "--only-open", "align")
        cli("filter", out, *rules)
        dataset = Dataset(Store(out))
        # What the text rules dropped was never asked for.
        verdicts = read(dataset, "verdicts/align")
        pairs = read(dataset, "pairs").hstack(verdicts.select("failed"))
        texts = sum(1 << i for i, rule in enumerate(load("align").rules) if rule.signal in
                    ("n_words", "images_per_text", "rarest_ngram", "texts_per_image"))  # fmt: skip
        dropped = pairs.filter(pl.col("failed") & texts != 0)["url"].unique()
        kept = pairs.filter(pl.col("failed") & texts == 0)["url"].unique()
        never = asked.filter(pl.col("url").is_in(dropped.implode()) & ~pl.col("url").is_in(kept.implode()))
        assert set(never["status"]) == {"untried"}
        yield Web(dataset, pl.read_parquet(folder / "web" / "_truth.parquet"), folder / "magenta.onnx")


@pytest.mark.parametrize("rule", ["decodable", "min_side", "aspect", "nsfw", "eval_distance"])
def test_every_image_rule_finds_what_was_planted_for_it(web: Web, rule: str) -> None:
    place = [r.name for r in load("align").rules].index(rule)
    found = web.found
    open_ = found.filter(pl.col("failed") & ((1 << place) - 1) & 15 == 0)  # what the text rules left was fetched
    fails = pl.col("failed") & (1 << place) != 0
    planted, dropped = open_.filter(pl.col("rule") == rule), open_.filter(fails)
    assert len(planted) > 20
    recall = planted.select(fails.mean()).item()
    precision = dropped.select((pl.col("rule") == rule).mean()).item()
    assert recall >= 0.99, recall
    assert precision >= 0.98, dropped.filter(pl.col("rule") != rule).select("kind", rule)


def test_what_is_measured_is_what_was_drawn(web: Web) -> None:
    drawn = web.found.filter(pl.col("decodable"))
    assert len(drawn) > 500
    assert drawn["width"].to_list() == drawn["true_width"].to_list()
    assert drawn["height"].to_list() == drawn["true_height"].to_list()
    assert set(drawn["format"]) == {"jpeg"}


def test_nothing_is_pending_that_could_be_decided(web: Web) -> None:
    """Kept are the captions, and nothing is left unknown where the images could be had."""
    found = web.found
    pending = found.filter((pl.col("failed") == 0) & (pl.col("unknown") != 0))
    assert len(pending) == 0
    kept = found.filter((pl.col("failed") == 0) & (pl.col("unknown") == 0))
    assert len(kept) > 300
    # `large_inside` is a good picture that declares a small size; the list's other good ones are captions.
    assert kept.select(pl.col("kind").is_in(["caption", "large_inside", "other_language"]).mean()).item() >= 0.98


def test_why_says_what_became_of_the_image(web: Web) -> None:
    gone = web.found.filter((pl.col("kind") == "gone") & (pl.col("decodable") == False)).row(0, named=True)  # noqa: E712
    out = web.dataset.store.url
    (told,) = json.loads(cli("why", out, gone["uid"], "--recipe", "align", "--json"))
    assert told["outcome"] == "dropped"
    assert any("http_404" in line for line in told["explanations"])


def test_what_only_its_declared_size_drops_can_be_fetched_after_all(web: Web) -> None:
    out = web.dataset.store.url
    large = pl.col("kind") == "large_inside"
    assert web.found.filter(large & (pl.col("failed") == 0)).is_empty()
    rules = ["--recipe", "align", "--set", "rarest_ngram.ge=3"]
    cli("filter", out, *rules, "--without", "min_side,aspect", "--as", "sizeless")
    before = read(web.dataset, "images")
    told = json.loads(cli("fetch", out, "--recipe", "sizeless", *ALLOW, "--json"))
    assert told["asked"] == told["outcomes"]["ok"] > 20
    after = read(web.dataset, "images")
    had = before["status"] == "ok"
    assert after.filter(had).equals(before.filter(had))  # what was there is not asked for again
    cli("measure", out)
    cli("filter", out, *rules)
    rescued = web.found.filter(large & (pl.col("failed") == 0))
    assert len(rescued) > 5
    assert (rescued["min_side"] > 200).all()


def test_sizes_of_real_photographs_come_back(tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("the real photographs are not in the repository, and not here")
    with serve(tmp_path / "web") as base:
        files = sorted([*(SHARED / "sized").glob("*.jpg"), *(SHARED / "photos").glob("*.jpg")])
        for file in files:
            target = tmp_path / "web" / "pictures" / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
        rows = {"url": [f"{base}/{file.name}" for file in files], "text": [file.stem for file in files]}
        pl.DataFrame(rows).write_csv(tmp_path / "list.csv")
        cli("ingest", tmp_path / "list.csv", "--out", tmp_path / "out")
        cli("fetch", tmp_path / "out", "--all", *ALLOW)
        cli("measure", tmp_path / "out")
    dataset = Dataset(Store(tmp_path / "out"))
    found = pl.concat([read(dataset, "pairs"), read(dataset, "measured/image")], how="horizontal")
    assert found["decodable"].all()
    sized = found.filter(pl.col("alt_text").str.contains(r"^\d+_\d+$"))
    assert len(sized) == 7
    for text, width, height in sized.select("alt_text", "width", "height").iter_rows():
        assert text == f"{width}_{height}"
