"""One selection on every door: the command, Python, the explorer and plain Python say the same pairs."""

from __future__ import annotations

import html
import io
import json
import random
import shlex
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import html5lib
import polars as pl
import pytest
from click.testing import CliRunner, Result
from conftest import HOSTILE, Crashes, build, read, write_list
from hostile_texts import HOSTILE as HOSTILE_TEXTS
from rich.console import Console

import align_data
from align_data.cli import main
from align_data.cli.selecting import render_selected
from align_data.cli.tables import console
from align_data.common.errors import AlignDataError
from align_data.data import labels
from align_data.data.layout import Dataset
from align_data.selection import Selected, SelectedPair
from align_data.stages import selected
from align_data.stages.ingest import Parts
from align_data.storage.store import Store

RECIPE = """
name: base
rules:
- {name: n_words, signal: n_words, between: [2, 6], source: paper}
- {name: shared-texts, signal: images_per_text, le: 4, source: paper}
- {name: n_chars, signal: n_chars, ge: 5, source: paper}
"""
WORDS: list[list[tuple[str, str]]] = [
    [],
    [("where", "host=x.example|y.example"), ("only", "n_words")],
    [("but", "n_chars"), ("but", "n_words")],
    [("outcome", "kept"), ("where", "alt_text~DOG")],
    [("set", "n_words.ge=1"), ("moved", "dropped-kept")],
    [("set", "n_chars.ge=9"), ("without", "shared-texts"), ("outcome", "dropped"), ("where", "n_words>=2")],
    [("where", 'alt_text="no such text"')],
]


