"""What a hunt for bad inputs found: each was once data lost or a traceback, and is a sentence or right data now."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import forked
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import manifest_of
from test_cli import answer, call

from align_data.storage.store import Store

SOME = "url,text\nhttp://a/1,x y z\nhttp://a/2,y\n"


@pytest.fixture
def some(tmp_path: Path) -> Path:
    (tmp_path / "some.csv").write_text(SOME)
    return tmp_path / "some.csv"


def pairs(dataset: Path) -> pl.DataFrame:
    return pl.read_parquet(f"{dataset}/pairs/*.parquet").sort("url", "alt_text")


def test_a_folder_that_is_no_dataset_is_left_alone(tmp_path: Path, some: Path) -> None:
    for name in ("pairs/mine.txt", "_work/mine.txt", "sub/.keep.12345678.tmp", ".lock", "own/.keep.tmp"):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert (
        "is not a dataset: choose an empty or a new --out"
        in call("ingest", some, "--out", tmp_path / "d", code=1).stderr
    )
    assert "is not a dataset" in call("measure", tmp_path / "d", code=1).stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "d" / ".lock").read_text() == "mine"


def test_a_dataset_inside_its_lists_does_not_eat_itself(tmp_path: Path, some: Path) -> None:
    out = tmp_path / "ds"
    first = answer("ingest", tmp_path, "--out", out)
    again = answer("ingest", tmp_path, "--out", out)
    assert (first["pairs"], again["pairs"], again["already"]) == (2, 2, True)
    inside = call("ingest", out / "pairs/part-00000.parquet", "--out", out, code=1).stderr
    assert "is inside the dataset that would contain it" in inside
    assert some.exists()


def test_a_list_that_was_written_to_is_noticed(tmp_path: Path, some: Path) -> None:
    call("ingest", some, "--out", tmp_path / "ds")
    some.write_text(SOME.replace("x y z", "X Y Z"))
    os.utime(some, (1, 1))
    said = call("ingest", some, "--out", tmp_path / "ds", code=1).stderr
    assert "other inputs" in said or "one has changed since" in said


def test_work_folders_are_of_the_dataset_and_not_of_how_it_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "a")
    works = [Store("ds", tmp_path / "w").work, Store(str(tmp_path / "a" / "ds"), tmp_path / "w").work]
    monkeypatch.chdir(tmp_path / "b")
    assert works[0] == works[1] != Store("ds", tmp_path / "w").work


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["ingest", "some.csv", "--out", ""], 1, "the name of the folder is empty"),
        (["ingest", "", "--out", "o"], 1, "the name of an input is empty"),
        (["ingest", "some.csv", "--out", "nope://x"], 1, "cannot use nope://x"),
        (["ingest", "zip://x.csv::some.csv", "--out", "o"], 1, "cannot look for zip://x.csv"),
        (["ingest", "some.csv", "--out", "o", "--memory", "0"], 2, "0 is out of range: from 1KB"),
        (["ingest", "some.csv", "--out", "o", "--memory", "9" * 400], 2, "out of range"),
        (["ingest", "some.csv", "--out", "o", "--workers", "9" * 20], 2, "is not in the range"),
        (["ingest", "some.csv", "--out", "o\udcff"], 2, "an argument is not UTF-8"),
        (["measure", "ds", "--signals", ""], 2, "is empty"),
        (["filter", "ds", "--recipe", "align", "--as", ""], 1, "'' is not a valid ledger name"),
        (["filter", "ds", "--recipe", "align", "--set", "aspect.lt=" + str(2**128)], 1, "beyond what 64 bits hold"),
        (["filter", "ds", "--recipe", "align", "--set", "n_words.ge=2001-02-30"], 1, "a number, not '2001-02-30'"),
        (["filter", "ds", "--recipe", "align", "--set", "n_words.ge=!!int x"], 1, "not YAML of a recipe"),
        (["filter", "ds", "--recipe", "align", "--set", "n_words.ge=&x [*x]"], 1, "a recipe has no aliases"),
        (["filter", "ds", "--recipe", "align", "--set", "n_words.ge=" + "{" * 3000], 1, "YAML"),
        (["run", "some.csv", "--recipe", "align", "--set", "nope.ge=1", "--out", "o"], 1, "align has no rule nope"),
    ],
)
def test_odd_arguments_are_sentences(
    some: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(some.parent)
    call("ingest", "some.csv", "--out", "ds")
    call("measure", "ds")
    result = call(*arguments, code=code)
    assert said in " ".join(result.stderr.split())
    assert not (some.parent / "o" / "pairs").exists()


def test_in_takes_numbers_of_any_kind(tmp_path: Path, some: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: r\nrules:\n  - {signal: n_words, in: [1, 2.5]}\n")
    call("run", some, "--recipe", tmp_path / "r.yaml", "--out", tmp_path / "ds")
    assert answer("audit", tmp_path / "ds", "--recipe", "r")["kept"] == 1


def test_lines_of_json_may_have_different_keys(tmp_path: Path) -> None:
    lines = ['{"url":"http://a/1","caption":"a caption"}', '{"URL":"http://a/2","text":"a text","license":"cc0"}']
    (tmp_path / "both.jsonl").write_text("\n".join(lines))
    for number, line in enumerate(lines):
        (tmp_path / f"one-{number}.jsonl").write_text(line)
    call("ingest", tmp_path / "both.jsonl", "--out", tmp_path / "a")
    call("ingest", f"{tmp_path}/one-*.jsonl", "--out", tmp_path / "b")
    assert pairs(tmp_path / "a")["alt_text"].to_list() == ["a caption", "a text"]
    assert pairs(tmp_path / "a").equals(pairs(tmp_path / "b"))
    assert pairs(tmp_path / "a")["license"].to_list() == [None, "cc0"]


def test_csv_and_parquet_of_the_same_rows_are_the_same_pairs(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("url,text,license,uid\nhttp://a/1,x,CC-BY,abc\nhttp://a/1,x,,\n")
    frame = pl.DataFrame({"url": ["http://a/1"] * 2, "text": ["x"] * 2, "license": ["CC-BY", None], "uid": ["abc", ""]})
    frame.write_parquet(tmp_path / "l.parquet")
    for name in ("csv", "parquet"):
        call("ingest", tmp_path / f"l.{name}", "--out", tmp_path / name)
    assert pairs(tmp_path / "csv").equals(pairs(tmp_path / "parquet"))
    assert pairs(tmp_path / "csv").select("license", "source_uid", "copies").rows() == [("CC-BY", "abc", 2)]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("\n\nurl,text\nhttp://a/1,x\n", ["x"]),
        ('"url","te\nxt",caption\nhttp://a/1,x,y\n', ["y"]),
        ("url,text", []),
        ("url,text\n", []),
        (f"url,text\nhttp://a/1,{'w ' * 100_000}\n", [("w " * 100_000).strip()]),
    ],
)
def test_headers_are_found_where_they_end(tmp_path: Path, content: str, found: list[str]) -> None:
    (tmp_path / "l.csv").write_text(content)
    account = answer("ingest", tmp_path / "l.csv", "--out", tmp_path / "ds")
    assert (account["rows"], account["rejected"]) == (len(found), 0)
    assert pairs(tmp_path / "ds")["alt_text"].to_list() == found


def test_columns_twice_and_columns_of_odd_types(tmp_path: Path) -> None:
    twice = pa.table([["http://a/1"], ["http://a/2"], ["x"]], names=["url", "url", "text"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    assert (
        "has 2 columns named url" in call("ingest", tmp_path / "twice.parquet", "--out", tmp_path / "t", code=1).stderr
    )
    odd = {
        "url": ["http://a/1"],
        "text": ["x"],
        "id": [[1, 2]],
        "width": pa.array([300], pa.decimal128(9, 2)),
        "license": [{"a": 1}],
        "lang": pa.array([0], pa.date32()),
    }
    pq.write_table(pa.table(odd), tmp_path / "odd.parquet")
    call("ingest", tmp_path / "odd.parquet", "--out", tmp_path / "odd")
    row = pairs(tmp_path / "odd").row(0, named=True)
    assert (row["source_uid"], row["license"], row["declared_language"]) == (None, None, "1970-01-01")


def test_a_few_kilobytes_of_parquet_do_not_fill_the_memory(tmp_path: Path) -> None:
    texts = [letter * 50_000 for letter in "abc"]
    table = pa.table({"url": [f"http://a/{i}" for i in range(8_000)], "text": [texts[i % 3] for i in range(8_000)]})
    pq.write_table(table, tmp_path / "bomb.parquet")
    # VmHWM and not ru_maxrss: that one counts what the process that started this one had held.
    code = (
        "from pathlib import Path; from align_data.cli import main\n"
        "try: main()\n"
        "finally: print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    command = ["ingest", str(tmp_path / "bomb.parquet"), "--out", str(tmp_path / "ds"), "--memory", "80MB"]
    done = forked.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    assert (tmp_path / "bomb.parquet").stat().st_size < 500_000
    assert int(done.stdout.split()[-1]) < 900_000  # kB, with pages of the spill; all of it is 400 MB of text


def test_many_small_lists_need_few_open_files(tmp_path: Path) -> None:
    for number in range(120):
        (tmp_path / f"l-{number}.csv").write_text(f"url,text\nhttp://a/{number},some words {number}\n")
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))\nfrom align_data.cli import main; main()"
    )
    command = ["ingest", f"{tmp_path}/l-*.csv", "--out", str(tmp_path / "ds"), "--memory", "1KB"]
    done = forked.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    assert "120 rows in = 120 pairs" in done.stdout


def test_what_is_gone_is_made_again(tmp_path: Path, some: Path) -> None:
    out = tmp_path / "ds"
    call("run", some, "--recipe", "align", "--out", out)
    whole = {p: p.read_bytes() for p in out.rglob("*.parquet")}
    for gone in ("counts/ngrams-classes/part-00000.parquet", "measured/text/part-00000.parquet"):
        (out / gone).unlink()
        call("run", some, "--recipe", "align", "--out", out)
        assert {p: p.read_bytes() for p in out.rglob("*.parquet")} == whole
    (out / "verdicts/align/part-00000.parquet").unlink()
    call("filter", out, "--recipe", "align")
    assert {p: p.read_bytes() for p in out.rglob("*.parquet")} == whole


def test_an_export_that_failed_or_was_killed_leaves_a_folder_that_can_be_used(tmp_path: Path, some: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: r\nrules:\n  - {signal: n_words, ge: 1}\n")
    call("run", some, "--recipe", tmp_path / "r.yaml", "--out", tmp_path / "ds")
    export = ["export", tmp_path / "ds", "--recipe", "r", "--out", tmp_path / "kept"]
    assert "source_uid" in call(*export, "--format", "uids", "--uid", "source", code=1).stderr
    (tmp_path / "kept" / ".part-00000.parquet.0123abcd.tmp").write_text("half")
    call(*export, "--format", "metadata")
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == [
        *("README.md", "croissant.json", "data", "manifest.json")
    ]
    assert [p.name for p in (tmp_path / "kept" / "data").iterdir()] == ["train-00000-of-00001.parquet"]
    for content in ("not json", "[1]", "null", '{"name": "x"}'):
        (tmp_path / "theirs").mkdir(exist_ok=True)
        (tmp_path / "theirs" / "manifest.json").write_text(content)
        said = call(
            "export", tmp_path / "ds", "--recipe", "r", "--out", tmp_path / "theirs", "--format", "metadata", code=1
        ).stderr
        assert "is not empty, and not of this export" in said


def test_a_dataset_that_may_only_be_read_can_be_exported(tmp_path: Path, some: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: r\nrules:\n  - {signal: n_words, ge: 1}\n")
    call("run", some, "--recipe", tmp_path / "r.yaml", "--out", tmp_path / "ds")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "ds").rglob("*")}
    call("export", tmp_path / "ds", "--recipe", "r", "--out", tmp_path / "kept", "--format", "uids")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "ds").rglob("*")} == before
    assert len(np.load(tmp_path / "kept" / "uids.npy")) == 2


def test_a_manifest_that_was_tampered_with_is_a_sentence(tmp_path: Path, some: Path) -> None:
    call("run", some, "--recipe", "align", "--out", tmp_path / "ds")
    manifest = manifest_of(tmp_path / "ds", "measured/text")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "meta": {}}))
    said = call("filter", tmp_path / "ds", "--recipe", "align", "--as", "other", code=1).stderr
    assert f"{manifest} cannot be understood: its checksum does not match" in " ".join(said.split())


def test_spark_without_its_extra_is_a_sentence(tmp_path: Path, some: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyspark", "pyspark.sql"):
        monkeypatch.setitem(sys.modules, name, None)
    said = call("ingest", some, "--out", tmp_path / "ds", "--engine", "spark", code=1).stderr
    assert "the Spark engine needs pyspark: pip install 'align-data[spark]'" in said
    wrong = call("ingest", some, "--out", tmp_path / "ds", "--engine", "spark", "--spark-conf", "x", code=2).stderr
    assert "'x' is not a setting; write it as KEY=VALUE" in wrong
