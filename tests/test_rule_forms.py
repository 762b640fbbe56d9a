"""What people are told of each form of a rule: why's sentences, examples, the page, the card of an export."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import xxhash
from click.testing import CliRunner
from conftest import Built
from test_audit_survey import decide, engine_of, give, row

import align_data
from align_data.api import SweepRequest
from align_data.cli import main
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.data.ledger import open_ledger
from align_data.recipes.model import Recipe
from align_data.recipes.plan import Plan
from align_data.report import audit_html
from align_data.stages.audit import survey
from align_data.stages.export import _asks
from align_data.stages.ingest import Parts
from align_data.stages.measure import measure
from align_data.stages.why import why
from align_data.train.ablate.leaks import allowed

RULES = [
    {
        "name": "safe",
        "any": [
            {"signal": "nsfw", "le": 0.5},
            {"all": [{"signal": "n_words", "ge": 4}, {"signal": "format", "eq": "jpeg"}]},
        ],
    },
    {"name": "size", "signal": "min_side", "by": "language", "ge": {"en": 200, "else": 100}},
    {"signal": "mix", "ge": 0.5},
    {"name": "top", "signal": "n_chars", "top_fraction": 0.5, "per": "language", "among": "pool"},
    {"name": "one", "first_of": ["host"], "order": ["-n_chars"], "among": ["size"]},
    {"name": "few", "signal": "random_s0", "lt": 0.999999},
    {"signal": "n_words", "between": [1, 9]},
]
SCORES = {
    "sharp": {"max": [{"signal": "aspect"}, {"signal": "nsfw", "weight": 2}]},
    "mix": {"sum": [{"signal": "n_chars", "weight": 0.5, "scale": "minmax"}, {"signal": "sharp"}]},
}
FORMS = {"name": "forms", "scores": SCORES, "rules": RULES}
TEXT: dict[str, list[Any]] = {
    "n_words": [3, 4, 2, 1],
    "n_chars": [10, 20, 30, 50],
    "language": ["en", "en", "de", "de"],
    "host": ["a", "a", "a", "b"],
}
IMAGE: dict[str, list[Any]] = {
    "nsfw": [0.9, 0.9, 0.25, None],
    "min_side": [150, 300, 150, 50],
    "aspect": [1.0, 1.0, 1.0, 1.5],
    "format": ["jpeg", "jpeg", "png", None],
}


@pytest.fixture(scope="module")
def uids() -> list[str]:
    return []


@pytest.fixture
def forms(job: Callable[..., Built], uids: list[str]) -> Dataset:
    """Four pairs of known values, decided by rules of every form."""
    none = Recipe.model_validate({"name": "none", "rules": [{"signal": "nsfw", "lt": 1}]})
    built = job([row(f"http://a/{i}", f"t{i}") for i in range(4)], recipe=none, parts=Parts(rows=2))
    give(built.dataset, "text", TEXT)
    give(built.dataset, "image", IMAGE)
    decide(built.dataset, Recipe.model_validate(FORMS))
    uids[:] = built.table("pairs")["uid"].to_list()
    return built.dataset


def told(dataset: Dataset, uid: str) -> dict[str, str]:
    (explained,) = why(dataset, "forms", uid=uid)
    sentences = {verdict.rule: verdict.sentence for verdict in explained.verdicts}
    assert all(sentences[verdict.rule].endswith(f": {verdict.verdict}") for verdict in explained.verdicts)
    json.dumps(explained.to_json())
    return sentences


SAFE = "forms asks that nsfw is at most 0.5, or (n_words is at least 4, and format is jpeg)"
EACH = "the highest 50% of all pairs of each language"


def test_why_says_each_form_with_its_numbers(forms: Dataset, uids: list[str]) -> None:
    first, second, third, fourth = (told(forms, uid) for uid in uids)
    assert first["safe"] == f"nsfw is 0.9 (fail), [n_words is 3 (fail), format is jpeg (pass)]; {SAFE}: fail"
    assert second["safe"] == f"nsfw is 0.9 (fail), [n_words is 4 (pass), format is jpeg (pass)]; {SAFE}: pass"
    assert fourth["safe"] == (
        f"nsfw is not measured (unknown), [n_words is 1 (fail), format is not measured (unknown)]; {SAFE}: unknown"
    )
    assert first["size"] == "min_side is 150 and language is en; forms asks for at least 200 where language is en: fail"
    assert third["size"] == (
        "min_side is 150 and language is de; forms asks for at least 100 where language is another: pass"
    )
    assert second["mix"] == (
        "mix is 1.925, the sum of 0.5 × 0.25 = 0.125 (n_chars is 20, minmax) and 1.8 (sharp is 1.8, the max of "
        "1 (aspect is 1.0) and 2 × 0.9 = 1.8 (nsfw is 0.9)); forms asks for at least 0.5: pass"
    )
    assert fourth["mix"] == "mix has no value, for nsfw is not measured; forms asks for at least 0.5: unknown"
    assert first["top"] == (
        f"n_chars is 10 and language is en; forms asks for {EACH}, here those of at least 20 where language is en: fail"
    )
    assert third["top"].endswith("here those of at least 50 where language is de: fail")
    number = (xxhash.xxh3_64_intdigest(f"{uids[0]}\ns0".encode()) >> 11) / 2**53
    assert first["few"] == f"random_s0 is {number:.6f}; forms asks for less than 0.999999: pass"
    assert first["n_words"] == "n_words is 3; forms asks for 1 to 9: pass"


def test_why_says_whose_group_it_is(forms: Dataset, uids: list[str]) -> None:
    """Of the three pairs of host a, two pass size: the third is the first, the second comes after it."""
    first, second, third, fourth = (told(forms, uid)["one"] for uid in uids)
    asks = "forms asks for the first of the pairs with the same host, the greatest n_chars first of the pairs that pass"
    assert third == f"it is number 1 of 2 pairs with its host; {asks} size: pass"
    assert second == f"it is number 2 of 2 pairs with its host, and {uids[2]} is the first; {asks} size: fail"
    assert first == (
        f"it is not among the 2 pairs with its host that one chooses from; {uids[2]} is the first; {asks} size: fail"
    )
    assert fourth == f"one chooses from no pair with its host; {asks} size: pass"


def test_why_names_scores_and_ranks_among_the_values(forms: Dataset, uids: list[str]) -> None:
    (explained,) = why(forms, "forms", uid=uids[1])
    assert {name: explained.values[name] for name in ("mix", "rank_one")} == {"mix": 1.925, "rank_one": 2}
    assert "random_s0" in explained.values


def test_examples_have_all_values_of_a_rule(forms: Dataset) -> None:
    alone = Recipe.model_validate({**FORMS, "name": "alone", "rules": [RULES[1]]})
    decide(forms, alone)
    asked = ["audit", forms.store.root, "--recipe", "alone", "--examples", "9"]
    rows = json.loads(CliRunner().invoke(main, [*asked, "--json"], catch_exceptions=False).stdout)["examples"]["size"]
    values = sorted(json.dumps(example["value"]) for example in rows)
    assert values == ['{"min_side": 150, "language": "en"}', '{"min_side": 50, "language": "de"}']
    shown = CliRunner().invoke(main, asked, catch_exceptions=False).stdout
    assert "min_side 150, language en" in shown


def test_the_page_draws_every_test_and_class(forms: Dataset) -> None:
    surveyed = survey(forms, "forms", engine_of(forms), Silent())
    assert [*surveyed.curves] == [
        "safe.nsfw.le", "safe.n_words.ge", "safe.format.eq", "size.ge.en", "size.ge.else", "mix", "top.ge.de",
        "top.ge.en", "one", "few", "n_words",
    ]  # fmt: skip
    page = audit_html(surveyed, forms, Silent())
    assert "where language is en" in page
    assert "where language is another" in page
    assert page.count('<div class="chart') > 2 * len(surveyed.curves)


def test_the_python_door_sweeps(forms: Dataset) -> None:
    opened = align_data.open(forms.store.root)
    swept = opened.sweep("forms", SweepRequest("min_side", [100, 400], of_class="en"))
    assert (swept.rule, swept.of_class, [point.value for point in swept.values]) == ("size", "en", [100, 400])
    table = opened.sweep_table("forms", SweepRequest(rule="one", values=[1, 2]), SweepRequest("nsfw", [0.5, 1.0]))
    assert [len(line) for line in table.kept] == [2, 2]
    assert table.kept[1][1] >= table.kept[0][0]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (["--rule", "size"], "size has a value for each language: choose one with --class: en, else"),
        (["--rule", "safe"], "safe has several tests: choose one with --signal: nsfw, n_words, format"),
        (["--signal", "n_words"], "several rules test n_words: choose one with --rule: safe, n_words"),
        (["--signal", "mix", "--class", "en"], "the test of mix in mix has one value for all pairs, and no classes"),
        (["--rule", "top", "--class", "fr"], "no pair that top chooses among has the language fr"),
        (["--rule", "one", "--values", "0"], "one keeps a whole number of pairs of each group"),
        (["--rule", "one", "--values", "many"], "this is not a number"),
        (
            ["--rule", "safe", "--signal", "nsfw", "--op", "ge"],
            "the rule safe tests nsfw, n_words, format, not nsfw ge",
        ),
        (["--rule", "top", "--values", "2"], "--values 2: Input should be less than or equal to 1"),
        ([], "give --signal, --rule or both"),
    ],
)
def test_what_a_sweep_cannot_choose_is_a_sentence(forms: Dataset, asked: list[str], sentence: str) -> None:
    done = CliRunner().invoke(main, ["sweep", forms.store.root, "--recipe", "forms", *asked])
    assert done.exit_code in (1, 2)
    assert sentence in " ".join(done.stderr.split())
    assert "unforeseen" not in done.stderr


def test_the_card_says_what_each_rule_asks_for(forms: Dataset) -> None:
    asks = {rule.name: _asks(rule) for rule in open_ledger(forms, "forms").plan.rules}
    assert asks["safe"] == "nsfw is at most 0.5, or (n_words is at least 4, and format is jpeg)"
    assert asks["size"] == "min_side at least 200 where language is en, at least 100 otherwise"
    assert asks["n_words"] == "n_words 1 to 9"
    assert asks["one"].startswith("the first of the pairs with the same host")


def test_copies_of_evaluation_images_leak_as_far_as_any_test_says() -> None:
    tests = [{"signal": "eval_distance", "ge": 5}, {"signal": "n_words", "ge": 3}]
    recipe = Recipe.model_validate({"name": "far", "rules": [{"name": "far", "all": tests}]})
    assert allowed(Plan.unresolved(recipe)) == 4


@pytest.mark.parametrize("number", [0, 1])
def test_every_form_on_a_pool_that_is_hardly_there(job: Callable[..., Built], number: int) -> None:
    """Nothing is measured of it but words and hosts: what waits for more is unknown, and nothing stumbles."""
    none = Recipe.model_validate({"name": "none", "rules": [{"signal": "nsfw", "lt": 1}]})
    dataset = job([row(f"http://a/{i}", "one two") for i in range(number)], recipe=none).dataset
    measure(dataset, engine_of(dataset), Silent(), ["n_words", "n_chars", "host"])
    decide(dataset, Recipe.model_validate(FORMS))
    opened = align_data.open(dataset.store.root)
    counted = opened.audit("forms", pictures=False)
    unknown = {line.rule for line in counted.survey.audit.rules if line.unknown}
    assert unknown == ({"safe", "size", "mix", "top"} if number else set())
    assert "forms" in counted.html
    requests = [SweepRequest(rule="size", of_class="en"), SweepRequest("mix"), SweepRequest(rule="top", values=[0.1])]
    for request in [*requests, SweepRequest(rule="top"), SweepRequest(rule="one"), SweepRequest("nsfw")]:
        points = opened.sweep("forms", request).values
        assert points
        assert {point.kept for point in points} == {0}
    table = opened.sweep_table("forms", SweepRequest(rule="top", values=[0.1]), SweepRequest("nsfw", [0.5, 1]))
    assert (table.kept, table.pending) == ([[0, 0]], [[number, number]])
