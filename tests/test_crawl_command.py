"""The commands on archives, as a curator meets them: planted truth in, rows, accounts and datasets out."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result
from conftest import tree
from made_archives import BROWSERTRIX, COMMON_CRAWL, WGET, Expected, MadeArchives, Style, make_archives
from torture.process import Death, run

from align_data.cli import main

DOLMA = Path(__file__).resolve().parents[2] / "shared" / "data" / "warc"


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeArchives:
    return make_archives(tmp_path_factory.mktemp("made"), 60)


def rows(folder: Path, stem: str) -> list[dict[str, Any]]:
    return pl.read_parquet(folder / "data" / f"{stem}.parquet").to_dicts()


def check(account: dict[str, Any], expected: Expected) -> None:
    assert (account["pages"], account["images"], account["rows"], account["repeated"]) == (
        expected.pages,
        expected.images,
        len(expected.rows),
        expected.repeated,
    )
    assert account["refused"] == dict(sorted(expected.refused.items()))
    assert {reason: account["skipped"].get(reason, 0) for reason in expected.skipped} == expected.skipped
    assert account["records"] == account["pages"] + sum(account["skipped"].values()) + sum(account["damaged"].values())


@pytest.mark.parametrize("style", [COMMON_CRAWL, WGET, BROWSERTRIX], ids=["common crawl", "wget", "browsertrix"])
def test_the_planted_truth_comes_out(tmp_path: Path, style: Style) -> None:
    made = make_archives(tmp_path / "in", 60, style=style)
    said = json.loads(call("crawl", made.warc, made.wat, "--out", tmp_path / "out", "--json").stdout)
    assert said["archives"] == said["read"] == 2
    for path, expected in ((made.warc, made.of_warc), (made.wat, made.of_wat)):
        stem = path.name.removesuffix(".gz")
        account = json.loads((tmp_path / "out" / "_accounts" / f"{stem}.json").read_text())
        check(account, expected)
        assert account["read_as"] == ("wat" if path == made.wat else "warc")
        assert (account["damaged"], account["cut_short"]) == ({}, False)
        got = rows(tmp_path / "out", stem)
        for row, want in zip(got, expected.rows, strict=True):
            columns = want.keys() - {"robots"}  # as the truth has it they are words
            assert {name: row[name] for name in columns} == {name: want[name] for name in columns}


def test_what_is_printed_is_the_account(tmp_path: Path, made: MadeArchives) -> None:
    printed = call("crawl", made.warc, "--out", tmp_path / "out")
    of = made.of_warc
    assert f"{made.records:,} records = {of.pages:,} pages + " in printed.stdout
    refused = ", ".join(f"{n:,} {reason}" for reason, n in sorted(of.refused.items(), key=lambda r: (-r[1], r[0])))
    images = (
        f"{of.images:,} images = {len(of.rows):,} rows + {of.refused.total():,} refused ({refused}) + {of.repeated:,} "
    )
    assert f"{images}repeated on their page" in printed.stdout
    assert f"next: align-data ingest {tmp_path / 'out'} --out DATASET" in printed.stderr
    again = call("crawl", made.warc, "--out", tmp_path / "out")
    assert again.stdout == printed.stdout


def test_damage_is_told_with_its_place(tmp_path: Path, made: MadeArchives) -> None:
    content = bytearray(made.warc.read_bytes())
    offsets = sorted({row["crawl_offset"] for row in made.of_warc.rows})
    at = offsets[len(offsets) // 2]
    content[at + 30 : at + 50] = bytes(20)
    (tmp_path / "a.warc.gz").write_bytes(content)
    (tmp_path / "b.warc.gz").write_bytes(made.warc.read_bytes()[: offsets[-1] + 40])
    printed = call("crawl", tmp_path, "--out", tmp_path / "out")
    assert f"a.warc.gz: gzip at byte {at:,}" in printed.stderr
    assert f"b.warc.gz: truncated at byte {offsets[-1]:,}" in printed.stderr
    assert "cut short, so perhaps not downloaded to the end: b.warc.gz" in printed.stderr
    left = [row for row in made.of_warc.rows if row["crawl_offset"] != at]
    assert len(rows(tmp_path / "out", "a.warc")) == len(left)
    before = [row for row in made.of_warc.rows if row["crawl_offset"] < offsets[-1]]
    assert len(rows(tmp_path / "out", "b.warc")) == len(before)


def test_texts_make_rows_of_their_own(tmp_path: Path, made: MadeArchives) -> None:
    call("crawl", made.warc, "--out", tmp_path / "alt")
    said = json.loads(
        call("crawl", made.warc, "--out", tmp_path / "all", "--text", "title,alt,caption", "--json").stdout
    )
    stem = made.warc.name.removesuffix(".gz")
    everything = pl.read_parquet(tmp_path / "all" / "data" / f"{stem}.parquet")
    of_alt = everything.filter(pl.col("text_from") == "alt")
    alone = pl.read_parquet(tmp_path / "alt" / "data" / f"{stem}.parquet")
    key = ["crawl_offset", "position", "url", "alt_text"]
    assert of_alt.select(key).equals(alone.select(key))
    assert said["further_texts"] > 0
    assert said["images"] + said["further_texts"] == said["rows"] + sum(said["refused"].values()) + said["repeated"]
    for kind in ("title", "caption"):
        texts = everything.filter(pl.col("text_from") == kind)
        assert len(texts)
        assert texts["alt_text"].equals(texts[kind].alias("alt_text"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--text", "body"], "'body' is not one of alt, title, caption"),
        (["--sample", "0"], "0.0 is not in the range"),
        (["--sample", "2"], "2.0 is not in the range"),
        (["--from", "arc"], "'arc' is not one of 'warc', 'wat'"),
        (["--page-seconds", "0"], "0.0 is not in the range"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, made: MadeArchives, words: list[str], sentence: str) -> None:
    refused = call("crawl", made.warc, "--out", tmp_path / "out", *words, code=2)
    assert sentence in " ".join(refused.output.split())
    assert not (tmp_path / "out").exists()


def test_an_archive_that_cannot_be_read_is_told_at_the_end(tmp_path: Path, made: MadeArchives) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.warc.gz").write_bytes(b"<html>404 Not Found</html>" * 10)
    (tmp_path / "in" / "good.warc.gz").write_bytes(made.warc.read_bytes())
    for _ in range(2):
        ended = call("crawl", tmp_path / "in", "--out", tmp_path / "out", code=1)
        assert f"{len(made.of_warc.rows):,} rows" in ended.stdout
        assert "\nbad.warc.gz is not a WARC archive: it has no record" in ended.stderr
        assert "1 of 2 archives could not be read: run the command again" in ended.stderr
    said = json.loads(call("crawl", tmp_path / "in", "--out", tmp_path / "out", "--json", code=1).stdout)
    assert [each["name"] for each in said["unread"]] == ["bad.warc.gz"]


def test_an_archive_of_no_byte_is_counted_as_one(tmp_path: Path) -> None:
    (tmp_path / "a.warc").write_bytes(b"")
    told = call("crawl", tmp_path / "a.warc", "--out", tmp_path / "out")
    assert "crawl: 0 B, 0 pairs, 1 archive in " in told.stderr


def test_a_dataset_of_archives_and_lists(tmp_path: Path, made: MadeArchives) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.warc.gz").write_bytes(made.warc.read_bytes())
    (tmp_path / "in" / "list.tsv").write_text("url\ttext\nhttp://list.example/1.jpg\ta cat on a list\n")
    out = tmp_path / "dataset"
    ran = json.loads(call("run", tmp_path / "in", "--recipe", "align", "--out", out, "--json").stdout)
    assert ran["crawl"]["rows"] == len(made.of_warc.rows)
    assert ran["account"]["rows"] == len(made.of_warc.rows) + 1
    assert (tmp_path / "dataset-rows" / "data" / "a.warc.parquet").exists()
    before = tree(out)
    again = json.loads(call("run", tmp_path / "in", "--recipe", "align", "--out", out, "--json").stdout)
    assert (again["crawl"]["read"], again["account"]["already"]) == (0, True)
    assert tree(out) == before
    printed = call("run", tmp_path / "in", "--recipe", "align", "--out", out)
    assert "records = " in printed.stdout
    apart = tmp_path / "apart"
    call("crawl", tmp_path / "in" / "a.warc.gz", "--out", tmp_path / "rows")
    call("ingest", tmp_path / "rows", tmp_path / "in" / "list.tsv", "--out", apart)
    assert tree(apart, "pairs") == tree(out, "pairs")


def test_options_on_archives_without_one(tmp_path: Path) -> None:
    (tmp_path / "list.tsv").write_text("url\ttext\nhttp://list.example/1.jpg\ta cat\n")
    words = ["run", tmp_path / "list.tsv", "--recipe", "align", "--out", tmp_path / "out", "--sample", "0.5"]
    assert "are for archives, and no input is one: omit them" in call(*words, code=1).stderr


def test_a_run_stops_where_an_archive_cannot_be_read(tmp_path: Path, made: MadeArchives) -> None:
    (tmp_path / "bad.warc.gz").write_bytes(b"<html>404 Not Found</html>" * 10)
    words = ["run", made.warc, tmp_path / "bad.warc.gz", "--recipe", "align", "--out", tmp_path / "out"]
    told = call(*words, code=1).stderr
    assert "1 of 2 archives could not be read: " in told
    assert "bad.warc.gz is not a WARC archive: it has no record" in told
    assert told.count("bad.warc.gz") == 1
    assert not (tmp_path / "out" / "pairs").exists()


def test_archives_without_an_image(tmp_path: Path) -> None:
    empty = make_archives(tmp_path / "in", [])
    printed = call("crawl", empty.warc, "--out", tmp_path / "rows")
    assert "no image of these archives makes a row; the reasons are in the account" in printed.stderr
    call("ingest", tmp_path / "rows", "--out", tmp_path / "dataset")


@pytest.mark.skipif(not DOLMA.is_dir(), reason="the real archives are not in the repository, and not here")
def test_real_archives_to_an_audited_dataset(tmp_path: Path) -> None:
    paths = sorted(DOLMA.glob("*.warc.gz"))
    ran = json.loads(call("run", *paths, "--recipe", "align", "--out", tmp_path / "out", "--json").stdout)
    assert (ran["crawl"]["pages"], ran["crawl"]["images"]) == (37, 389)
    assert ran["crawl"]["damaged"] == {}
    assert ran["account"]["rows"] == ran["crawl"]["rows"]
    assert ran["audit"]["pairs"] == ran["account"]["pairs"]


@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again(tmp_path: Path, made: MadeArchives, seed: int) -> None:
    chance = random.Random(seed)
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / "in" / f"{number}.warc.gz").write_bytes(made.warc.read_bytes())
        (tmp_path / "in" / f"{number}.warc.wat.gz").write_bytes(made.wat.read_bytes())
    undisturbed = run(["crawl", "in", "--out", "whole"], tmp_path)
    assert undisturbed.code == 0, undisturbed.err
    kills = 0
    for number in range(3):
        change = chance.randint(1, undisturbed.changes if number else undisturbed.changes * 4 // 5)
        ended = run(
            ["crawl", "in", "--out", "out"], tmp_path, Death(change, after=chance.choice((0, chance.uniform(0, 0.05))))
        )
        assert ended.killed or ended.code == 0, ended.err
        kills += ended.killed
    assert kills
    ended = run(["crawl", "in", "--out", "out"], tmp_path)
    assert ended.code == 0, ended.err
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
