"""What a first_of becomes: ranks of the pairs in their groups, in a table that is called by what they follow from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from align_data.common.progress import Progress
from align_data.data.columns import identities
from align_data.data.grouping import Grouping
from align_data.data.layout import Dataset
from align_data.data.meta import RanksMeta
from align_data.data.pool import PoolCandidates, choosing, measured_by
from align_data.data.ranks import Ranking
from align_data.data.tombstones import fingerprint
from align_data.engines.base import Engine
from align_data.recipes.plan import Plan, PlannedRule
from align_data.recipes.thresholds import FirstOf
from align_data.storage.tables import Manifest, digest

_NAME = 32
"""Hex characters of the digest that a table of ranks is called by."""


def resolve(dataset: Dataset, plan: Plan, name: str, engine: Engine, progress: Progress) -> FirstOf:
    """Rank the pairs for a rule, whose columns are measured and whose choice is resolved, unless that has been done."""
    rule, of = plan.rule(name), table_name(dataset, plan, name)
    manifest = stored(dataset, of)
    if manifest is None:
        table = dataset.ranks(of)
        table.retract()
        among = tuple(rival.name for rival in choosing(plan, rule))
        rows = tuple(part.rows for part in dataset.ingested().parts)
        ranking = Ranking(dataset, table, candidates(dataset, plan, name, among), grouping(rule), rows)
        manifest = ranking.run(engine, progress)
    return threshold(rule, manifest.meta.sizes, of)


def table_name(dataset: Dataset, plan: Plan, name: str) -> str:
    """Return what the table of a rule's ranks is called; its columns are measured and its choice is resolved."""
    return digest(_facts(dataset, plan, plan.rule(name), measured_by(dataset, plan)))[:_NAME]


def stored(dataset: Dataset, table_name: str) -> Manifest[RanksMeta] | None:
    """Return the manifest of a table of ranks; None where there is none, or parts of it are gone."""
    table = dataset.ranks(table_name)
    manifest = table.committed()
    return manifest if table.whole(manifest) else None


def threshold(rule: PlannedRule, sizes: Sequence[Sequence[int]], table_name: str) -> FirstOf:
    """Return what a rule became, by the sizes of its groups and how many have each."""
    keep = rule.rule.keep or 1
    return FirstOf(
        keep=keep,
        groups=sum(groups for _, groups in sizes),
        pool=sum(size * groups for size, groups in sizes),
        used=sum(min(size, keep) * groups for size, groups in sizes),
        largest=max((size for size, _ in sizes), default=0),
        ranks=table_name,
    )


def grouping(rule: PlannedRule) -> Grouping:
    """Return how a rule of first_of groups pairs."""
    assert rule.rule.first_of is not None
    return Grouping(rule.rule.first_of, rule.rule.ordering)


def candidates(dataset: Dataset, plan: Plan, name: str, among: tuple[str, ...]) -> PoolCandidates:
    """Return the pairs of a pool as a rule compares them, which chooses among those that these rules do not fail."""
    return PoolCandidates(dataset, plan, measured_by(dataset, plan), name, among, fingerprint(dataset) is not None)


def write(dataset: Dataset, table_name: str, parts: Sequence[pl.Series], sizes: list[list[int]]) -> None:
    """Write ranks that are in memory, part by part, with the sizes of the groups."""
    table, infos = dataset.ranks(table_name), []
    for part, ranks in enumerate(parts):
        start = 0
        with table.writer(part, {}) as writer:
            for rows in dataset.pairs.piece_rows(part):
                writer.write(ranks[start : start + rows].cast(pl.Int64).to_frame("rank"))
                start += rows
        assert writer.info is not None
        infos.append(writer.info)
    table.commit(infos, RanksMeta(pairs=dataset.ingested().fingerprint, sizes=sizes))


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
