"""A small race of the benchmark's: archives of which every row is planted, and what cc2dataset's algorithm makes of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import crawl  # noqa: E402
import crawl_corpus  # noqa: E402
from crawl_baseline import COLUMNS, pairs  # noqa: E402
from crawl_limits import gunzip, parse  # noqa: E402


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "crawl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crawl_corpus, "DISTINCT", 20)
        crawl_corpus.write(folder, 0.3, files=2)
    return folder


def planted(corpus: Path, kind: str) -> pl.DataFrame:
    return pl.read_parquet(corpus / "truth" / f"{kind}-00000.parquet")


def test_the_truth_beside_the_archives_adds_up(corpus: Path) -> None:
    for kind in ("warc", "wat"):
        for number, truth in enumerate(crawl_corpus.truths(corpus, kind)):
            assert truth["rows"] == len(pl.read_parquet(corpus / "truth" / f"{kind}-{number:05d}.parquet"))
            assert truth["images"] == truth["rows"] + sum(truth["refused"].values()) + truth["repeated"]
            assert truth[kind] == sorted((corpus / kind).iterdir())[number].stat().st_size
    assert len(planted(corpus, "warc")) >= len(planted(corpus, "wat")) > 200


def test_the_limits_are_of_the_whole_archive(corpus: Path) -> None:
    for kind in ("warc", "wat"):
        archive, truth = min((corpus / kind).iterdir()), next(crawl_corpus.truths(corpus, kind))
        assert gunzip(archive)["bytes"] == truth[f"{kind}_raw"]
        assert 0.2 < parse(archive)["bytes"] / truth[f"{kind}_raw"] < 1


def test_the_baseline_finds_the_planted_pairs_where_it_is_right(corpus: Path) -> None:
    pytest.importorskip("simdjson", reason="cc2dataset's algorithm needs the extra bench")
    archive = min((corpus / "wat").iterdir())
    baseline = pl.DataFrame(list(pairs(archive.read_bytes())), schema=list(COLUMNS), orient="row")
    right = crawl.where_right(baseline)
    assert len(right) < len(baseline)  # repeated and blank ones
    assert right.equals(planted(corpus, "wat").select(right.columns))


def test_what_is_not_as_planted_is_named(corpus: Path) -> None:
    truth = planted(corpus, "wat")
    assert crawl.differences(truth, truth) == []
    assert crawl.differences(truth.with_columns(title=pl.lit("x")), truth) == ["title"]
    assert crawl.differences(truth.head(3), truth) == [f"3 rows and not {len(truth):,}"]


def test_a_process_is_watched_with_those_that_it_starts(tmp_path: Path) -> None:
    child = f"{sys.executable} -c 'held = bytearray(90 << 20); import time; time.sleep(0.5)'"
    cost = crawl.call(["sh", "-c", f"{child}; true"], tmp_path / "log.txt")
    assert cost.peaks[0] > 90
    assert len(cost.peaks) == 2
    assert cost.seconds > 0.5
    with pytest.raises(SystemExit, match="failed, see"):
        crawl.call(["sh", "-c", "exit 3"], tmp_path / "log.txt")


def test_archives_are_of_the_size_that_was_asked_for(corpus: Path) -> None:
    facts = json.loads((corpus / "truth" / "wat-00000.json").read_text())
    assert 0.3e6 <= facts["wat"] < 0.4e6
