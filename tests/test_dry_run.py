"""--dry-run: it writes nothing, and what it counts is what the command then does."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pytest
from click.testing import CliRunner, Result
from hostile_web import jpeg, serve
from made_archives import make_archives

from align_data.cli import main

RECIPE = "name: mine\nrules:\n  - {signal: n_words, ge: 2}\n  - {signal: min_side, gt: 200}\n"


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def answer(*words: object) -> Any:
    return json.loads(call(*words, "--json").stdout)


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder, also the hidden ones, with when it was written; and every folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(RECIPE)
    return tmp_path / "mine.yaml"


def test_run_tells_and_writes_nothing(tmp_path: Path, recipe: Path) -> None:
    urls = [f"http://h{n % 7}.example/{n // 2}" for n in range(200)]
    pl.DataFrame({"url": urls, "text": [f"text{n % 90}" + " more" * (n % 2) for n in range(200)]}).write_csv(
        tmp_path / "l.csv"
    )
    words = ("run", tmp_path / "l.csv", "--recipe", recipe, "--out", tmp_path / "out")
    before = tree(tmp_path)
    plan = answer(*words, "--dry-run")
    assert tree(tmp_path) == before
    ran = answer(*words)
    assert plan["rows"]["pairs"]["value"] == ran["account"]["pairs"]
    assert plan["rows"]["dropped"]["value"] == ran["audit"]["dropped"] > 0
    before = tree(tmp_path)
    again = answer(*words, "--dry-run")
    assert tree(tmp_path) == before
    assert again["rows"] == plan["rows"]
    (note,) = again["notes"]
    assert note.startswith(f"{tmp_path / 'out'} has {ran['account']['pairs']} pairs already: ")


def test_measure_tells_what_it_then_measures(tmp_path: Path, recipe: Path) -> None:
    pl.DataFrame({"url": ["http://a/1", "http://a/2"], "text": ["one", "two words"]}).write_csv(tmp_path / "l.csv")
    call("ingest", tmp_path / "l.csv", "--out", tmp_path / "out")
    for words in (("--signals", "n_words,images_per_text"), ("--recipe", recipe), (), ()):
        before = tree(tmp_path)
        plan = answer("measure", tmp_path / "out", *words, "--dry-run")
        assert tree(tmp_path) == before
        assert plan["rows"]["pairs"]["value"] == 2
        assert plan["signals"] == answer("measure", tmp_path / "out", *words)["measured"]
    assert plan["signals"] == []
    refused = call("measure", tmp_path / "out", "--list", "words=l.csv", "--dry-run", code=2).stderr
    assert "--list is stored with the dataset, and --dry-run stores nothing: omit one" in refused


def test_fetch_tells_the_urls_that_it_then_asks_for(tmp_path: Path, recipe: Path) -> None:
    homes = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
    with serve(*homes) as web:
        web.pages = {f"/{n}.jpg": lambda talk: talk.answer(jpeg()) for n in range(0, 30, 2)}
        urls = [web.url(f"/{n}.jpg", homes[n % 5 % 3]) for n in range(30)]
        texts = ["word" if n < 6 else f"two words {n}" for n in range(30)]
        pl.DataFrame({"url": urls, "text": texts}).write_csv(tmp_path / "l.csv")
        call("run", tmp_path / "l.csv", "--recipe", recipe, "--out", tmp_path / "out")
        words = ("fetch", tmp_path / "out", "--recipe", "mine", "--allow-network", "127.0.0.0/8")
        before = tree(tmp_path)
        plan = answer(*words, "--dry-run")
        assert tree(tmp_path) == before
        assert web.seen.asked == []
        assert plan["fetch"]["urls"] == {"value": 24, "unit": "URLs", "basis": "counted"}
        hosts = Counter(urlsplit(url).hostname for url in urls[6:])
        assert {host["host"]: host["urls"]["value"] for host in plan["hosts"]} == hosts
        assert plan["fetch"]["alive"]["basis"] == "assumed"
        fetched = answer(*words)
        assert fetched["asked"] == 24
        rest = ("fetch", tmp_path / "out", "--all", "--allow-network", "127.0.0.0/8")
        before = tree(tmp_path)
        plan = answer(*rest, "--dry-run")
        assert tree(tmp_path) == before
        assert plan["fetch"]["urls"]["value"] == 6
        assert plan["fetch"]["alive"]["basis"] == "sampled"  # of what was fetched: 12 of 24
        assert plan["fetch"]["alive"]["value"] == pytest.approx(0.5)
        assert answer(*rest)["asked"] == 6


def test_crawl_tells_the_archives_that_it_then_reads(tmp_path: Path) -> None:
    made = make_archives(tmp_path / "in", 20)
    words = ("crawl", made.warc, made.wat, "--out", tmp_path / "rows")
    before = tree(tmp_path)
    plan = answer(*words, "--dry-run")["fetch"]
    assert tree(tmp_path) == before
    assert plan["archives"]["value"] == 2
    assert plan["archive_bytes"]["value"] == sum(path.stat().st_size for path in (made.warc, made.wat))
    assert answer(*words[:2], *words[3:])["read"] == 1  # without the WAT
    before = tree(tmp_path)
    plan = answer(*words, "--dry-run")["fetch"]
    assert tree(tmp_path) == before
    assert (plan["archives"]["value"], plan["archive_bytes"]["value"]) == (1, made.wat.stat().st_size)
    assert answer(*words)["read"] == 1


def test_a_mistake_is_the_same_sentence(tmp_path: Path, recipe: Path) -> None:
    for words in (
        ("run", tmp_path / "none.csv", "--recipe", recipe, "--out", tmp_path / "out"),
        ("measure", tmp_path / "none"),
        ("fetch", tmp_path / "none", "--all"),
        ("crawl", tmp_path / "none.warc", "--out", tmp_path / "out"),
    ):
        said = call(*words, "--dry-run", code=1).stderr
        assert said.splitlines()[-1] == call(*words, code=1).stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
