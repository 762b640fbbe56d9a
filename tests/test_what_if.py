"""What if: whatever is moved, the numbers are those that `filter` counts when it is asked for the same."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import Built, read
from test_audit_survey import give, row

import align_data
from align_data.common.errors import AlignDataError
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.data.ledger import open_current
from align_data.engines.local import LocalEngine
from align_data.recipes.overrides import override_all
from align_data.recipes.plan import Plan
from align_data.recipes.planned import PASSES, PlannedTest
from align_data.recipes.reading import parse
from align_data.signals import find
from align_data.stages.audit import audit
from align_data.stages.audit.what_if import WhatIf
from align_data.stages.decision import Decision, decide_ledger
from align_data.stages.ingest import Parts
from align_data.stages.takedown import takedown
from align_data.stages.takedown.lists import read as read_lists

RECIPE = """
name: base
rules:
- {name: n_words, signal: n_words, between: [1, 6], source: paper}
- {name: shared, signal: images_per_text, le: 9, source: paper}
- name: either
  any:
  - {signal: n_chars, ge: 12}
  - {signal: texts_per_image, le: 2}
  source: paper
- {name: chars, signal: n_chars, by: script, ge: {Latin: 5, else: 2}, source: paper}
- {name: vocabulary, signal: rarest_ngram, top_k: 60, source: paper}
- {name: longest, signal: n_chars, top_fraction: 0.8, source: paper}
- {name: top, signal: images_per_text, top_fraction: 0.9, among: pool, per: script, source: paper}
- {name: once, first_of: [alt_text], order: [-n_chars], among: pool, source: paper}
- {name: seen, signal: min_side, ge: 100, source: paper}
"""
PASSING: dict[str, Callable[[Any, Any], bool]] = {
    "ge": lambda value, least: value >= least,
    "le": lambda value, most: value <= most,
    "between": lambda value, ends: ends[0] <= value <= ends[1],
    "in": lambda value, of: value in of,
    "eq": lambda value, of: value == of,
}
MOVES = (
    "n_words.between=1,9", "n_words.ge=3", "n_words.lt=2", "shared.le=1", "shared.gt=3", "either.n_chars.ge=3", "chars.ge.Latin=9",
    "either.texts_per_image.le=0", "chars.ge.else=40", "chars.ge=7", "vocabulary.top_k=2", "vocabulary.ge=2",
    "longest.top_fraction=0.2", "longest.ge=8", "top.top_fraction=0.4", "once.keep=2", "seen.le=100",
)  # fmt: skip


@pytest.fixture
def pool(job: Callable[..., Built]) -> Built:
    draw = random.Random(5)
    words = ["a", "bb", "ccc", "日本", "dog", "Ж", "seven"]
    rows = [
        {
            "url": f"http://h.example/{draw.randrange(160)}.jpg",
            "alt_text": " ".join(draw.choices(words, k=draw.randrange(8))),
            "declared_width": draw.choice([None, 50, 300]),
            "declared_height": 200,
        }
        for _ in range(220)
    ]
    return job(rows, recipe=RECIPE, parts=Parts(rows=60))


def drafts(recipe: Plan, number: int) -> Iterator[tuple[Plan, list[str], list[str]]]:
    """Yield plans with some rules moved and some taken out, with the options that ask a command for the same."""
    draw = random.Random(7)
    for _ in range(number):
        sets = draw.sample(MOVES, draw.randrange(5))
        off = draw.sample([rule.name for rule in recipe.rules], draw.choice([0, 0, 1, 2]))
        sets = [assignment for assignment in sets if assignment.split(".")[0] not in off]
        try:
            yield Plan.unresolved(override_all(recipe.recipe, sets, off), sets, off), sets, off
        except AlignDataError:  # two of one test
            continue


def test_moving_anything_counts_what_filter_counts(pool: Built) -> None:
    dataset = pool.dataset
    engine = LocalEngine(dataset.store.work, 2)
    base = open_current(dataset, "base")
    assert 20 < pool.audit.kept + pool.audit.pending < pool.audit.pairs - 20
    what_if = WhatIf(dataset, "base", engine, Silent())
    moved, before = 0, (pool.audit.pairs, pool.audit.kept, pool.audit.pending, pool.audit.dropped)
    for plan, sets, off in drafts(base.plan, 25):
        counted = what_if.count(plan)
        assert counted.exact
        assert counted.error == 0
        decide_ledger(Decision(pool.recipe, sets, off, "moved"), dataset, engine, Silent())
        truth = audit(dataset, "moved")
        numbers = (counted.pairs, counted.kept, counted.pending, counted.dropped)
        assert numbers == (truth.pairs, truth.kept, truth.pending, truth.dropped), (sets, off)
        by_rule = {name: (of.fail, of.fail_only, of.unknown, of.off) for name, of in counted.rules.items()}
        assert by_rule == {of.rule: (of.fail, of.fail_only, of.unknown, of.off) for of in truth.rules}, (sets, off)
        assert counted.changes == changes(pool, "base", "moved"), (sets, off)
        ledger = audit(dataset, "base")
        assert counted.more == {
            outcome: getattr(truth, outcome) - getattr(ledger, outcome) for outcome in ("kept", "pending", "dropped")
        }
        assert counted.plan.thresholds == open_current(dataset, "moved").plan.thresholds
        moved += numbers != before
    assert moved > 10


def changes(pool: Built, a: str, b: str) -> dict[tuple[str, str], int]:
    """Count pairs by their outcomes in two ledgers."""
    outcomes = [
        ["dropped" if failed else "pending" if unknown else "kept" for failed, unknown in ledger.rows()]
        for ledger in (read(pool.dataset, f"verdicts/{name}") for name in (a, b))
    ]
    counts = Counter(zip(*outcomes, strict=True))
    names = ("dropped", "pending", "kept")
    return {(was, now): counts[was, now] for was, now in product(names, names)}


def test_nothing_moved_is_the_ledger(pool: Built) -> None:
    what_if = WhatIf(pool.dataset, "base", LocalEngine(pool.dataset.store.work, 2), Silent())
    counted = what_if.count(what_if.plan)
    assert (counted.kept, counted.dropped, counted.exact) == (pool.audit.kept, pool.audit.dropped, True)


def test_a_part_of_the_pool_says_its_error_and_the_whole_is_exact(pool: Built) -> None:
    engine = LocalEngine(pool.dataset.store.work, 2)
    what_if = WhatIf(pool.dataset, "base", engine, Silent(), most=70)
    off = ["longest", "seen"]
    plan = Plan.unresolved(override_all(what_if.plan.recipe, ["n_words.ge=1"], off), ["n_words.ge=1"], off)
    sampled, whole = what_if.count(plan), what_if.count(plan, whole=True)
    every = WhatIf(pool.dataset, "base", engine, Silent()).count(plan)
    assert 0 < sampled.counted < sampled.pairs == whole.counted
    assert not sampled.exact
    assert sampled.error > 0
    assert (whole.kept, whole.rules, whole.changes, whole.exact) == (every.kept, every.rules, every.changes, True)
    assert abs(sampled.kept - whole.kept) <= 2 * sampled.error


def test_curves_are_of_what_nothing_else_drops(pool: Built) -> None:
    what_if = WhatIf(pool.dataset, "base", LocalEngine(pool.dataset.store.work, 2), Silent())
    plan = what_if.count(
        Plan.unresolved(override_all(what_if.plan.recipe, ["shared.le=2"], ["once"]), ["shared.le=2"], ["once"])
    ).plan
    curves = what_if.curves(plan)
    for name, rule in (("n_words", "n_words"), ("shared", "shared"), ("longest", "longest")):
        curve = curves[name]
        fails = what_if.count(plan).rules[rule]
        begin, end = 0, curve.counts.shape[1]
        every, undropped = curve.pairs(begin, end)
        assert every == len(read(pool.dataset, "pairs"))
        passing = what_if.count(plan)
        assert undropped == passing.kept + passing.pending + fails.fail_only


REAL = """
name: real
scores:
  mix: {sum: [{signal: nsfw, weight: 2}, {signal: aspect, weight: 0.5, scale: minmax}]}
