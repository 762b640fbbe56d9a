"""Names with a dot, as earlier versions wrote them in tables and people in recipes: all of them are still understood."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result
from conftest import Built, read, tree
from test_older_datasets import aged, define_as_then
from test_score import Eye, engine_of, world

import align_data
from align_data.cli import main
from align_data.common.errors import DefinitionError, RecipeError
from align_data.common.progress import Silent
from align_data.data.columns import columns
from align_data.data.layout import Dataset
from align_data.data.meta import SignalsMeta
from align_data.models.sharing import SharedModel
from align_data.recipes.overrides import override_all
from align_data.recipes.plan import Plan
from align_data.recipes.reading import load, parse
from align_data.signals import SIGNALS, current_name, find, is_signal
from align_data.signals.base import Signal
from align_data.stages.measure import measure
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.stages.score import score
from align_data.storage.store import Store
from align_data.storage.tables import Table

NOW = {
    "n_words.whitespace": "n_words_whitespace",
    "similarity.base": "similarity_base",
    "similarity.vit-b32": "similarity_vit-b32",
}
CHANGED = ["--set", "n_words.whitespace.ge=3", "--set", "similarity.base.top_fraction=0.25"]
CHANGED += ["--without", "similarity.vit-b32", "--as", "other"]


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with a dataset of format 3 whose columns have dots, two of its ledgers' recipe beside it."""
    define_as_then(monkeypatch)
    shutil.unpack_archive(Path(__file__).with_name("dotted.zip"), tmp_path)
    return tmp_path


def opened(old: Path) -> Dataset:
    return Dataset(Store(old / "dataset"))


def stored(old: Path) -> dict[str, list[Any]]:
    """Read the measured columns as they lie there, by plain Polars."""
    frames = [read(opened(old), f"measured/{group}") for group in ("text", "score.base", "score.vit-b32")]
    return {name: values.to_list() for frame in frames for name, values in frame.to_dict().items()}


