"""Selections handed on: decided by a draft as by a ledger, and kept as a ledger of their own."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from align_data.common.errors import DatasetError
from align_data.common.progress import Progress
from align_data.common.secrets import mask
from align_data.data import labels
from align_data.data.layout import Dataset
from align_data.data.ledger import decided_by
from align_data.data.meta import LedgerMeta
from align_data.engines.base import Engine
from align_data.recipes.model import CHOSEN, Recipe
from align_data.recipes.plan import Plan
from align_data.selection import PairSelection, select, uids
from align_data.selection.draft import Draft, Words
from align_data.signals.families import check_name
from align_data.signals.label import LABEL, SELECTED, UNMARKED
from align_data.stages.audit.what_if import WhatIf
from align_data.stages.decision import Decision, decide_ledger
from align_data.storage.tables import Manifest

MOST = 10_000_000
"""Pairs of a selection that is kept as a ledger: their uids are in memory while they are marked."""


def decided(dataset: Dataset, draft: Draft, engine: Engine, progress: Progress) -> tuple[Dataset, Plan]:
    """Return the plan that decides, and the dataset to read by it: the ledger's, or the draft's as of `filter`."""
    if not draft.moved:
        return dataset, draft.ledger.plan
    return WhatIf(dataset, draft.ledger.name, engine, progress).as_filter(draft.plan)


def selected_uids(
    dataset: Dataset,
    draft: Draft,
    plan: Plan,
    selection: PairSelection,
    engine: Engine,
    progress: Progress,
    first: int | None = None,
) -> list[str]:
    """Return the uids of a selection in the dataset's order, or the `first` ones in its own order."""
    if first is None:
        pieces = uids(dataset, draft.ledger, plan, selection, progress)
        return [uid for piece in pieces for uid in piece]
    chosen = select(dataset, draft.ledger, plan, selection, engine, progress, number=first)
    return [pair.uid for pair in chosen.pairs]


def keep_as_ledger(
    dataset: Dataset,
    draft: Draft,
    selection: PairSelection,
    name: str,
    chosen: Sequence[str],
    engine: Engine,
    progress: Progress,
    first: int | None = None,
) -> Manifest[LedgerMeta]:
    """Keep the pairs with these uids under a name: marked `selected` in a label, and decided as a ledger by it.

    What was begun with the same pairs is finished, and what the same words selected before is brought up to date.
    SignalError for what cannot be a name, DatasetError for one that means something else already, or for no pairs. The
    caller has the dataset's lock.
    """
    check_name(name, LABEL)
    if not chosen:
        raise DatasetError("no pair is selected: there is nothing to keep")
    if len(chosen) > MOST:
        raise DatasetError(f"{len(chosen):,} pairs are selected, and up to {MOST:,} can be kept: narrow the selection")
    recipe = _recipe(name, [*draft.words, *selection.words, *([("first", str(first))] if first is not None else [])])
    before = decided_by(dataset, name)
    if before is not None and before.recipe != recipe:
        raise DatasetError(f"there is a ledger {name}, which was decided otherwise: choose another name")
    if labels.fingerprint(dataset, name) is None:
        labels.mark(dataset, name, chosen, SELECTED)
    else:
        marks = labels.marks(dataset, name)
        marked, now = set(marks["uid"]), set(chosen)
        if set(marks["mark"]) - {SELECTED} or (before is None and marked != now):
            raise DatasetError(f"there is a label {name} with other marks: choose another name")
        labels.mark(dataset, name, sorted(marked - now), UNMARKED)
        labels.mark(dataset, name, sorted(now - marked), SELECTED)
    return decide_ledger(Decision(recipe), dataset, engine, progress)


def _recipe(name: str, words: Words) -> Recipe:
    """Return the recipe of one rule that keeps what is marked; its note has the options that select it."""
    said = mask("; ".join(f"{word}={value}" for word, value in words))
    options = mask(shlex.join(f"--{word}={value}" for word, value in words))
    rule = {"signal": f"{LABEL}_{name}", "eq": SELECTED, "source": CHOSEN, "note": options}
    return Recipe.model_validate({"name": name, "title": f"Selected: {said}"[:300], "rules": [rule]})
