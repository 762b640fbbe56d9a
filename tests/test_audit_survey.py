"""The audit page's numbers, sweep and diff against the oracle of tests/audit_oracle.py: on pools, on masks, at edges."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import audit_oracle as plain
import numpy as np
import oracle
import polars as pl
import pytest
from conftest import SCHEMA, Built, build, read, rows, write_list
from hypothesis import given, settings
from hypothesis import strategies as st

from align_data.common.progress import Silent
from align_data.data.columns import available, identities
from align_data.data.layout import Dataset
from align_data.data.ledger import open_ledger
from align_data.data.meta import ImagesMeta, LedgerMeta, SignalsMeta
from align_data.data.thresholds import resolve
from align_data.engines.local import LocalEngine
from align_data.recipes.model import Recipe
from align_data.recipes.operators import Bound
from align_data.recipes.plan import Plan
from align_data.signals import SIGNALS
from align_data.stages.audit import Diff, Survey, SweepRequest, Swept, diff, groups, image_outcomes, survey, sweep
from align_data.stages.audit.curves import Curve, bars, points
from align_data.stages.ingest import Parts
from align_data.stages.measure import measure
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.stages.takedown import takedown
from align_data.stages.takedown.lists import read as read_lists
from align_data.storage.tables import digest

NONE = 2**63 - 1
"""What rarest_ngram is of a text without words."""
MEASURED = ["n_words", "images_per_text", "texts_per_image", "rarest_ngram", "min_side", "aspect", "script", "n_chars"]
MEASURED += ["n_words_whitespace", "host", "rows_per_text"]
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
    plan = open_ledger(dataset, ledger).plan
    frames = [read(dataset, "pairs")]
    groups = [group for group in ("text", "corpus", "image") if dataset.measured(group).committed() is not None]
    frames += [read(dataset, f"measured/{group}") for group in groups]
    verdicts = read(dataset, f"verdicts/{ledger}")
    assert len(verdicts) == len(frames[0])
    found = pl.concat([*frames, verdicts], how="horizontal").to_dicts()
    if counts is None:
        counts = oracle.ngram_counts(row["alt_text"] for row in found)
    written = [(rule.name, rule.signal, rule.op, rule.value) for rule in plan.recipe.rules]
    rules = [
        (name, signal, "ge", oracle.vocabulary(value, Counter(counts))[0])
        if op == "top_k"
        else (name, signal, op, value)
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


def check_curves(found: Survey, there: World, mosts: Sequence[int] = (4, 20, 60)) -> None:
    assert set(found.curves) == {name for name, signal, *_ in there.rules if signal in there.there}
    for place, (name, signal, op, operand) in enumerate(there.rules):
        if name not in found.curves:
            continue
        curve = found.curves[name]
        empty = [row for row in there.rows if row[signal] is None]
        is_open = sum(1 for row in empty if plain.beside(row, place) != "dropped")
        assert (curve.unknown, curve.unknown_open) == (len(empty), is_open)
        for most in mosts:
            for end, threshold in plain.ends(op, operand):
                check_points(curve, there, place, (end, threshold), most)
            check_bars(curve, there, place, most)


def check_points(curve: Curve, there: World, place: int, end: tuple[str, Any], most: int) -> None:
    _, signal, op, operand = there.rules[place]
    got = list(points(curve, Bound(*end), most))
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


def as_dict(group: groups.GroupCounts) -> plain.Group:
    return {"pairs": group.pairs, "left": group.undropped, "kept": group.kept, "fails": group.fails}


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
        assert {one.label: as_dict(one) for one in division.groups} == {
            o.label: groups[o.label] for o in division.groups
        }
        assert (division.values, division.error) == (len(groups), 0)
        sizes = [one.pairs for one in division.groups]
        if division.name not in plain.EDGES:
            assert sizes == sorted((group["pairs"] for group in groups.values()), reverse=True)[:named]
        rest = plain.added((g for name, g in groups.items() if name not in {o.label for o in division.groups}), n)
        assert (as_dict(division.tail) if division.tail else plain.added([], n)) == rest
    check_moved(who.losing, everything, pool, there.rules, -1)
    check_moved(who.gaining, everything, pool, there.rules, 1)


def check_moved(
    found: Sequence[groups.GroupShift],
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
        assert len({one.value for one in got}) == len(got)
        for one in got:
            assert one.pairs == every[one.value]
            assert one.example in {row[other] for row in there.rows if row[column] == one.value}
    check_rare(found, there)


def check_rare(found: Survey, there: World) -> None:
    if "rarest_ngram" not in there.there:
        assert not found.lists.rare
        return
    values = sorted(row["rarest_ngram"] for row in there.living if row["rarest_ngram"] != NONE)
    assert [one.pairs for one in found.lists.rare] == values[:8]
    seen = Counter((row["alt_text"], row["rarest_ngram"]) for row in there.living)
    for one in found.lists.rare:
        assert seen[one.value, one.pairs] > 0
        assert one.example in plain.rarest_of(one.value, there.counts)
    shown = Counter((one.value, one.pairs) for one in found.lists.rare)
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


def check_sweep(found: Swept, there: World, asked: SweepRequest, values: Sequence[Any], moved: int = 0) -> None:
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
        whole = {row["uid"]: row for row in other.rows}
        assert {one.rule: (one.fail, one.fail_only, one.unknown) for one in only.by} == by
        assert [(one.fail, one.unknown) for one in only.by] == sorted(((f, u) for f, _, u in by.values()), reverse=True)
        some = {
            x["uid"]: x
            for x, y in zip(keeps.rows, other.rows, strict=True)
            if plain.outcome(x) == "kept" != plain.outcome(y)
        }
        assert only.pending == sum(1 for uid in some if plain.outcome(whole[uid]) == "pending")
        assert len({sample.uid for sample in only.samples}) == len(only.samples) == min(samples, len(some))
        assert all((s.url, s.alt_text) == (some[s.uid]["url"], some[s.uid]["alt_text"]) for s in only.samples)
    json.dumps(found.to_json())


def numbers(found: Survey) -> dict[str, Any]:
    """All of a survey as values that can be compared."""
    curves = {}
    for name, curve in found.curves.items():
        ends = [] if curve.scale is None else plain.ends(curve.test.op, curve.test.value)
        curves[name] = [bars(curve, 30), *(list(points(curve, Bound(*end), 30)) for end in ends), curve.unknown]
    said = ("audit", "account", "overlaps", "who", "fetched", "sizes", "classes", "lists", "samples")
    return {**{name: getattr(found, name) for name in said}, "curves": curves}


def placeless(found: dict[str, Any], dataset: Dataset) -> dict[str, Any]:
    """Return `numbers` with the notes' commands as for a dataset in any folder."""
    notes = [note.replace(dataset.store.url, "DATASET") for note in found["audit"].notes]
    return {**found, "audit": replace(found["audit"], notes=notes)}


