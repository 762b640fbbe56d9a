"""The whole job on the tiny web: each rule against the truth that the pipeline never reads."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections import Counter
from pathlib import Path

import html5lib
import polars as pl
import pytest
from conftest import Built, build
from warcio.archiveiterator import ArchiveIterator

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = str(ROOT / "examples" / "tiny_web.py")


def make(out: Path, *arguments: str) -> pl.DataFrame:
    subprocess.run([sys.executable, SCRIPT, "--out", str(out), *arguments], check=True, capture_output=True)
    return pl.read_parquet(out / "_truth.parquet")


def verdicts(built: Built, truth: pl.DataFrame, ledger: str) -> pl.DataFrame:
    """Return for every pair its verdicts and what it was made as; of equal rows, what the first was made as."""
    pairs = pl.concat([built.table("pairs"), built.table(f"verdicts/{ledger}")], how="horizontal")
    made = truth.filter(pl.col("kind") != "duplicate").unique(["url", "alt_text"], keep="first")
    return pairs.join(made, on=["url", "alt_text"], how="left")


@pytest.mark.parametrize(("images", "seed"), [(2000, 1), (5000, 7)])
def test_every_rule_finds_what_was_planted_for_it(tmp_path: Path, images: int, seed: int) -> None:
    truth = make(tmp_path / "web", "--images", str(images), "--seed", str(seed))
    built = build(tmp_path / "out", [str(tmp_path / "web" / "pairs.parquet")], "align", ["rarest_ngram.ge=3"])
    found = verdicts(built, truth, "align")
    assert found["kind"].null_count() == 0
    for place, rule in enumerate(built.recipe.rules):
        fails = pl.col("failed") & (1 << place) != 0
        planted, dropped = found.filter(pl.col("rule") == rule.name), found.filter(fails)
        if rule.name in ("decodable", "nsfw", "eval_distance"):  # need the pictures
            assert len(dropped) == 0
            continue
        assert len(planted) > 20, rule.name
        recall = planted.select(fails.mean()).item()
        # What a rule drops beside its own noise must at least be noise.
        precision = dropped.select((pl.col("kind") != "caption").mean()).item()
        assert recall >= 0.99, (rule.name, recall)
        assert precision >= 0.98, (rule.name, precision)


def test_the_account_is_the_truths(tmp_path: Path) -> None:
    truth = make(tmp_path / "web", "--images", "2000")
    built = build(tmp_path / "out", [str(tmp_path / "web" / "pairs.parquet")], "align")
    broken = truth.filter(pl.col("kind") == "broken_url")
    good = truth.filter(pl.col("kind") != "broken_url")
    assert built.account.rows == len(truth)
    assert built.account.rejected == len(broken)
    assert built.account.pairs == good.select("url", "alt_text").n_unique()


def test_other_languages_are_told_from_english(tmp_path: Path) -> None:
    truth = make(tmp_path / "web", "--images", "2000", "--rate", "other_language=0.2")
    built = build(tmp_path / "out", [str(tmp_path / "web" / "pairs.parquet")], "datacomp-basic")
    found = verdicts(built, truth, "datacomp-basic")
    foreign = found.filter(pl.col("kind") == "other_language")
    assert len(foreign) == 400
    assert foreign.select((pl.col("failed") & 1 != 0).mean()).item() >= 0.99
    captions = found.filter(pl.col("kind") == "caption")
    assert captions.select((pl.col("failed") & 1 == 0).mean()).item() >= 0.9


def test_the_same_seed_is_the_same_web_and_another_is_not(tmp_path: Path) -> None:
    one = make(tmp_path / "a", "--images", "500", "--seed", "3")
    assert make(tmp_path / "b", "--images", "500", "--seed", "3").equals(one)
    assert not make(tmp_path / "c", "--images", "500", "--seed", "4").equals(one)


def test_rates_are_options(tmp_path: Path) -> None:
    truth = make(tmp_path / "web", "--images", "1000", "--rate", "thumbnail=0.5", "--rate", "banner=0")
    assert (truth["kind"] == "thumbnail").sum() == 500
    assert (truth["kind"] == "banner").sum() == 0
    refused = subprocess.run(
        [sys.executable, SCRIPT, "--out", str(tmp_path), "--rate", "cats=1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "cats=1: one of boilerplate, " in refused.stderr


def test_its_archives_have_the_rows_of_the_list_on_pages(tmp_path: Path) -> None:
    make(tmp_path, "--images", "500", "--archives")
    listed = Counter(pl.read_parquet(tmp_path / "pairs.parquet").rows())
    names = gzip.decompress((tmp_path / "warc.paths.gz").read_bytes()).decode().split()
    assert len(names) > 1
    assert [path.name for path in sorted((tmp_path / "warc").iterdir())] == [Path(name).name for name in names]
    assert len(list((tmp_path / "wat").iterdir())) == len(names)
    shown: Counter[tuple[object, ...]] = Counter()
    for name in names:
        with (tmp_path / name).open("rb") as file:
            for record in ArchiveIterator(file, check_digests="raise"):
                if record.rec_type == "response":
                    figures = html5lib.parse(record.content_stream().read()).iter(
                        "{http://www.w3.org/1999/xhtml}figure"
                    )
                    images = [figure[0] for figure in figures]
                    shown.update(
                        (i.get("src"), i.get("alt"), int(i.get("width")), int(i.get("height"))) for i in images
                    )
    assert shown == listed
