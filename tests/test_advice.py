"""What the program advises can be done: every command in a message parses, and does what the message says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import polars as pl
import pytest
from click.testing import CliRunner, Result

import align_data
from align_data.cli import COMMANDS, main
from align_data.common.errors import RecipeError
from align_data.data.ledger import TAKEN_DOWN
from align_data.recipes.plan import Plan
from align_data.recipes.reading import load, parse
from align_data.stages.audit.notes import DatasetState, notes

RECIPE = """
name: mine
rules:
  - {signal: n_words, ge: 2}
  - {signal: min_side, gt: 200}
  - {signal: decodable, eq: true}
  - {signal: nsfw, lt: 0.5}
"""
SOURCES = sorted((Path(__file__).parent.parent / "align_data").rglob("*.py"))


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def said(result: Result) -> str:
    return " ".join(result.output.split())


def commands(text: str) -> list[list[str]]:
    """Return the whole commands in a message: those that go on behind the command's name."""
    pattern = rf"align-data ((?:{'|'.join(COMMANDS)}) [^;()\n]+?)(?=$|[;()\n]|[:,] | \()"
    found = re.findall(pattern, text, re.MULTILINE)
    return [shlex.split(each) for each in found if not each.endswith(" makes")]  # "which align-data eval-index makes"