def run(*words: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    assert "unforeseen" not in result.output, (words, result.output)
    return result


def done(*words: str | Path) -> Result:
    result = run(*words)
    assert result.exit_code == 0, (words, result.output)
    return result


def test_the_columns_of_an_older_dataset_are_read_under_their_names_of_now(old: Path) -> None:
    values, dataset = stored(old), opened(old)
    assert values.keys() >= NOW.keys()
    seen = pl.concat(
        [piece for part in (0, 1) for piece in columns(dataset, part, ["uid"], [*NOW.values(), "n_words"])]
    )
    assert {*seen.columns} == {"uid", *NOW.values(), "n_words"}
    for before, now in NOW.items():
        assert seen[now].to_list() == values[before]
    verdicts = align_data.open(old / "dataset").verdicts("dotted").collect()
    assert not [name for name in verdicts.columns if "." in name]
    assert verdicts["similarity_vit-b32"].to_list() == values["similarity.vit-b32"]
    masks = read(dataset, "verdicts/dotted")
    for bit, name in enumerate(["n_words", *NOW.values(), "near"]):
        known = masks["unknown"] // 2**bit % 2 == 0
        assert (verdicts[f"fails_{name}"].is_null() == ~known).all()
        assert (verdicts[f"fails_{name}"].fill_null(False) == (masks["failed"] // 2**bit % 2 == 1)).all()
    described = repr(align_data.open(old / "dataset"))
    assert all(now in described for now in NOW.values())


@pytest.mark.parametrize("format_", [1, 3])
def test_an_older_dataset_is_known_again_and_nothing_is_done_twice(old: Path, format_: int) -> None:
    place = old / "dataset"
    if format_ == 1:
        aged(place)
        shutil.rmtree(place / "verdicts")
    before = tree(place)
    for name in ("n_words.whitespace", "n_words_whitespace"):
        told = done("measure", place, "--signals", name)
        assert "measured: nothing new" in told.output
        assert "already measured: n_words_whitespace" in told.output
    if format_ == 3:
        done("filter", place, "--recipe", old / "dotted.yaml")
        done("filter", place, "--recipe", old / "dotted.yaml", *CHANGED)
    assert tree(place) == before


def test_a_ledger_of_dotted_names_decides_as_it_did(old: Path) -> None:
    dataset = opened(old)
    former = {name: read(dataset, f"verdicts/{name}") for name in ("dotted", "other")}
    shutil.rmtree(old / "dataset" / "verdicts")
    renamed = (old / "dotted.yaml").read_text()
    for before, now in NOW.items():
        renamed = renamed.replace(before, now)
    (old / "now.yaml").write_text(renamed)
    digests = []
    changed = [word.replace("n_words.", "n_words_").replace("similarity.", "similarity_") for word in CHANGED]
    for recipe, change in (("dotted.yaml", CHANGED), ("now.yaml", changed)):
        done("filter", old / "dataset", "--recipe", old / recipe)
        done("filter", old / "dataset", "--recipe", old / recipe, *change)
        for name, verdicts in former.items():
            assert read(dataset, f"verdicts/{name}").equals(verdicts)
        digests.append([opened(old).ledger(name).committed().meta.ledger for name in former])  # type: ignore[union-attr]
    assert digests[0] == digests[1]


def test_every_command_takes_the_dotted_names_of_an_older_dataset(old: Path, tmp_path: Path) -> None:
    place, out = old / "dataset", tmp_path / "out"
    (tmp_path / "uids.txt").write_text("0" * 32)
    for ledger in ("dotted", "other"):
        counted = json.loads(done("audit", place, "--recipe", ledger, "--json").stdout)
        masks = json.loads((place / "verdicts" / ledger / "_manifest.json").read_text())["meta"]["masks"]
        for position, rule in enumerate(counted["rules"]):
            assert rule["fail"] == sum(pairs for failed, _, pairs in masks if failed >> position & 1)
        assert [rule["rule"] for rule in counted["rules"]] == ["n_words", *NOW.values(), "near"]
    assert json.loads(done("audit", place, "--recipe", "other", "--json").stdout)["overrides"] == [
        "--set n_words_whitespace.ge=3",
        "--set similarity_base.top_fraction=0.25",
        "--without similarity_vit-b32",
    ]
    swept = done("sweep", place, "--recipe", "dotted", "--signal", "n_words.whitespace", "--values", "1,2,3", "--json")
    assert json.loads(swept.stdout)["signal"] == "n_words_whitespace"
    picked = ["--signal", "similarity.base", "--rule", "similarity.base", "--values", "0.2,0.6", "--moved", "2"]
    done("sweep", place, "--recipe", "dotted", *picked)
    done("diff", place, "dotted", "other")
    text = "word word word 15"
    assert "similarity_vit-b32" in done("why", place, "--recipe", "dotted", "--text", text).output
    done("audit", place, "--recipe", "dotted", "--html", tmp_path / "page.html")
    for form, without in (("metadata", []), ("webdataset", ["--without", "similarity.base,similarity.vit-b32,near"])):
        export = ["--format", form, "--pending", "drop", *without, "--out", out / form]
        told = done("export", place, "--recipe", "dotted", *export)
        assert told.output.count("similarity.base is called similarity_base now") == (1 if without else 0)
        done("verify", out / form)
    rows = pl.read_parquet(out / "metadata" / "data" / "*.parquet")
    assert {*NOW.values()} <= {*rows.columns}
    assert not [name for name in rows.columns if "." in name]
    assert run("takedown", place, "--uids", tmp_path / "uids.txt", "--dry-run").exit_code in (0, 1)


def test_a_takedown_from_an_older_dataset_leaves_it_readable(old: Path, tmp_path: Path) -> None:
    dataset = opened(old)
    values, pairs = stored(old), read(dataset, "pairs")
    (tmp_path / "uids.txt").write_text(pairs["uid"][2])
    done("takedown", old / "dataset", "--uids", tmp_path / "uids.txt")
    dataset = opened(old)
    seen = pl.concat([piece for part in (0, 1) for piece in columns(dataset, part, ["url"], list(NOW.values()))])
    assert seen["url"][2] == ""
    assert seen["n_words_whitespace"].to_list() == values["n_words.whitespace"]
    done("audit", old / "dataset", "--recipe", "dotted")


def test_what_is_new_is_measured_beside_the_older_columns(old: Path) -> None:
    dataset = opened(old)
    before = stored(old)
    told = done("measure", dataset.store.url, "--signals", "script").output
    assert "\nmeasured: script\n" in told
    text = read(opened(old), "measured/text")
    assert text.columns == ["n_words", "n_words_whitespace", "n_chars", "script", "host"]
    assert text["n_words_whitespace"].to_list() == before["n_words.whitespace"]


def test_scores_that_a_killed_run_of_an_earlier_version_left_are_not_computed_again(tmp_path: Path) -> None:
    """Parts without a manifest: what their footers say they were made from tells, with the dotted name too."""
    dataset = world(tmp_path).dataset
    made = score(SharedModel.holding("eye", None, Eye()), dataset, "eye", engine_of(dataset), Silent())
    table = dataset.measured("score.eye")
    dotted = replace(table.contract, columns=(replace(table.contract.columns[0], name="similarity.eye", former=None),))
    before = Table(dataset.store, table.name, dotted, SignalsMeta)
    parts = range(len(dataset.ingested().parts))
    scores = [list(table.pieces(part, ["similarity_eye"])) for part in parts]
    facts = [table.facts(part) or {} for part in parts]
    table.retract()
    for part in parts:
        signals = {"similarity.eye": facts[part]["signals"]["similarity_eye"]}
        with before.writer(part, {**facts[part], "signals": signals}) as writer:
            for piece in scores[part]:
                writer.write(piece.rename({"similarity_eye": "similarity.eye"}))
    again = score(
        SharedModel.holding("eye", None, Eye(fails_after=0)),
        Dataset(dataset.store),
        "eye",
        engine_of(dataset),
        Silent(),
    )
    assert again == replace(made, computed=0)


# --- recipes ---

DOTTED = """
name: mine
rules:
  - {signal: n_words.whitespace, between: [2, 9]}
  - {signal: similarity.base, top_fraction: 0.5}
  - {name: near, signal: similarity.base, ge: 0.1}
"""


def test_both_spellings_make_the_same_recipe_and_plan() -> None:
    now = DOTTED.replace("n_words.", "n_words_").replace("similarity.", "similarity_")
    dotted, plain = parse(DOTTED, "dotted.yaml"), parse(now, "now.yaml")
    assert dotted == plain
    assert [rule.name for rule in dotted.rules] == ["n_words_whitespace", "similarity_base", "near"]
    sets = ["n_words.whitespace.ge=3", "near.ge=0.25"]
    written = [sets, [each.replace("n_words.", "n_words_") for each in sets]]
    offs = [["similarity.base"], ["similarity_base"]]
    plans = [
        Plan.unresolved(override_all(recipe, overrides, off), overrides, off)
        for recipe in (dotted, plain)
        for overrides in written
        for off in offs
    ]
    assert len({json.dumps(plan.dump()) for plan in plans}) == 1
    assert plans[0].in_force == plans[-1].in_force
    assert [rule.overridden for rule in plans[0].rules] == [True, False, True]
    assert [rule.in_force for rule in plans[0].rules] == [True, False, True]
    with pytest.raises(RecipeError, match="--set gives n_words_whitespace two tests"):
        override_all(dotted, ["n_words.whitespace.ge=3", "n_words_whitespace.ge=4"], [])
    with pytest.raises(RecipeError, match="n_words_whitespace is both set and taken out"):
        override_all(dotted, ["n_words.whitespace.ge=3"], ["n_words_whitespace"])


def test_a_rule_that_the_author_named_with_a_dot_keeps_its_name() -> None:
    recipe = parse("name: r\nrules:\n  - {name: n_words.whitespace, signal: n_chars, ge: 3}\n", "r.yaml")
    plan = Plan.unresolved(override_all(recipe, ["n_words.whitespace.ge=4"], []), ["n_words.whitespace.ge=4"])
    assert plan.rule("n_words.whitespace").overridden
    assert plan.rule("n_words.whitespace").rule.test == "ge 4"
    with pytest.raises(RecipeError, match="two rules are named n_words_whitespace"):
        parse(DOTTED + "  - {signal: n_words_whitespace, ge: 1}\n", "twice.yaml")


def test_each_dotted_name_is_told_once_a_command(old: Path) -> None:
    place = old / "dataset"
    told = done("filter", place, "--recipe", old / "dotted.yaml", *CHANGED).stderr
    for before, now in NOW.items():
        assert told.count(f"{before} is called {now} now") == 1
    (old / "now.yaml").write_text((old / "dotted.yaml").read_text().replace(".whitespace", "_whitespace"))
    assert "n_words.whitespace is called" not in done("filter", place, "--recipe", old / "now.yaml").stderr
    for command in (["recipes", old / "dotted.yaml"], ["signals", "n_words.whitespace"]):
        assert done(*command).stderr.count("n_words.whitespace is called n_words_whitespace now") == 1
    assert "is called" not in done("recipes", "coyo").stderr


def test_the_bundled_recipes_and_the_registry_have_no_dots(job: Callable[..., Built]) -> None:
    assert not [name for name in SIGNALS if "." in name]
    assert load("coyo").rules[0].signal == "n_words_whitespace"
    built = job([{"url": "http://a/1", "alt_text": "a dog"}])
    measure(built.dataset, engine_of(built.dataset), Silent())
    for table in Path(built.dataset.store.root).rglob("*.parquet"):
        assert not [name for name in pl.read_parquet_schema(table) if "." in name]
    manifest = decide_ledger(Decision(parse(DOTTED, "m.yaml")), built.dataset, engine_of(built.dataset), Silent())
    assert set(manifest.meta.signals) == {"n_words_whitespace"}


@pytest.mark.parametrize("name", ["n.words", "n_words.of.a.kind", "similarity_base", "similarity_"])
def test_a_new_signal_has_no_dot_and_is_not_called_as_a_score(name: str) -> None:
    with pytest.raises(DefinitionError, match=r"is not a signal's name: .*without a dot; and not similarity_…"):
        replace(SIGNALS["n_words"], name=name)


def test_names_of_now_and_of_before() -> None:
    assert {name: current_name(name) for name in NOW} == NOW
    for name in ("n_words", "n_words.base", "similarity.", "similarity.a.b", "similarity.Base", "min.side", ""):
        assert current_name(name) == name
    assert find("similarity.base") == find("similarity_base")
    assert isinstance(find("n_words.whitespace"), Signal)
    for name in ("similarity.a.b", "similarity_a.b", "similarity_", "min.side"):
        assert not is_signal(name)