# --- (1) pools through the whole job ---


def engine_of(dataset: Dataset, workers: int = 2) -> LocalEngine:
    return LocalEngine(dataset.store.work, workers)


def ask(dataset: Dataset, ledger: str, workers: int = 2, **options: Any) -> Survey:
    return survey(dataset, ledger, engine_of(dataset, workers), Silent(), **options)


def decide(dataset: Dataset, recipe: Recipe, off: Sequence[str] = ()) -> None:
    decide_ledger(Decision(recipe, (), off), dataset, engine_of(dataset), Silent())


def recipe_of(name: str, rules: Sequence[Mapping[str, Any]]) -> Recipe:
    return Recipe.model_validate({"name": name, "rules": [{"name": f"r{i}", **rule} for i, rule in enumerate(rules)]})


INTEGERS = ["n_words", "n_chars", "images_per_text", "texts_per_image", "rarest_ngram", "n_words_whitespace"]
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
@settings(max_examples=15)
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
        asked = SweepRequest(rule[1], data.draw(values_for(rule)), rule[0], data.draw(st.booleans()))
        moved = data.draw(st.integers(0, 9)) if len(set(asked.values)) > 1 else 0
        swept = sweep(dataset, "other", asked, engine_of(dataset), Silent(), moved)
        check_sweep(swept, there, asked, asked.values, moved)


def tries(
    job: Callable[..., Built], found: Sequence[dict[str, Any]], recipe: Recipe, off: Sequence[str] = (), **how: Any
) -> tuple[Dataset, World]:
    """Make a dataset of rows, with every cheap signal measured, and a ledger of the recipe."""
    dataset = job(found, **how).dataset
    measure(dataset, engine_of(dataset), Silent(), MEASURED)
    decide(dataset, recipe, off)
    return dataset, world(dataset, recipe.name)


def row(url: str, text: str | None, width: int | None = None, height: int | None = None) -> dict[str, Any]:
    return dict.fromkeys(SCHEMA) | {"url": url, "alt_text": text, "declared_width": width, "declared_height": height}


def pool(number: int, hosts: int = 5, seed: int = 1) -> list[dict[str, Any]]:
    """Rows with texts and URLs that several have, of all sizes."""
    random = np.random.default_rng(seed)
    words = ["red", "blue", "cat", "dog", "日本", "بيت", "на", "x", "1", ""]
    found = []
    for i in range(number):
        text = " ".join(words[int(n) % 10] for n in random.zipf(1.5, int(random.integers(0, 6))))
        host = f"h{min(hosts - 1, int(random.zipf(1.3)) - 1)}.example"
        url = f"http://{host}/{int(random.integers(0, number)) if i % 3 else int(random.integers(0, 5))}"
        side = None if i % 7 == 0 else int(random.integers(1, 700))
        found.append(row(url, text, side, 300 if i % 5 else None))
    return found