def parses(words: list[str]) -> None:
    command = main.get_command(click.Context(main), words[0])
    assert command is not None
    command.make_context(words[0], words[1:])


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Six pairs: one of them fails, and for the others no image is there."""
    frame = pl.DataFrame(
        {
            "url": [f"http://a/{n}" for n in range(6)],
            "text": ["one two"] * 5 + ["x"],
            "width": [300] * 4 + [None] * 2,
            "height": 300,
        }
    )
    frame.write_parquet(tmp_path / "list.parquet")
    (tmp_path / "mine.yaml").write_text(RECIPE)
    data = tmp_path / "my data"
    call("run", tmp_path / "list.parquet", "--recipe", tmp_path / "mine.yaml", "--out", data)
    return data


def test_every_command_that_is_advised_parses(dataset: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    outputs = [
        call("filter", dataset, "--recipe", mine, "--set", "n_words.ge=1", "--without", "nsfw", "--as", "loose"),
        call("audit", dataset, "--recipe", "mine"),
        call("measure", dataset),
        call("audit", dataset, "--recipe", "none", code=1),
        call("audit", dataset, "--recipe", "align", code=1),
        call("filter", dataset, "--recipe", "loose", code=1),
        call("audit", tmp_path / "no thing", "--recipe", "align", code=1),
        call("export", dataset, "--recipe", "mine", "--out", tmp_path / "out", code=1),
    ]
    found = [words for output in outputs for words in commands(output.output)]
    assert len(found) >= 12
    for words in found:
        parses(words)
        assert not {"data", "thing"} & {word.rpartition("/")[2] for word in words}  # a path with a blank is one word
    assert not any("…" in output.output for output in outputs)


def test_what_is_pending_is_counted_and_its_way_out_named(dataset: Path, tmp_path: Path) -> None:
    text = said(call("audit", dataset, "--recipe", "mine"))
    assert "of the pending, min_side is unknown for 1 pairs" in text  # and for one that n_words drops
    assert f"align-data fetch '{dataset}' --recipe mine; then: align-data measure '{dataset}'" in text
    assert "decodable, nsfw need the images" in text
    (words,) = [words for words in commands(text) if words[0] == "filter"]
    assert words[-1] == "mine-less"
    words[words.index("mine.yaml")] = str(tmp_path / "mine.yaml")
    assert "mine-less: 5 kept, 1 dropped, 0 pending" in call(*words).output


def test_the_notes_of_pending_pairs_alone() -> None:
    plan = Plan.unresolved(parse(RECIPE, "mine.yaml"))
    masks = {(1, 0b0110): 7, (0, 0b0010): 2, (0, 0): 5}
    found = list(notes("mine", plan, masks, DatasetState("data", {}, untried=True)))
    assert any("of the pending, min_side is unknown for 2 pairs" in note for note in found)
    assert not any("decodable is unknown" in note for note in found)
    assert (
        "to decide without the unknown rules: align-data filter data --recipe mine.yaml --without min_side --as mine-less"
        in found
    )
    done = list(notes("mine", plan, masks, DatasetState("data", {}, untried=False)))
    assert not any("fetch" in note for note in done)
    assert not any("to decide" in note for note in notes("mine", plan, {(0, 0): 3, (1, 2): 1}, DatasetState()))
    assert TAKEN_DOWN < 0


def test_a_rule_that_is_set_and_taken_out_is_taken_out(dataset: Path, tmp_path: Path) -> None:
    call("filter", dataset, "--recipe", tmp_path / "mine.yaml", "--set", "decodable.eq=false", "--as", "odd")
    (words,) = [words for words in commands(said(call("audit", dataset, "--recipe", "odd"))) if words[0] == "filter"]
    words[words.index("mine.yaml")] = str(tmp_path / "mine.yaml")
    call(*words)


def test_a_ledgers_name_for_a_recipes(dataset: Path, tmp_path: Path) -> None:
    call("filter", dataset, "--recipe", "align", "--without", "nsfw", "--set", "n_words.between=2,9", "--as", "strict")
    for command in (["filter", dataset], ["run", tmp_path / "list.parquet", "--out", dataset]):
        text = said(call(*command, "--recipe", "strict", code=1))
        assert "no recipe is called strict, only a ledger of" in text
        (words,) = commands(text)
    assert "strict: " in call(*words).output
    with pytest.raises(RecipeError, match="there is no recipe strikt"):
        load("strikt")


def test_why_says_who_asks(dataset: Path, tmp_path: Path) -> None:
    call("filter", dataset, "--recipe", tmp_path / "mine.yaml", "--set", "n_words.ge=3", "--as", "loose")
    text = said(call("why", dataset, "--recipe", "loose", "--url", "http://a/0"))
    assert "n_words is 2; your --set asks for at least 3: fail" in text
    assert "min_side is 300; mine asks for more than 200: pass" in text


@pytest.mark.parametrize(
    "command", ["ingest", "measure", "fetch", "filter", "run", "takedown", "sweep", "export", "train", "ablate"]
)
def test_memory_is_the_same_everywhere(command: str) -> None:
    found = main.get_command(click.Context(main), command)
    assert found is not None
    option = next(each for each in found.params if each.name == "memory")
    assert [option.type.convert(text, option, None) for text in ("2GB", "500MB", "1GiB", "1.5 gb")] == [
        2**31,
        500 * 2**20,
        2**30,
        3 * 2**29,
    ]
    with pytest.raises(click.BadParameter, match="2000 needs a unit"):
        option.type.convert("2000", option, None)


def test_no_message_has_three_dots_where_a_command_should_be() -> None:
    for path in SOURCES:
        for line in path.read_text().splitlines():
            assert not re.search(r"(?:align-data|--)[^`]*…", line), (path.name, line)


def test_a_dataset_says_what_it_is(dataset: Path) -> None:
    shown = repr(align_data.open(dataset))
    assert f"dataset {dataset}: 6 pairs" in shown
    assert "ledgers: mine" in shown
    assert "measured: n_words, min_side" in shown
    audit = repr(align_data.open(dataset).audit("mine"))
    assert audit.startswith(f"<align-data audit of {dataset}, ledger mine: 0 kept, 1 dropped, 5 pending;")


def test_measure_for_a_recipe_says_what_it_cannot_measure_and_how_to_get_it_for_this_dataset(tmp_path: Path) -> None:
    source, pool = tmp_path / "a.csv", tmp_path / "pool"
    source.write_text("url,alt_text\nhttps://a.example/1.jpg,a red dog\n")
    recipe = tmp_path / "listed.yaml"
    recipe.write_text(
        "name: listed\nrules: [{signal: n_chars, ge: 2}, {signal: list_bad, eq: 0}, {signal: format, eq: png}]"
    )
    call("ingest", source, "--out", pool)
    told = said(call("measure", pool, "--recipe", recipe))
    assert "measured: n_chars" in told
    assert f"not measured: list_bad needs a list: align-data measure {pool} --list bad=FILE" in told
    assert "not measured: format needs the images" in told
    assert f"next: align-data filter {pool} --recipe {recipe}" in told
    call("filter", pool, "--recipe", recipe)
    pending = said(call("audit", pool, "--recipe", "listed"))
    assert f"align-data fetch {pool} --recipe listed" in pending
    assert "DATASET" not in pending
    assert "LEDGER" not in pending


def test_a_recipe_fits_a_narrow_terminal_with_its_names_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("align_data.cli.recipes.WIDE", 110)
    monkeypatch.setattr("align_data.cli.tables.WIDE", 80)
    shown = call("recipes", "obelics").stdout
    assert max(map(len, shown.splitlines())) <= 80
    cells = {cell.strip() for line in shown.splitlines() for cell in line.split("│")}
    assert {rule.name for rule in load("obelics").rules} <= cells
    assert any(cell.startswith("note: ") for cell in cells)


def test_a_mistake_in_a_score_is_not_told_again_at_the_rule_that_compares_it() -> None:
    broken = "name: a\nscores:\n  mix: {sum: [{signal: n_words, scale: log}]}\nrules:\n  - {signal: mix, ge: 1}"
    with pytest.raises(RecipeError, match="line 3: scale") as error:
        parse(broken, "f.yaml")
    assert "there is no signal" not in str(error.value)
