"""What a first_of becomes: ranks of the pairs in their groups, in a table that is called by what they follow from."""

from __future__ import annotations

from typing import Any

from align_data.common.progress import Progress
from align_data.data.columns import identities
from align_data.data.layout import Dataset
from align_data.data.pool import PoolCandidates, choosing, measured_by
from align_data.data.ranks import Ranking
from align_data.data.tombstones import fingerprint
from align_data.engines.base import Engine
from align_data.recipes.plan import Plan, PlannedRule
from align_data.recipes.thresholds import FirstOf
from align_data.storage.tables import digest

_NAME = 32
"""Hex characters of the digest that a table of ranks is called by."""


def resolve(dataset: Dataset, plan: Plan, name: str, engine: Engine, progress: Progress) -> FirstOf:
    """Rank the pairs for a rule, whose columns are measured and whose choice is resolved, unless that has been done."""
    rule, measured = plan.rule(name), measured_by(dataset, plan)
    assert rule.rule.first_of is not None
    table_name = digest(_facts(dataset, plan, rule, measured))[:_NAME]
    table = dataset.ranks(table_name)
    manifest = table.committed()
    if manifest is None or not table.whole(manifest):
        table.retract()
        taken = fingerprint(dataset) is not None
        candidates = PoolCandidates(dataset, plan, measured, name, taken)
        rows = tuple(part.rows for part in dataset.ingested().parts)
        manifest = Ranking(dataset, table, candidates, rule.rule.first_of, rule.rule.ordering, rows).run(
            engine, progress
        )
    keep, sizes = rule.rule.keep or 1, manifest.meta.sizes
    return FirstOf(
        keep=keep,
        groups=sum(groups for _, groups in sizes),
        pool=sum(size * groups for size, groups in sizes),
        used=sum(min(size, keep) * groups for size, groups in sizes),
        largest=max((size for size, _ in sizes), default=0),
        ranks=table_name,
    )


def _facts(dataset: Dataset, plan: Plan, rule: PlannedRule, measured: frozenset[str]) -> dict[str, Any]:
    """Return what ranks follow from: equal facts, equal ranks. What passes by its rank is not among them."""
    rules = choosing(plan, rule)
    compared = [*(rule.rule.first_of or ()), *(column for column, _ in rule.rule.ordering)]
    columns = {*compared, *(column for rival in rules for column in rival.columns)}
    scores = plan.scores(columns)
    return {
        "first_of": rule.rule.first_of,
        "order": rule.rule.ordering,
        "among": [_decides(rival) for rival in rules],
        "scores": {name: (plan.recipe.scores or {})[name].model_dump(mode="json", by_alias=True) for name in scores},
        "scales": {name: [of.model_dump(mode="json") for of in plan.scales.get(name, ())] for name in scores},
        "pairs": dataset.ingested().fingerprint,
        "signals": identities(dataset, sorted(measured.intersection(plan.behind(columns)))),
        "tombstones": fingerprint(dataset),
    }


def _decides(rule: PlannedRule) -> dict[str, Any]:
    """Return what a rule decides by, without what only readers read."""
    threshold: Any = rule.threshold
    return {
        "rule": rule.rule.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"source", "note"}),
        "threshold": threshold.model_dump(mode="json") if threshold is not None else None,
    }


def forget(dataset: Dataset) -> None:
    """Remove the ranks that no ledger refers to."""
    names = dataset.store.names("ranks")
    ledgers = [dataset.ledger(name).committed() for name in dataset.ledgers()] if names else []
    used = {of["ranks"] for ledger in ledgers if ledger for of in ledger.meta.plan.get("firsts", {}).values()}
    for name in set(names) - used:
        dataset.ranks(name).remove()
