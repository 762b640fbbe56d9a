"""Recipes of every form, made up by hypothesis: ledger, audit, sweeps and tables against tests/recipe_oracle.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import audit_oracle
import pytest
from conftest import Built, read
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from recipe_oracle import AS_IT_IS, FORMS, Decided, all_of, by_chance, class_of, compared, leaves, operator, scores
from test_audit_survey import engine_of, give, row

from align_data.common.errors import RecipeError
from align_data.common.progress import Silent
from align_data.data.derived import planned_columns
from align_data.data.layout import Dataset
from align_data.data.ledger import open_ledger
from align_data.recipes.model import Recipe
from align_data.stages.audit import SweepRequest, audit, examples, survey, sweep, sweep_table
from align_data.stages.audit.curves import points
from align_data.stages.audit.leaves import of_rule
from align_data.stages.ingest import Parts
from align_data.stages.pipeline import Decision, decide_ledger

FEW = st.sampled_from([0, 1, 2, 3, 5])
CUTS = st.sampled_from([0, 0.5, 1, 1.5, 2, 3, 5, 6])
SHARES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
CLASSES = ["en", "de", "fr", ""]
COLUMNS = {
    "text": {
        "n_words": FEW,
        "n_chars": st.integers(0, 40),
        "language": st.sampled_from(CLASSES),
        "language_score": SHARES,
        "script": st.sampled_from(["Latin", "Han"]),
        "host": st.sampled_from(["a", "b"]),
    },
    "image": {
        "decodable": st.none() | st.booleans(),
        "min_side": st.none() | FEW,
        "aspect": st.none() | st.sampled_from([1.0, 1.5, 2.0, 2.25, 3.0]),
        "bytes": st.none() | st.sampled_from([-3, 0, 2**40, 2**53 + 1]),
        "format": st.none() | st.sampled_from(["jpeg", "png"]),
        "nsfw": st.none() | SHARES,
    },
}
NUMBERS = ["n_words", "n_chars", "language_score", "min_side", "aspect", "bytes", "nsfw", "random_s0", "eval_distance"]
"""Of which eval_distance is not measured."""
UNMEASURED = ("eval_distance", "md5")
TEXTS = {"language": CLASSES, "script": ["Latin", "Han", "Thai"], "format": ["jpeg", "png", "gif"]}
NAMES_OF = {**TEXTS, "decodable": ["true", "false"], "md5": ["00"]}
"""Of what has classes; md5 is not measured either."""
ORDERED = ["gt", "ge", "lt", "le"]
SCORES = ["mix", "best"]


def values(op: str) -> st.SearchStrategy[Any]:
    """Values of a test of numbers."""
    if op == "between":
        return st.tuples(CUTS, CUTS).map(sorted)
    return st.lists(CUTS, min_size=1, max_size=3) if op == "in" else CUTS


@st.composite
def comparisons(draw: st.DrawFn, signals: Sequence[str]) -> dict[str, Any]:
    """Draw a comparison: of one value, or of one a class."""
    signal = draw(st.sampled_from([*signals, *TEXTS, "decodable"]))
    if signal == "decodable":
        return {"signal": signal, "eq": draw(st.booleans())}
    if signal in TEXTS:
        op = draw(st.sampled_from(["eq", "in"]))
        level = st.sampled_from(TEXTS[signal])
        of: st.SearchStrategy[Any] = level if op == "eq" else st.lists(level, min_size=1, max_size=2)
    else:
        op = draw(st.sampled_from([*ORDERED, *ORDERED, "between", "eq", "in"]))
        of = values(op)
    if draw(st.integers(0, 3)):
        return {"signal": signal, op: draw(of)}
    by = draw(st.sampled_from(["language", "format", "decodable", "md5"]))
    classes = draw(st.lists(st.sampled_from(NAMES_OF[by]), unique=True, max_size=2))
    return {"signal": signal, "by": by, op: {name: draw(of) for name in [*classes, "else"]}}


def nested(signals: Sequence[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw any or all of tests, or of these again."""
    parts = st.recursive(
        comparisons(signals),
        lambda inner: st.dictionaries(
            st.sampled_from(["any", "all"]), st.lists(inner, min_size=1, max_size=3), min_size=1, max_size=1
        ),
        max_leaves=5,
    )
    return st.sampled_from(["any", "all"]).flatmap(
        lambda word: st.fixed_dictionaries({word: st.lists(parts, min_size=1, max_size=3)})
    )


