"""Selections by a draft: every pair has the verdicts that `filter` gives it when it is asked for the same."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
from conftest import Built, read
from test_what_if import MOVES, pool

from align_data.common.errors import AlignDataError
from align_data.common.progress import Silent
from align_data.data.ledger import open_current
from align_data.data.thresholds import resolve
from align_data.engines.local import LocalEngine
from align_data.selection import PairSelection, frames
from align_data.selection.draft import RECIPE, SET, WITH, WITHOUT, Draft
from align_data.stages.decision import Decision, decide_ledger
from align_data.stages.takedown import takedown
from align_data.stages.takedown.lists import read as read_lists

__all__ = ["pool"]


def test_a_draft_decides_each_pair_as_filter_does(pool: Built, tmp_path: Path) -> None:
    dataset, engine, draw = pool.dataset, LocalEngine(pool.dataset.store.work, 2), random.Random(11)
    gone = read(dataset, "pairs")["uid"].gather_every(17)
    (tmp_path / "gone.txt").write_text("\n".join(gone))
    takedown(dataset, read_lists({"uids": [str(tmp_path / "gone.txt")]}), [], engine, Silent())
    names = [rule.name for rule in pool.recipe.rules]
    decide_ledger(Decision(pool.recipe, ("n_words.le=4",), ("shared",)), dataset, engine, Silent())
    ledger, compared, changed = open_current(dataset, "base"), 0, 0
    living = pl.col("failed") >= 0
    uids = read(dataset, "pairs")["uid"]
    before = read(dataset, "verdicts/base").filter(living).rows()
    for number in range(25):
        words = [(RECIPE, "base"), *((SET, move) for move in draw.sample(MOVES, draw.randrange(3)))]
        off = draw.sample(names, draw.randrange(3))
        words += [(WITH, "shared")] if draw.random() < 0.5 else [(WITHOUT, name) for name in off]
        try:
            draft = Draft.of(ledger, words)
            plan = resolve(dataset, pool.recipe, engine, Silent(), [*draft.plan.overrides], [*draft.plan.off])
            decide_ledger(Decision(pool.recipe, plan.overrides, plan.off, f"moved-{number}"), dataset, engine, Silent())
        except AlignDataError:  # two moves of one test
            continue
        columns = ["uid", "failed", "unknown"]
        decided = read(dataset, f"verdicts/moved-{number}").select(uids, "failed", "unknown").filter(living)
        found = pl.concat(frames(dataset, ledger, plan, PairSelection(), columns, Silent()))
        assert found.rows() == decided.rows(), words
        compared += 1
        changed += found.select("failed", "unknown").rows() != before
        erased = frames(dataset, ledger, plan, PairSelection(outcome="taken down"), ["uid"], Silent())
        assert sorted(pl.concat(erased)["uid"]) == sorted(gone)
    assert compared >= changed > 10