def call(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def options(words: list[tuple[str, str]]) -> list[str]:
    return [part for name, value in words for part in (f"--{name}", value)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    draw, folder = random.Random(3), tmp_path_factory.mktemp("select")
    words = ["a", "bb", "日本", "dog", "DOGS", "Ж", "[bold]x", "|"]
    texts = [" ".join(draw.choices(words, k=draw.randrange(8))) for _ in range(110)] + [*HOSTILE, *HOSTILE_TEXTS]
    rows = [{"url": f"http://{draw.choice('xyz')}.example/{n}.jpg", "alt_text": t} for n, t in enumerate(texts)]
    return build(folder / "dataset", write_list(folder, rows), recipe=RECIPE, parts=Parts(rows=50)).dataset


def by_python(dataset: Dataset, words: list[tuple[str, str]]) -> list[str]:
    names = ("pairs", "measured/text", "measured/corpus")
    tables = [read(dataset, name) for name in names]
    rows = pl.concat([tables[0].select("uid", "url", "alt_text"), *tables[1:]], how="horizontal").to_dicts()

    def fails(row: dict[str, Any], least_words: int, least_chars: int, *, sharing: bool) -> set[str]:
        rules = {
            "n_words": not least_words <= row["n_words"] <= (6 if least_words == 2 else 10**9),
            "shared-texts": sharing and row["images_per_text"] > 4,
            "n_chars": row["n_chars"] < least_chars,
        }
        return {name for name, failing in rules.items() if failing}

    def own(row: dict[str, Any]) -> set[str]:
        return fails(row, 2, 5, sharing=True)

    holds = [
        lambda row: True,
        lambda row: own(row) == {"n_words"} and row["url"][7] in "xy",
        lambda row: own(row) and own(row) <= {"n_chars", "n_words"},
        lambda row: not own(row) and "dog" in row["alt_text"].lower(),
        lambda row: own(row) and not fails(row, 1, 5, sharing=True),
        lambda row: fails(row, 2, 9, sharing=False) and row["n_words"] >= 2,
        lambda row: False,
    ][WORDS.index(words)]
    return [row["uid"] for row in rows if holds(row)]


@pytest.mark.parametrize("words", WORDS[1:], ids=str)
def test_every_door_gives_the_same_pairs(dataset: Dataset, tmp_path: Path, words: list[tuple[str, str]]) -> None:
    expected, url = by_python(dataset, words), dataset.store.url
    answer = json.loads(
        call("audit", url, "--recipe", "base", *options(words), "--samples", 1000, "--format", "json").stdout
    )
    assert answer["total"] == len(expected)
    assert [pair["uid"] for pair in answer["pairs"]] == expected
    call("select", url, "--recipe", "base", *options(words), "--uids", tmp_path / "uids.txt")
    assert (tmp_path / "uids.txt").read_text().split() == expected
    assert call("select", url, "--recipe", "base", *options(words), "--uids", "-").stdout.split() == expected
    keywords: dict[str, Any] = {}
    for name, value in words:
        keywords.setdefault(name, [])
        keywords[name] = value if name in ("only", "outcome", "moved") else [*keywords[name], value]
    frame = align_data.open(url).pairs("base", **keywords)
    assert frame.select("uid").collect()["uid"].to_list() == expected
    texts = dict(read(dataset, "pairs").select("uid", "alt_text").iter_rows())
    assert frame.head(3).collect()["alt_text"].to_list() == [texts[uid] for uid in expected[:3]]
    longer = frame.filter(pl.col("n_chars") > 9).select(pl.len()).collect().item()
    assert longer == sum(len(texts[uid]) > 9 for uid in expected)


def explorer(dataset: Dataset) -> Any:
    pytest.importorskip("starlette", reason="needs the extra view")
    from explorer_server import client_of, opened  # noqa: PLC0415 - what the extra brings

    return client_of(opened(dataset))


@pytest.mark.parametrize("words", WORDS, ids=str)
def test_the_explorer_gives_them_too(dataset: Dataset, words: list[tuple[str, str]]) -> None:
    client = explorer(dataset)
    answer = client.get(f"pairs/uids.txt?{urlencode([('recipe', 'base'), *words])}")
    expected = by_python(dataset, words)
    assert answer.text.split() == expected
    page = html5lib.parse(
        client.get(f"pairs?{urlencode([('recipe', 'base'), *words])}").text, namespaceHTMLElements=False
    )
    commands = [field.get("value", "") for field in page.iter("input") if field.get("class") == "command"]
    assert bool(commands) == bool(expected)
    for command in commands:
        program, name, *arguments = shlex.split(command)
        assert program == "align-data"
        if name == "select":
            assert call(name, *["-" if a == "uids.txt" else a for a in arguments]).stdout.split() == expected
        elif words:
            assert json.loads(call(name, *arguments, "--json").stdout)["total"] == len(expected)


def test_a_button_keeps_a_selection_as_a_ledger(dataset: Dataset) -> None:
    client, words = explorer(dataset), [("recipe", "base"), *WORDS[2]]
    assert client.post("pairs/keep", data={**dict(words), "name": "x"}).status_code == 403
    own = {"origin": str(client.base_url).removesuffix("/a-token/")}
    sent = {"content": urlencode([*words, ("name", "by-button")]), "headers": own, "follow_redirects": False}
    answer = client.post("pairs/keep", **sent)
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].endswith("pairs?recipe=by-button&outcome=kept#written")
    marks = client.get("marks?recipe=base").text  # what is kept so was not marked by hand, and is not measured by
    assert "There is no label mine yet" in marks
    assert "marks/measures" not in marks
    assert "marks/measures" not in client.get("marks?recipe=base&label=by-button").text
    kept = align_data.open(dataset.store.url).pairs("by-button", outcome="kept").collect()
    assert kept["uid"].to_list() == by_python(dataset, WORDS[2])
    refused = client.post("pairs/keep", content=urlencode([*words, ("name", "base")]), headers=own)
    assert "decided otherwise: choose another name" in html.unescape(refused.text)


def test_a_frame_is_read_as_far_as_it_is_asked(dataset: Dataset) -> None:
    frame = align_data.open(dataset.store.url).pairs(
        "base", only="n_words", columns=["uid", "digits", "host", "outcome"]
    )
    assert frame.collect_schema().names() == ["uid", "digits", "host", "outcome"]
    found = frame.collect()
    assert found.schema == frame.collect_schema()
    assert set(found["outcome"]) == {"dropped"}
    hosts = frame.group_by("host").len().collect()
    assert dict(hosts.iter_rows()) == dict(found.group_by("host").len().iter_rows())
    everything = align_data.open(dataset.store.url).pairs("base")
    assert everything.collect().schema == everything.collect_schema()
    duckdb = pytest.importorskip("duckdb")
    arrow = frame.collect().to_arrow()  # noqa: F841 - DuckDB finds it by its name
    ((number,),) = duckdb.sql("select count(*) from arrow where outcome = 'dropped'").fetchall()
    assert number == len(found) > 0


def test_one_word_is_itself_and_not_its_letters(dataset: Dataset) -> None:
    opened = align_data.open(dataset.store.url)
    single = opened.pairs("base", where="n_words>=2", but="n_chars", set="n_chars.ge=9", columns="uid").collect()
    assert single.equals(
        opened.pairs("base", where=["n_words>=2"], but=["n_chars"], set=["n_chars.ge=9"], columns=["uid"]).collect()
    )
    assert len(single) > 0


@pytest.mark.parametrize("form", ["table", "json", "html"])
def test_hostile_texts_stay_texts(dataset: Dataset, form: str) -> None:
    pytest.importorskip("jinja2", reason="needs the extra report")
    result = call(
        "audit", dataset.store.url, "--recipe", "base", "--outcome", "dropped", "--samples", 1000, "--format", form
    )
    texts = read(dataset, "pairs")["alt_text"].to_list()
    if form == "json":
        assert {pair["alt_text"] for pair in json.loads(result.stdout)["pairs"]} <= set(texts)
    elif form == "table":
        assert "[bold]x" in result.stdout
        assert all(sign.isprintable() for sign in result.stdout if sign != "\n")
    else:
        page = html5lib.parse(result.stdout, namespaceHTMLElements=False)
        assert not page.findall(".//script")
        shown = {"".join(of.itertext()) for of in page.iter("bdi")}
        assert len(shown & set(texts)) > 20


@pytest.mark.parametrize("backslashes", range(1, 6))
def test_a_table_says_backslashes_and_colons_as_they_are(backslashes: int) -> None:
    url = "http://x.example/[b]" + backslashes * "\\"
    pair = SelectedPair(0, "uid-1", url, "a :dog: " + backslashes * "\\", "kept", (), (), {"source": url})
    file = io.StringIO()
    render_selected(Console(file=file, width=200), Selected(1, [pair]))
    cells = [[cell.strip() for cell in line.split("│")[1:3]] for line in file.getvalue().splitlines() if "│" in line]
    assert cells == [[pair.alt_text, "kept"], [url, f"source {url}"], ["uid-1", ""]]


def test_a_text_with_the_name_of_an_emoji_stays_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("a :dog: of words")
    assert capsys.readouterr().out == "a :dog: of words\n"


def test_a_selection_becomes_a_ledger(dataset: Dataset, tmp_path: Path) -> None:
    url, expected = dataset.store.url, by_python(dataset, WORDS[2])
    keep = ["select", url, "--recipe", "base", *options(WORDS[2]), "--as", "near-misses"]
    assert json.loads(call(*keep, "--json").stdout) == {"pairs": len(expected), "uids": None, "ledger": "near-misses"}
    call(*keep)  # again: the same
    verdicts = align_data.open(url).verdicts("near-misses").filter(pl.col("outcome") == "kept").collect()
    assert verdicts["uid"].to_list() == expected
    assert "there is a ledger base, which was decided otherwise" in call(*keep[:-1], "base", code=1).output
    assert (
        "decided otherwise" in call("select", url, "--recipe", "base", "--only", "n_words", *keep[-2:], code=1).output
    )
    labels.mark(dataset, "by-hand", expected[:2], "keep")
    assert "a label by-hand with other marks" in call(*keep[:-1], "by-hand", code=1).output
    none = call("select", url, "--recipe", "base", *options(WORDS[-1]), "--as", "none", code=1)
    assert "no pair is selected" in none.output
    assert "none" not in labels.labels(dataset)
    assert "Name" in call(*keep[:-1], "Bad Name", code=1).output


@pytest.mark.parametrize("words", [[("only", "n_words")], [("where", "alt_text!=a; b='c'"), ("first", "7")]], ids=str)
def test_a_kept_ledger_that_is_stale_says_how_to_mend_it(
    dataset: Dataset, tmp_path: Path, words: list[tuple[str, str]]
) -> None:
    url = tmp_path / "copy"
    shutil.copytree(dataset.store.root, url)
    call("select", url, "--recipe", "base", *options(words), "--as", "taken")
    kept = call("select", url, "--recipe", "taken", "--outcome", "kept", "--uids", "-").stdout
    labels.mark(Dataset(Store(url)), "taken", kept.split()[:1], "unmarked")
    stale = call("select", url, "--recipe", "taken", code=1).output
    _, command = stale.split("select its pairs again: align-data ")
    call(*shlex.split(command))
    assert call("select", url, "--recipe", "taken", "--outcome", "kept", "--uids", "-").stdout == kept
    labels.mark(Dataset(Store(url)), "taken", kept.split()[:1], "drop")  # somebody's mark stays
    assert "other marks: choose another name" in call(*shlex.split(command), code=1).output


def test_a_ledger_that_was_begun_is_finished(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = ["select", dataset.store.url, "--recipe", "base", "--only", "n_chars", "--as", "stopped"]

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(selected, "decide_ledger", killed)
        call(*keep, code=130)
    assert "stopped" in labels.labels(dataset)
    assert "stopped" not in dataset.ledgers()
    call(*keep)
    assert "stopped" in dataset.ledgers()


def test_the_first_of_an_order_are_taken(dataset: Dataset) -> None:
    base = ["select", dataset.store.url, "--recipe", "base", "--uids", "-"]
    longest = call(*base, "--sort=-n_chars", "--first", 3).stdout.split()
    chars = dict(zip(read(dataset, "pairs")["uid"], read(dataset, "measured/text")["n_chars"], strict=True))
    assert [chars[uid] for uid in longest] == sorted(chars.values(), reverse=True)[:3]
    draws = [call(*base, "--random", seed, "--first", 20).stdout.split() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert len(set(draws[2])) == 20


def test_a_class_that_no_pair_has_is_said_with_those_that_there_are(dataset: Dataset) -> None:
    base = [dataset.store.url, "--recipe", "base", "--where"]
    said = [call(command, *base, "script=English").stderr for command in ("audit", "select")]
    (sentence,) = {line for text in said for line in text.splitlines() if line.startswith("no pair has")}
    head, _, names = sentence.rpartition(" are ")
    assert head == "no pair has script=English; the most frequent"
    totals = [
        json.loads(call("select", *base, f"script={name}", "--json").stdout)["pairs"] for name in names.split(", ")
    ]
    assert len(totals) == 6
    assert totals == sorted(totals, reverse=True)
    assert sum(totals) > len(read(dataset, "pairs")) / 2
    page = explorer(dataset).get("pairs", params={"recipe": "base", "where": "script=English"}).text
    assert sentence in html.unescape(page)
    for condition in ("script=English|Latin", "script!=Latin", "script=null", "n_words=999"):  # none, or not of a class
        assert "no pair has" not in call("audit", *base, condition, "--only", "n_words").stderr


def test_a_takedown_takes_the_list(dataset: Dataset, tmp_path: Path) -> None:
    call("select", dataset.store.url, "--recipe", "base", "--only", "n_words", "--uids", tmp_path / "gone.txt")
    number = len((tmp_path / "gone.txt").read_text().split())
    planned = call("takedown", dataset.store.url, "--uids", tmp_path / "gone.txt", "--dry-run", "--json")
    assert json.loads(planned.stdout)["pairs"] == number > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["audit", "--where", "n_words"], "is not a condition"),
        (["audit", "--where", "n_words>=x"], "is a number, and 'x' is none"),
        (["audit", "--only", "nope"], "has no rule nope"),
        (["audit", "--set", "n_words.ge=1"], "go with what selects pairs"),
        (["audit", "--only", "n_words", "--near"], "are of the summary"),
        (["audit", "--only", "n_words", "--only", "n_chars", "--side", "kept"], "side is of a threshold"),
        (["audit", "--moved", "kept-dropped"], "nothing is changed"),
        (["select", "--sort", "n_words", "--random", "1"], "two orders"),
        (["select", "--first", "0"], "Invalid value"),
        (["select", "--set", "nope.ge=1"], "has no rule nope"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(dataset: Dataset, arguments: list[str], sentence: str) -> None:
    command, *rest = arguments
    result = CliRunner().invoke(main, [command, dataset.store.url, "--recipe", "base", *rest], catch_exceptions=False)
    assert result.exit_code in (1, 2)
    assert sentence in result.output


def test_an_empty_dataset_has_no_pairs(tmp_path: Path) -> None:
    none = build(tmp_path / "none", write_list(tmp_path, []), recipe=RECIPE).dataset
    assert (
        json.loads(call("audit", none.store.url, "--recipe", "base", "--outcome", "kept", "--json").stdout)["total"]
        == 0
    )
    assert call("select", none.store.url, "--recipe", "base", "--uids", "-").stdout == ""
    assert align_data.open(none.store.url).pairs("base").collect().height == 0


@pytest.mark.parametrize("option", ["where", "only", "but", "moved", "nearest", "sort", "set", "without", "with"])
@pytest.mark.parametrize("blank", ["", " "])
def test_an_option_without_a_value_does_not_select_all(dataset: Dataset, option: str, blank: str) -> None:
    """As with `--only "$RULE"` in a script that has set none, whose list goes to takedown next."""
    for command in (["select", "--uids", "-"], ["audit", "--outcome", "kept"]):
        result = CliRunner().invoke(
            main, [command[0], dataset.store.url, "--recipe", "base", f"--{option}={blank}", *command[1:]]
        )
        assert result.exit_code in (1, 2)
        assert "is empty" in result.output


def test_python_takes_no_word_without_a_value(dataset: Dataset) -> None:
    opened = align_data.open(dataset.store.url)
    for words in ({"only": ""}, {"where": [" "]}, {"set": [""]}, {"outcome": ""}):
        with pytest.raises(AlignDataError, match="is empty"):
            opened.pairs("base", **words)  # type: ignore[arg-type]


def test_what_cannot_be_done_is_said_before_pairs_are_read(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("align_data.cli.select.selected_uids", lambda *_: 1 // 0)
    monkeypatch.setattr("align_data.explorer.taking.selected_uids", lambda *_: 1 // 0)
    select = ["select", dataset.store.url, "--recipe", "base"]
    assert "not a valid label name" in call(*select, "--as", "../x", code=1).output
    assert "both write to standard output" in call(*select, "--uids", "-", "--json", code=2).output
    assert "Is a directory" in call(*select, "--uids", tmp_path, code=1).output
    client = explorer(dataset)
    own = {"origin": str(client.base_url).removesuffix("/a-token/")}
    unsaid = client.post("pairs/keep", data={"name": "x"}, headers=own)
    assert (unsaid.status_code, "of which ledger" in unsaid.text) == (400, True)
    answer = client.post("pairs/keep", data={"recipe": "base", "name": "../x"}, headers=own)
    assert (answer.status_code, "not a valid label name" in answer.text) == (400, True)


def test_what_is_handed_on_masks_the_secrets_of_what_was_asked(dataset: Dataset, tmp_path: Path) -> None:
    pytest.importorskip("jinja2", reason="needs the extra report")
    asked = ["--recipe", "base", "--where", "url!=https://me:s3cret@x.example/?token=s3cret"]
    call("select", dataset.store.url, *asked, "--as", "masked")
    call("audit", dataset.store.url, *asked, "--html", tmp_path / "page.html")
    handed_on = [tmp_path / "page.html", *Path(dataset.store.root).rglob("*.json")]
    texts = [file.read_text() for file in handed_on]
    assert not [text for text in texts if "s3cret" in text]
    assert sum("https://***@x.example/?token=***" in text for text in texts) == 2  # the page, the ledger


def test_a_selection_that_was_kept_in_part_is_finished(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is killed, and though some of its pairs are taken down before it goes on."""
    crashes, expected = Crashes(monkeypatch, removals=True), by_python(dataset, WORDS[2])

    def keep(number: int) -> list[str]:
        folder = tmp_path / str(number)
        if not folder.exists():
            shutil.copytree(dataset.store.root, folder)
        call("select", folder, "--recipe", "base", *options(WORDS[2]), "--as", "begun")
        kept: list[str] = align_data.open(folder).pairs("begun", outcome="kept").collect()["uid"].to_list()
        return kept

    def at(number: int) -> list[str]:
        crashed = (tmp_path / str(number)).exists()
        if crashed:
            (tmp_path / "gone.txt").write_text(expected[0])
            call("takedown", tmp_path / str(number), "--uids", tmp_path / "gone.txt")
        kept = keep(number)
        assert kept == expected[crashed:]
        return kept

    assert len(list(crashes.everywhere(at, 3))) > 3


RANKED = """
name: ranked
rules:
- {name: n_words, signal: n_words, le: 6, source: paper}
- {name: once, first_of: [url], order: [-n_chars], source: paper}
"""


def test_pairs_are_ranked_anew_behind_a_rule_that_is_moved(tmp_path: Path) -> None:
    """Of each image the longest text was the first that other rules keep; with fewer words it is another."""
    rows = [{"url": f"http://x.example/{n % 5}.jpg", "alt_text": "a " * (n // 5 + 1)} for n in range(30)]
    url = build(tmp_path / "dataset", write_list(tmp_path, rows), recipe=RANKED).dataset.store.url
    moved = [("set", "n_words.le=3"), ("outcome", "kept")]
    asked = [url, "--recipe", "ranked", *options(moved)]
    answers = [
        call("select", *asked, "--uids", "-").stdout.split(),
        [
            pair["uid"]
            for pair in json.loads(call("audit", *asked, "--format", "json", "--samples", 30).stdout)["pairs"]
        ],
        align_data.open(url).pairs("ranked", set=["n_words.le=3"], outcome="kept").collect()["uid"].to_list(),
    ]
    client = explorer(Dataset(Store(url)))
    answers.append(client.get("pairs/uids.txt", params=[("recipe", "ranked"), *moved]).text.split())
    assert "5 pairs" in client.get("pairs", params=[("recipe", "ranked"), *moved]).text
    call("select", *asked, "--as", "three")
    answers.append(call("select", url, "--recipe", "three", "--outcome", "kept", "--uids", "-").stdout.split())
    (tmp_path / "ranked.yaml").write_text(RANKED)
    call("filter", url, "--recipe", tmp_path / "ranked.yaml", "--set", "n_words.le=3", "--as", "fewer")
    decided = call("select", url, "--recipe", "fewer", "--outcome", "kept", "--uids", "-").stdout.split()
    assert answers == [decided] * 5
    texts = align_data.open(url).pairs("fewer", outcome="kept").collect()["alt_text"]
    assert texts.to_list() == ["a a a"] * 5
