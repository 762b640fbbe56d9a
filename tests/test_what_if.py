"""What if: whatever is moved, the numbers are those that `filter` counts when it is asked for the same."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product

import pytest
from conftest import Built, read

from align_data.common.errors import AlignDataError
from align_data.common.progress import Silent
from align_data.data.ledger import open_current
from align_data.engines.local import LocalEngine
from align_data.recipes.overrides import override_all
from align_data.recipes.plan import Plan
from align_data.stages.audit import audit
from align_data.stages.audit.what_if import MovedPool, WhatIf
from align_data.stages.decision import Decision, decide_ledger
from align_data.stages.ingest import Parts

RECIPE = """
name: base
rules:
- {name: n_words, signal: n_words, between: [2, 6], source: paper}
- {name: shared, signal: images_per_text, le: 9, source: paper}
- name: either
  any:
  - {signal: n_chars, ge: 12}
  - {signal: texts_per_image, le: 1}
  source: paper
- {name: chars, signal: n_chars, by: script, ge: {Latin: 5, else: 2}, source: paper}
- {name: vocabulary, signal: rarest_ngram, top_k: 5, source: paper}
- {name: longest, signal: n_chars, top_fraction: 0.7, source: paper}
- {name: top, signal: images_per_text, top_fraction: 0.9, among: pool, per: script, source: paper}
- {name: once, first_of: [alt_text], order: [-n_chars], among: pool, source: paper}
- {name: seen, signal: min_side, ge: 100, source: paper}
"""
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
    what_if = WhatIf(dataset, "base", engine, Silent())
    moved = 0
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
        assert counted.plan.thresholds == open_current(dataset, "moved").plan.thresholds
        before = audit(dataset, "base")
        moved += (counted.kept, counted.pending) != (before.kept, before.pending)
    assert moved > 3


def changes(pool: Built, a: str, b: str) -> dict[tuple[str, str], int]:
    """Count pairs by their outcomes in two ledgers."""
    outcomes = [
        ["dropped" if failed else "pending" if unknown else "kept" for failed, unknown in ledger.rows()]
        for ledger in (read(pool.dataset, f"verdicts/{name}") for name in (a, b))
    ]
    counts = Counter(zip(*outcomes, strict=True))
    return {change: counts[change] for change in product(("dropped", "pending", "kept"), repeat=2)}


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


def test_ranks_that_hang_on_what_was_moved_are_said(job: Callable[..., Built]) -> None:
    recipe = RECIPE.replace("order: [-n_chars], among: pool", "order: [-n_chars]")
    built = job([{"url": f"http://h/{n}", "alt_text": "a b c" * (n % 3)} for n in range(30)], recipe=recipe)
    what_if = WhatIf(built.dataset, "base", LocalEngine(built.dataset.store.work, 2), Silent())
    plan = Plan.unresolved(override_all(what_if.plan.recipe, ["n_words.ge=1"], []), ["n_words.ge=1"], [])
    counted: MovedPool = what_if.count(plan)
    assert not counted.exact
    assert "once" in counted.notes[0]


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
