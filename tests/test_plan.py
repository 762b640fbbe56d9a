"""One plan: filter, audit, sweep, diff, why and an ablation's arms agree on every verdict and every threshold.

The oracle sorts and counts plain rows; it knows nothing of masks in columns, bins or stored thresholds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import audit_oracle as plain
import oracle
import polars as pl
import pytest
from conftest import SCHEMA, build, read, write_list
from hypothesis import given, settings
from hypothesis import strategies as st
from test_score import plant

from align_data.common.errors import DatasetError
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.data.ledger import Ledger, open_ledger
from align_data.engines.local import LocalEngine
from align_data.recipes.model import Recipe, Rule
from align_data.recipes.operators import OPERATORS, Bound
from align_data.recipes.plan import Plan
from align_data.report import audit_html
from align_data.stages.audit import SweepRequest, audit, diff, survey, sweep
from align_data.stages.ingest import Parts
from align_data.stages.measure import measure
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.stages.why import why
from align_data.train.ablate.arms import Arm, uids
from align_data.train.ablate.pool import Pool

PAIRS = 24
WORDS = ("red", "blue", "cat", "dog", "日本", "x")
SIGNALS = ["n_words", "images_per_text", "texts_per_image", "rarest_ngram", "min_side", "aspect", "script", "n_chars"]
SCORES = ["similarity_a", "similarity_b"]
UNMEASURED = "nsfw"


def engine_of(dataset: Dataset) -> LocalEngine:
    return LocalEngine(dataset.store.work, 1)


def pair(number: int) -> dict[str, Any]:
    text = " ".join(WORDS[(number * step) % len(WORDS)] for step in range(1, 1 + number % 6))
    side = None if number % 5 == 0 else 50 + 40 * (number % 9)
    url = f"http://host/{number % (PAIRS - 7)}"
    return dict.fromkeys(SCHEMA) | {"url": url, "alt_text": text, "declared_width": side, "declared_height": 200}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("plan")
    lists = write_list(folder / "lists", [pair(number) for number in range(PAIRS)])
    dataset = build(folder / "dataset", lists, parts=Parts(rows=7)).dataset
    measure(dataset, engine_of(dataset), Silent(), SIGNALS)
    return dataset


# --- the oracle ---


def rows_of(dataset: Dataset, scores: Mapping[str, Sequence[float | None]]) -> list[plain.Row]:
    frames = [read(dataset, name) for name in ("pairs", "measured/text", "measured/corpus", "measured/image")]
    columns = [pl.Series(name, values, pl.Float64) for name, values in scores.items()]
    rows = pl.concat(frames, how="horizontal").with_columns(columns).to_dicts()
    return [{**dict.fromkeys([*SIGNALS, *SCORES, UNMEASURED]), **row} for row in rows]


def resolved(rows: Sequence[plain.Row], rules: Sequence[plain.Rule], off: set[str]) -> list[plain.Rule]:
    """The rules with a `ge` in place of a top_k and a top_fraction; of those taken out too."""
    counts = oracle.ngram_counts(row["alt_text"] for row in rows)
    sized = [
        (name, signal, "ge", oracle.vocabulary(value, counts)[0]) if op == "top_k" else (name, signal, op, value)
        for name, signal, op, value in rules
    ]
    others = [rule for rule in sized if rule[0] not in off and rule[2] != "top_fraction"]
    return [
        (name, signal, "ge", lowest(rows, signal, value, others)) if op == "top_fraction" else (name, signal, op, value)
        for name, signal, op, value in sized
    ]


def lowest(rows: Sequence[plain.Row], signal: str, fraction: float, others: Sequence[plain.Rule]) -> float:
    """The lowest value among a fraction of the highest, of the rows that no other rule fails."""
    values = [
        row[signal]
        for row in rows
        if row[signal] is not None and not any(oracle.verdict(row[s], op, v) is False for _, s, op, v in others)
    ]
    if not values:
        return -1.0
    return sorted(values, reverse=True)[math.ceil(Fraction(repr(fraction)) * len(values)) - 1]


def decided(rows: Sequence[plain.Row], rules: Sequence[plain.Rule], off: set[str]) -> list[plain.Row]:
    masks = oracle.ledger(rows, resolved(rows, rules, off), off)
    return [{**row, "failed": failed, "unknown": unknown} for row, (failed, unknown) in zip(rows, masks, strict=True)]


# --- what is drawn ---

numbers = st.one_of(
    st.tuples(st.sampled_from(["gt", "ge", "lt", "le", "eq"]), st.integers(-1, 300) | st.integers(0, 6)),
    st.tuples(st.sampled_from(["gt", "ge", "lt", "le"]), st.floats(0, 5).map(lambda value: round(value, 2))),
    st.tuples(st.just("between"), st.tuples(st.integers(-1, 3), st.integers(3, 300)).map(list)),
    st.tuples(st.just("in"), st.lists(st.integers(0, 5), min_size=1, max_size=3)),
)
fractions = st.sampled_from([0.05, 0.3, 0.5, 1 / 3, 0.9, 1.0])
millionths = st.integers(-1_000_000, 1_000_000).map(lambda number: number / 1_000_000)
grid = st.sampled_from([-1.0, 0.0, 0.3, 0.300001, 1.0])
score_columns = st.lists(st.none() | grid | millionths, min_size=PAIRS, max_size=PAIRS)
tests = st.one_of(
    st.tuples(st.sampled_from([*SIGNALS[:6], UNMEASURED, "n_chars"]), numbers).map(lambda drawn: (drawn[0], *drawn[1])),
    st.tuples(st.just("script"), st.just("in"), st.just(["Latin", "Han"])),
    st.tuples(st.just("rarest_ngram"), st.just("top_k"), st.integers(1, 40)),
    st.tuples(st.sampled_from(SCORES), st.sampled_from(["ge", "lt"]), grid),
    st.tuples(st.sampled_from(SCORES), st.just("top_fraction"), fractions),
)
recipes = st.lists(tests, min_size=1, max_size=6).map(
    lambda drawn: [(f"r{number}", *test) for number, test in enumerate(drawn)]
)


def recipe_of(name: str, rules: Sequence[plain.Rule]) -> Recipe:
    return Recipe.model_validate({"name": name, "rules": [{"name": n, "signal": s, op: v} for n, s, op, v in rules]})


def decide(dataset: Dataset, name: str, rules: Sequence[plain.Rule], off: set[str]) -> Ledger:
    decision = Decision(recipe_of(name, rules), off=sorted(off))
    decide_ledger(decision, dataset, engine_of(dataset), Silent())
    return open_ledger(dataset, name)


# --- the consumers ---


def check_filter(dataset: Dataset, ledger: Ledger, rows: Sequence[plain.Row]) -> None:
    masks = read(dataset, f"verdicts/{ledger.name}").select("failed", "unknown").rows()
    assert masks == [(row["failed"], row["unknown"]) for row in rows]


def check_thresholds(ledger: Ledger, rules: Sequence[plain.Rule], expected: Sequence[plain.Rule]) -> None:
    """Those in force, and of a fraction those taken out too, are in the ledger."""
    for written, (_, _, op, value), rule in zip(rules, expected, ledger.plan.rules, strict=True):
        assert rule.position == [name for name, *_ in rules].index(written[0])
        if written[2] == op:
            assert rule.threshold is None
        elif rule.in_force or written[2] == "top_fraction":
            assert rule.threshold is not None
            assert (rule.deciding.op, rule.threshold.threshold) == ("ge", value)


def check_audit(dataset: Dataset, ledger: Ledger, rows: Sequence[plain.Row], expected: Sequence[plain.Rule]) -> None:
    """The counts, and the curve of each rule at its own threshold, for rules that are taken out too."""
    surveyed = survey(dataset, ledger.name, engine_of(dataset), Silent(), samples=1)
    totals = plain.totals(rows)
    counts = audit(dataset, ledger.name).to_json()
    assert {name: counts[name] for name in totals} == totals == {n: surveyed.audit.to_json()[n] for n in totals}
    for number, line in enumerate(counts["rules"]):
        line_counts = plain.rule_counts(rows, number)
        assert {name: line[name] for name in line_counts} == line_counts
    for position, (name, signal, op, value) in enumerate(expected):
        if name not in surveyed.curves:
            assert signal == UNMEASURED
            continue
        curve = surveyed.curves[name]
        assert (curve.test.op, curve.test.value) == (op, Rule.model_validate({"signal": signal, op: value}).value)
        if curve.test.bounds:
            found = curve.at(curve.test.bounds)
        else:
            found = curve.levels_at(curve.test.value if op == "in" else [value])
        assert found == plain.at(rows, position, signal, plain.passes(op, tuple(value) if op == "in" else value))
        if name not in ledger.plan.off:
            assert found == (totals["kept"], totals["pending"])


def check_sweep(dataset: Dataset, ledger: Ledger, totals: Mapping[str, int]) -> None:
    """A sweep at the value that a rule has keeps what the ledger keeps."""
    for rule in ledger.plan.in_force:
        if rule.rule.op in ("in", "between"):
            continue
        request = SweepRequest(rule.signal, [rule.rule.value], rule.name)
        (point,) = sweep(dataset, ledger.name, request, engine_of(dataset), Silent()).values
        assert point.value == rule.rule.value
        if rule.signal == UNMEASURED:
            assert point.pending == totals["kept"] + totals["pending"]
        else:
            assert (point.kept, point.pending) == (totals["kept"], totals["pending"])


def check_why(dataset: Dataset, ledger: Ledger, rows: Sequence[plain.Row], expected: Sequence[plain.Rule]) -> None:
    for row in rows[::5]:
        (explained,) = why(dataset, ledger.name, uid=row["uid"])
        assert explained.outcome == plain.outcome(row)
        assert [verdict.rule for verdict in explained.verdicts] == [name for name, *_ in expected]
        for bit, (verdict, (name, signal, op, value)) in enumerate(zip(explained.verdicts, expected, strict=True)):
            passes = oracle.verdict(row[signal], op, tuple(value) if isinstance(value, list) else value)
            words = "off" if name in ledger.plan.off else {True: "pass", False: "fail", None: "unknown"}[passes]
            assert verdict.verdict == words
            rule = ledger.plan.rules[bit]
            if rule.rule.op != rule.deciding.op and words != "off":
                assert "here those" in verdict.sentence


def check_arms(dataset: Dataset, ledger: Ledger, rows: Sequence[plain.Row]) -> None:
    """The arms are made of the ledger's masks: none, recipe, and with or without each rule."""
    verdicts = read(dataset, "pairs").select("uid").hstack(read(dataset, f"verdicts/{ledger.name}"))
    pool = Pool(ledger.plan, verdicts, len(verdicts), drop_pending=True)

    def arm(kind: str, rule: str = "") -> set[str]:
        try:
            return set(uids(Arm(f"{kind}:{rule}", kind, rule), pool, 0))
        except DatasetError:  # no pair is left
            return set()

    assert arm("none") == {row["uid"] for row in rows}
    assert arm("recipe") == {row["uid"] for row in rows if plain.outcome(row) == "kept"}
    for rule in ledger.plan.in_force:
        bit = rule.position
        assert arm("without", rule.name) == {row["uid"] for row in rows if plain.beside(row, bit) == "kept"}
        passing = {row["uid"] for row in rows if bit not in plain.bits(row["failed"]) | plain.bits(row["unknown"])}
        assert arm("only", rule.name) == passing


