"""Two thresholds at once, and the roles that it rests on, against plain Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from typing import Any

import audit_oracle as plain
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import Built, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from test_audit_survey import MEASURED, World, decide, engine_of, recipe_of, rules, swept_test, tries, values_for, world
from test_audit_survey import pool as some_rows

from align_data.cli import main
from align_data.common.errors import RecipeError
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.stages.audit import SweepRequest, SweptTable, sweep, sweep_table
from align_data.stages.audit.roles import OUTCOME, PAIRED, PAIRED_OUTCOME, ROLES, VERDICTS, paired_roles, roles
from align_data.stages.ingest import Parts
from align_data.stages.measure import measure

Formula = str | tuple[str, list["Formula"]] | int
"""A test by name; `all` or `any` of formulas; or a verdict."""


def value(formula: Formula, verdicts: Mapping[str, int]) -> int:
    """What a formula comes to."""
    if isinstance(formula, int):
        return formula
    if isinstance(formula, str):
        return verdicts[formula]
    return {"all": min, "any": max}[formula[0]](value(each, verdicts) for each in formula[1])


formulas = st.recursive(
    st.sampled_from(["x", "y"]) | st.sampled_from(VERDICTS),
    lambda inner: st.tuples(st.sampled_from(["all", "any"]), st.lists(inner, min_size=1, max_size=3)),
    max_leaves=8,
)


@given(formulas, st.sampled_from(VERDICTS))
@settings(max_examples=300)
def test_a_role_foretells_every_outcome(formula: Formula, other: int) -> None:
    """Whatever any and all are nested in, its values at the ends tell the values between them."""
    at = lambda x, y=other: np.array([value(formula, {"x": x, "y": y})], np.int8)  # noqa: E731
    (role,) = roles(at(0), at(2))
    assert 0 <= role < ROLES
    assert [OUTCOME[role, x] for x in VERDICTS] == [at(x)[0] for x in VERDICTS]
    (role,) = paired_roles(at(0, 0), at(2, 0), at(0, 2), at(2, 2))
    assert 0 <= role < PAIRED
    for x, y in product(VERDICTS, repeat=2):
        assert PAIRED_OUTCOME[role, x, y] == at(x, y)[0]


def ends_of(op: str) -> list[bool]:
    """Whether the upper end is moved: of a range either."""
    return [True, False] if op == "between" else [True]


def outcome_with(row: plain.Row, moved: Sequence[tuple[int, str, plain.Test]]) -> str:
    """What becomes of a pair with other tests of some rules."""
    places = {place for place, *_ in moved}
    if plain.bits(row["failed"]) - places:
        return "dropped"
    verdicts = [None if row.get(signal) is None else test(row[signal]) for _, signal, test in moved]
    if False in verdicts:
        return "dropped"
    return "pending" if None in verdicts or plain.bits(row["unknown"]) - places else "kept"


def check_table(table: SweptTable, there: World, tests: Sequence[Sequence[tuple[int, str, plain.Test]]]) -> None:
    """Compare every combination with what the oracle counts."""
    for i, down in enumerate(tests[0]):
        for j, across in enumerate(tests[1]):
            outcomes = [outcome_with(row, (down, across)) for row in there.rows]
            counted = (table.kept[i][j], table.pending[i][j])
            assert counted == (outcomes.count("kept"), outcomes.count("pending")), (down, across)
    assert [len(line) for line in table.kept] == [len(tests[1])] * len(tests[0])


@given(rows(max_size=40), st.lists(rules(), min_size=1, max_size=5), st.data())
@settings(max_examples=12)
def test_every_combination_of_two_tests_is_the_oracles(
    job: Callable[..., Built], drawn_rows: list[dict[str, Any]], drawn: list[dict[str, Any]], data: st.DataObject
) -> None:
    dataset = job(drawn_rows, parts=Parts(rows=7)).dataset
    measure(dataset, engine_of(dataset), Silent(), MEASURED)
    recipe = recipe_of("two", drawn)
    decide(
        dataset, recipe, sorted(data.draw(st.sets(st.sampled_from([rule.name for rule in recipe.rules]), max_size=1)))
    )
    there = world(dataset, "two")
    sides = [(place, upper) for place, rule in enumerate(there.written) for upper in ends_of(rule[2])]
    for chosen in combinations(sides, 2):
        requests, tests = [], []
        for place, upper in chosen:
            rule = there.written[place]
            values = data.draw(values_for(rule).filter(bool))
            requests.append(SweepRequest(rule[1], values, rule[0], upper))
            both = chosen[0][0] == chosen[1][0]  # then the other end is moved too
            end = "le" if upper else "ge"
            tests.append(
                [
                    (place, rule[1], plain.passes(end, each) if both else swept_test(there, place, upper, each))
                    for each in values
                ]
            )
        table = sweep_table(dataset, "two", (requests[0], requests[1]), engine_of(dataset), Silent())
        check_table(table, there, tests)


RECIPE = recipe_of(
    "plain",
    [
        {"signal": "n_words", "between": [1, 3]},
        {"signal": "min_side", "gt": 199.5},
        {"signal": "script", "in": ["Latin", "Han"]},
        {"signal": "nsfw", "lt": 0.5},
    ],
)


@pytest.fixture
def decided(job: Callable[..., Built]) -> Dataset:
    """Pairs of which all are pending, since nsfw is not measured."""
    return tries(job, some_rows(120), RECIPE, parts=Parts(rows=50))[0]


def test_a_line_of_a_table_is_a_sweep(decided: Dataset) -> None:
    """With the one threshold as it is, the other side is what a sweep of it alone says."""
    engine = engine_of(decided)
    first, second = SweepRequest("n_words", [1, 2, 3, 9]), SweepRequest("min_side", [1, 199.5, 400])
    table = sweep_table(decided, "plain", (first, second), engine, Silent())
    alone = sweep(decided, "plain", first, engine, Silent())
    assert [(line[1], wait[1]) for line, wait in zip(table.kept, table.pending, strict=True)] == [
        (point.kept, point.pending) for point in alone.values
    ]
    assert any(map(any, table.pending))
    assert not any(map(any, table.kept))


def call(*words: Any) -> Any:
    return CliRunner().invoke(main, [*map(str, words)], catch_exceptions=False)


def test_the_command_prints_the_table(decided: Dataset) -> None:
    asked = ["sweep", decided.store.root, "--recipe", "plain", "--signal", "n_words", "--values", "1,2"]
    both = [*asked, "--end", "lower", "--and", "n_words", "--values", "3", "--values", "9"]
    wrong = call(*both)
    assert wrong.exit_code == 2
    assert "twice" in wrong.stderr
    done = call(*both[:-2], "--and-end", "upper", "--json")
    table = json.loads(done.stdout)
    assert table["rows"] == {"signal": "n_words", "rule": "r0", "op": "ge", "values": [1, 2]}
    assert table["columns"] == {"signal": "n_words", "rule": "r0", "op": "le", "values": [3]}
    assert [[len(line) for line in table[name]] for name in ("kept", "pending")] == [[1, 1]] * 2
    shown = call(*both[:-2], "--and-end", "upper")
    assert "n_words ge (down) and n_words le (across)" in shown.stdout
    assert f"{table['pending'][0][0]:,}" in shown.stdout
    assert "the lower end of r0 was varied; --end selects the other" in shown.stderr
    assert "the upper end of r0 was varied; --and-end selects the other" in shown.stderr


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--and", "n_words", "--values", "3"], "both would move the le of r0"),
        (["--and", "min_side"], "--and needs --values twice"),
        (["--and", "min_side", "--values", "3", "--moved", "2"], "--moved is of one signal"),
        (["--and-end", "upper"], "go with --and or --and-rule"),
        (["--and", "bytes", "--values", "3"], "no rule of plain tests bytes"),
        (["--and", "min_side", "--values", "wide"], "this is not a number"),
        (["--and", "script", "--values", "Latin", "--and-end", "lower"], None),
    ],
)
def test_what_cannot_be_swept_together_is_a_sentence(decided: Dataset, more: list[str], sentence: str | None) -> None:
    asked = ["sweep", decided.store.root, "--recipe", "plain", "--signal", "n_words", "--values", "1,2"]
    done = call(*asked, *more)
    assert "unforeseen" not in done.stderr
    if sentence is None:
        assert done.exit_code == 0
        assert "r2 has no range, so --and-end lower has no effect" in done.stderr
    else:
        assert done.exit_code in (1, 2)
        assert sentence in done.stderr


def test_a_table_has_bounds(decided: Dataset) -> None:
    many = list(range(400))
    asked = (SweepRequest("n_words", many), SweepRequest("min_side", many))
    with pytest.raises(RecipeError, match="160,000 combinations"):
        sweep_table(decided, "plain", asked, engine_of(decided), Silent())
