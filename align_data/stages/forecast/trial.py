"""The text half of the main job on a sample, in a folder of its own: verdicts of pairs, seconds and bytes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from align_data.common.progress import Silent
from align_data.data import pairs as pair
from align_data.data.columns import available, measurable
from align_data.data.derived import planned_columns
from align_data.data.layout import Dataset
from align_data.data.meta import AccountMeta, PairsMeta
from align_data.data.thresholds import resolve
from align_data.engines.local import LocalEngine
from align_data.recipes.plan import Plan, masks
from align_data.signals import find
from align_data.sources.lists.column_names import PROVENANCE
from align_data.stages.decision import Decision
from align_data.stages.filter import decide
from align_data.stages.measure import measure
from align_data.storage.store import Store

OF_TEXT = ("texts", "rows", "folded")
"""What is counted over the pool by text: right in a sample of texts, and too few in one of URLs."""
OF_URL = ("urls",)
"""What is counted over the pool by URL."""


FREQUENT = 20
"""How often a text must be in a sample of URLs, for its count in the pool to be told from there; and the reverse."""


@dataclass(frozen=True)
class Scaling:
    """Which counts over the pool a sample has too few of, and the share of them that it has."""

    kinds: tuple[str, ...]
    share: float

    def of(self, name: str) -> pl.Expr:
        """Return a column of counts as they are in the pool, as far as the sample tells."""
        count = pl.col(name)
        return pl.when(count >= FREQUENT).then((count / self.share).cast(pl.Int64)).otherwise(count).alias(name)


@dataclass(frozen=True)
class Trial:
    """A sample, measured and decided."""

    plan: Plan
    verdicts: pl.DataFrame
    """A row a pair: uid, url, alt_text, copies, failed, unknown."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Step of the job → what it took."""
    bytes: dict[str, int] = field(default_factory=dict)
    """Step → bytes of the tables that it wrote."""


def tried(
    pairs: pl.DataFrame, declared: Sequence[str], decision: Decision, folder: Path, workers: int, scaling: Scaling
) -> Trial:
    """Measure and decide pairs; counts over the pool that the sample has too few of are scaled where they tell it."""
    dataset = Dataset(Store(folder / "dataset", folder / "work"))
    engine, seconds, sizes = LocalEngine(dataset.store.work, workers), dict[str, float](), dict[str, int]()
    began = time.monotonic()

    def lap(step: str) -> None:
        nonlocal began
        seconds[step], began = time.monotonic() - began, time.monotonic()
        sizes[step] = sum(size for _, size in dataset.store.committed.values())
        dataset.store.committed.clear()

    write_pairs(dataset, pairs, declared, workers)
    lap("write")
    signals = Plan.unresolved(decision.recipe, off=decision.off).signals
    measure(dataset, engine, Silent(), measurable(dataset, signals))
    lap("measure")
    plan = resolve(dataset, decision.recipe, engine, Silent(), decision.overrides, decision.off)
    decide(dataset, plan, decision.ledger, engine, Silent())
    lap("filter")
    return Trial(plan, _verdicts(dataset, plan, scaling), seconds, sizes)


def write_pairs(dataset: Dataset, pairs: pl.DataFrame, declared: Sequence[str], parts: int) -> None:
    """Write merged pairs as ingest would, in so many parts or fewer."""
    columns = pair.table_columns(declared)
    rows = pair.finished(pairs)
    keys = pairs["url_key"]
    edges = sorted({int(key) for key in keys.gather_every(max(1, -(-len(rows) // parts))).to_list()[1:]} - {0})
    bounds = (
        [0, *(int(at) for at in keys.search_sorted(pl.Series(edges, dtype=pl.UInt64))), len(rows)]
        if edges
        else [0, len(rows)]
    )
    infos = []
    for part, (start, end) in enumerate(pairwise(bounds)):
        with dataset.pairs.writer(part, {}, columns) as writer:
            for piece in pair.pieces([rows[start:end]]):
                writer.write(piece)
        assert writer.info is not None
        infos.append(writer.info)
    account = AccountMeta(rows=len(rows), pairs=len(rows), merged=0, rejected=0, reasons={}, already=False)
    provenance = [name for name in PROVENANCE if name in declared]
    splits = [f"{key:016x}" for key in edges]
    of_crawl: dict[str, Any] = {"provenance": provenance} if provenance else {}
    dataset.pairs.commit(infos, PairsMeta(account=account, splits=splits, **of_crawl))


def _verdicts(dataset: Dataset, plan: Plan, scaling: Scaling) -> pl.DataFrame:
    """Return each pair's masks."""
    columns = plan.known(available(dataset, dataset.ingested(), plan.signals))
    failed, unknown = masks(plan.rules, columns)
    compared = sorted({column for rule in plan.in_force for column in rule.columns} & columns)
    scaled = [scaling.of(name) for name in compared if counted_by(plan, [name]) & {*scaling.kinds}]
    beside = ["uid", "url", "alt_text", "copies"]
    parts = range(len(dataset.ingested().parts))
    pieces = (piece for part in parts for piece in planned_columns(dataset, plan, part, beside, compared))
    decided = [piece.with_columns(scaled).select(*beside, failed, unknown) for piece in pieces]
    return pl.concat(decided) if decided else pl.DataFrame(schema=_VERDICTS)


_VERDICTS = {"uid": pl.String, "url": pl.String, "alt_text": pl.String} | dict.fromkeys(
    ("copies", "failed", "unknown"), pl.Int64
)


def counted_by(plan: Plan, columns: Sequence[str]) -> set[str]:
    """Return what columns are counted by over the pool: texts, urls, ngrams and so on; none for those of rows."""
    definitions = [find(name) for name in plan.behind(columns) if name in plan.signals]
    return {signal.counted.keys for signal in definitions if signal.counted is not None}
