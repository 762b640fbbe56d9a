"""The group that a rule of first_of has a pair in: the pairs that are equal to it in what the rule goes by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from align_data.data.derived import planned_columns
from align_data.data.layout import Dataset
from align_data.data.ledger import Ledger
from align_data.data.pool import choosing
from align_data.recipes.plan import PlannedRule
from align_data.recipes.scores import OF_PAIRS, RANK
from align_data.recipes.verdicts import PairGroup


def group_of(dataset: Dataset, ledger: Ledger, rule: PlannedRule, row: Mapping[str, Any]) -> PairGroup | None:
    """Return the group of a pair, looked for in all parts; None where it is in none, or where there are no ranks.

    `row` has the pair's uid, and its rank where that is known.
    """
    rank = f"{RANK}{rule.name}"
    if row.get(rank) is None:
        return None
    plan, columns = ledger.plan, rule.rule.first_of or ()
    of_pairs = ["uid", *(name for name in columns if name in OF_PAIRS)]
    signals = [rank, *(name for name in columns if name not in OF_PAIRS)]
    bits = plan.bits(other.name for other in choosing(plan, rule))
    same = pl.all_horizontal([pl.col(rank).is_not_null(), *(pl.col(name) == row[name] for name in columns)])
    pairs, first, member = 0, None, False
    for part in range(ledger.parts):
        masks = dataset.ledger(ledger.name).pieces(part, ["failed"])
        for piece, mask in zip(planned_columns(dataset, plan, part, of_pairs, signals), masks, strict=True):
            members = pl.concat([piece, mask], how="horizontal").filter(same, pl.col("failed") & bits == 0)
            pairs += len(members)
            first = next(iter(members.filter(pl.col(rank) == 1)["uid"]), first)
            member = member or row["uid"] in members["uid"]
    return PairGroup(pairs, first, member)
