"""The newer forms of recipes: what is read, what each mistake is called, what `--set` changes, and each verdict.

The verdicts' oracle is three-valued logic in plain Python, over rows as dictionaries.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_data.common.errors import RecipeError
from align_data.recipes.model import Recipe
from align_data.recipes.overrides import override, override_all
from align_data.recipes.plan import Plan, masks
from align_data.recipes.reading import parse
from align_data.recipes.schema import json_schema
from align_data.recipes.scores import TermScale
from align_data.recipes.thresholds import TopFraction, TopFractions

EVERYTHING = """
name: all_forms
format: 2
scores:
  mix: {sum: [{signal: similarity_a, weight: 0.8, scale: standard}, {signal: similarity_b}], source: a paper}
  higher: {max: [{signal: mix}, {signal: nsfw, weight: -1}]}
rules:
  - {name: safety, any: [{signal: nsfw, le: 0.95}, {all: [{signal: n_words, ge: 3}, {signal: language, in: [en, de]}]}]}
  - {signal: similarity_a, by: language, ge: {en: 0.28, "no": 0.3, else: 0.26}}
  - {signal: decodable, by: decodable, eq: {true: true, else: false}}
  - {signal: mix, top_fraction: 0.2, among: [safety, similarity_a], of: pool}
  - {name: of_language, signal: n_words, top_fraction: 0.5, per: language, among: pool}
  - {name: one_of_each, first_of: [phash, alt_text], order: [-min_side, uid], keep: 2}
  - {signal: random_s0, lt: 0.1}
  - {signal: nsfw, lt: unspecified}
  - {signal: higher, gt: 0}
