"""The folder of a crawl: its tables open as they are in other tools, and ingest finds the account above them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pandas as pd
import polars as pl
import pyarrow.dataset as pads
import pytest
from conftest import tree
from crawled_rows import row, write_crawl
from made_archives import MadeArchives, make_archives
from test_crawl_command import call
from test_crawl_origin import crawled

Pair = tuple[str, str]


def from_datasets(folder: Path) -> list[Pair]:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    loaded = datasets.load_dataset("parquet", data_dir=str(folder), split="train", cache_dir=os.environ["HF_HOME"])
    return [(row["url"], row["alt_text"]) for row in loaded]


def from_duckdb(path: str) -> list[Pair]:
    return duckdb.sql(f"select url, alt_text from read_parquet('{path}')").fetchall()


READERS: dict[str, Callable[[Path], list[Pair]]] = {
    "pandas": lambda folder: pairs_of(pd.read_parquet(folder).to_dict("records")),
    "polars": lambda folder: pairs_of(pl.scan_parquet(folder).collect().to_dicts()),
    "polars, a pattern": lambda folder: pairs_of(pl.read_parquet(f"{folder}/*.parquet").to_dicts()),
    "duckdb, a pattern": lambda folder: from_duckdb(f"{folder}/*.parquet"),
    "duckdb": lambda folder: from_duckdb(str(folder)),
    "duckdb, all below": lambda folder: from_duckdb(f"{folder.parent}/**/*.parquet"),
    "datasets": from_datasets,
    "pyarrow.dataset": lambda folder: pairs_of(pads.dataset(folder).to_table().to_pylist()),
}


def pairs_of(rows: list[dict[str, Any]]) -> list[Pair]:
    return [(row["url"], row["alt_text"]) for row in rows]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeArchives:
    """Archives of planted truth: a WARC, its WAT, and a WARC without an image."""
    folder = tmp_path_factory.mktemp("made")
    make_archives(folder / "nothing", [], name="nothing.warc.gz")
    return make_archives(folder, 30)


@pytest.fixture(scope="module")
def rows(made: MadeArchives, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that a crawl has written, twice."""
    out = tmp_path_factory.mktemp("crawl") / "rows"
    for _ in range(2):
        call("crawl", made.warc, made.wat, made.warc.parent / "nothing" / "nothing.warc.gz", "--out", out)
    return out


