"""The audit page's numbers, sweep and diff against the oracle of tests/audit_oracle.py: on pools, on masks, at edges."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import audit_oracle as plain
import numpy as np
import oracle
import polars as pl
import pytest
from conftest import EVERY_RULE, SCHEMA, Built, build, read, rows, write_list
from hypothesis import given, settings
from hypothesis import strategies as st

from align_data.engines.local import LocalEngine
from align_data.layout import Dataset
from align_data.ledger import Plan, open_ledger
from align_data.measured import available, identities
from align_data.pipeline import Decision, decide_ledger
from align_data.progress import Silent
from align_data.recipe import Recipe
from align_data.signals import SIGNALS
from align_data.stages.audit import Asked, Diff, Survey, Swept, diff, fetched, shares, survey, sweep
from align_data.stages.audit.curves import Curve, bars, points
from align_data.stages.audit.cuts import End
from align_data.stages.filter import plan as planned
from align_data.stages.ingest import Parts
from align_data.stages.measure import measure
from align_data.stages.takedown import takedown
from align_data.stages.takedown.asked import read as read_lists

NONE = 2**63 - 1
"""What rarest_ngram is of a text without words."""
MEASURED = ["n_words", "images_per_text", "texts_per_image", "rarest_ngram", "min_side", "aspect", "script", "n_chars"]
MEASURED += ["n_words.whitespace", "host", "rows_per_text"]
DIMENSIONS = ["language", "script", "host", "text length", "image size", "format"]


# --- what is compared ---


@dataclass(frozen=True)
class World:
    """A decided dataset as the oracle sees it."""

    rows: list[plain.Row]
    rules: list[plain.Rule]
    """As they decide."""
    written: list[plain.Rule]
    there: set[str]
    counts: Mapping[tuple[str, ...], int]

    @property
    def living(self) -> list[plain.Row]:
        return [row for row in self.rows if not plain.fails(row, plain.TAKEN)]

    def place(self, name: str) -> int:
        return [rule[0] for rule in self.rules].index(name)


def world(dataset: Dataset, ledger: str, counts: Mapping[tuple[str, ...], int] | None = None) -> World:
    """Read a whole dataset; `counts` of n-grams from before, where texts have been taken down."""
    plan, _ = open_ledger(dataset, ledger)
    frames = [read(dataset, "pairs")]
    groups = [group for group in ("text", "corpus", "image") if dataset.measured(group).committed() is not None]
    frames += [read(dataset, f"measured/{group}") for group in groups]
    verdicts = read(dataset, f"verdicts/{ledger}")
    assert verdicts["uid"].equals(frames[0]["uid"])
    found = pl.concat([*frames, verdicts.drop("uid")], how="horizontal").to_dicts()
    if counts is None:
        counts = oracle.ngram_counts(row["alt_text"] for row in found)
    written = [(rule.name, rule.signal, rule.op, rule.value) for rule in plan.recipe.rules]
    rules = [
        (name, signal, "ge", oracle.vocabulary(value, Counter(counts))[0]) if op == "top_k" else (name, signal, op, value)
        for name, signal, op, value in written
    ]
    there = {column for frame in frames[1:] for column in frame.columns}
    assert there == available(dataset, dataset.ingested())
    return World(found, rules, written, there, counts)


def check(found: Survey, there: World, samples: int = 6) -> None:
    """Compare all of a survey."""
    check_audit(found, there)
    check_curves(found, there)
    check_who(found, there)
    check_lists(found, there)
    check_samples(found, there, samples)
    assert {k: n for k, n in found.sizes.items() if n} == Counter(plain.agreement(row) for row in there.rows)


def check_audit(found: Survey, there: World) -> None:
    audit = found.audit.to_json()
    totals = plain.totals(there.rows)
    assert {name: audit[name] for name in totals} == totals
    assert audit["overlap"] == plain.overlap(there.rows, len(there.rules))
    for number, line in enumerate(audit["rules"]):
        counts = plain.rule_counts(there.rows, number)
        assert {name: line[name] for name in counts} == counts
    sets = plain.overlaps(there.rows, there.rules)
    assert {one.rules: one.pairs for one in found.overlaps} == sets
    assert len(found.overlaps) == len(sets)
    assert [one.pairs for one in found.overlaps] == sorted(sets.values(), reverse=True)
    classes = Counter(there.counts.values()) if "rarest_ngram" in there.there else {}
    assert found.classes == sorted(classes.items())
    for threshold in {0, 1, 2, 2.5, *classes}:
        assert found.vocabulary(threshold) == sum(n for count, n in classes.items() if count >= threshold)


def check_curves(found: Survey, there: World) -> None:
    assert set(found.curves) == {name for name, signal, *_ in there.rules if signal in there.there}
    for place, (name, signal, op, operand) in enumerate(there.rules):
        if name not in found.curves:
            continue
        curve = found.curves[name]
        empty = [row for row in there.rows if row[signal] is None]
        is_open = sum(1 for row in empty if plain.beside(row, place) != "dropped")
        assert (curve.unknown, curve.unknown_open) == (len(empty), is_open)
        for most in (4, 20, 60):
            for end, threshold in plain.ends(op, operand):
                check_points(curve, there, place, (end, threshold), most)
            check_bars(curve, there, place, most)


def check_points(curve: Curve, there: World, place: int, end: tuple[str, Any], most: int) -> None:
    _, signal, op, operand = there.rules[place]
    got = list(points(curve, End(*end), most))
    values = [point.value for point in got]
    assert values == sorted(set(values))
    assert end[1] in values
    assert len(values) <= most + 1
    for point in got:
        test = plain.moved_test(op, operand, end[0], point.value)
        assert (point.kept, point.pending) == plain.at(there.rows, place, signal, test), (signal, op, operand, point)


def check_bars(curve: Curve, there: World, place: int, most: int) -> None:
    _, signal, op, operand = there.rules[place]
    got = bars(curve, most)
    values = [row[signal] for row in there.rows if row[signal] is not None]
    ends = plain.ends(op, operand)
    if not ends:
        check_levels(got, there, place, values)
        return
    assert len(got) <= 2 * most + 2
    none = SIGNALS[signal].none
    assert sum(bar.pairs for bar in got) == sum(1 for value in values if value != none)
    before = -math.inf
    for bar in got:
        low, high = -math.inf if bar.low is None else bar.low, math.inf if bar.high is None else bar.high
        assert before <= low < high
        before = high
        inside = [value for value in values if low <= value and (value < high or bar.high is None)]
        assert bar.value is None or set(inside) == {bar.value}
        for end, threshold in ends:  # no bar goes across a threshold
            assert len({oracle.OPERATORS[end](value, threshold) for value in inside}) == 1
        test = lambda value, low=low, high=high, last=bar.high is None: low <= value and (value < high or last)  # noqa: E731
        assert (bar.pairs, bar.open) == plain.within(there.rows, place, signal, test)


def check_levels(got: Sequence[Any], there: World, place: int, values: Sequence[Any]) -> None:
    _, signal, op, operand = there.rules[place]
    named = list(dict.fromkeys(operand if op == "in" else [operand]))
    if SIGNALS[signal].type == "bool":
        named = [True, False]
    assert [bar.value for bar in got if bar.value is not None] == named
    for bar in got:
        test = (lambda value: value not in named) if bar.value is None else (lambda value, b=bar: value == b.value)
        assert (bar.pairs, bar.open) == plain.within(there.rows, place, signal, test)
    assert sum(bar.pairs for bar in got) == len(values)


def as_dict(group: shares.Group) -> plain.Group:
    return {"pairs": group.pairs, "left": group.left, "kept": group.kept, "fails": group.fails}


def check_who(found: Survey, there: World) -> None:
    who, n = found.who, len(there.rules)
    pool = plain.group(there.rows, n)
    assert as_dict(who.pool) == pool
    measured = [name for name in DIMENSIONS if plain.SIGNAL[name] in there.there]
    assert [one.name for one in who.divisions] == measured
    assert who.absent == [plain.SIGNAL[name] for name in DIMENSIONS if name not in measured]
    everything: dict[tuple[str, str], plain.Group] = {}
    for division in who.divisions:
        groups = plain.groups(there.rows, division.name, n)
        everything |= {(division.name, name): group for name, group in groups.items()}
        named = plain.NAMED.get(division.name, 20)
        assert len(division.groups) == min(named, len(groups))
        assert {one.label: as_dict(one) for one in division.groups} == {o.label: groups[o.label] for o in division.groups}
        assert (division.values, division.error) == (len(groups), 0)
        sizes = [one.pairs for one in division.groups]
        if division.name not in plain.EDGES:
            assert sizes == sorted((group["pairs"] for group in groups.values()), reverse=True)[:named]
        rest = plain.added((g for name, g in groups.items() if name not in {o.label for o in division.groups}), n)
        assert (as_dict(division.tail) if division.tail else plain.added([], n)) == rest
    check_moved(who.losing, everything, pool, there.rules, -1)
    check_moved(who.gaining, everything, pool, there.rules, 1)


def check_moved(
    found: Sequence[shares.Moved],
    everything: Mapping[tuple[str, str], plain.Group],
    pool: plain.Group,
    rules: Sequence[plain.Rule],
    sign: int,
) -> None:
    """Compare the groups that lose or gain most; by exact fractions, so that what is nothing is not shown."""
    wanted = sorted((abs(e) for g in everything.values() if (e := plain.excess(g, pool)) * sign > 0), reverse=True)[:12]
    assert [abs(one.excess) for one in found] == pytest.approx([float(e) for e in wanted], abs=1e-9)
    assert len({(one.dimension, one.group.label) for one in found}) == len(found)
    for one in found:
        group = everything[one.dimension, one.group.label]
        assert as_dict(one.group) == group
        exact = plain.excess(group, pool)
        assert exact * sign > 0
        assert one.excess == pytest.approx(float(exact), abs=1e-9)
        more = [-sign * e for e in plain.failing_excess(group, pool)]
        assert (one.rule is None) == (max(more) <= 0)
        if one.rule is not None:
            place = [name for name, *_ in rules].index(one.rule)
            assert float(max(more) - more[place]) < 1e-9
            assert one.rule_share == pytest.approx(group["fails"][place] / group["pairs"])
            assert one.pool_share == pytest.approx(pool["fails"][place] / pool["pairs"])


def check_lists(found: Survey, there: World) -> None:
    for got, column, other, signal in (
        (found.lists.texts, "alt_text", "url", "images_per_text"),
        (found.lists.images, "url", "alt_text", "texts_per_image"),
    ):
        every, best = plain.most_shared(there.rows, column)
        if signal not in there.there:
            assert not got
            continue
        assert [one.pairs for one in got] == best
        assert len({one.what for one in got}) == len(got)
        for one in got:
            assert one.pairs == every[one.what]
            assert one.example in {row[other] for row in there.rows if row[column] == one.what}
    check_rare(found, there)


def check_rare(found: Survey, there: World) -> None:
    if "rarest_ngram" not in there.there:
        assert not found.lists.rare
        return
    values = sorted(row["rarest_ngram"] for row in there.living if row["rarest_ngram"] != NONE)
    assert [one.pairs for one in found.lists.rare] == values[:8]
    seen = Counter((row["alt_text"], row["rarest_ngram"]) for row in there.living)
    for one in found.lists.rare:
        assert seen[one.what, one.pairs] > 0
        assert one.example in plain.rarest_of(one.what, there.counts)
    shown = Counter((one.what, one.pairs) for one in found.lists.rare)
    assert all(seen[key] >= number for key, number in shown.items())  # no pair twice


def check_samples(found: Survey, there: World, number: int) -> None:
    by_uid = {row["uid"]: row for row in there.rows}
    shown = {signal for _, signal, *_ in there.rules} | {"nsfw"}
    for (name, _), some in found.samples.items():
        assert name in {rule[0] for rule in there.rules}
        for sample in some:
            row = by_uid[sample.uid]
            assert (sample.url, sample.alt_text) == (row["url"], row["alt_text"])
            assert sample.values == {signal: row[signal] for signal in shown & there.there}
            assert sample.nsfw == row.get("nsfw")
    for place, rule in enumerate(there.rules):
        of_kind = {kind: [by_uid[s.uid] for s in found.samples.get((rule[0], kind), [])] for kind in plain_kinds}
        uids = [row["uid"] for some in of_kind.values() for row in some]
        assert len(set(uids)) == len(uids)  # none twice a rule
        check_nearest(of_kind["dropped"], there, place, "dropped", number)
        check_nearest(of_kind["kept"], there, place, "kept", number)
        alone = [row for row in there.rows if plain.fails_alone(row, place)]
        assert all(plain.fails_alone(row, place) for row in of_kind["random"])
        assert len(of_kind["random"]) == min(number, len(alone) - len(of_kind["dropped"]))


plain_kinds = ("dropped", "kept", "random")


def check_nearest(shown: Sequence[plain.Row], there: World, place: int, kind: str, number: int) -> None:
    _, signal, op, operand = there.rules[place]
    ends = plain.ends(op, operand) if signal in there.there else []
    near = [plain.nearest(there.rows, place, kind, signal, end) for end in ends]
    uids = {row["uid"] for row in shown}
    assert uids <= {row["uid"] for some in near for _, row in some}
    if len(ends) == 1:
        assert len(shown) == min(number, len(near[0]))
        wanted = plain.chosen_distances(near[0], number)
        got = sorted(plain.distance(row[signal], *ends[0], kind) for row in shown)
        # Which of equally near texts are read decides which are doubles: only without ties is there one answer.
        distances = [d for d, _ in near[0]]
        if wanted is not None and len(set(distances)) == len(distances):
            assert got == wanted
    for some in near:
        nearest = some[: 3 * number]
        limit = nearest[-1][0] if nearest else None
        texts = {row["alt_text"] for row in shown}
        last = max((d for d, row in some if row["uid"] in uids and d <= limit), default=None) if nearest else None
        if len(ends) == 1:
            for d, row in some:  # one nearer was left out only for its text, which is shown
                assert row["uid"] in uids or d >= (last or 0) or row["alt_text"] in texts
                assert row["uid"] not in uids or d <= limit
        elif len(some) <= number:
            assert {row["uid"] for _, row in some} <= uids
    if len(ends) == 2 and near[0] and near[1]:
        least = min(number, len({row["uid"] for some in near for _, row in some}))
        assert least <= len(shown) <= 2 * number


def check_sweep(found: Swept, there: World, asked: Asked, values: Sequence[Any], moved: int = 0) -> None:
    place = there.place(found.rule)
    _, signal, op, operand = there.rules[place]
    written = there.written[place][2]
    assert found.signal == asked.signal == signal
    assert found.op == {"between": "le" if asked.upper else "ge"}.get(written, written)
    assert found.ranged == (op == "between")
    tests = [swept_test(there, place, asked.upper, value) for value in (point.value for point in found.values)]
    if values:
        assert [point.value for point in found.values] == list(values)
    for point, test in zip(found.values, tests, strict=True):
        assert (point.kept, point.pending) == plain.at(there.rows, place, signal, test), (signal, op, operand, point)
    json.dumps(found.to_json())
    if not moved:
        assert not found.changes
        return
    change = {
        row["uid"]: (row, before, after)
        for row in there.rows
        if (before := with_test(row, place, signal, tests[0])) != (after := with_test(row, place, signal, tests[-1]))
    }
    assert len({one.uid for one in found.changes}) == len(found.changes) == min(moved, len(change))
    for one in found.changes:
        row, before, after = change[one.uid]
        assert (one.before, one.after, one.value) == (before, after, row[signal])
        assert (one.url, one.alt_text) == (row["url"], row["alt_text"])


def with_test(row: plain.Row, place: int, signal: str, test: plain.Test) -> str:
    """What becomes of one pair with another test."""
    kept, pending = plain.at([row], place, signal, test)
    return "kept" if kept else "pending" if pending else "dropped"


def swept_test(there: World, place: int, upper: bool, value: Any) -> plain.Test:
    """The test that a value means."""
    written = there.written[place][2]
    _, _, op, operand = there.rules[place]
    if written == "top_k":
        return plain.passes("ge", oracle.vocabulary(value, Counter(there.counts))[0])
    if op in ("eq", "in"):
        return plain.passes("eq", value)
    return plain.moved_test(op, operand, ("le" if upper else "ge") if op == "between" else op, value)


def check_diff(found: Diff, a: World, b: World, samples: int = 6) -> None:
    wanted = plain.diff(a.rows, b.rows)
    got = {name: getattr(found, name) for name in wanted}
    assert {**got, "only_a": found.only_a.pairs, "only_b": found.only_b.pairs} == wanted
    for only, keeps, other in ((found.only_a, a, b), (found.only_b, b, a)):
        by = plain.by(keeps.rows, other.rows, other.rules)
        assert {one.rule: (one.fail, one.fail_only, one.unknown) for one in only.by} == by
        assert [(one.fail, one.unknown) for one in only.by] == sorted(((f, u) for f, _, u in by.values()), reverse=True)
        some = {x["uid"]: x for x, y in zip(keeps.rows, other.rows, strict=True) if plain.outcome(x) == "kept" != plain.outcome(y)}
        assert len({sample.uid for sample in only.samples}) == len(only.samples) == min(samples, len(some))
        assert all((s.url, s.alt_text) == (some[s.uid]["url"], some[s.uid]["alt_text"]) for s in only.samples)
    json.dumps(found.to_json())


def numbers(found: Survey, samples: bool = True, lists: bool = True) -> dict[str, Any]:
    """All of a survey as values that can be compared."""
    curves = {}
    for name, curve in found.curves.items():
        ends = [] if curve.scale is None else plain.ends(curve.rule.op, curve.rule.value)
        curves[name] = [bars(curve, 30), *(list(points(curve, End(*end), 30)) for end in ends), curve.unknown]
    said = {name: getattr(found, name) for name in ("audit", "account", "overlaps", "who", "fetched", "sizes", "classes")}
    counts = {name: [one.pairs for one in getattr(found.lists, name)] for name in ("texts", "images", "rare")}
    return {**said, "curves": curves, "lists": found.lists if lists else counts, "samples": found.samples if samples else None}


# --- (1) pools through the whole job ---


def engine_of(dataset: Dataset, workers: int = 2) -> LocalEngine:
    return LocalEngine(dataset.store.work, workers)


def ask(dataset: Dataset, ledger: str, workers: int = 2, **options: Any) -> Survey:
    return survey(dataset, ledger, engine_of(dataset, workers), Silent(), **options)


def decide(dataset: Dataset, recipe: Recipe, off: Sequence[str] = ()) -> None:
    decide_ledger(Decision(recipe, (), off), dataset, engine_of(dataset), Silent())


def recipe_of(name: str, rules: Sequence[Mapping[str, Any]]) -> Recipe:
    return Recipe.model_validate({"name": name, "rules": [{"name": f"r{i}", **rule} for i, rule in enumerate(rules)]})


INTEGERS = ["n_words", "n_chars", "images_per_text", "texts_per_image", "rarest_ngram", "n_words.whitespace"]
INTEGERS += ["rows_per_text"]
small = st.integers(-1, 6) | st.integers(-2, 12).map(lambda n: n / 2)
sides = st.sampled_from([0, 1, 199.5, 200, 200.0, 201, 200.5, 600, 601])
ratios = st.sampled_from([0.5, 1, 1.0, 3, 3.0, 3.015, 200, 1e9, 1e-300, 1e300])
LEVELS = {"script": ["Latin", "Han", "None", "Cyrillic", "Nonsense"], "host": ["a.example", "[::1]", "nobody"]}


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a rule: mostly of what is measured, on values that are there or between them."""
    signal = draw(st.sampled_from([*INTEGERS, "min_side", "min_side", "aspect", "aspect", "script", "host", "bytes"]))
    if signal in LEVELS:
        levels = st.sampled_from(LEVELS[signal])
        return draw(
            st.builds(lambda v: {"signal": signal, "eq": v}, levels)
            | st.builds(lambda v: {"signal": signal, "in": v}, st.lists(levels, min_size=1, max_size=3))
        )
    values = {"min_side": sides, "aspect": ratios, "bytes": small}.get(signal, small)
    op = draw(st.sampled_from(["gt", "ge", "lt", "le", "eq", "in", "between", "between"]))
    if signal == "rarest_ngram" and draw(st.booleans()):
        return {"signal": signal, "top_k": draw(st.integers(1, 30))}
    if op == "between":
        return {"signal": signal, op: sorted([draw(values), draw(values)])}
    return {"signal": signal, op: draw(st.lists(values, min_size=1, max_size=3)) if op == "in" else draw(values)}


