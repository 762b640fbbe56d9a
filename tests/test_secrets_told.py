"""A secret planted wherever one can be given: no output, log, manifest, receipt or page has it; only tables have URLs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import polars as pl
import pytest
from click.testing import CliRunner, Result

import align_data
from align_data.cli import main
from align_data.common.secrets import strip

KEY = "s3cr3tValue9"
REMOTE = f"memory://me:{KEY}@told"
CLOSED = "http://127.0.0.1:2"
"""Nobody listens there."""


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    yield
    fs = fsspec.filesystem("memory")
    for path in fs.ls("/", detail=False):
        fs.rm(path, recursive=True)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Result]]:
    """Every call's result; none has the secret in what it printed."""
    results: list[Result] = []
    yield results
    for result in results:
        assert KEY not in result.output, result.output


def rows() -> list[dict[str, object]]:
    """Return pairs whose URLs have secrets, few texts among them."""
    return [
        {
            "url": f"http://u:{KEY}@127.0.0.1:2/{n}.jpg?w=1&X-Amz-Signature={KEY}&X-Amz-Date=2",
            "text": ["a red cat here", "b", "c d e f"][n % 3],
            "page_url": f"http://127.0.0.1:2/p?token={KEY}&p={n}",
            "width": 300,
            "height": [300, 100][n % 2],
        }
        for n in range(12)
    ] + [{"url": f"ftp://u:{KEY}@host/x", "text": "no pair", "page_url": None, "width": 1, "height": 1}]


def call(called: list[Result], monkeypatch: pytest.MonkeyPatch, *words: object, code: int = 0) -> Result:
    arguments = [str(word) for word in words]
    monkeypatch.setattr(sys, "argv", ["align-data", *arguments])  # which the log is made of
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == code, result.output
    called.append(result)
    return result


def leaks(url: str) -> list[str]:
    """Return the files of a folder that have the secret and are not tables, which have the pairs' URLs."""
    fs, path = fsspec.core.url_to_fs(url)
    return [
        str(name) for name in fs.find(path) if not str(name).endswith(".parquet") and KEY.encode() in fs.cat_file(name)
    ]