@given(recipes, recipes, score_columns, score_columns, st.data())
@settings(max_examples=12)
def test_all_who_take_a_plan_agree(
    measured: Dataset,
    rules: list[plain.Rule],
    others: list[plain.Rule],
    a: list[float | None],
    b: list[float | None],
    data: st.DataObject,
) -> None:
    plant(measured, "a", a)
    plant(measured, "b", b)
    rows = rows_of(measured, dict(zip(SCORES, (a, b), strict=True)))
    both = []
    for name, drawn in (("one", rules), ("two", others)):
        off = data.draw(st.sets(st.sampled_from([rule[0] for rule in drawn]), max_size=2))
        ledger, verdicts, expected = (
            decide(measured, name, drawn, off),
            decided(rows, drawn, off),
            resolved(rows, drawn, off),
        )
        check_filter(measured, ledger, verdicts)
        check_thresholds(ledger, drawn, expected)
        both.append((ledger, verdicts, expected))
    ledger, verdicts, expected = both[0]
    check_audit(measured, ledger, verdicts, expected)
    check_sweep(measured, ledger, plain.totals(verdicts))
    check_why(measured, ledger, verdicts, expected)
    check_arms(measured, ledger, verdicts)
    found = diff(measured, "one", "two", engine_of(measured), Silent(), 1).to_json()
    expected_diff = plain.diff(verdicts, both[1][1])
    assert (found["outcomes"], found["both"], found["neither"]) == (
        expected_diff["outcomes"], expected_diff["both"], expected_diff["neither"],
    )  # fmt: skip


