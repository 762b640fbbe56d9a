"""Recipes: what is published, what a mistake says, what an override does, and masks of up to 63 rules."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import oracle
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from published_filters import PUBLISHED

from align_data.common import resources
from align_data.common.errors import RecipeError
from align_data.common.yaml_lines import load_yaml
from align_data.data.ledger import count_masks
from align_data.recipes.needs import hardest, needs
from align_data.recipes.overrides import override
from align_data.recipes.plan import Plan, masks
from align_data.recipes.reading import builtin, load, parse, scalar
from align_data.recipes.schema import json_schema
from align_data.recipes.thresholds import Vocabulary, vocabulary
from align_data.signals import SIGNALS
from align_data.stages.audit import count

# What ../shared/reference/recipes.md quotes from the papers.
GOLDEN = {
    "align": [
        ("n_words", "between 3,20", False),
        ("images_per_text", "le 10", False),
        ("rarest_ngram", "top_k 100000000", False),
        ("texts_per_image", "le 1000", False),
        ("decodable", "eq true", True),
        ("min_side", "gt 200", False),
        ("aspect", "lt 3", False),
        ("nsfw", "lt 0.5", True),
        ("eval_distance", "gt 6", True),
    ],
    "coyo": [
        ("n_words_whitespace", "between 3,256", False),
        ("n_chars", "between 6,1000", False),
        ("rows_per_text", "le 10", False),
        ("language_cld3", "eq en", False),
        ("decodable", "eq true", False),
        ("bytes", "ge 5000", True),
        ("min_side", "ge 200", False),
        ("aspect", "le 3", False),
        ("nsfw", "le 0.5", False),
        ("eval_distance", "gt 0", False),
        ("n_nouns", "ge 1", False),
        ("nsfw_words", "eq 0", False),
        ("one_of_each", "keep 1", False),
    ],
    "datacomp-basic": [
        ("language", "eq en", False),
        ("n_words_whitespace", "gt 2", False),
        ("n_chars", "gt 5", False),
        ("min_side", "ge 200", False),
        ("aspect", "le 3", False),
    ],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_published_recipes(name: str) -> None:
    recipe = load(name)
    assert [(r.name, r.test, r.source == "chosen") for r in recipe.rules] == GOLDEN[name]
    assert recipe.name == name
    published = any(rule.source != "chosen" for rule in recipe.rules)
    assert not published or ("https://github.com/" if name == "coyo" else "arXiv") in recipe.paper  # COYO has no paper


def test_every_published_recipe_has_a_golden_test() -> None:
    assert builtin() == sorted({*GOLDEN, *PUBLISHED})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("datacomp-text", {"text alone": []}),
        ("datacomp-basic", {"images": []}),
        ("metaclip-2", {"lists": ["metaclip2"]}),  # a random number is had by everybody
        ("coyo", {"images": [], "lists": ["coyo"]}),  # model add has a detector of NSFW images
        ("re-laion-safe", {"lists": ["blocklist"], "models": ["head_punsafe"]}),
        ("laion-multi", {"images": [], "lists": ["underage"], "models": ["head_nsfw_top2", "similarity_b32", "similarity_mclip"]}),
    ],
)  # fmt: skip
def test_what_a_recipe_needs_is_what_stands_behind_all_of_its_tests_and_scores(
    name: str, expected: dict[str, list[str]]
) -> None:
    assert needs(load(name)) == expected
    assert hardest(load(name)) == [*expected][-1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nrules:\n  - {signal: n_wordz, ge: 3}", "f.yaml, line 3: there is no signal n_wordz (did you mean n_words?); there are: n_words, "),
        ("name: a\nrules:\n  - {signal: n_words,\n     gee: 3}", "f.yaml, line 4: there is no key gee (did you mean ge?); allowed are: signal, name, gt, "),
        ("name: a\nrules:\n  - {signal: n_words, ge: 3, le: 5}", "f.yaml, line 3: has 2 tests (ge, le); it takes exactly one of gt, ge, lt, le, eq, in, between, top_k"),
        ("name: a\nrules:\n  - {signal: n_words}", "f.yaml, line 3: has no test; it takes exactly one of"),
        ("name: a\nrules:\n  - {signal: n_words, ge: 3, ge: 4}", "f.yaml, line 3: ge is given twice"),
        ("name: a\nrules:\n  - {signal: n_words, ge: '3'}", "f.yaml, line 3: ge takes a number, not '3'"),
        ("name: a\nrules:\n  - {signal: n_words, ge: true}", "f.yaml, line 3: ge takes a number, not True"),
        ("name: a\nrules:\n  - {signal: n_words, ge: .nan}", "f.yaml, line 3: ge takes a number, not nan"),
        ("name: a\nrules:\n  - {signal: n_words, between: [3]}", "f.yaml, line 3: between takes two numbers, the lower end first"),
        ("name: a\nrules:\n  - {signal: n_words, between: [5, 3]}", "f.yaml, line 3: between takes the lower end first, not 5, 3"),
        ("name: a\nrules:\n  - {signal: n_words, top_k: 5}", "f.yaml, line 3: top_k is a test of rarest_ngram alone"),
        ("name: a\nrules:\n  - {signal: rarest_ngram, top_k: 0}", "f.yaml, line 3: top_k: "),
        ("name: a\nrules:\n  - {signal: language, gt: 3}", "f.yaml, line 3: gt compares numbers, but language is ISO 639 code; use eq or in"),
        ("name: a\nrules:\n  - {signal: language, in: [true, de]}", "quote it"),
        ("name: a\nrules:\n  - {signal: decodable, eq: 1}", "f.yaml, line 3: decodable is true or false, and cannot be compared with 1"),
        ("name: a\nrules:\n  - {signal: n_words, ge: 3}\n  - {signal: n_words, le: 9}", "two rules are named n_words; give one of them another name"),
        ("name: a\nrules: []", "f.yaml, line 1: a recipe has 1 to 63 rules, not 0"),
        ("name: a\nrules:\n" + "".join(f"  - {{name: r{i}, signal: n_words, ge: 1}}\n" for i in range(64)), "a recipe has 1 to 63 rules, not 64"),
        ("name: a b\nrules:\n  - {signal: n_words, ge: 3}", "f.yaml, line 1: name: "),
        ("titel: a\nname: a\nrules:\n  - {signal: n_words, ge: 3}", "f.yaml, line 1: there is no key titel (did you mean title?)"),
        ("rules:\n  - {signal: n_words, ge: 3}", "f.yaml, line 1: the key name is missing"),
        ("name: a\nrules: [3]", "f.yaml, line 2: a rule must be a mapping of keys to values, not 3"),
        ("- a", "f.yaml, line 1: a recipe must be a mapping of keys to values, not ['a']"),
        ("", "f.yaml: a recipe must be a mapping of keys to values, not None"),
        ("name: [", "f.yaml, line 1: not YAML: "),
        ("name: a\x07", "f.yaml: not YAML: "),
    ],
)  # fmt: skip
def test_a_mistake_is_a_sentence_with_file_and_line(text: str, said: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse(text, "f.yaml")
    assert said in str(error.value)
    assert "Traceback" not in str(error.value)


def test_two_mistakes_are_two_sentences() -> None:
    with pytest.raises(RecipeError) as error:
        parse("name: a\nrules:\n  - {signal: n_wordz, ge: 3}\n  - {signal: n_words, gee: 3}\n", "f.yaml")
    assert [line.partition(":")[0] for line in str(error.value).splitlines()] == ["f.yaml, line 3", "f.yaml, line 4"]


@pytest.mark.parametrize(
    ("assignment", "test"),
    [
        ("n_words.between=2,30", "between 2,30"),
        ("n_words.ge=4", "ge 4"),
        ("rarest_ngram.ge=3", "ge 3"),
        ("aspect.le=2.5", "le 2.5"),
        ("decodable.eq=false", "eq false"),
    ],
)
def test_an_override_replaces_the_rules_test_whole(assignment: str, test: str) -> None:
    recipe = load("align")
    changed = override(recipe, assignment)
    place = recipe.position(assignment.partition(".")[0])
    assert changed.rules[place].test == test
    assert changed.rules[:place] + changed.rules[place + 1 :] == recipe.rules[:place] + recipe.rules[place + 1 :]
    assert changed.rules[place].source == "chosen"  # what the paper states it no longer is


def test_an_override_finds_rules_whose_names_have_dots() -> None:
    assert override(load("datacomp-basic"), "n_words_whitespace.ge=4").rules[1].test == "ge 4"


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("n_word.ge=3", "align has no rule n_word (did you mean n_words?); it has: n_words, "),
        ("n_words.gee=3", "no operator gee (did you mean ge?); allowed: gt, ge, "),
        ("n_words.ge", "it takes RULE.OP=VALUE, such as n_words.between=2,30"),
        ("n_words", "it takes RULE.OP=VALUE"),
        ("n_words.ge=", "it takes RULE.OP=VALUE"),
        ("n_words.ge=x", "--set n_words.ge=x: ge takes a number, not 'x'"),
        ("n_words.between=9,2", "between takes the lower end first"),
    ],
)
def test_a_wrong_override_is_a_sentence(assignment: str, said: str) -> None:
    with pytest.raises(RecipeError) as error:
        override(load("align"), assignment)
    assert said in str(error.value)


def test_an_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(RecipeError, match=r"there is no recipe algin \(did you mean align\?\); there are: align, "):
        load("algin")
    with pytest.raises(RecipeError, match=r"cannot read the recipe \./nothing\.yaml"):
        load("./nothing.yaml")


def test_the_json_schema_in_the_repository_is_the_generated_one() -> None:
    assert json.loads(resources.text("schemas", "recipe.schema.json")) == json_schema()
    rule = json_schema()["$defs"]["Rule"]
    assert rule["properties"]["signal"]["anyOf"][0]["enum"] == list(SIGNALS)
    assert rule["additionalProperties"] is False


# --- masks, ledgers, audits ---

NUMBERS = [name for name, signal in SIGNALS.items() if signal.type in ("int32", "int64", "float64")]
tests = st.one_of(
    st.tuples(st.sampled_from(["gt", "ge", "lt", "le", "eq"]), st.integers(-2, 2)),
    st.tuples(st.just("between"), st.tuples(st.integers(-2, 0), st.integers(0, 2)).map(list)),
    st.tuples(st.just("in"), st.lists(st.integers(-2, 2), min_size=1, max_size=3)),
)


@st.composite
def recipes(draw: st.DrawFn) -> list[tuple[str, str, str, object]]:
    found = draw(st.lists(st.tuples(st.sampled_from(NUMBERS), tests), min_size=1, max_size=63))
    return [(f"rule{i}", signal, op, value) for i, (signal, (op, value)) in enumerate(found)]


@given(recipes(), st.data())
def test_masks_and_audits_are_the_oracles(rules: list[tuple[str, str, str, object]], data: st.DataObject) -> None:
    lines = "".join(f"  - {{name: {n}, signal: {s}, {op}: {json.dumps(v)}}}\n" for n, s, op, v in rules)
    recipe = parse(f"name: any\nrules:\n{lines}", "f.yaml")
    values = st.fixed_dictionaries({name: st.none() | st.integers(-3, 3) for name in NUMBERS})
    pairs = data.draw(st.lists(values, max_size=12))
    off = data.draw(st.sets(st.sampled_from([name for name, *_ in rules]), max_size=3))
    measured = data.draw(st.sets(st.sampled_from(NUMBERS), min_size=1))
    known = [{name: v if name in measured else None for name, v in pair.items()} for pair in pairs]
    expected = oracle.ledger(known, [(n, s, op, tuple(v) if isinstance(v, list) else v) for n, s, op, v in rules], off)

    frame = pl.DataFrame(pairs, dict.fromkeys(NUMBERS, pl.Int64)).with_row_index()
    verdicts = frame.select(*masks(Plan.unresolved(recipe, off=off).rules, measured), "index").select(
        "failed", "unknown"
    )
    assert verdicts.rows() == expected

    audit = count("any", Plan.unresolved(recipe, off=off), count_masks([verdicts])).to_json()
    wanted = oracle.audit(expected, len(rules))
    assert {k: audit[k] for k in ("pairs", "kept", "dropped", "pending", "overlap")} == {
        k: wanted[k] for k in ("pairs", "kept", "dropped", "pending", "overlap")
    }
    for line, want in zip(audit["rules"], wanted["rules"], strict=True):
        assert {k: line[k] for k in want if k in line} == {k: want[k] for k in want if k in line}
        assert line["left_after"] == want["left_after"]


@pytest.mark.parametrize(
    ("rule", "passing", "failing"),
    [
        ("n_words", [3, 20], [2, 21]),
        ("images_per_text", [10], [11]),
        ("texts_per_image", [1000], [1001]),
        ("min_side", [201], [200]),
        ("aspect", [2.9999], [3.0]),
        ("nsfw", [0.4999], [0.5]),
        ("eval_distance", [7], [6]),
    ],
)
def test_aligns_exact_edges(rule: str, passing: list[float], failing: list[float]) -> None:
    recipe = load("align")
    test = recipe.rules[recipe.position(rule)]
    frame = pl.DataFrame({rule: [*passing, *failing]})
    verdicts = frame.select(test.passes(pl.col(rule))).to_series().to_list()
    assert verdicts == [True] * len(passing) + [False] * len(failing)


@pytest.mark.parametrize(("rule", "passing", "failing"), [("min_side", 200, 199), ("aspect", 3.0, 3.0001)])
def test_datacomps_exact_edges(rule: str, passing: float, failing: float) -> None:
    recipe = load("datacomp-basic")
    test = recipe.rules[recipe.position(rule)]
    assert pl.DataFrame({rule: [passing, failing]}).select(test.passes(pl.col(rule))).to_series().to_list() == [
        True,
        False,
    ]


# --- top_k ---

classes = st.dictionaries(st.integers(1, 30), st.integers(1, 20), max_size=8)


@given(classes, st.integers(1, 200))
def test_top_k_is_the_oracles(found: dict[int, int], top_k: int) -> None:
    counts = Counter({f"{c}-{i}": c for c, n in found.items() for i in range(n)})
    resolved = vocabulary(top_k, sorted(found.items()))
    assert (resolved.threshold, resolved.used, resolved.next) == oracle.vocabulary(top_k, counts)
    assert resolved.pool == len(counts)


def test_top_k_says_what_it_became() -> None:
    pool = [(1, 500), (2, 60), (3, 30), (7, 10)]
    assert vocabulary(100, pool) == Vocabulary(size=100, threshold=2, used=100, next=None, pool=600)
    assert "top_k 100 became the 100 n-grams seen twice or more" in vocabulary(100, pool).sentence("r")
    assert "the next class would make it 100" in vocabulary(45, pool).sentence("r")
    assert "warning: that is 11% off" in vocabulary(45, pool).sentence("r")
    assert "warning" not in vocabulary(42, pool).sentence("r")
    assert "top_k 600 covers all 600 distinct" in vocabulary(600, pool).sentence("r")
    assert "--set r.ge=3" in vocabulary(10**8, pool).sentence("r")


def test_an_override_and_an_unpublished_threshold_are_marked(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nrules:\n  - {signal: n_words, ge: 3}\n  - {signal: n_chars, ge: 9, source: 'p. 3'}\n")
    recipe = load(str(path))
    assert [rule.chosen for rule in recipe.rules] == [True, False]
    changed = override(recipe, "n_chars.ge=8")
    assert [rule.chosen for rule in changed.rules] == [True, True]


@pytest.mark.parametrize("word", ["3:5", "12:30:45", "no", "on", "Yes", "010", "0x1F", "2026-01-01", "1:2.5"])
def test_a_word_is_what_it_looks_like(word: str) -> None:
    """YAML 1.1 would make numbers, truths and dates of these; Norwegian's code is the best known."""
    assert scalar(word, "here") == word
    assert scalar(f"[en, {word}]", "here") == ["en", word]


@pytest.mark.parametrize(
    ("text", "value"),
    [("100_000_000", 10**8), ("-3", -3), ("+4", 4), ("1e19", 1e19), (".5", 0.5), ("true", True), ("~", None), ("0", 0)],
)
def test_what_is_no_word_is_read_as_what_it_is(text: str, value: Any) -> None:
    found = scalar(text, "here")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x: " + "[" * 40_000, "nested too deeply"),
        ("x: " + "{a: " * 10_000, "nested too deeply"),
        ("- " * 20_000, "nested too deeply"),
        ("x: " + "a" * 300_000, "too many for a recipe"),
    ],
)
def test_yaml_that_would_take_long_is_a_sentence(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_yaml(text, "r.yaml")