"""


def test_every_form_is_read_and_goes_through_json() -> None:
    recipe = parse(EVERYTHING, "f.yaml")
    assert Recipe.model_validate(json.loads(json.dumps(recipe.dump()))) == recipe
    plan = Plan.unresolved(recipe)
    assert Plan.model_validate(json.loads(json.dumps(plan.dump()))) == plan
    assert {rule.name: rule.phrase() for rule in recipe.rules} == {
        "safety": "nsfw is at most 0.95, or (n_words is at least 3, and language is one of en, de)",
        "similarity_a": "at least 0.28 where language is en, at least 0.3 where language is no, at least 0.26 otherwise",
        "decodable": "true where decodable is true, false otherwise",
        "mix": "among the highest 20% of the pairs that pass safety and similarity_a, counted against the whole pool",
        "of_language": "among the highest 50% of all pairs of each language",
        "one_of_each": "the first 2 of the pairs with the same phash and alt_text, the greatest min_side first, "
        "then the least uid first",
        "random_s0": "less than 0.1",
        "nsfw": "less than an unspecified value",
        "higher": "more than 0",
    }


def test_a_rule_follows_from_all_that_is_behind_it() -> None:
    plan = Plan.unresolved(parse(EVERYTHING, "f.yaml"))
    assert plan.signals_of([plan.rule("higher")]) == ["similarity_a", "similarity_b", "nsfw"]
    assert plan.signals_of([plan.rule("one_of_each")]) == ["phash", "min_side"]  # alt_text and uid are of pairs
    assert plan.scores(["higher"]) == ["mix", "higher"]
    assert plan.known(["similarity_a", "similarity_b", "nsfw"]) == {"similarity_a", "similarity_b", "nsfw"}
    scale = TermScale(kind="standard", pool=3, low=0.2, span=0.1)
    resolved = plan.with_scales({"mix": (scale, TermScale(kind="none", pool=3))})
    assert resolved.known(["similarity_a", "similarity_b"]) == {"similarity_a", "similarity_b", "mix"}


def _rule(text: str) -> str:
    return f"name: a\nscores:\n  mix: {{sum: [{{signal: nsfw}}]}}\nrules:\n  - {{signal: n_words, ge: 1}}\n  - {text}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (_rule("{ge: 3}"), "f.yaml, line 6: a rule takes exactly one of signal, any, all, first_of; this one has none"),
        (_rule("{signal: nsfw, any: [{signal: nsfw, lt: 1}]}"), "line 6: a rule takes exactly one of signal, any, all, first_of; this one has 2 (signal, any)"),
        (_rule("{any: [{signal: nsfw, lt: 1}]}"), "line 6: a rule of any takes a name, as in name: one_of_each"),
        (_rule("{name: b, any: []}"), "line 6: any takes at least one test"),
        (_rule("{name: b, any: [{signal: nsfw, lt: 1}], ge: 3}"), "line 6: ge goes with a signal, not with any"),
        (_rule("{name: b, any: [{signal: nsfw,\n       lte: 1}]}"), "line 7: there is no key lte (did you mean lt?); allowed are: signal, by, any, all, gt, "),
        (_rule("{name: b, any: [{signal: nsfw, lt: 1},\n       {signal: nsfv, lt: 1}]}"), "line 7: there is no signal nsfv (did you mean nsfw?)"),
        (_rule("{name: b, any: [{signal: nsfw, top_fraction: 0.1}]}"), "line 6: top_fraction is a rule of its own, and no test of any or all"),
        (_rule("{name: b, any: [3]}"), "line 6: a test must be a mapping of keys to values, not 3"),
        (_rule("{signal: nsfw, ge: {en: 3, else: 2}}"), "line 6: ge has a value for each class: say by which signal, as in by: language"),
        (_rule("{signal: nsfw, by: language, ge: 3}"), "line 6: by takes a value for each class, such as ge: {en: …, else: …}"),
        (_rule("{signal: nsfw, by: language, ge: {en: 3}}"), "line 6: by takes a value for each class, such as ge: {en: …, else: …}"),
        (_rule("{signal: nsfw, by: language, ge: {en: x, else: 2}}"), "line 6: en takes a number, not 'x'"),
        (_rule("{signal: nsfw, by: langauge, ge: {en: 3, else: 2}}"), "line 6: by: there is no signal langauge (did you mean language?)"),
        (_rule("{signal: nsfw, by: aspect, ge: {en: 3, else: 2}}"), "line 6: by takes a signal"),
        (_rule("{signal: nsfw, by: language, top_fraction: {en: 0.3, else: 0.2}}"), "line 6: top_fraction takes no by; for a threshold in each class use top_fraction with per"),
        (_rule("{signal: mixx, ge: 3}"), "line 6: there is no signal mixx"),
        (_rule("{signal: n_chars, ge: 3, among: pool}"), "line 6: among goes with top_fraction and first_of alone"),
        (_rule("{signal: n_chars, ge: 3, per: language}"), "line 6: per goes with top_fraction alone"),
        (_rule("{signal: n_chars, top_fraction: 0.3, among: [nothing]}"), "line 1: n_chars chooses among the pairs of nothing, which is not a rule; there are: n_words, n_chars"),
        (_rule("{signal: n_chars, top_fraction: 0.3, among: [n_chars]}"), "rules choose among each other's pairs in a circle: n_chars → n_chars"),
        (_rule("{signal: n_chars, top_fraction: 0.3, among: everything}"), "line 6: among: "),
        (_rule("{name: b, first_of: [phsh]}"), "line 6: there is no signal phsh (did you mean phash?)"),
        (_rule("{name: b, first_of: [uid]}"), "line 6: first_of takes no uid: no two pairs have the same"),
        (_rule("{signal: n_chars, ge: 3, keep: 2}"), "line 6: keep goes with first_of alone"),
        (_rule("{name: b, first_of: [url], keep: 0}"), "line 6: keep: "),
        (_rule("{signal: random_S, lt: 0.1}"), "line 6: 'S' is not a valid score name"),
        ("name: a\nformat: 3\nrules:\n  - {signal: n_words, ge: 1}", "f.yaml, line 2: format: "),
        ("name: a\nscores:\n  n_words: {sum: [{signal: nsfw}]}\nrules:\n  - {signal: n_words, ge: 1}", "the score n_words has the name of a signal; give it another"),
        ("name: a\nscores:\n  mix: {sum: [{signal: nsfv}]}\nrules:\n  - {signal: mix, ge: 1}", "the score mix: there is no signal nsfv (did you mean nsfw?)"),
        ("name: a\nscores:\n  mix: {sum: [{signal: language}]}\nrules:\n  - {signal: mix, ge: 1}", "the score mix adds numbers, but language is ISO 639 code"),
        ("name: a\nscores:\n  mix: {sum: [{signal: mox}]}\n  mox: {sum: [{signal: mix}]}\nrules:\n  - {signal: mix, ge: 1}", "scores are made of each other in a circle: mix → mox → mix"),
        ("name: a\nscores:\n  mix: {summ: [{signal: nsfw}]}\nrules:\n  - {signal: n_words, ge: 1}", "line 3: there is no key summ (did you mean sum?); allowed are: sum, product, min, max, "),
        ("name: a\nscores:\n  mix: {sum: [{signal: nsfw, wight: 2}]}\nrules:\n  - {signal: n_words, ge: 1}", "line 3: there is no key wight (did you mean weight?); allowed are: signal, weight, scale"),
        ("name: a\nscores:\n  mix: {}\nrules:\n  - {signal: n_words, ge: 1}", "line 3: a score takes exactly one of sum, product, min, max; this one has none"),
        ("name: a\nscores:\n  A b: {sum: [{signal: nsfw}]}\nrules:\n  - {signal: n_words, ge: 1}", "'A b' is not a score's name"),
    ],
)  # fmt: skip
def test_a_mistake_is_a_sentence_with_file_and_line(text: str, said: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse(text, "f.yaml")
    assert said in str(error.value)
    assert str(error.value).startswith("f.yaml")


def test_three_circular_rules_are_named() -> None:
    rules = "".join(
        f"  - {{name: r{i}, signal: n_chars, top_fraction: 0.5, among: [r{(i + 1) % 3}]}}\n" for i in range(3)
    )
    with pytest.raises(RecipeError, match="in a circle: r0 → r1 → r2 → r0"):
        parse(f"name: a\nrules:\n{rules}", "f.yaml")


@pytest.mark.parametrize(
    ("assignment", "rule", "phrase"),
    [
        ("similarity_a.ge.en=0.5", "similarity_a", "at least 0.5 where language is en, at least 0.3 where language is no, at least 0.26 otherwise"),
        ("similarity_a.ge.fr=0.5", "similarity_a", "at least 0.28 where language is en, at least 0.3 where language is no, at least 0.5 where language is fr, at least 0.26 otherwise"),
        ("similarity_a.ge.else=0.5", "similarity_a", "at least 0.28 where language is en, at least 0.3 where language is no, at least 0.5 otherwise"),
        ("similarity_a.ge=0.5", "similarity_a", "at least 0.5"),
        ("safety.nsfw.le=0.5", "safety", "nsfw is at most 0.5, or (n_words is at least 3, and language is one of en, de)"),
        ("safety.language.eq=fr", "safety", "nsfw is at most 0.95, or (n_words is at least 3, and language is fr)"),
        ("mix.top_fraction=0.5", "mix", "among the highest 50% of the pairs that pass safety and similarity_a, counted against the whole pool"),
        ("mix.ge=0.5", "mix", "at least 0.5"),
        ("one_of_each.keep=1", "one_of_each", "the first of the pairs with the same phash and alt_text, the greatest min_side first, then the least uid first"),
        ("nsfw.lt=0.5", "nsfw", "less than 0.5"),
    ],
)  # fmt: skip
def test_an_override_changes_one_place(assignment: str, rule: str, phrase: str) -> None:
    before = parse(EVERYTHING, "f.yaml")
    recipe = override(before, assignment)
    at = recipe.position(rule)
    assert (recipe.rules[at].phrase(), recipe.rules[at].source) == (phrase, "chosen")
    assert [r for r in recipe.rules if r.name != rule] == [r for r in before.rules if r.name != rule]
    plan = Plan.unresolved(recipe, overrides=[assignment])
    assert [planned.name for planned in plan.rules if planned.overridden] == [rule]


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("similarity_a.le.en=0.5", "similarity_a has no le for the class en: its values by language are of ge"),
        ("higher.gt.en=0.5", "higher has no gt for the class en: it asks for more than 0"),
        (
            "safety.le=0.5",
            "safety has no test of le; it takes RULE.SIGNAL.OP=VALUE with one of: nsfw, n_words, language",
        ),
        ("safety.nsfv.le=0.5", "safety has no test of nsfv (did you mean nsfw?)"),
        ("safety.nsfw=0.5", "it takes RULE.SIGNAL.OP=VALUE, such as safety.nsfw.ge=3"),
        ("safety.nsfw.lee=0.5", "no operator lee (did you mean le?)"),
        ("safety.nsfw.le=x", "--set safety.nsfw.le=x: le takes a number, not 'x'"),
        ("one_of_each.le=2", "of one_of_each only keep can be set, as in one_of_each.keep=2"),
        ("one_of_each.keep=0", "--set one_of_each.keep=0: keep: "),
        ("similarity_a.ge.en=x", "--set similarity_a.ge.en=x: en takes a number, not 'x'"),
    ],
)
def test_a_wrong_override_is_a_sentence(assignment: str, said: str) -> None:
    with pytest.raises(RecipeError) as error:
        override(parse(EVERYTHING, "f.yaml"), assignment)
    assert said in str(error.value)


def test_overrides_of_several_places_of_one_rule_go_together() -> None:
    recipe = parse(EVERYTHING, "f.yaml")
    changed = override_all(recipe, ["similarity_a.ge.en=0.5", "similarity_a.ge.no=0.6"], [])
    assert changed.rules[1].value == {"en": 0.5, "no": 0.6, "else": 0.26}
    for twice in (
        ["similarity_a.ge.en=0.5", "similarity_a.ge.en=0.6"],
        ["similarity_a.ge=0.5", "similarity_a.ge.en=0.6"],
    ):
        with pytest.raises(RecipeError, match="two tests"):
            override_all(recipe, twice, [])


def test_the_schema_knows_every_form() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json_schema())
    assert not list(validator.iter_errors(parse(EVERYTHING, "f.yaml").dump()))
    for wrong in ({"any": [{"signal": "nsfw", "lt": 1}]}, {"signal": "nsfw"}, {"name": "x", "first_of": []}):
        assert list(validator.iter_errors({"name": "a", "rules": [wrong]})), wrong


# --- verdicts ---

Row = Mapping[str, Any]
NUMBERS = ("n_words", "n_chars", "nsfw")
ORDERINGS = {"gt": lambda a, b: a > b, "ge": lambda a, b: a >= b, "lt": lambda a, b: a < b, "le": lambda a, b: a <= b}


def verdict(test: Mapping[str, Any], row: Row) -> bool | None:
    """Three-valued logic: True, False, or None for unknown."""
    for form, absorbing in (("any", True), ("all", False)):
        if form in test:
            verdicts = [verdict(part, row) for part in test[form]]
            return absorbing if absorbing in verdicts else None if None in verdicts else not absorbing
    value = row[test["signal"]]
    (op,) = set(test) & (ORDERINGS.keys() | {"eq", "in", "between"})
    bound = test[op]
    if "by" in test:
        cls = row[test["by"]]
        if cls is None:
            return None
        bound = bound.get(cls, bound["else"])
    if value is None:
        return None
    if op == "between":
        return bool(bound[0] <= value <= bound[1])
    if op in ("eq", "in"):
        return value in bound if op == "in" else value == bound
    return bool(ORDERINGS[op](value, bound))


small = st.integers(-2, 2)
bounds = {
    **{op: small | st.floats(-2, 2, allow_nan=False) for op in ORDERINGS},
    "eq": small,
    "in": st.lists(small, min_size=1, max_size=3),
    "between": st.tuples(small, small).map(sorted),
}


@st.composite
def comparisons(draw: st.DrawFn) -> dict[str, Any]:
    op = draw(st.sampled_from(sorted(bounds)))
    test = {"signal": draw(st.sampled_from(NUMBERS)), op: draw(bounds[op])}
    if draw(st.booleans()):
        classes = draw(st.lists(st.sampled_from(["en", "de", "no"]), unique=True, max_size=3))
        test |= {"by": "language", op: {**{name: draw(bounds[op]) for name in classes}, "else": draw(bounds[op])}}
    return test


trees = st.recursive(
    comparisons(),
    lambda parts: st.tuples(st.sampled_from(["any", "all"]), st.lists(parts, min_size=1, max_size=3)).map(
        lambda form: {form[0]: form[1]}
    ),
    max_leaves=5,
)
rows = st.lists(
    st.fixed_dictionaries(
        {
            **{name: st.none() | small for name in NUMBERS},
            "language": st.none() | st.sampled_from(["en", "de", "no", "fr"]),
        }
    ),
    max_size=8,
)


@given(st.lists(trees, min_size=1, max_size=63), rows, st.sets(st.sampled_from([*NUMBERS, "language"])))
def test_verdicts_are_those_of_three_valued_logic(
    tests: list[dict[str, Any]], pairs: list[Row], unmeasured: set[str]
) -> None:
    recipe = Recipe.model_validate({"name": "a", "rules": [{"name": f"r{i}", **test} for i, test in enumerate(tests)]})
    types = {**dict.fromkeys(NUMBERS, pl.Float64), "n_words": pl.Int32, "language": pl.String}
    frame = pl.DataFrame(pairs, types).with_row_index().drop(unmeasured)
    measured = set(frame.columns)
    seen = frame.with_columns(masks(Plan.unresolved(recipe).rules, measured))
    known = [{name: None if name in unmeasured else value for name, value in row.items()} for row in pairs]
    expected = [[verdict(test, row) for test in tests] for row in known]
    bits = (
        [
            [None if (u >> i) & 1 else not (f >> i) & 1 for i in range(len(tests))]
            for f, u in seen.select("failed", "unknown").rows()
        ]
        if pairs
        else []
    )
    assert bits == expected


# --- scores, chances, thresholds by class ---

terms = st.fixed_dictionaries({"signal": st.sampled_from(NUMBERS), "weight": st.integers(-3, 3) | st.floats(-2, 2)})


@given(st.sampled_from(["sum", "product", "min", "max"]), st.lists(terms, min_size=1, max_size=4), rows)
def test_a_score_is_what_its_terms_make(way: str, of: list[dict[str, Any]], pairs: list[Row]) -> None:
    recipe = Recipe.model_validate({"name": "a", "scores": {"mix": {way: of}}, "rules": [{"signal": "mix", "ge": 0}]})
    frame = pl.DataFrame(pairs, {**dict.fromkeys(NUMBERS, pl.Float64), "language": pl.String})
    values = frame.select(Plan.unresolved(recipe).score("mix")).to_series().to_list()
    for row, value in zip(pairs, values, strict=True):
        weighted = [None if row[term["signal"]] is None else row[term["signal"]] * term["weight"] for term in of]
        if None in weighted:
            assert value is None
        else:
            combined = {"sum": sum, "product": math.prod, "min": min, "max": max}[way](weighted)
            assert value == pytest.approx(combined, abs=1.1e-6)
            assert value == round(value, 6)


def test_scales_put_values_where_they_say() -> None:
    column = pl.DataFrame({"x": [None, -1.0, 0.0, 1.0, 5.0]})
    scales = {
        "minmax": TermScale(kind="minmax", pool=4, low=-1, span=6),
        "standard": TermScale(kind="standard", pool=4, low=1, span=2),
        "flat": TermScale(kind="minmax", pool=4, low=-1, span=0),
        "rank": TermScale(kind="rank", pool=4, cuts=tuple([-1.0] * 250 + [0.0] * 250 + [1.0] * 250 + [5.0] * 249)),
    }
    placed = column.select(scale.apply(pl.col("x")).alias(name) for name, scale in scales.items())
    assert placed["minmax"].to_list() == [None, 0, 1 / 6, 2 / 6, 1]
    assert placed["standard"].to_list() == [None, -1, -0.5, 0, 2]
    assert placed["flat"].to_list() == [None, 0, 0, 0, 0]
    assert placed["rank"].to_list() == [None, 0, 0.25, 0.5, 0.75]


def test_what_scales_became_is_said() -> None:
    terms = [
        {"signal": name, "scale": scale} for name, scale in zip(NUMBERS, ("standard", "minmax", "rank"), strict=True)
    ]
    scores = {"mix": {"sum": [*terms, {"signal": "aspect"}]}, "other": {"sum": [{"signal": "nsfw", "scale": "rank"}]}}
    recipe = Recipe.model_validate({"name": "a", "scores": scores, "rules": [{"signal": "mix", "ge": 0}]})
    scales = (
        TermScale(kind="standard", pool=1200, low=2.5, span=1.25),
        TermScale(kind="minmax", pool=1300, low=-1, span=6),
        TermScale(kind="rank", pool=4, cuts=(0.0,) * 999),
        TermScale(kind="none", pool=9),
    )
    plan = Plan.unresolved(recipe).with_scales({"mix": scales, "other": (scales[2],)})  # no rule follows from other
    (sentence,) = plan.scales_in_force()
    assert sentence == (
        "mix: n_words from the mean 2.5 in standard deviations of 1.25, of 1,200 pairs; n_chars from -1 to 5, of "
        "1,300 pairs; nsfw by rank, of 4 pairs; aspect as it is"
    )
    assert not list(Plan.unresolved(recipe, off=["mix"]).with_scales({"mix": scales}).scales_in_force())


def test_a_threshold_by_class_decides_each_class_by_its_own() -> None:
    recipe = parse("name: a\nrules:\n  - {signal: nsfw, top_fraction: 0.5, per: language}", "f.yaml")
    tops = {
        "en": TopFraction(fraction=0.5, threshold=0.5, used=1, pool=2),
        "de": TopFraction(fraction=0.5, threshold=0.1, used=1, pool=2),
        "fr": TopFraction(fraction=0.5, threshold=0.0, used=0, pool=0),
    }
    plan = Plan.unresolved(recipe).with_thresholds({"nsfw": TopFractions(per="language", by_class=tops)})
    assert Plan.model_validate(json.loads(json.dumps(plan.dump()))) == plan
    frame = pl.DataFrame(
        {
            "nsfw": [0.5, 0.4, 0.1, 0.0, -9.0, None, 0.5, -9.0],
            "language": ["en", "en", "de", "de", "fr", "en", None, "sw"],
        }
    )
    failed, unknown = masks(plan.rules, frame.columns)
    assert frame.select(failed, unknown).rows() == [(0, 0), (1, 0), (0, 0), (1, 0), (0, 0), (0, 1), (0, 1), (0, 0)]


def test_a_fraction_that_was_not_looked_up_decides_nothing() -> None:
    for rule in (
        "{signal: nsfw, top_fraction: 0.5}",
        "{signal: nsfw, top_fraction: 0.5, per: language}",
        "{signal: nsfw, lt: unspecified}",
    ):
        plan = Plan.unresolved(parse(f"name: a\nrules:\n  - {rule}", "f.yaml"))
        with pytest.raises(RecipeError, match="must become a threshold before it decides"):
            masks(plan.rules, ["nsfw", "language"])
