"""Near-duplicates for the audit: by pHash, and by each table neighbours/NAME."""

from __future__ import annotations

from align_data.common.progress import Progress
from align_data.data.columns import available
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.stages.audit.near.edges import by_embedding
from align_data.stages.audit.near.phash import NEEDED, by_phash
from align_data.stages.audit.near.values import NearMethod


def near_duplicates(dataset: Dataset, engine: Engine, progress: Progress) -> list[NearMethod]:
    """Return near-duplicates as each method that is measured sees them."""
    measured = frozenset(available(dataset, dataset.ingested(), ()))
    methods = []
    if measured >= set(NEEDED):
        methods.append(by_phash(dataset, 6, measured, engine, progress))
    named = (by_embedding(dataset, name, measured, engine, progress) for name in dataset.compared())
    return [*methods, *(method for method in named if method is not None)]


__all__ = ["NearMethod", "near_duplicates"]
