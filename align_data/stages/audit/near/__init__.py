"""Near-duplicates for the audit: by pHash, and by each table neighbours/NAME."""

from __future__ import annotations

from align_data.common.progress import Progress
from align_data.data.columns import available, within_of
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.signals import find
from align_data.stages.audit.near.edges import by_embedding
from align_data.stages.audit.near.phash import NEEDED, by_phash
from align_data.stages.audit.near.values import NearMethod


def near_duplicates(dataset: Dataset, engine: Engine, progress: Progress) -> list[NearMethod]:
    """Return near-duplicates as each method that is measured sees them."""
    measured = frozenset(available(dataset, dataset.ingested(), ()))
    methods = []
    if measured >= set(NEEDED):
        methods.append(by_phash(dataset, _within(dataset), measured, engine, progress))
    compared = [name for name in dataset.compared() if f"earlier_similarity_{name}" in measured]
    named = (by_embedding(dataset, name, measured, engine, progress) for name in compared)
    return [*methods, *(method for method in named if method is not None)]


def _within(dataset: Dataset) -> int:
    """Return the distance that all signals of pHash have been looked up to."""
    manifest = dataset.measured(find(NEEDED[-1]).group).committed()
    assert manifest is not None
    return min(within_of(manifest.meta.signals).values())


__all__ = ["NearMethod", "near_duplicates"]