# --- what was measured after a ledger was decided ---


def test_what_was_measured_since_is_swept_and_drawn_as_filtering_again_would_decide(measured: Dataset) -> None:
    rules: list[plain.Rule] = [
        ("words", "n_words", "ge", 1),
        ("top", "similarity_late", "top_fraction", 0.5),
        ("high", "similarity_late", "ge", 0.0),
    ]
    engine = engine_of(measured)
    before = decide(measured, "late", rules, set())
    assert before.plan.unmeasured == ("similarity_late",)
    assert before.plan.rule("top").threshold is None
    plant(measured, "late", [number / PAIRS - 0.4 for number in range(PAIRS)])
    surveyed = survey(measured, "late", engine, Silent(), samples=1)
    assert surveyed.audit.kept == 0
    assert surveyed.plan == before.plan  # the page shows how the ledger was decided
    assert surveyed.curves["top"].test.op == "ge"
    swept = {
        fraction: sweep(measured, "late", SweepRequest("similarity_late", [fraction], "top"), engine, Silent())
        for fraction in (0.2, 0.5)
    }
    assert "similarity_late" in audit_html(surveyed, measured, Silent(), pictures=False)
    # The rule `high` was unknown when the ledger was decided, and what it would say now does not change that.
    again = decide(measured, "again", [rules[0], rules[1]], set())
    for fraction, result in swept.items():
        decide_ledger(
            Decision(recipe_of("again", rules[:2]), [f"top.top_fraction={fraction}"]), measured, engine, Silent()
        )
        ((kept, pending),) = [(point.kept, point.pending) for point in result.values]
        assert kept == 0  # `high` stays unknown
        assert pending == audit(measured, "again").kept
    assert again.plan.rule("top").threshold is not None