def test_a_remote_dataset_and_pairs_with_secrets(
    tmp_path: Path, called: list[Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*words: object, code: int = 0) -> Result:
        return call(called, monkeypatch, *words, code=code)

    with fsspec.open(f"{REMOTE}/lists/list.csv", "wb") as file:
        pl.DataFrame(rows()).write_csv(file)
    data, work = f"{REMOTE}/data", ["--work", tmp_path / "work"]
    run("run", f"{REMOTE}/lists/list.csv", "--recipe", "align", "--set", "rarest_ngram.ge=2", "--out", data, *work)
    run("fetch", data, "--all", "--proxy", f"http://u:{KEY}@127.0.0.1:2", "--deadline", "5", *work)
    run("measure", data, *work, "--spark-conf", f"spark.hadoop.fs.s3a.secret.key={KEY}")
    run("filter", data, "--recipe", "align", *work)
    run("filter", data, "--recipe", "align", "--without", "decodable,nsfw,eval_distance", "--as", "loose", *work)
    for html in (["audit", data, "--recipe", "loose", "--html"], ["diff", data, "align", "loose", "--html"]):
        run(*html, tmp_path / f"{html[0]}.html")
        assert KEY not in (tmp_path / f"{html[0]}.html").read_text()
        run(*html[:-1], "--json")
    run("audit", data, "--recipe", "loose", "--examples", 3)
    run("audit", data, "--recipe", "loose", "--examples", 3, "--json")
    for json_ in ([], ["--json"]):
        run("sweep", data, "--recipe", "loose", "--signal", "min_side", "--values", "50,200", "--moved", "9", *json_)
        run("why", data, "--recipe", "loose", "--text", "b", *json_)
        run("why", data, "--recipe", "loose", "--url", rows()[0]["url"], *json_)
        run("why", data, "--recipe", "loose", "--url", f"ftp://u:{KEY}@host/x", code=1)
    run("export", data, "--recipe", "loose", "--format", "metadata", "--out", f"{REMOTE}/kept")
    run("verify", f"{REMOTE}/kept")
    (tmp_path / "gone").write_text(f"{rows()[1]['url']}\n")
    run("takedown", data, "--urls", tmp_path / "gone", "--shards", f"{REMOTE}/kept", *work)
    run("takedown", data, "--urls", tmp_path / "gone", "--shards", f"{REMOTE}/kept", "--json", *work)
    assert leaks(data) == leaks(f"{REMOTE}/kept") == []
    log = fsspec.filesystem("memory").find(f"/me:{KEY}@told/data/_log")
    commands = [json.loads(fsspec.filesystem("memory").cat_file(name)).get("command", []) for name in log]
    assert [
        "measure",
        "memory://***@told/data",
        *map(str, work),
        "--spark-conf",
        "spark.hadoop.fs.s3a.secret.key=***",
    ] in commands


def test_only_tables_have_a_pairs_url_and_reasons_do_not(
    tmp_path: Path, called: list[Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    pl.DataFrame(rows()).write_parquet(tmp_path / "list.parquet")
    data = tmp_path / "data"
    call(called, monkeypatch, "ingest", tmp_path / "list.parquet", "--out", data)
    call(called, monkeypatch, "fetch", data, "--all", "--allow-network", "127.0.0.0/8", "--deadline", "5")
    images = pl.concat(pl.read_parquet(path) for path in (data / "images").glob("*.parquet"))
    assert set(images["status"]) == {"connect"}
    assert not images["reason"].str.contains(KEY).any()
    assert images["url"].str.contains(KEY).all()
    assert leaks(str(data)) == []
    shown = align_data.open(data).dataset.store.url
    assert KEY not in shown


@pytest.mark.parametrize(
    "words",
    [
        ["ingest", f"memory://me:{KEY}@nowhere/x.csv", "--out", "OUT"],
        ["ingest", f"s3://me:{KEY}@nowhere/x.csv", "--out", "OUT"],
        ["ingest", f"nothing://me:{KEY}@nowhere/x.csv", "--out", "OUT"],
        ["ingest", "--from", "img2dataset", f"memory://me:{KEY}@nowhere", "--out", "OUT"],
        ["ingest", f"list.csv?X-Amz-Signature={KEY}", "--out", "OUT"],
        ["audit", f"memory://me:{KEY}@nowhere", "--recipe", "align"],
        ["audit", f"nothing://me:{KEY}@nowhere", "--recipe", "align"],
        ["verify", f"memory://me:{KEY}@nowhere"],
        ["fetch", "OUT", "--all", "--proxy", f"me:{KEY}@host:1"],
        ["fetch", "OUT", "--all", "--proxy", f"nothing://me:{KEY}@host:1"],
        ["measure", "OUT", "--spark-conf", f"password={KEY}", "--spark-conf", "x"],
        ["takedown", f"memory://me:{KEY}@nowhere", "--urls", f"memory://me:{KEY}@list"],
        ["export", f"memory://me:{KEY}@nowhere", "--recipe", "align", "--out", f"memory://me:{KEY}@out"],
        [f"http://me:{KEY}@host"],
        ["audit", f"http://me:{KEY}@host", f"http://me:{KEY}@host", "--recipe", "x"],
        ["why", f"memory://me:{KEY}@nowhere", "--text", "a"],
    ],
)  # fmt: skip
def test_no_error_has_a_secret(words: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [word if word != "OUT" else str(tmp_path / "out") for word in words])
    assert result.exit_code in (1, 2)
    assert "unforeseen" not in result.output
    assert KEY not in result.output


def test_stripped_exports_keep_their_uids(
    tmp_path: Path, called: list[Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    pl.DataFrame(rows()).write_parquet(tmp_path / "list.parquet")
    data = tmp_path / "data"
    (tmp_path / "all.yaml").write_text("name: all\nrules: [{signal: n_words, ge: 1}]\n")
    call(called, monkeypatch, "run", tmp_path / "list.parquet", "--recipe", tmp_path / "all.yaml", "--out", data)
    for out, options in (("as-is", []), ("stripped", ["--strip-credentials"])):
        call(
            called,
            monkeypatch,
            "export",
            data,
            "--recipe",
            "all",
            "--format",
            "metadata",
            "--out",
            tmp_path / out,
            *options,
        )
    whole, stripped = (pl.read_parquet(tmp_path / name / "data" / "*.parquet") for name in ("as-is", "stripped"))
    assert stripped["url"].to_list() == [strip(url) for url in whole["url"]]
    assert stripped.drop("url", "page_url").equals(whole.drop("url", "page_url"))
    assert not any(KEY.encode() in path.read_bytes() for path in (tmp_path / "stripped").rglob("*") if path.is_file())
    assert json.loads((tmp_path / "stripped" / "manifest.json").read_text())["strip_credentials"] is True
    call(called, monkeypatch, "verify", tmp_path / "stripped")
