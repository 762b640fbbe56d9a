"""Rules of first_of behind rules that are moved: what is counted and selected is what `filter` decides, pair by pair."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from conftest import Built, read
from test_what_if import changes

import align_data
from align_data.common.errors import AlignDataError
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.data.ledger import open_current
from align_data.engines.local import LocalEngine
from align_data.recipes.overrides import override_all
from align_data.recipes.plan import Plan
from align_data.selection import PairSelection, frames, select
from align_data.stages.audit import audit
from align_data.stages.audit.what_if import WhatIf
from align_data.stages.decision import Decision, decide_ledger
from align_data.stages.ingest import Parts
from align_data.stages.takedown import takedown
from align_data.stages.takedown.lists import read as read_lists

RECIPE = """
name: base
scores:
  mix: {sum: [{signal: n_chars, weight: 2}, {signal: n_words, weight: 0.5, scale: minmax}]}
rules:
- {name: n_words, signal: n_words, between: [1, 6], source: paper}
- {name: chars, signal: n_chars, by: script, ge: {Latin: 3, else: 1}, source: paper}
- {name: once, first_of: [alt_text], order: [-n_chars, url], source: paper}
- {name: twice, first_of: [script, n_words], order: [-mix], keep: 2, among: [once, chars], source: paper}
- {name: best, signal: n_chars, top_fraction: 0.7, among: [twice], source: paper}
- {name: image, first_of: [url], order: [-uid], among: pool, source: paper}
- {name: longest, signal: mix, top_fraction: 0.9, source: paper}
- {name: last, first_of: [script], order: [n_words], keep: 9, among: [best, shared], source: paper}
- {name: shared, signal: images_per_text, le: 9, source: paper}
"""
MOVES = (
    "n_words.between=2,5", "n_words.le=3", "chars.ge.Latin=6", "chars.ge=2", "once.keep=2", "twice.keep=1", "twice.keep=5",
    "best.top_fraction=0.3", "best.ge=4", "image.keep=3", "longest.top_fraction=0.5", "last.keep=2", "shared.le=2",
)  # fmt: skip
COLUMNS = ["uid", "failed", "unknown"]


@pytest.fixture
def pool(job: Callable[..., Built]) -> Built:
    draw = random.Random(5)
    words = ["a", "bb", "ccc", "日本", "dog", "Ж"]
    rows = [
        {
            "url": f"http://h.example/{draw.randrange(150)}.jpg",
            "alt_text": " ".join(draw.choices(words, k=draw.randrange(5))),
        }
        for _ in range(260)
    ]
    return job(rows, recipe=RECIPE, parts=Parts(rows=70))


def drafts(built: Built, number: int, seed: int) -> Iterator[tuple[list[str], list[str], Plan]]:
    draw = random.Random(seed)
    names = [rule.name for rule in built.recipe.rules]
    for _ in range(number):
        off = draw.sample(names, draw.choice([0, 0, 1, 2]))
        sets = [move for move in draw.sample(MOVES, draw.randrange(1, 4)) if move.split(".")[0] not in off]
        try:
            yield sets, off, Plan.unresolved(override_all(built.recipe, sets, off), sets, off)
        except AlignDataError:  # two moves of one test
            continue


def files(dataset: Dataset) -> set[str]:
    return {str(path) for path in Path(dataset.store.root).rglob("*") if "_work" not in path.parts}


@pytest.mark.parametrize("erased", [False, True])
def test_what_is_counted_and_selected_is_what_filter_decides(pool: Built, tmp_path: Path, erased: bool) -> None:
    dataset, engine = pool.dataset, LocalEngine(pool.dataset.store.work, 2)
    if erased:
        (tmp_path / "gone.txt").write_text("\n".join(read(dataset, "pairs")["uid"].gather_every(13)))
        takedown(dataset, read_lists({"uids": [str(tmp_path / "gone.txt")]}), [], engine, Silent())
        decide_ledger(Decision(pool.recipe, (), ["longest"]), dataset, engine, Silent())
    ledger, what_if, ranked = open_current(dataset, "base"), WhatIf(dataset, "base", engine, Silent()), set()
    parts = WhatIf(dataset, "base", engine, Silent(), most=80)
    for sets, off, plan in drafts(pool, 12, 3 + erased):
        before = files(dataset)
        counted, whole = what_if.count(plan), parts.count(plan, whole=True)
        aside, deciding = what_if.as_filter(plan)
        found = pl.concat(frames(aside, ledger, deciding, PairSelection(), COLUMNS, Silent()))
        moved = PairSelection(moved=("kept", "dropped"))
        total = select(aside, ledger, deciding, moved, engine, Silent()).total
        assert files(dataset) == before
        decide_ledger(Decision(pool.recipe, sets, off, "moved"), dataset, engine, Silent())
        truth, decided = audit(dataset, "moved"), open_current(dataset, "moved")
        verdicts = read(dataset, "verdicts/moved").with_columns(read(dataset, "pairs")["uid"]).select(COLUMNS)
        assert found.rows() == verdicts.filter(pl.col("failed") >= 0).rows(), (sets, off)
        for answer in (counted, whole):
            assert answer.exact
            assert (answer.kept, answer.dropped) == (truth.kept, truth.dropped), (sets, off)
            by_rule = {name: (of.fail, of.fail_only, of.unknown, of.off) for name, of in answer.rules.items()}
            assert by_rule == {of.rule: (of.fail, of.fail_only, of.unknown, of.off) for of in truth.rules}, (sets, off)
            assert answer.plan.thresholds == decided.plan.thresholds
            assert answer.changes == changes(pool, "base", "moved")
        assert total == counted.changes["kept", "dropped"]
        ranked |= {of.ranks for of in decided.plan.firsts.values()}
    assert len(ranked) > 12


def test_a_part_of_the_pool_keeps_the_ledgers_ranks_and_says_so(pool: Built) -> None:
    engine = LocalEngine(pool.dataset.store.work, 2)
    parts = WhatIf(pool.dataset, "base", engine, Silent(), most=80)
    plan = Plan.unresolved(override_all(pool.recipe, ["n_words.le=3"], ()), ["n_words.le=3"], ())
    sampled, whole = parts.count(plan), parts.count(plan, whole=True)
    assert [note.split()[0] for note in sampled.notes] == ["once", "last"]
    assert not sampled.exact
    assert whole.exact
    assert not whole.notes
    assert sampled.plan.firsts["image"] == whole.plan.firsts["image"]  # which chooses among all


def test_ranks_are_aside_of_the_dataset_while_somebody_can_read_them(pool: Built) -> None:
    opened = align_data.open(pool.dataset.store.url, workers=2)
    before = files(pool.dataset)
    pairs = opened.pairs("base", set=["n_words.le=3"], where=["rank_once>1"], columns=["uid", "rank_once", "failed"])
    collected = pairs.collect()
    assert files(pool.dataset) == before
    decide_ledger(Decision(pool.recipe, ["n_words.le=3"], (), "moved"), opened.dataset, opened.engine, Silent())
    decided = opened.pairs("moved", where=["rank_once>1"], columns=["uid", "rank_once", "failed"]).collect()
    assert collected.rows() == decided.rows() != []


def test_a_folder_aside_goes_with_the_last_who_can_read_it(pool: Built) -> None:
    what_if = WhatIf(pool.dataset, "base", LocalEngine(pool.dataset.store.work, 2), Silent())
    plan = Plan.unresolved(override_all(pool.recipe, ["n_words.le=3"], ()), ["n_words.le=3"], ())
    aside, deciding = what_if.as_filter(plan)
    table = aside.ranks(deciding.firsts["once"].ranks)
    folder = Path(table.store.root)
    assert folder.is_dir()
    assert Path(pool.dataset.store.root) not in folder.parents
    del what_if, aside
    gc.collect()
    assert sum(len(piece) for part in range(4) for piece in table.pieces(part, ["rank"])) == len(
        read(pool.dataset, "pairs")
    )
    del table
    gc.collect()
    assert not folder.exists()