# --- (2) ledgers by hand: all that depends on masks alone ---


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Some pairs in several parts, measured, for ledgers made by hand."""
    folder = tmp_path_factory.mktemp("measured")
    built = build(folder / "dataset", write_list(folder / "lists", pool(60)), parts=Parts(rows=16))
    measure(built.dataset, engine_of(built.dataset), Silent(), MEASURED)
    return built


def write_ledger(dataset: Dataset, name: str, plan: Plan, masks: Sequence[tuple[int, int]]) -> None:
    """Write a ledger as stages/filter does, with any masks."""
    table = dataset.ledger(name)
    infos, done = [], 0
    for part in range(len(dataset.ingested().parts)):
        with table.writer(part, {}) as writer:
            for piece in dataset.pairs.pieces(part, ["uid"]):
                here = masks[done : done + len(piece)]
                done += len(piece)
                columns = {"failed": [f for f, _ in here], "unknown": [u for _, u in here]}
                writer.write(pl.DataFrame(columns, {"failed": pl.Int64, "unknown": pl.Int64}))
        infos.append(writer.info)
    assert done == len(masks)
    counts = [[failed, unknown, number] for (failed, unknown), number in sorted(Counter(masks).items())]
    pairs = dataset.ingested().fingerprint
    meta = LedgerMeta(plan=plan.dump(), masks=counts, pairs=pairs, ledger=digest(name))
    table.commit(infos, meta)


MANY = [
    {"signal": signal, op: value}
    for value in (1, 2.5, 4)
    for signal in ("n_words", "n_chars", "images_per_text", "texts_per_image", "rarest_ngram", "min_side", "aspect")
    for op in ("gt", "le", "eq")
]


@st.composite
def ledgers(draw: st.DrawFn, pairs: int) -> tuple[list[dict[str, Any]], list[int], list[tuple[int, int]]]:
    """Draw rules, which are taken out, and masks: few different ones or many."""
    number = draw(st.sampled_from([1, 2, 5, 62, 63]))
    off = draw(st.sets(st.integers(0, number - 1), max_size=2))
    whole = sum(1 << i for i in range(number) if i not in off)
    bit = st.integers(0, number - 1).map(lambda i: 1 << i)
    mask = st.just(0) | bit | st.integers(0, 2**number - 1) | st.builds(lambda a, b: a | b, bit, bit)
    one = st.tuples(mask, mask, st.sampled_from([0, 0, 0, 0, -(2**63)])).map(
        lambda drawn: ((drawn[0] & whole) + drawn[2], drawn[1] & ~drawn[0] & whole)
    )
    few = draw(st.lists(one, min_size=1, max_size=12))
    return MANY[:number], sorted(off), draw(st.lists(st.sampled_from(few), min_size=pairs, max_size=pairs))


@given(st.data())
@settings(max_examples=8)
def test_any_masks_are_counted_as_the_oracle_counts_them(measured: Built, data: st.DataObject) -> None:
    dataset = measured.dataset
    here = []
    for name in ("a", "b"):
        drawn, off, masks = data.draw(ledgers(dataset.pairs.committed().rows))
        recipe = recipe_of(name, drawn)
        plan = resolve(dataset, recipe, engine_of(dataset), Silent(), off=[f"r{i}" for i in off])
        write_ledger(dataset, name, plan, masks)
        here.append(world(dataset, name))
    found, there = ask(dataset, "a", samples=1), here[0]
    check_audit(found, there)
    check_who(found, there)
    check_curves(found, there)  # by values that have nothing to do with the masks
    assert all(
        not plain.fails(r, plain.TAKEN)
        for r in there.rows
        if r["uid"] in {s.uid for some in found.samples.values() for s in some}
    )
    check_diff(diff(dataset, "a", "b", engine_of(dataset), Silent(), 3), *here, 3)


# --- (3) edges ---


TWO = recipe_of("two", [{"signal": "n_words", "between": [1, 3]}, {"signal": "min_side", "gt": 199.5}])


@pytest.mark.parametrize(
    "found",
    [
        [],
        [row("nothing", "a")],
        [row("http://a/1", "a b", 300, 300)],
        [row("http://a/1", "", 300, 300), row("http://a/1", "a b c d", 1, 300)],
        [row("http://a/1", "a b"), row("http://b/1", "a c")],
        [row("http://a/1", "", 1, 1)] * 3,
    ],
    ids=["no rows", "all rejected", "one pair", "all dropped", "all pending", "one pair thrice"],
)
def test_pools_that_are_hardly_there(job: Callable[..., Built], found: list[dict[str, Any]]) -> None:
    for number, recipe in enumerate((TWO, recipe_of("one", [{"signal": "script", "eq": "Latin"}]))):
        dataset, there = tries(job, found, recipe, parts=Parts(rows=1 + number))
        check(ask(dataset, recipe.name), there)
        check_diff(diff(dataset, recipe.name, recipe.name, engine_of(dataset), Silent()), there, there)
        for _, signal, *_ in there.rules:
            asked = SweepRequest(signal)
            check_sweep(sweep(dataset, recipe.name, asked, engine_of(dataset), Silent()), there, asked, [])


def test_what_is_rejected_is_in_the_account(job: Callable[..., Built]) -> None:
    found = [*pool(20), row("nothing", "a"), row("ftp://a/1", "b"), *pool(20)[:3]]
    dataset, _ = tries(job, found, TWO)
    pairs, rejected = oracle.merge(found)
    account = ask(dataset, "two").account
    wanted = {"rows": len(found), "pairs": len(pairs), "rejected": len(rejected)}
    assert {name: account[name] for name in wanted} == wanted
    assert ask(dataset, "two").inputs == [each.name for each in dataset.rejected.committed().meta.inputs]


def test_sixty_three_rules(job: Callable[..., Built]) -> None:
    recipe = recipe_of("many", MANY)
    assert len(recipe.rules) == 63
    dataset, there = tries(job, pool(40), recipe, parts=Parts(rows=13))
    check(ask(dataset, "many", samples=2), there, 2)


def test_several_rules_on_one_signal(job: Callable[..., Built]) -> None:
    recipe = recipe_of(
        "same",
        [
            {"signal": "min_side", op: v}
            for op, v in (("gt", 199.5), ("le", 600), ("between", [100.5, 400]), ("ge", 100), ("in", [300, 299.5, 1]))
        ],
    )
    dataset, there = tries(job, pool(80), recipe, ["r3"], parts=Parts(rows=30))
    check(ask(dataset, "same"), there)
    for name, values in (("r0", [0, 199.5, 200, 1e6]), ("r2", ["300", 400.5]), ("r3", [1, 300]), ("r4", [300, 1, 2])):
        asked = SweepRequest("min_side", values, name)
        swept = sweep(dataset, "same", asked, engine_of(dataset), Silent(), 5)
        check_sweep(swept, there, asked, [300, 400.5] if name == "r2" else values, 5)


def test_texts_of_all_scripts(job: Callable[..., Built]) -> None:
    texts = [
        "שלום עולם",
        "مرحبا بالعالم \u202eabc",
        "日本語の漢字カタカナー",
        "한국어 문장",
        "ภาษาไทย",
        "हिन्दी",
        "😀👍🏽",
        "",
        "\u200f",
    ]
    found = [row(f"http://h{i % 4}/{i}", text, 300, 200 + i) for i, text in enumerate(texts * 3)]
    found += [row(f"http://日本.example/{text}", text) for text in texts]
    recipe = recipe_of("scripts", [{"signal": "script", "in": ["Hebrew", "Arabic"]}, {"signal": "n_words", "ge": 3}])
    dataset, there = tries(job, found, recipe, parts=Parts(rows=9))
    check(ask(dataset, "scripts"), there)
    asked = SweepRequest("script", ["Han", "Thai", "None"])
    check_sweep(sweep(dataset, "scripts", asked, engine_of(dataset), Silent(), 9), there, asked, asked.values, 9)


TYPES = {"int32": pl.Int32, "int64": pl.Int64, "float64": pl.Float64, "string": pl.String, "bool": pl.Boolean}


def give(dataset: Dataset, group: str, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write measured columns as `measure` would, with any values."""
    table, pairs = dataset.measured(group), dataset.ingested()
    infos, done = [], 0
    for part in range(len(pairs.parts)):
        with table.writer(part, {}, list(columns)) as writer:
            for rows_of in dataset.pairs.piece_rows(part):
                some = {
                    name: pl.Series(values[done : done + rows_of], dtype=TYPES[SIGNALS[name].type])
                    for name, values in columns.items()
                }
                writer.write(pl.DataFrame(some))
                done += rows_of
        infos.append(writer.info)
    table.commit(infos, SignalsMeta(signals=identities(dataset, list(columns)), pairs=pairs.fingerprint))