@st.composite
def choices(draw: st.DrawFn, names: Sequence[str], signals: Sequence[str]) -> dict[str, Any]:
    """Draw a rule that chooses pairs of the pool, among those of rules before it or of all."""
    among = draw(
        st.sampled_from(["pool", "kept", None]) | st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)
        if names
        else st.sampled_from(["pool", "kept", None])
    )
    beside = {} if among is None else {"among": among}
    if draw(st.booleans()):
        columns = draw(
            st.lists(st.sampled_from(["language", "n_words", "format"]), min_size=1, max_size=2, unique=True)
        )
        order = draw(st.lists(st.sampled_from(["-min_side", "n_chars", "-nsfw", "script"]), max_size=2, unique=True))
        keep = draw(st.sampled_from([{}, {"keep": 2}]))
        return {"first_of": columns, **({"order": order} if order else {}), **keep, **beside}
    rule = {"signal": draw(st.sampled_from(signals)), "top_fraction": draw(st.sampled_from([0.1, 0.3, 0.5, 1.0]))}
    rule |= draw(st.sampled_from([{}, {}, {"per": "language"}, {"per": "format"}, {"per": "md5"}]))
    return {**rule, **draw(st.sampled_from([{}, {"of": "pool"}])), **beside}


@st.composite
def terms(draw: st.DrawFn, signals: Sequence[str]) -> dict[str, Any]:
    """Draw a term of a score."""
    scale = draw(st.sampled_from(["none", "minmax", "standard", "rank"]))
    weight = draw(st.sampled_from([{}, {"weight": 2}, {"weight": -0.5}]))
    return {"signal": draw(st.sampled_from(signals)), **weight, **({} if scale == "none" else {"scale": scale})}


@st.composite
def recipes(draw: st.DrawFn, sizes: st.SearchStrategy[int]) -> dict[str, Any]:
    """Draw a recipe of any forms."""
    plain = ["n_words", "language_score", "nsfw", "min_side", "n_chars", "random_s0"]
    made: dict[str, Any] = {}
    for name, signals in zip(SCORES, (plain, [*plain, "mix"]), strict=True):
        if draw(st.booleans()):
            known = [signal for signal in signals if signal not in SCORES or signal in made]
            form = draw(st.sampled_from(FORMS))
            made[name] = {form: draw(st.lists(terms(known), min_size=1, max_size=3))}
    signals = [*NUMBERS, *made]
    rules: list[dict[str, Any]] = []
    for number in range(draw(sizes)):
        names = [rule["name"] for rule in rules]
        form = draw(st.sampled_from(["test", "test", "nested", "nested", "choice"]))
        strategy = {"test": comparisons, "nested": nested}.get(
            form, lambda s, names=names: choices(names, s[: -1 or None])
        )
        rules.append({"name": f"r{number}", **draw(strategy(signals))})
    return {"name": "any", **({"scores": made} if made else {}), "rules": rules}