def values_for(rule: plain.Rule) -> st.SearchStrategy[list[Any]]:
    """Values that a sweep of the rule may be asked for."""
    _, signal, op, _ = rule
    if signal in LEVELS:
        values: st.SearchStrategy[Any] = st.sampled_from(LEVELS[signal])
    elif op == "top_k":
        values = st.integers(1, 60)
    else:
        values = {"min_side": sides, "aspect": ratios}.get(signal, small)
    return st.lists(values, max_size=4)


@given(rows(max_size=40), st.lists(rules(), min_size=1, max_size=8), st.data())
@settings(max_examples=35)
def test_survey_sweep_and_diff_are_the_oracles(
    job: Callable[..., Built], found: list[dict[str, Any]], drawn: list[dict[str, Any]], data: st.DataObject
) -> None:
    built = job(found, parts=Parts(rows=7))
    dataset = built.dataset
    measure(dataset, engine_of(dataset), Silent(), MEASURED)
    other = recipe_of("other", drawn)
    off = data.draw(st.sets(st.sampled_from([rule.name for rule in other.rules]), max_size=2))
    decide(dataset, other, sorted(off))
    here = {name: world(dataset, name) for name in ("every", "other")}
    for name, recipe, out in (("every", built.recipe, set()), ("other", other, off)):
        there = here[name]
        values = [{**dict.fromkeys([r[1] for r in there.rules]), **row} for row in there.rows]
        assert [(row["failed"], row["unknown"]) for row in there.rows] == oracle.ledger(values, there.rules, out)
        number = data.draw(st.sampled_from([1, 2, 6]))
        check(ask(dataset, name, samples=number, seed=number), there, number)
        assert len(recipe.rules) == len(there.rules)
    check_diff(diff(dataset, "every", "other", engine_of(dataset), Silent()), here["every"], here["other"])

    there = here["other"]
    for rule in there.written:
        asked = Asked(rule[1], data.draw(values_for(rule)), rule[0], data.draw(st.booleans()))
        if rule[2] == "top_k" and not asked.values:
            continue  # below
        moved = data.draw(st.integers(0, 9)) if len(set(asked.values)) > 1 else 0
        swept = sweep(dataset, "other", asked, engine_of(dataset), Silent(), moved)
        check_sweep(swept, there, asked, asked.values, moved)