def made(
    job: Callable[..., Built],
    number: int,
    recipe: Recipe,
    off: Sequence[str] = (),
    text: Mapping[str, Sequence[Any]] | None = None,
    **image: Sequence[Any],
) -> tuple[Dataset, World]:
    """A dataset of pairs that have nothing but what is given here of them."""
    dataset = job(
        [row(f"http://a/{i}", f"t{i}") for i in range(number)],
        recipe=recipe_of("none", [{"signal": "nsfw", "lt": 1}]),
        parts=Parts(rows=-(-number // 2)),
    ).dataset
    if text is not None:
        give(dataset, "text", text)
    give(dataset, "image", image)
    decide(dataset, recipe, off)
    return dataset, world(dataset, recipe.name)


ENDS = [
    -(2**63),
    -(2**63) + 1,
    -(10**18),
    -1,
    0,
    1,
    999,
    1000,
    1001,
    1234567,
    2**53,
    2**53 + 1,
    10**18,
    2**63 - 2,
    2**63 - 1,
]


THRESHOLDS = [-(2**63), -(2**63) + 1, 0, 1000, 2**53 + 1, 2**63 - 1, 0.5, -1e18]
FLOATS = [
    0.0,
    -0.0,
    5e-324,
    -5e-324,
    2.2e-308,
    1e-300,
    0.1,
    0.3,
    0.1 + 0.2,
    1.0,
    math.nextafter(1, 2),
    3.0,
    1e9,
    1e10,
    1e19,
    1e300,
    1.7e308,
    -1e-9,
    -2.5,
    -1e19,
    -1e300,
]
FLOAT_THRESHOLDS = [0, 0.3, 5e-324, 1e10, 1e19, 1.7e308, -1e19, 2**63 - 1]


@pytest.mark.parametrize(
    ("signal", "numbers", "thresholds"),
    [("bytes", ENDS, THRESHOLDS), ("aspect", FLOATS, FLOAT_THRESHOLDS)],
    ids=["integers", "floats"],
)
def test_the_ends_of_what_64_bits_hold(
    job: Callable[..., Built], signal: str, numbers: list[Any], thresholds: list[Any]
) -> None:
    """Every operator at every threshold: each alone, what the others would do seen from beside, and all in force."""
    tests = [{"signal": signal, op: v} for v in thresholds for op in ("gt", "ge", "lt", "le", "eq")]
    recipe = recipe_of("ends", [{"signal": "decodable", "eq": True}, *tests])
    off = [rule.name for rule in recipe.rules[1:]]
    values = [*numbers, None, *numbers]
    truths = ([True, None, True, False] * len(values))[: len(values)]
    dataset, there = made(job, len(values), recipe, off, **{signal: values, "decodable": truths})
    found = ask(dataset, "ends")
    check_audit(found, there)
    check_curves(found, there, (20,))
    for rule in there.rules[1::3]:
        if rule[2] != "eq":
            asked = SweepRequest(signal, [numbers[0], -1, 0.5, 1234567, numbers[-1]], rule[0])
            check_sweep(sweep(dataset, "ends", asked, engine_of(dataset), Silent(), 4), there, asked, asked.values, 4)

    decide(dataset, recipe_of("force", [*tests, {"signal": "decodable", "eq": True}]))
    there = world(dataset, "force")
    assert [(row["failed"], row["unknown"]) for row in there.rows] == oracle.ledger(there.rows, there.rules, set())
    found = ask(dataset, "force")
    check_audit(found, there)
    check_curves(found, there, (20,))


@given(st.data())
@settings(max_examples=12)
def test_any_values_of_any_signal(job: Callable[..., Built], data: st.DataObject) -> None:
    """Also dimensions that a small job does not measure: language, format, sizes as measured."""
    number = data.draw(st.integers(1, 30))

    def values(strategy: st.SearchStrategy[Any]) -> list[Any]:
        return data.draw(st.lists(strategy, min_size=number, max_size=number))

    side = st.none() | st.sampled_from([1, 63, 64, 200, 201, 300, 1025])
    text = {"n_words": values(st.integers(0, 120)), "language": values(st.sampled_from([*"abcdefghijklmnopqrstuvwxyz", "en", "de", ""])),
            "language_score": values(st.floats(0, 1)), "script": values(st.sampled_from(["Latin", "Han"])), "host": values(st.sampled_from(["", "a", "b"]))}  # fmt: skip
    image = {"decodable": values(st.none() | st.booleans()), "width": values(side), "height": values(side), "min_side": values(side),
             "aspect": values(st.none() | st.floats(1, 1e6)), "bytes": values(st.none() | st.integers(0, 2**40)),
             "format": values(st.none() | st.sampled_from(["jpeg", "png", ""])), "nsfw": values(st.none() | st.floats(0, 1)),
             "eval_distance": values(st.none() | st.integers(0, 64))}  # fmt: skip
    cut = st.floats(0, 1)
    drawn = [
        {"signal": "language", "in": ["en", "de"]},
        {"signal": "language_score", "ge": data.draw(cut)},
        {"signal": "decodable", "eq": data.draw(st.booleans())},
        {
            "signal": "nsfw",
            "lt": data.draw(
                cut | st.sampled_from(image["nsfw"]).filter(lambda v: v is not None)
                if any(v is not None for v in image["nsfw"])
                else cut
            ),
        },
        {"signal": "bytes", "between": [1, data.draw(st.integers(1, 2**41))]},
        {"signal": "eval_distance", "gt": data.draw(st.integers(0, 64))},
        {"signal": "format", "in": ["jpeg", "gif"]},
    ]
    chosen = data.draw(st.lists(st.sampled_from(range(len(drawn))), min_size=1, max_size=5, unique=True))
    recipe = recipe_of("any", [drawn[i] for i in chosen])
    off = data.draw(st.sets(st.sampled_from([rule.name for rule in recipe.rules]), max_size=1))
    dataset, there = made(job, number, recipe, sorted(off), text, **image)
    check(ask(dataset, "any", samples=3), there, 3)


# --- many hosts: the truncated path ---


def test_many_hosts_in_little_room(job: Callable[..., Built], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said of a host is at most the truth, and with the error at least; and nothing is lost from the totals."""
    random = np.random.default_rng(2)
    hosts = [*range(30_000), *(int(n) % 30_000 for n in random.zipf(1.2, 10_000))]
    dataset = job(
        [row(f"http://h{h}.example/{i}", "a b c"[: 1 + 2 * (i % 3)], 300, 150 + i % 100) for i, h in enumerate(hosts)],
        recipe=TWO,
        parts=Parts(rows=9000),
    ).dataset
    measure(dataset, engine_of(dataset), Silent(), ["host"])
    there = world(dataset, "two")
    monkeypatch.setattr(groups, "LEAST", 300)
    for held in (1, 4000):
        monkeypatch.setattr(groups, "HELD", held)
        found = ask(dataset, "two", samples=1)
        (division,) = [one for one in found.who.divisions if one.name == "host"]
        truth = plain.groups(there.rows, "host", len(there.rules))
        assert division.error > 0
        assert division.values <= len(truth) == 30_000
        assert len(division.groups) == 50
        for group in division.groups:
            true = truth[group.label]
            assert group.pairs <= true["pairs"] <= group.pairs + division.error
            assert group.undropped <= true["left"]
            assert group.kept <= true["kept"]
            assert all(said <= so for said, so in zip(group.fails, true["fails"], strict=True))
        assert plain.added(map(as_dict, [*division.groups, division.tail]), len(there.rules)) == as_dict(found.who.pool)
        for name, other in truth.items():  # no host that is not named has more than the error beyond the last one named
            if name not in {group.label for group in division.groups}:
                assert other["pairs"] <= division.groups[-1].pairs + division.error


# --- (4) the same whoever counts ---


def test_workers_and_parts_change_no_number(job: Callable[..., Built]) -> None:
    found = pool(200, hosts=70, seed=5)
    recipe = recipe_of(
        "same",
        [
            {"signal": "n_words", "between": [1, 3]},
            {"signal": "min_side", "gt": 199.5},
            {"signal": "rarest_ngram", "top_k": 20},
            {"signal": "images_per_text", "le": 5},
        ],
    )
    base, there = tries(job, found, recipe, ["r3"])
    check(ask(base, "same"), there)
    one = numbers(ask(base, "same", 1))
    assert numbers(ask(base, "same", 2)) == one
    one = placeless(one, base)
    for rows_of in (20, 150):
        dataset, _ = tries(job, found, recipe, ["r3"], parts=Parts(rows=rows_of))
        assert len(dataset.ingested().parts) > 1
        again = ask(dataset, "same", 2)
        check(again, there)
        same = {"curves", "audit", "account", "overlaps", "who", "sizes", "classes"}
        other = placeless(numbers(again), dataset)
        assert {k: v for k, v in other.items() if k in same} == {k: v for k, v in one.items() if k in same}
        assert numbers(again) == numbers(ask(dataset, "same", 1))
    seeds = [
        {s.uid for s in ask(base, "same", samples=3, seed=seed).samples["r1", "random"]} for seed in (1, 1, 2, 3, 4)
    ]
    assert seeds[0] == seeds[1]
    assert len(set(map(frozenset, seeds))) > 1


# --- (5) what was taken down ---


def take_down(dataset: Dataset, folder: Path, urls: Sequence[str] = (), uids: Sequence[str] = ()) -> None:
    files = {}
    for kind, values in (("urls", urls), ("uids", uids)):
        if values:
            files[kind] = [str(folder / f"{kind}.txt")]
            Path(files[kind][0]).write_text("\n".join(values) + "\n", encoding="utf-8")
    with dataset.store.lock():
        takedown(dataset, read_lists(files), [], engine_of(dataset), Silent())


def check_without(found: Survey, there: World, before: World) -> None:
    """Compare a survey after a takedown: counts as they were, and what was taken down nowhere."""
    check_audit(found, there)
    check_curves(found, there)
    check_who(found, there)
    check_samples(found, there, 6)
    assert found.sizes == Counter(plain.agreement(one) for one in there.rows)
    gone = {one["uid"] for one in there.rows} - {one["uid"] for one in there.living}
    assert gone
    secret = {one[column] for one in before.rows if one["uid"] in gone for column in ("url", "alt_text", "host")}
    secret -= {one[column] for one in there.living for column in ("url", "alt_text", "host")}
    shared = [*found.lists.texts, *found.lists.images]
    said = {said for one in shared for said in (one.value, one.example)} | {one.value for one in found.lists.rare}
    said |= {
        text for some in found.samples.values() for s in some for text in (s.uid, s.url, s.alt_text, *s.values.values())
    }
    said |= {group.label for division in found.who.divisions for group in division.groups}
    assert not (secret | gone) & said
    shown = {sample.uid for some in found.samples.values() for sample in some}
    assert not shown & gone
    for got, column, signal in (
        (found.lists.texts, "alt_text", "images_per_text"),
        (found.lists.images, "url", "texts_per_image"),
    ):
        values = {one[column]: one[signal] for one in there.living if one[signal] > 1}
        assert all(values[one.value] == one.pairs for one in got)


def test_after_a_takedown_all_is_counted_and_nothing_shown(job: Callable[..., Built], tmp_path: Path) -> None:
    recipe = recipe_of(
        "down",
        [
            {"signal": "n_words", "between": [1, 3]},
            {"signal": "min_side", "gt": 199.5},
            {"signal": "texts_per_image", "le": 3},
            {"signal": "nsfw", "lt": 0.5},
        ],
    )
    dataset, before = tries(job, pool(150), recipe, ["r3"], parts=Parts(rows=40))
    decide(dataset, TWO)
    popular = Counter(one["url"] for one in before.rows).most_common(1)[0][0]
    uids = [one["uid"] for one in before.rows[::9]]
    take_down(dataset, tmp_path, [popular], uids)
    decide(dataset, recipe, ["r3"])
    decide(dataset, TWO)
    there, other = world(dataset, "down", before.counts), world(dataset, "two", before.counts)
    assert {one["uid"] for one in there.rows} - {one["uid"] for one in there.living} >= set(uids)
    check_without(ask(dataset, "down"), there, before)
    check_diff(diff(dataset, "down", "two", engine_of(dataset), Silent()), there, other)
    asked = SweepRequest("n_words", [1, 9])
    check_sweep(sweep(dataset, "down", asked, engine_of(dataset), Silent(), 500), there, asked, [1, 9], 500)


# --- what became of the images ---


def give_images(dataset: Dataset, status: Callable[[str], str | None]) -> list[dict[str, Any]]:
    """Write `images` as a fetch would: each URL in the part of its pairs, but for those without a status."""
    infos, every = [], []
    for part in range(len(dataset.ingested().parts)):
        urls = dict.fromkeys(url for piece in dataset.pairs.pieces(part, ["url"]) for url in piece["url"])
        columns = [c.name for c in dataset.images.contract.columns]
        lines = [
            dict.fromkeys(columns) | {"url": url, "status": said, "retryable": False}
            for url in urls
            if (said := status(url))
        ]
        every += lines
        types = {c.name: TYPES[c.type] for c in dataset.images.contract.columns}
        with dataset.images.writer(part, {}) as writer:
            writer.write(pl.DataFrame(lines, types))
        infos.append(writer.info)
    made = {"run": 1, "pairs": dataset.ingested().fingerprint, "asked": "all", "policy": {}, "statuses": {}}
    dataset.images.commit(infos, ImagesMeta.model_validate(made))
    return every


def fetched_dataset(
    job: Callable[..., Built], found: Sequence[dict[str, Any]], status: Callable[[str], str], rows_of: int
) -> tuple[Dataset, list[dict[str, Any]]]:
    dataset = job(found, recipe=recipe_of("none", [{"signal": "nsfw", "lt": 1}]), parts=Parts(rows=rows_of)).dataset
    images = give_images(dataset, status)
    decide(dataset, recipe_of("none", [{"signal": "nsfw", "lt": 1}]))
    return dataset, images


def test_failures_of_fetching(job: Callable[..., Built]) -> None:
    kinds = ["ok", "untried", "not_found", "timeout", "forbidden"]
    found = [row(f"HTTP://u:p@H{i % 37 if i % 2 else 0}.Example:80/{i}", f"t{i % 3}") for i in range(300)]
    dataset, images = fetched_dataset(job, found, lambda url: kinds[len(url) * int(url[-1]) % 5], 70)
    got = ask(dataset, "none").fetched
    statuses = Counter(image["status"] for image in images)
    assert (got.urls, got.statuses) == (len(images), statuses)
    assert list(got.statuses.values()) == sorted(statuses.values(), reverse=True)
    assert got.failures == sum(n for status, n in statuses.items() if status not in ("ok", "untried"))
    hosts = plain.failing_hosts(images)
    assert [one.failures for one in got.hosts] == sorted((h.total() for h in hosts.values()), reverse=True)[:20]
    assert all(one.reasons == hosts[one.host] and one.failures == hosts[one.host].total() for one in got.hosts)
    assert got.error == 0


def test_nothing_fetched_is_none(measured: Built) -> None:
    assert ask(measured.dataset, "every", samples=1).fetched is None


# --- what this oracle found, each by itself ---


def test_few_hosts_with_many_masks_in_little_room(job: Callable[..., Built], monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of("masks", [{"signal": "n_words", "ge": n} for n in range(1, 12)])
    dataset, _ = tries(job, [row(f"http://a/{n}", "a " * n) for n in range(12)], recipe)
    monkeypatch.setattr(groups, "LEAST", 8)
    monkeypatch.setattr(groups, "HELD", 8)
    (division,) = [one for one in ask(dataset, "masks").who.divisions if one.name == "host"]
    assert [group.pairs for group in division.groups] == [12]


def test_the_error_of_failing_hosts_is_an_upper_bound(
    job: Callable[..., Built], monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = ["not_found", "timeout", "forbidden", "not_found"]
    found = [row(f"http://a/{i}", "t") for i in range(40)]
    dataset, images = fetched_dataset(job, found, lambda url: kinds[int(url.rpartition("/")[2]) % 4], 100)
    monkeypatch.setattr(image_outcomes, "HELD", 1)
    got = ask(dataset, "none").fetched
    (host,) = got.hosts
    assert host.failures <= plain.failing_hosts(images)["a"].total() <= host.failures + got.error


@pytest.mark.parametrize("value", [-1e19, -1e300, 1e19, 1e300])
@pytest.mark.parametrize("op", ["gt", "ge", "lt", "le"])
def test_a_float_beyond_64_bits_as_threshold_of_integers(job: Callable[..., Built], op: str, value: float) -> None:
    dataset, there = tries(job, pool(12), recipe_of("far", [{"signal": "min_side", op: value}]))
    check(ask(dataset, "far"), there)


@pytest.mark.parametrize("value", [-1e19, 1e19, -(2**63), 2**63 - 1])
def test_a_sweep_to_a_value_far_away(measured: Built, value: float) -> None:
    asked = SweepRequest("min_side", [value, 200])
    there = world(measured.dataset, "every")
    check_sweep(
        sweep(measured.dataset, "every", asked, engine_of(measured.dataset), Silent(), 3), there, asked, asked.values, 3
    )


@pytest.mark.parametrize("op", ["gt", "ge", "lt", "le"])
def test_two_to_the_63_as_a_float(job: Callable[..., Built], op: str) -> None:
    """What 'has none' is, compared with the float that it rounds to: as the ledger decides it."""
    recipe = recipe_of("none-such", [{"signal": "rarest_ngram", op: 2.0**63}])
    dataset, _ = tries(job, [row("http://a/1", "a"), row("http://a/2", "")], recipe)
    found = ask(dataset, "none-such")
    (at,) = [point for point in points(found.curves["r0"], Bound(op, 2.0**63), 9) if point.value == 2.0**63]
    assert (at.kept, at.pending) == (found.audit.kept, found.audit.pending)


# At the threshold itself the masks say nothing of a rule that is taken out.
@pytest.mark.parametrize(("op", "passing"), [("gt", [201]), ("ge", [200, 201]), ("lt", [199]), ("le", [199, 200])])
def test_samples_of_a_rule_taken_out_are_on_the_passing_side(
    job: Callable[..., Built], op: str, passing: list[int]
) -> None:
    found = [row(f"http://a/{side}", f"t {side}", side, 300) for side in (199, 200, 201)]
    dataset, _ = tries(job, found, recipe_of("out", [{"signal": "min_side", op: 200}]), ["r0"])
    samples = ask(dataset, "out").samples
    assert sorted(sample.values["min_side"] for sample in samples["r0", "kept"]) == passing


def test_a_sweep_of_top_k_of_its_own_choice_is_of_sizes(job: Callable[..., Built]) -> None:
    recipe = recipe_of("top", [{"signal": "rarest_ngram", "top_k": 5}])
    dataset, there = tries(job, pool(60), recipe)
    found = sweep(dataset, "top", SweepRequest("rarest_ngram"), engine_of(dataset), Silent())
    check_sweep(found, there, SweepRequest("rarest_ngram"), [])


# An excess that is 0 but for rounding names nobody.
@pytest.mark.parametrize("pairs", [2, 49, 98, 103, 107])
def test_a_group_that_is_the_pool_is_not_removed_more_or_less(job: Callable[..., Built], pairs: int) -> None:
    found = [row(f"http://a/{i}", "a b" if i else "a b c") for i in range(pairs)]
    dataset, there = tries(job, found, recipe_of("all", [{"signal": "n_words", "ge": 3}]))
    check_who(ask(dataset, "all", samples=1), there)


def test_no_samples_is_no_samples(measured: Built) -> None:
    found = ask(measured.dataset, "every", samples=0)
    assert not [sample for some in found.samples.values() for sample in some]
    there = world(measured.dataset, "every")
    check_diff(diff(measured.dataset, "every", "every", engine_of(measured.dataset), Silent(), 0), there, there, 0)


def test_floats_at_both_ends_are_far_apart_without_a_warning(job: Callable[..., Built]) -> None:
    dataset, there = made(
        job, 3, recipe_of("wide", [{"signal": "aspect", "ge": -1.7e308}]), aspect=[-1.7e308, 1.0, 1.7e308]
    )
    check(ask(dataset, "wide"), there)


def test_a_url_of_which_one_pair_was_taken_down_is_still_listed(job: Callable[..., Built], tmp_path: Path) -> None:
    found = [row("http://a/1", f"text {i}") for i in range(4)] + [row("http://b/1", "c"), row("http://b/1", "d")]
    recipe = recipe_of("down", [{"signal": "n_words", "ge": 1}])
    dataset, before = tries(job, found, recipe)
    first = next(one["uid"] for one in before.rows if one["url"] == "http://a/1")
    take_down(dataset, tmp_path, uids=[first])
    decide(dataset, recipe)
    assert sorted(one.value for one in ask(dataset, "down").lists.images) == ["http://a/1", "http://b/1"]


@pytest.mark.parametrize("kind", ["texts", "images", "rare"])
def test_what_was_taken_down_leaves_room_in_the_lists(job: Callable[..., Built], tmp_path: Path, kind: str) -> None:
    gone = [row(f"http://gone/{i}", f"gone {(i + j) % 25}") for i in range(25) for j in range(3)]
    gone += [row(f"http://gone/{i}", f"unique{i}") for i in range(9)]
    there = [row(f"http://here/{i}", f"here {i // 2}") for i in range(8)]
    there += [row("http://here/0", "here 9")]
    recipe = recipe_of("down", [{"signal": "n_words", "ge": 1}])
    dataset, before = tries(job, [*gone, *there], recipe)
    take_down(dataset, tmp_path, urls=[f"http://gone/{i}" for i in range(25)])
    decide(dataset, recipe)
    after = world(dataset, "down", before.counts)
    lists = ask(dataset, "down").lists
    if kind == "rare":
        values = sorted(one["rarest_ngram"] for one in after.living)
        assert [one.pairs for one in lists.rare] == values[:8]
    else:
        column, signal = {"texts": ("alt_text", "images_per_text"), "images": ("url", "texts_per_image")}[kind]
        values = {one[column]: one[signal] for one in after.living if one[signal] > 1}
        assert {one.value: one.pairs for one in getattr(lists, kind)} == values
