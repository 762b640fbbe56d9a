"""What rules ask of the pool, against plain Python: fractions among, of and per, scales of scores, the first of groups.

The oracle sorts, counts and sums rows; it knows nothing of scans, codes or shuffles.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import oracle as plain
import polars as pl
import pytest
from conftest import SCHEMA, Crashes, build, read, tree, write_list
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from test_score import plant

from align_data.common.errors import RecipeError
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.engines.local import LocalEngine
from align_data.recipes.model import Recipe
from align_data.recipes.plan import Plan
from align_data.stages.ingest import Parts
from align_data.stages.measure import measure
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.stages.takedown import read as read_lists
from align_data.stages.takedown import takedown

PAIRS = 30
WORDS = ("red", "blue", "cat", "dog", "日本", "x")
SIGNALS = ["n_words", "n_chars", "aspect", "min_side", "script", "images_per_text"]
NUMBERS = ["n_words", "aspect", "min_side", "similarity_a", "similarity_b"]
Row = dict[str, Any]
Verdict = bool | None


def engine_of(dataset: Dataset) -> LocalEngine:
    return LocalEngine(dataset.store.work, 2)


def pair(number: int) -> Row:
    text = " ".join(WORDS[(number * step) % len(WORDS)] for step in range(1, 1 + number % 5))
    side = None if number % 5 == 0 else 50 + 40 * (number % 7)
    return dict.fromkeys(SCHEMA) | {
        "url": f"http://host/{number}",
        "alt_text": text,
        "declared_width": side,
        "declared_height": 200,
    }


def pool_of(folder: Path, rows: int = 9) -> Dataset:
    lists = write_list(folder / "lists", [pair(number) for number in range(PAIRS)])
    dataset = build(folder / "dataset", lists, parts=Parts(rows=rows)).dataset
    measure(dataset, engine_of(dataset), Silent(), SIGNALS)
    return dataset


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return pool_of(tmp_path_factory.mktemp("resolve"))


def rows_of(dataset: Dataset) -> list[Row]:
    names = ["pairs", "measured/text", "measured/corpus", "measured/image"]
    names += [name for name in ("measured/score.a", "measured/score.b") if (Path(dataset.store.url) / name).exists()]
    frames = [read(dataset, name) for name in names]
    return [{"nsfw": None, **row} for row in pl.concat(frames, how="horizontal").to_dicts()]


# --- the oracle ---


def rounded(value: float) -> float:
    """Six decimals, halves away from nothing."""
    return math.copysign(math.floor(abs(value * 1e6) + 0.5), value) / 1e6


def scaled(kind: str, values: Sequence[float | None]) -> Callable[[float], float]:
    there = [value for value in values if value is not None]
    if kind == "none" or not there:
        return float
    exact = [Fraction(round(Fraction(value) * 10**6), 10**6) for value in there]
    if kind == "rank":
        ordered = sorted(there)
        cuts = [ordered[math.ceil(Fraction(i * len(ordered), 1000)) - 1] for i in range(1, 1000)]
        return lambda value: sum(cut < value for cut in cuts) / 1000
    if kind == "minmax":
        low, span = float(min(exact)), float(max(exact) - min(exact))
    else:
        low, span = float(statistics.mean(exact)), math.sqrt(statistics.pvariance(exact))
    return lambda value: (value - low) / span if span else 0.0


def add_scores(rows: Sequence[Row], scores: Mapping[str, Any]) -> None:
    for name, score in scores.items():  # each is made of those before it
        ((way, terms),) = score.items()
        scales = [scaled(term.get("scale", "none"), [row[term["signal"]] for row in rows]) for term in terms]
        for row in rows:
            values = [row[term["signal"]] for term in terms]
            if None in values:
                row[name] = None
                continue
            parts = [
                scale(value) * term.get("weight", 1) for scale, value, term in zip(scales, values, terms, strict=True)
            ]
            row[name] = rounded({"sum": sum, "product": math.prod, "min": min, "max": max}[way](parts))


def simple(test: Mapping[str, Any], row: Row) -> Verdict:
    for way, undecided in (("any", True), ("all", False)):
        if way in test:
            verdicts = [simple(part, row) for part in test[way]]
            return undecided if undecided in verdicts else None if None in verdicts else not undecided
    (op,) = set(test) - {"signal", "name"}
    return plain.verdict(row[test["signal"]], op, test[op])


class Oracle:
    """The verdict of each rule on each row, and what was resolved."""

    def __init__(self, rows: list[Row], recipe: Mapping[str, Any], off: set[str]) -> None:
        self.rows, self.rules, self.off = rows, {rule["name"]: rule for rule in recipe["rules"]}, off
        self.scores = recipe.get("scores", {})
        self.resolved: dict[str, Any] = {}
        add_scores(rows, self.scores)
        self.verdicts: dict[str, list[Verdict]] = {}
        for name in self.rules:
            self.decide(name)

    def pooled(self, rule: Mapping[str, Any]) -> bool:
        """Whether a rule chooses pairs of the pool itself."""
        return "first_of" in rule or "top_fraction" in rule

    def among(self, rule: Mapping[str, Any]) -> list[bool]:
        choice = rule.get("among", "kept")
        if choice == "pool":
            names = []
        elif choice == "kept":
            names = [name for name, of in self.rules.items() if name != rule["name"] and not self.pooled(of)]
        else:
            names = list(choice)
        for name in names:
            self.decide(name)
        names = [name for name in names if name not in self.off]
        return [not any(self.verdicts[name][n] is False for name in names) for n in range(len(self.rows))]

    def decide(self, name: str) -> None:
        if name in self.verdicts:
            return
        rule = self.rules[name]
        if "top_fraction" in rule:
            self.verdicts[name] = self.fraction(rule)
        elif "first_of" in rule:
            self.verdicts[name] = self.first(rule)
        else:
            self.verdicts[name] = [simple(rule, row) for row in self.rows]

    def fraction(self, rule: Mapping[str, Any]) -> list[Verdict]:
        signal, per, among = rule["signal"], rule.get("per"), self.among(rule)
        classes = {row[per] for row in self.rows if row[per] is not None} if per else {None}
        lowest: dict[Any, Any] = {}
        for of_class in classes:
            mine = [
                n for n, row in enumerate(self.rows) if row[signal] is not None and (not per or row[per] == of_class)
            ]
            chosen = sorted((self.rows[n][signal] for n in mine if among[n]), reverse=True)
            whole = len(mine) if rule.get("of") == "pool" else len(chosen)
            if chosen:
                lowest[of_class] = chosen[min(len(chosen), math.ceil(Fraction(repr(rule["top_fraction"])) * whole)) - 1]
        self.resolved[rule["name"]] = lowest
        verdicts: list[Verdict] = []
        for row in self.rows:
            of_class = row[per] if per else None
            unknown = row[signal] is None or (per is not None and of_class is None)
            least = lowest.get(of_class)
            verdicts.append(None if unknown else least is None or row[signal] >= least)
        return verdicts

    def first(self, rule: Mapping[str, Any]) -> list[Verdict]:
        among, verdicts = self.among(rule), list[Verdict]()
        for row in self.rows:
            key = [row[name] for name in rule["first_of"]]
            if None in key or row.get("taken"):
                verdicts.append(None)
                continue
            group = [
                other
                for n, other in enumerate(self.rows)
                if among[n] and not other.get("taken") and [other[name] for name in rule["first_of"]] == key
            ]
            earlier = sum(comes_before(other, row, rule.get("order", [])) for other in group)
            verdicts.append(earlier < rule.get("keep", 1))
        return verdicts

    @property
    def masks(self) -> list[tuple[int, int]]:
        found = []
        for n in range(len(self.rows)):
            in_force = [(bit, of[n]) for bit, (name, of) in enumerate(self.ordered) if name not in self.off]
            found.append(
                (sum(1 << b for b, v in in_force if v is False), sum(1 << b for b, v in in_force if v is None))
            )
        return found

    @property
    def ordered(self) -> list[tuple[str, list[Verdict]]]:
        return [(name, self.verdicts[name]) for name in self.rules]


def comes_before(one: Row, other: Row, order: Sequence[str]) -> bool:
    for column in (*order, "uid"):
        name = column.removeprefix("-")
        a, b = one[name], other[name]
        if a == b:
            continue
        if a is None or b is None:
            return b is None
        return bool(a > b if column.startswith("-") else a < b)
    return False


# --- what is drawn ---

grid = st.sampled_from([-0.5, 0.0, 0.299999, 0.3, 0.300001, 1.0])
columns_of = st.lists(
    st.none() | grid | st.integers(-(10**6), 10**6).map(lambda n: n / 10**6), min_size=PAIRS, max_size=PAIRS
)
weights = st.sampled_from([1, 2, 0.5, -0.25, 0.8])
terms = st.fixed_dictionaries(
    {"signal": st.sampled_from(NUMBERS)},
    optional={"weight": weights, "scale": st.sampled_from(["none", "minmax", "standard", "rank"])},
)
ways = st.sampled_from(["sum", "product", "min", "max"])
scores_of = st.tuples(ways, st.lists(terms, min_size=1, max_size=3), ways, st.lists(terms, min_size=1, max_size=2)).map(
    lambda drawn: {
        "mix": {drawn[0]: drawn[1]},
        "other": {drawn[2]: [{"signal": "mix", "scale": "minmax"}, *drawn[3]]},
    }
)
tested = st.sampled_from([*NUMBERS, "mix", "other"])
leaf = st.one_of(
    st.tuples(st.sampled_from(["n_words", "min_side", "nsfw"]), st.sampled_from(["ge", "lt"]), st.integers(0, 200)),
    st.tuples(st.sampled_from(["similarity_a", "mix"]), st.sampled_from(["ge", "lt"]), grid),
    st.tuples(st.just("script"), st.just("in"), st.just(["Latin", "Han"])),
).map(lambda drawn: {"signal": drawn[0], drawn[1]: drawn[2]})
several = st.tuples(st.sampled_from(["any", "all"]), st.lists(leaf, min_size=2, max_size=3)).map(
    lambda drawn: {drawn[0]: drawn[1]}
)
fractions = st.sampled_from([0.05, 0.2, 1 / 3, 0.5, 0.9, 1.0])
fraction_rules = st.fixed_dictionaries(
    {"signal": tested, "top_fraction": fractions},
    optional={
        "among": st.sampled_from(["pool", "kept", ["r0"], ["r0", "r1"]]),
        "of": st.sampled_from(["pool", "among"]),
        "per": st.sampled_from(["script", "n_words"]),
    },
)
first_rules = st.fixed_dictionaries(
    {"first_of": st.sampled_from([["alt_text"], ["script"], ["min_side"], ["script", "n_words"], ["mix"]])},
    optional={
        "order": st.sampled_from([["-min_side"], ["similarity_a", "-n_chars"], ["-alt_text"], ["-mix", "uid"]]),
        "keep": st.integers(1, 3),
        "among": st.sampled_from(["pool", "kept", ["r0"], ["r1", "r2"]]),
    },
)


def recipe_of(rules: Sequence[Mapping[str, Any]], scores: Mapping[str, Any] | None = None) -> dict[str, Any]:
    named = [{"name": f"r{number}", **rule} for number, rule in enumerate(rules)]
    return {"name": "drawn", "rules": named, **({"scores": scores} if scores else {})}


def decide(dataset: Dataset, recipe: Mapping[str, Any], off: set[str], engine: Engine) -> Plan:
    decision = Decision(Recipe.model_validate(recipe), off=sorted(off), name="drawn")
    return Plan.model_validate(decide_ledger(decision, dataset, engine, Silent()).meta.plan)


def decided_masks(dataset: Dataset) -> list[tuple[int, int]]:
    return read(dataset, "verdicts/drawn").select("failed", "unknown").rows()


@settings(max_examples=40, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    columns_of,
    columns_of,
    scores_of,
    st.tuples(leaf | several, leaf),
    st.lists(fraction_rules | first_rules, min_size=1, max_size=4),
    st.data(),
)
def test_what_rules_ask_of_the_pool_is_what_sorting_it_tells(
    measured: Dataset,
    a: list[float | None],
    b: list[float | None],
    scores: dict[str, Any],
    first: tuple[dict[str, Any], dict[str, Any]],
    drawn: list[dict[str, Any]],
    data: st.DataObject,
) -> None:
    plant(measured, "a", a)
    plant(measured, "b", b)
    drawn = [
        rule if rule.get("among") != ["r1", "r2"] or n > 0 else {**rule, "among": ["r1"]}
        for n, rule in enumerate(drawn)
    ]
    recipe = recipe_of([*first, *drawn], scores)
    off = data.draw(st.sets(st.sampled_from([rule["name"] for rule in recipe["rules"]]), max_size=2))
    plan = decide(measured, recipe, off, engine_of(measured))
    expected = Oracle(rows_of(measured), recipe, off)
    for name, lowest in expected.resolved.items():
        top = plan.tops[name]
        if "per" in expected.rules[name]:
            assert {of: each.threshold for of, each in top.by_class.items()} == {str(of): v for of, v in lowest.items()}
        elif lowest:
            assert top.threshold == lowest[None]
    assert decided_masks(measured) == expected.masks


def test_a_fraction_of_the_pool_among_those_that_an_earlier_fraction_leaves(measured: Dataset) -> None:
    """The best 30 % by one score, then of these as many by another as are 20 % of the pool."""
    plant(measured, "a", [number / 100 for number in range(PAIRS)])
    plant(measured, "b", [(number * 7 % PAIRS) / 100 for number in range(PAIRS)])
    rules = [
        {"signal": "similarity_a", "top_fraction": 0.3, "among": "pool"},
        {"signal": "similarity_b", "top_fraction": 0.2, "among": ["r0"], "of": "pool"},
    ]
    plan = decide(measured, recipe_of(rules), set(), engine_of(measured))
    best = sorted(range(PAIRS), reverse=True)[:9]
    kept = sorted(best, key=lambda number: number * 7 % PAIRS, reverse=True)[:6]
    assert [plan.tops[name].threshold for name in ("r0", "r1")] == [0.21, min(n * 7 % PAIRS for n in kept) / 100]
    assert [n for n, (failed, _) in enumerate(decided_masks(measured)) if not failed] == sorted(kept)
    assert plan.tops["r1"].sentence("r1") == (
        f"r1: top_fraction 0.2 became ge {plan.tops['r1'].threshold}, which 6 of the 9 pairs reach that have a value and "
        "that r0 does not fail (66.67%); of the whole pool, 30, that is 20.00%"
    )


def test_rules_in_a_circle_and_thresholds_that_are_left_open_are_sentences(measured: Dataset) -> None:
    with pytest.raises(ValueError, match="in a circle: a → b → a"):
        Recipe.model_validate(
            {
                "name": "circle",
                "rules": [
                    {"name": "a", "signal": "n_words", "top_fraction": 0.5, "among": ["b"]},
                    {"name": "b", "first_of": ["alt_text"], "among": ["a"]},
                ],
            }
        )
    rules = [
        {"signal": "n_words", "between": "unspecified"},
        {"signal": "similarity_a", "by": "script", "ge": {"Latin": "unspecified", "else": 0.3}},
        {"any": [{"signal": "n_words", "ge": "unspecified"}, {"signal": "script", "eq": "Han"}]},
    ]
    message = (
        r"drawn leaves the threshold of r0, r1, r2 to you, for its source does not give one: --set "
        r"r0.between=LOW,HIGH --set r1.ge.Latin=VALUE --set r2.n_words.ge=VALUE; or leave them out: --without r0,r1,r2"
    )
    with pytest.raises(RecipeError, match=message):
        decide(measured, recipe_of(rules), set(), engine_of(measured))
    decide(measured, recipe_of([*rules, {"signal": "n_words", "ge": 1}]), {"r0", "r1", "r2"}, engine_of(measured))
    recipe = Recipe.model_validate(recipe_of(rules))
    settings_of = ["r0.between=1,2", "r1.ge.Latin=0.1", "r2.n_words.ge=1"]
    decide_ledger(Decision(recipe, settings_of, name="drawn"), measured, engine_of(measured), Silent())


def test_a_score_beyond_what_six_decimals_tell_is_a_sentence(measured: Dataset) -> None:
    scores = {"huge": {"product": [{"signal": "n_chars", "weight": 10**12}]}}
    with pytest.raises(RecipeError, match=r"huge has the value .*: give its terms a scale, or smaller weights"):
        decide(measured, recipe_of([{"signal": "huge", "top_fraction": 0.5}], scores), set(), engine_of(measured))


def test_pools_without_values_pass_all_that_have_one(measured: Dataset) -> None:
    plant(measured, "a", [None] * PAIRS)
    rules = [
        {"signal": "n_words", "ge": 1000},
        {"signal": "aspect", "top_fraction": 0.5},
        {"signal": "n_chars", "top_fraction": 0.5},
        {"signal": "similarity_a", "top_fraction": 0.5, "among": "pool", "per": "script"},
        {"signal": "mix", "top_fraction": 0.1, "among": "pool"},
        {"first_of": ["alt_text"]},
    ]
    scores = {"mix": {"sum": [{"signal": "similarity_a", "scale": "rank"}, {"signal": "n_words", "scale": "standard"}]}}
    recipe = recipe_of(rules, scores)
    plan = decide(measured, recipe, set(), engine_of(measured))
    assert decided_masks(measured) == Oracle(rows_of(measured), recipe, set()).masks
    assert plan.firsts["r5"].sentence("r5") == (
        "r5: no pair to group: none that it chooses among has every value it groups by"
    )
    assert plan.tops["r1"].sentence("r1").endswith("of no pair: none that no other rule fails has a score")


def test_ranks_are_made_once_and_go_with_their_last_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = pool_of(tmp_path)
    engine = engine_of(dataset)
    rules = [{"signal": "n_words", "ge": 1}, {"first_of": ["script"], "order": ["-n_chars"], "keep": 2}]
    first = decide(dataset, recipe_of(rules), set(), engine)
    files = tree(tmp_path / "dataset")
    shuffles: list[object] = []
    monkeypatch.setattr(LocalEngine, "shuffle", lambda *arguments: shuffles.append(arguments))
    assert decide(dataset, recipe_of(rules), set(), engine) == first
    assert tree(tmp_path / "dataset") == files
    looser = [rules[0], {**rules[1], "keep": 3, "note": "another number is no other ranking"}]
    again = decide(dataset, recipe_of(looser), set(), engine)
    assert (again.firsts["r1"].ranks, shuffles) == (first.firsts["r1"].ranks, [])
    assert again.firsts["r1"].used >= first.firsts["r1"].used
    monkeypatch.undo()
    other = decide(dataset, recipe_of([{"signal": "n_words", "ge": 2}, rules[1]]), set(), engine)
    assert dataset.store.names("ranks") == [other.firsts["r1"].ranks]
    decide(dataset, recipe_of(rules[:1]), set(), engine)
    assert dataset.store.names("ranks") == []


def test_the_next_takes_the_place_of_a_pair_that_was_taken_down(tmp_path: Path) -> None:
    dataset = pool_of(tmp_path)
    engine = engine_of(dataset)
    recipe = recipe_of([{"first_of": ["script"], "order": ["-n_chars"]}])
    decide(dataset, recipe, set(), engine)
    rows = rows_of(dataset)
    (first, *_) = [
        row for row, (failed, unknown) in zip(rows, decided_masks(dataset), strict=True) if not failed | unknown
    ]
    (tmp_path / "gone.txt").write_text(first["uid"] + "\n")
    takedown(dataset, read_lists({"uids": [str(tmp_path / "gone.txt")]}), [], engine, Silent())
    decide(dataset, recipe, set(), engine)
    for row in rows:
        row["taken"] = row["uid"] == first["uid"]
    expected = Oracle(rows, recipe, set()).masks
    for row, (failed, unknown), (e_failed, e_unknown) in zip(rows, decided_masks(dataset), expected, strict=True):
        if not row["taken"]:
            assert (failed, unknown) == (e_failed, e_unknown)
    assert sum(1 for (failed, unknown) in expected if not failed | unknown) == len({row["script"] for row in rows})


def test_a_decision_that_ends_at_any_file_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = pool_of(tmp_path, rows=16)
    scores = {"mix": {"sum": [{"signal": "n_words", "scale": "minmax"}, {"signal": "aspect", "scale": "rank"}]}}
    rules = [
        {"first_of": ["script"], "order": ["-mix"], "keep": 2},
        {"signal": "mix", "top_fraction": 0.5, "among": ["r0"], "per": "script"},
    ]
    runs: list[int] = []
    undisturbed: dict[str, bytes] = {}

    def run(number: int) -> None:
        if number not in runs:
            for table in (dataset.ledger("drawn"), *(dataset.ranks(name) for name in dataset.store.names("ranks"))):
                table.remove()
        runs.append(number)
        decide(dataset, recipe_of(rules, scores), set(), LocalEngine(dataset.store.work, 1))
        files = tree(tmp_path / "dataset")
        undisturbed.update({} if undisturbed else files)
        assert files == undisturbed, number

    for _ in Crashes(monkeypatch, before=True).everywhere(run, least=5):
        pass


@pytest.mark.spark
def test_spark_asks_the_pool_alike(measured: Dataset, spark: Engine) -> None:
    plant(measured, "a", [None if n % 5 == 0 else (n * 7 % PAIRS) / 1000 for n in range(PAIRS)])
    plant(measured, "b", [(n * 11 % PAIRS) / 1000 for n in range(PAIRS)])
    scores = {
        "mix": {"sum": [{"signal": "similarity_a", "scale": "standard"}, {"signal": "aspect", "scale": "rank"}]},
        "other": {"max": [{"signal": "mix", "scale": "minmax"}, {"signal": "similarity_b", "weight": 2}]},
    }
    rules = [
        {"any": [{"signal": "n_words", "ge": 2}, {"signal": "script", "eq": "Han"}]},
        {"first_of": ["alt_text"], "order": ["-mix", "min_side"], "keep": 2, "among": ["r0"]},
        {"signal": "other", "top_fraction": 0.6, "among": ["r1"], "per": "script"},
        {"signal": "aspect", "top_fraction": 0.4, "among": ["r2"], "of": "pool"},
    ]
    recipe = recipe_of(rules, scores)
    of_spark = decide(measured, recipe, set(), spark)
    files = {
        name: (Path(measured.store.url) / name) for name in ("verdicts/drawn", f"ranks/{of_spark.firsts['r1'].ranks}")
    }
    bytes_of = {name: tree(folder) for name, folder in files.items()}
    for table in (measured.ledger("drawn"), measured.ranks(of_spark.firsts["r1"].ranks)):
        table.remove()
    assert decide(measured, recipe, set(), engine_of(measured)) == of_spark
    assert {name: tree(folder) for name, folder in files.items()} == bytes_of
    assert decided_masks(measured) == Oracle(rows_of(measured), recipe, set()).masks