def pool(job: Callable[..., Built], draw: st.DataObject, number: int) -> tuple[Dataset, list[dict[str, Any]]]:
    """A dataset of pairs with drawn values, and these."""
    none = Recipe.model_validate({"name": "none", "rules": [{"signal": "nsfw", "lt": 1}]})
    listed = [row(f"http://a/{i}", f"t{i}") for i in range(number)]
    dataset = job(listed, recipe=none, parts=Parts(rows=max(1, -(-number // 3)))).dataset
    pairs = [{"uid": uid, "random_s0": by_chance(uid, "s0")} for uid in read(dataset, "pairs")["uid"]]
    for group, columns in COLUMNS.items():
        drawn = {
            name: draw.draw(st.lists(of, min_size=number, max_size=number), label=name) for name, of in columns.items()
        }
        give(dataset, group, drawn)
        for at, pair in enumerate(pairs):
            pair |= {name: of[at] for name, of in drawn.items()}
    return dataset, [{**pair, **dict.fromkeys(UNMEASURED)} for pair in pairs]


def decided(
    dataset: Dataset, recipe: Mapping[str, Any], pairs: Sequence[dict[str, Any]], off: Sequence[str] = ()
) -> Decided:
    """Filter by a recipe, and say what the oracle says of it; scores to a millionth, and then as they were derived."""
    decide_ledger(Decision(Recipe.model_validate(recipe), (), off), dataset, engine_of(dataset), Silent())
    plan = open_ledger(dataset, recipe["name"]).plan
    exact = scores(recipe, pairs)
    names = sorted(plan.known(set(pairs[0]) - {*UNMEASURED, "uid"}).intersection(recipe.get("scores", {})))
    derived = [
        line
        for part in range(len(dataset.ingested().parts))
        for piece in planned_columns(dataset, plan, part, ["uid"], names)
        for line in piece.to_dicts()
    ]
    for pair, line in zip(exact, derived, strict=True):
        for name in names:
            value = line[name]
            if value is None or pair[name] is None:
                assert value is pair[name] is None, name
            else:
                assert value == pytest.approx(pair[name], abs=1.5e-6, rel=1e-9), name
            pair[name] = value
    return Decided(recipe, exact, frozenset(off))


def check_ledger(dataset: Dataset, oracle: Decided) -> list[tuple[int, int]]:
    """Compare masks, and what the audit counts of them."""
    name = oracle.recipe["name"]
    masks = oracle.masks()
    assert read(dataset, f"verdicts/{name}").rows() == masks
    rows = [{"failed": failed, "unknown": unknown} for failed, unknown in masks]
    counted = audit(dataset, name).to_json()
    totals = audit_oracle.totals(rows)
    assert {key: counted[key] for key in totals} == totals
    for number, line in enumerate(counted["rules"]):
        counts = audit_oracle.rule_counts(rows, number)
        assert {key: line[key] for key in counts} == counts
    assert counted["overlap"] == audit_oracle.overlap(rows, len(oracle.rules))
    return masks


@given(st.data(), st.integers(1, 14))
@settings(max_examples=20, phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False)
def test_any_recipe_decides_as_the_oracle_does(job: Callable[..., Built], data: st.DataObject, number: int) -> None:
    dataset, pairs = pool(job, data, number)
    recipe = data.draw(recipes(st.integers(1, 7)))
    names = [rule["name"] for rule in recipe["rules"]]
    off = sorted(data.draw(st.sets(st.sampled_from(names), max_size=1)))
    check_ledger(dataset, decided(dataset, recipe, pairs, off))


# --- sweeps ---


class Tried:
    """One end of one test of a rule, and values that it is moved to."""

    def __init__(self, oracle: Decided, name: str, form: Mapping[str, Any], data: st.DataObject) -> None:
        self.oracle, self.name, self.form = oracle, name, form
        self.by = form.get("by") or form.get("per")
        first = "first_of" in form
        self.op = "le" if first else operator(form)
        self.signal = f"rank_{name}" if first else form["signal"]
        self.of_class = None
        if "by" in form:
            self.of_class = data.draw(st.sampled_from([*form[self.op], "it"]))  # of "it" nothing is said
        elif "per" in form and data.draw(st.booleans()):
            self.of_class = data.draw(st.sampled_from(NAMES_OF[form["per"]]))
        self.upper = data.draw(st.booleans())
        self.end = {"between": "le" if self.upper else "ge"}.get(self.op, self.op)
        if first:
            of: st.SearchStrategy[Any] = st.integers(1, 4)
        elif self.op == "top_fraction":
            of = st.sampled_from([0.05, 0.2, 0.5, 0.9, 1.0])
        elif self.signal in TEXTS:
            of = st.sampled_from(TEXTS[self.signal])
        else:
            of = st.booleans() if self.signal == "decodable" else CUTS
        self.values = data.draw(st.lists(of, min_size=1, max_size=3))

    @property
    def request(self) -> SweepRequest:
        return SweepRequest(self.signal, self.values, self.name, self.upper, self.op, self.of_class)

    def concerns(self, at: int) -> bool:
        """Whether the value decides on a pair: of its class, if it is of one."""
        if self.of_class is None:
            return True
        of = class_of(self.oracle.pairs[at], self.by)
        if self.of_class == "else":
            return of is not None and of not in self.form[self.op]
        return of == self.of_class

    def verdict(self, form: Mapping[str, Any], at: int, value: Any) -> Any:
        if form is not self.form or not self.concerns(at):
            return AS_IT_IS
        return self.oracle.tried(self.name, form, at, self.end, value)

    @property
    def ambiguous(self) -> bool:
        """Whether the rule has another test of the signal and the operator."""
        alike = [leaf for leaf in leaves(self.oracle.rule(self.name)) if leaf.get("signal") == self.form.get("signal")]
        return sum(1 for leaf in alike if "first_of" in leaf or operator(leaf) == self.op) > 1

    @property
    def absent(self) -> bool:
        """Whether no pair that it chooses among is of the class: then it has no threshold to move."""
        if "per" not in self.form or self.of_class is None:
            return False
        there = self.oracle.pool(self.name, self.form)
        of_class = [at for at in there if class_of(self.oracle.pairs[at], self.by) == self.of_class]
        return all(self.oracle.pairs[at][self.signal] is None for at in of_class)


def tried(oracle: Decided, data: st.DataObject) -> list[Tried]:
    """Every test of a recipe."""
    return [Tried(oracle, name, leaf, data) for name in oracle.names for leaf in leaves(oracle.rule(name))]


def check_one(dataset: Dataset, oracle: Decided, one: Tried) -> None:
    """Compare a sweep of one test."""
    if one.ambiguous or one.absent:
        with pytest.raises(RecipeError, match=r"cannot tell these apart|choose one with|no pair that"):
            sweep(dataset, "any", one.request, engine_of(dataset), Silent())
        return
    moved = 3 if len(set(one.values)) > 1 else 0
    swept = sweep(dataset, "any", one.request, engine_of(dataset), Silent(), moved)
    assert [point.value for point in swept.values] == one.values
    for point in swept.values:
        expected = oracle.at(lambda name, form, at, v=point.value: one.verdict(form, at, v), [one.name])
        assert (point.kept, point.pending) == expected, (one.request, point)
    ends = [one.values[0], one.values[-1]]
    outcomes = [
        [oracle.outcome(at, lambda n, f, a, v=v: one.verdict(f, a, v), [one.name]) for v in ends]
        for at in range(len(oracle.pairs))
    ]
    changing = {oracle.pairs[at]["uid"]: tuple(of) for at, of in enumerate(outcomes) if of[0] != of[1]}
    if moved:
        assert len(swept.changes) == min(3, len(changing))
        assert all((change.before, change.after) == changing[change.uid] for change in swept.changes)
    alone = sweep(dataset, "any", SweepRequest(one.signal, (), one.name, one.upper, one.op, one.of_class),
                  engine_of(dataset), Silent())  # fmt: skip
    assert alone.values
    if one.op != "top_fraction":  # whose chosen values are thresholds, or of other fractions
        for point in alone.values:
            expected = oracle.at(lambda name, form, at, v=point.value: one.verdict(form, at, v), [one.name])
            assert (point.kept, point.pending) == expected, (one.request, point)


def check_two(dataset: Dataset, oracle: Decided, a: Tried, b: Tried) -> None:
    """Compare a table of two tests, or of two ends or classes of one."""
    same = a.form is b.form and (a.of_class == b.of_class or None in (a.of_class, b.of_class))
    if a.ambiguous or b.ambiguous or a.absent or b.absent or (same and (a.end == b.end or a.op != "between")):
        return
    table = sweep_table(dataset, "any", (a.request, b.request), engine_of(dataset), Silent())
    for i, x in enumerate(a.values):
        for j, y in enumerate(b.values):

            def moved(name: str, form: Mapping[str, Any], at: int, x: Any = x, y: Any = y) -> Any:
                if same and form is a.form and a.concerns(at):  # both ends of a range
                    measured = oracle.pairs[at][a.signal]
                    return all_of([compared(measured, a.end, x), compared(measured, b.end, y)])
                verdict = a.verdict(form, at, x)
                return b.verdict(form, at, y) if isinstance(verdict, str) else verdict

            expected = oracle.at(moved, [a.name, b.name])
            assert (table.kept[i][j], table.pending[i][j]) == expected, (a.request, b.request, x, y)


@given(st.data(), st.integers(1, 12))
@settings(max_examples=10, phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False)
def test_sweeps_of_every_test_and_tables_of_two(job: Callable[..., Built], data: st.DataObject, number: int) -> None:
    dataset, pairs = pool(job, data, number)
    recipe = data.draw(recipes(st.integers(1, 4)))
    names = [rule["name"] for rule in recipe["rules"]]
    oracle = decided(dataset, recipe, pairs, sorted(data.draw(st.sets(st.sampled_from(names), max_size=1))))
    check_ledger(dataset, oracle)
    singles = tried(oracle, data)
    for one in singles:
        check_one(dataset, oracle, one)
    for _ in range(6):
        a, b = data.draw(st.sampled_from(singles)), data.draw(st.sampled_from(tried(oracle, data)))
        check_two(dataset, oracle, a, b)


@given(st.data(), st.integers(1, 12))
@settings(max_examples=8, phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False)
def test_the_curves_of_every_test(job: Callable[..., Built], data: st.DataObject, number: int) -> None:
    dataset, pairs = pool(job, data, number)
    recipe = data.draw(recipes(st.integers(1, 5)))
    names = [rule["name"] for rule in recipe["rules"]]
    oracle = decided(dataset, recipe, pairs, sorted(data.draw(st.sets(st.sampled_from(names), max_size=1))))
    surveyed = survey(dataset, "any", engine_of(dataset), Silent(), 2)
    leaves_of = {leaf.name: leaf for rule in surveyed.plan.rules for leaf in of_rule(rule)}
    for name, curve in surveyed.curves.items():
        leaf = leaves_of[name]
        form = leaves(oracle.rule(leaf.rule.name))[leaf.number]
        if "top_fraction" in form:
            continue  # of a threshold, of which the oracle knows none but that of a fraction
        one = Tried(oracle, leaf.rule.name, form, data)
        one.of_class = leaf.of_class
        for bound in curve.test.bounds:
            one.end = bound.op
            for point in points(curve, bound, 20):
                expected = oracle.at(lambda n, f, at, v=point.value, o=one: o.verdict(f, at, v), [one.name])
                assert (point.kept, point.pending) == expected, (name, point)
    for (name, kind), samples in surveyed.samples.items():
        rule = name if name in oracle.names else leaves_of[name].rule.name
        bit = 1 << oracle.names.index(rule)
        masks = dict(zip((pair["uid"] for pair in oracle.pairs), oracle.masks(), strict=True))
        for sample in samples:
            failed = masks[sample.uid][0]
            assert failed == (0 if kind == "kept" else bit), (name, kind)


@given(st.data())
@settings(max_examples=2, phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False)
def test_sixty_three_rules_of_all_forms(job: Callable[..., Built], data: st.DataObject) -> None:
    dataset, pairs = pool(job, data, 12)
    oracle = decided(dataset, data.draw(recipes(st.just(63))), pairs)
    check_ledger(dataset, oracle)
    survey(dataset, "any", engine_of(dataset), Silent(), 1)
    alone = examples(dataset, "any", 2)
    masks = oracle.masks()
    for place, name in enumerate(oracle.names):
        failing = [at for at, (failed, _) in enumerate(masks) if failed == 1 << place]
        assert len(alone[name]) == min(2, len(failing))
    chosen = data.draw(st.lists(st.sampled_from(tried(oracle, data)), min_size=4, max_size=4))
    for one in chosen:
        check_one(dataset, oracle, one)
    check_two(dataset, oracle, chosen[0], chosen[1])