def test_each_file_has_its_place(rows: Path, made: MadeArchives) -> None:
    stems = sorted(["nothing.warc", *(path.name.removesuffix(".gz") for path in (made.warc, made.wat))])
    logs = sorted(path.name for path in (rows / "_log").iterdir())
    assert len(logs) == 2
    assert sorted(path.relative_to(rows).as_posix() for path in rows.rglob("*") if path.is_file()) == sorted(
        [".lock", "_account.json", "_crawl.json", *(f"_log/{name}" for name in logs)]
        + [f"_accounts/{stem}.json" for stem in stems]
        + [f"data/{stem}.parquet" for stem in stems]
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("reader", READERS)
def test_each_reader_opens_the_tables_as_they_are(
    rows: Path, made: MadeArchives, reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in (("HF_HOME", str(tmp_path)), ("HF_HUB_OFFLINE", "1"), ("HF_DATASETS_OFFLINE", "1")):
        monkeypatch.setenv(variable, value)
    if reader == "duckdb" and int(duckdb.__version__.partition(".")[0]) < 2:
        pytest.skip(f"a folder was read by DuckDB 2.0, and this is {duckdb.__version__}")
    planted = pairs_of([*made.of_warc.rows, *made.of_wat.rows])
    assert len(planted) > 100
    assert sorted(READERS[reader](rows / "data")) == sorted(planted)


@pytest.mark.parametrize("named", ["", "/", "/data", "/data/", "/data/*.parquet", "/data/*.warc*.parquet"])
def test_ingest_finds_the_account_however_the_rows_are_named(tmp_path: Path, named: str) -> None:
    total = write_crawl(tmp_path / "rows", {"a.warc": [row()] * 3, "b.warc": [row()] * 2})
    told = call("ingest", f"{tmp_path}/rows{named}", "--out", tmp_path / "dataset")
    assert "no account" not in told.output
    of = crawled(tmp_path / "dataset")
    assert of is not None
    assert (of["archives"], of["rows"], of["records"]) == (2, 5, total.account.records)


def test_one_table_comes_with_its_own_account(tmp_path: Path) -> None:
    write_crawl(tmp_path / "rows", {"a.warc": [row()] * 3, "b.warc": [row()] * 2})
    call("ingest", tmp_path / "rows" / "data" / "b.warc.parquet", "--out", tmp_path / "dataset")
    of = crawled(tmp_path / "dataset")
    assert of is not None
    assert (of["archives"], of["rows"]) == (1, 2)


def test_a_folder_of_rows_may_be_called_data(tmp_path: Path) -> None:
    write_crawl(tmp_path / "data", {"a.warc": [row()] * 3}, finished=False)
    for named in ("data", "data/data", "data/data/"):
        refused = call("ingest", tmp_path / named, "--out", tmp_path / "dataset", code=1)
        assert f"as in '{tmp_path}/data/data/*.parquet'" in " ".join(refused.output.split())
    call("ingest", tmp_path / "data" / "data" / "*.parquet", "--out", tmp_path / "dataset")
    assert crawled(tmp_path / "dataset") is not None


def test_tables_that_lie_elsewhere_are_lists_without_an_account(tmp_path: Path) -> None:
    """In another folder, and in one that is called data, beside which nothing says that it is of a crawl."""
    write_crawl(tmp_path / "rows", {"a.warc": [row()] * 3})
    for place in (tmp_path / "plain", tmp_path / "copied" / "data"):
        place.mkdir(parents=True)
        (place / "a.warc.parquet").write_bytes((tmp_path / "rows" / "data" / "a.warc.parquet").read_bytes())
        call("ingest", place, "--out", place / ".." / f"{place.name}-dataset")
        assert crawled(place / ".." / f"{place.name}-dataset") is None


def test_rows_on_an_object_store(tmp_path: Path, made: MadeArchives) -> None:
    memory = fsspec.filesystem("memory")
    call("crawl", made.warc, "--out", "memory://layout/rows")
    call("crawl", made.warc, "--out", tmp_path / "rows")
    tables = tree(tmp_path / "rows")
    for path in memory.find("/layout/rows"):
        name = path.removeprefix("/layout/rows/")
        assert name.startswith("_log/") or memory.cat(path) == tables[name]
    accounts = []
    for number, named in enumerate(
        ["memory://layout/rows", "memory://layout/rows/data", "memory://layout/rows/data/*"]
    ):
        call("ingest", named, "--out", tmp_path / str(number))
        accounts.append(crawled(tmp_path / str(number)))
    call("ingest", tmp_path / "rows", "--out", tmp_path / "local")
    assert accounts == [crawled(tmp_path / "local")] * 3
    assert accounts[0] is not None


def test_what_lies_in_data_of_an_unfinished_run_is_swept_and_what_is_ours_is_seen(
    tmp_path: Path, made: MadeArchives
) -> None:
    call("crawl", made.warc, "--out", tmp_path / "rows")
    whole = tree(tmp_path / "rows")
    (tmp_path / "rows" / "data" / ".a.parquet.0123abcd.tmp").write_text("x")
    said = json.loads(call("crawl", made.warc, "--out", tmp_path / "rows", "--json").stdout)
    assert said["read"] == 0
    assert tree(tmp_path / "rows") == whole
    other = call("crawl", made.wat, "--out", tmp_path / "rows", code=1)
    assert f"has the rows of {made.warc.name.removesuffix('.gz')}, which these inputs do not name" in other.output