# --- the table of operators ---


def test_a_rule_has_a_field_for_each_operator_and_the_oracle_knows_those_that_decide() -> None:
    fields = {field.alias or name for name, field in Rule.model_fields.items()}
    forms = {"signal", "by", "any", "all", "first_of", "order", "keep", "among", "of", "per"}
    assert fields - {"name", "source", "note"} - forms == set(OPERATORS)
    assert {name for name, operator in OPERATORS.items() if not operator.relative} == set(oracle.OPERATORS)
    assert all(OPERATORS[name].becomes in oracle.OPERATORS for name in OPERATORS if OPERATORS[name].relative)
    assert all(bound in OPERATORS for bound in ("gt", "ge", "lt", "le"))


orderings = st.sampled_from(["gt", "ge", "lt", "le"])


@given(orderings, st.integers(-5, 5) | st.integers(-(2**63), 2**63 - 1) | st.floats(-5, 5), st.integers(-8, 8))
def test_a_bound_cuts_where_its_operator_does(op: str, threshold: float, value: int) -> None:
    bound = Bound(op, threshold)
    for number, whole in ((value, True), (float(value), False)):
        cut = bound.cut(whole=whole)
        above = cut is not None and number >= cut
        assert oracle.OPERATORS[op](number, threshold) == (above if bound.lower else not above)
    column = pl.DataFrame({"value": [float(value), None]}).select(bound.passes(pl.col("value"))).to_series()
    assert column.to_list() == [oracle.OPERATORS[op](float(value), threshold), None]


def test_a_plan_that_lacks_a_key_is_refused() -> None:
    """A plan that has lost what was taken out would decide otherwise in silence."""
    dump = Plan.unresolved(recipe_of("some", [("r0", "n_words", "ge", 1)]), off=["r0"]).dump()
    assert Plan.model_validate(json.loads(json.dumps(dump))).off == ("r0",)
    for key in dump:
        with pytest.raises(ValueError, match=key):
            Plan.model_validate({name: value for name, value in dump.items() if name != key})