rules:
- {signal: nsfw, lt: 0.9, source: paper}
- {signal: aspect, between: [0.5, 1.7], source: paper}
- {name: both, all: [{signal: nsfw, ge: 0.1}, {signal: mix, le: 1.9}], source: paper}
- {name: mixed, signal: mix, top_fraction: 0.8, per: format, source: paper}
- {name: best, signal: aspect, top_fraction: 0.7, among: [nsfw, both], source: paper}
- {name: twice, signal: nsfw, top_fraction: 0.5, of: pool, source: paper}
"""


def test_real_numbers_and_scores_become_the_thresholds_of_filter(job: Callable[..., Built]) -> None:
    draw = random.Random(3)
    recipe = parse(REAL, "real.yaml")
    dataset = job([row(f"http://a/{n}", f"t{n}") for n in range(300)], parts=Parts(rows=90)).dataset
    image: dict[str, list[Any]] = {
        "nsfw": [draw.choice([None, 0.1, round(draw.random(), 6)]) for _ in range(300)],
        "aspect": [draw.choice([None, 0.1 + 0.2, 1 / 3, draw.uniform(0.3, 2)]) for _ in range(300)],
        "format": [draw.choice(["jpeg", "png", None]) for _ in range(300)],
    }
    give(dataset, "image", image)
    engine = LocalEngine(dataset.store.work, 2)
    decide_ledger(Decision(recipe), dataset, engine, Silent())
    what_if, outcomes = WhatIf(dataset, "real", engine, Silent()), set()
    for sets, off in (
        (["nsfw.lt=0.5"], []),
        (["aspect.ge=0.33333333"], ["twice"]),
        (["both.mix.le=1.5", "best.top_fraction=0.2"], []),
        (["mixed.top_fraction=0.31", "twice.top_fraction=0.9"], ["nsfw"]),
        (["both.nsfw.ge=0.2", "aspect.between=0.3,1.9", "mixed.ge=0.4"], []),
        ([], ["both", "mixed"]),
    ):
        counted = what_if.count(Plan.unresolved(override_all(recipe, sets, off), sets, off))
        decide_ledger(Decision(recipe, sets, off, "moved"), dataset, engine, Silent())
        truth = audit(dataset, "moved")
        assert counted.exact
        assert counted.plan.thresholds == open_current(dataset, "moved").plan.thresholds, (sets, off)
        assert (counted.kept, counted.pending, counted.dropped) == (truth.kept, truth.pending, truth.dropped)
        outcomes.add((truth.kept, truth.pending))
    assert len(outcomes) > 3


CLASSED: list[tuple[str, dict[str, Any], Any]] = [
    ("ge", {"de": 2, "fr": 5}, 3),
    ("ge", {"de": 2, "fr": 2.5, "never": 1}, 3),
    ("between", {"de": (1, 3), "en": (2, 2)}, (0, 9)),
    ("le", {"de": PASSES, "fr": 3}, PASSES),
    ("le", {"de": 4}, PASSES),
    ("in", {"de": (1, 4), "fr": (2,)}, (0, 3)),
    ("eq", {}, 3),
]


@pytest.mark.parametrize(("op", "classes", "otherwise"), CLASSED)
@pytest.mark.parametrize("present", [["de", "en", "fr", "", None], ["de"], [None], ["other", None]])
def test_a_class_is_looked_up_by_its_code_as_by_its_text(
    op: str, classes: dict[str, Any], otherwise: Any, present: list[str | None]
) -> None:
    draw = random.Random(1)
    pairs = [(draw.choice([None, *range(7)]), draw.choice(present)) for _ in range(200)]

    def passes(value: int | None, of: str | None) -> bool | None:
        if value is None or of is None:
            return None
        asked = classes.get(of, otherwise)
        return asked is PASSES or PASSING[op](value, asked)

    frame = pl.DataFrame(pairs, {"n_words": pl.Int32, "language": pl.String}, orient="row")
    test = PlannedTest(find("n_words"), op, otherwise, find("language"), classes)
    texts = sorted({of for of in present if of is not None})
    coded = frame.with_columns(pl.col("language").cast(pl.Enum(texts)))
    expected = [passes(*pair) for pair in pairs]
    assert frame.select(verdict=test.verdict(frame.columns))["verdict"].to_list() == expected
    assert coded.select(verdict=test.verdict(frame.columns, {"language": texts}))["verdict"].to_list() == expected


def test_a_coded_class_is_compared_with_texts_that_nobody_has() -> None:
    frame = pl.DataFrame({"language": pl.Series(["de", "fr", None], dtype=pl.Enum(["de", "fr"])), "script": ["a"] * 3})
    asked = {"a": "never"}
    test = PlannedTest(find("language"), "eq", "de", find("script"), asked)
    plain = PlannedTest(find("language"), "in", ("never", "de"))
    coded = {"language": ["de", "fr"]}
    assert frame.select(of=test.verdict(frame.columns, coded))["of"].to_list() == [False, False, None]
    assert frame.select(of=plain.verdict(frame.columns, coded))["of"].to_list() == [True, False, None]


def test_pairs_that_were_taken_down_stay_dropped(pool: Built, tmp_path: Path) -> None:
    dataset, engine = pool.dataset, LocalEngine(pool.dataset.store.work, 1)
    listed = tmp_path / "uids.txt"
    listed.write_text("\n".join(read(dataset, "pairs")["uid"].to_list()[::3]) + "\n", encoding="utf-8")
    with dataset.store.lock():
        takedown(dataset, read_lists({"uids": [str(listed)]}), [], engine, Silent())
    dataset = Dataset(dataset.store)
    decide_ledger(Decision(pool.recipe, (), ["seen"], "base"), dataset, engine, Silent())
    what_if = WhatIf(dataset, "base", engine, Silent())
    for sets, off in (
        (["n_words.between=1,9"], ["seen"]),
        (["shared.le=1", "longest.top_fraction=0.9"], ["seen", "once"]),
    ):
        counted = what_if.count(Plan.unresolved(override_all(pool.recipe, sets, off), sets, off))
        decide_ledger(Decision(pool.recipe, sets, off, "moved"), dataset, engine, Silent())
        truth = audit(dataset, "moved")
        assert truth.taken_down > 20
        assert (counted.kept, counted.pending, counted.dropped) == (truth.kept, truth.pending, truth.dropped)
        by_rule = {name: (of.fail, of.fail_only, of.unknown) for name, of in counted.rules.items()}
        assert by_rule == {of.rule: (of.fail, of.fail_only, of.unknown) for of in truth.rules}


def test_the_python_door_moves_what_the_command_line_would(pool: Built) -> None:
    dataset, engine = pool.dataset, LocalEngine(pool.dataset.store.work, 2)
    opened = align_data.open(dataset.store.url, workers=2)
    decide_ledger(Decision(pool.recipe, ["n_words.ge=3"], ["seen"], "base"), dataset, engine, Silent())
    for sets, off in ((["shared.le=1"], []), ([], ["once", "chars"]), (["n_words.ge=2"], ["either"])):
        kept = [] if any(word.startswith("n_words") for word in sets) else ["n_words.ge=3"]
        decide_ledger(Decision(pool.recipe, [*kept, *sets], ["seen", *off], "moved"), dataset, engine, Silent())
        truth, counted = audit(dataset, "moved"), opened.what_if("base", set=sets, without=off)
        assert (counted.kept, counted.dropped, counted.exact) == (truth.kept, truth.dropped, True)
    decide_ledger(Decision(pool.recipe, ["n_words.ge=3"], (), "moved"), dataset, engine, Silent())
    assert opened.what_if("base", restore=["seen"]).pending == audit(dataset, "moved").pending > 0
    decide_ledger(Decision(pool.recipe, ["n_words.ge=4"], ["seen"], "base"), dataset, engine, Silent())
    assert opened.what_if("base").kept == audit(dataset, "base").kept  # of the ledger as it is now


def test_several_threads_may_ask_at_once(pool: Built) -> None:
    what_if = WhatIf(pool.dataset, "base", LocalEngine(pool.dataset.store.work, 2), Silent())
    plans = [plan for plan, _, _ in drafts(what_if.plan, 12)]
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(what_if.count, plans * 3))
    alone = WhatIf(pool.dataset, "base", LocalEngine(pool.dataset.store.work, 1), Silent())
    assert [of.changes for of in together] == [alone.count(plan).changes for plan in plans] * 3


def test_the_rules_of_an_empty_pool_can_be_moved(job: Callable[..., Built]) -> None:
    opened = align_data.open(job([], recipe=RECIPE).dataset.store.url)
    for move in MOVES:
        counted = opened.what_if("base", set=[move])
        assert (counted.kept, counted.dropped, counted.pending) == (0, 0, 0)
