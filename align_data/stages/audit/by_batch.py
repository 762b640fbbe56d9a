"""What the rules of a ledger did to each batch: the same audit, of the pairs that were first in it."""

from __future__ import annotations

import polars as pl

from align_data.common.errors import DatasetError
from align_data.common.progress import Progress, Tick
from align_data.data.batches import FIRST_BATCH, batches_of
from align_data.data.layout import Dataset
from align_data.data.ledger import Masks, add_masks, open_current
from align_data.engines.base import Engine
from align_data.stages.audit.counts import Audit, count


def by_batch(dataset: Dataset, ledger: str, engine: Engine, progress: Progress) -> dict[str, Audit]:
    """Audit each batch of a dataset by itself, in their order; DatasetError where nothing was added to it."""
    opened, pairs = open_current(dataset, ledger), dataset.ingested()
    if not pairs.meta.batches:
        raise DatasetError("there is one batch, what was ingested: another comes by align-data add")

    def masks_of_part(part: int, tick: Tick) -> dict[str, Masks]:
        masks: dict[str, Masks] = {}
        streams = dataset.pairs.pieces(part, [FIRST_BATCH]), dataset.ledger(ledger).pieces(part, ["failed", "unknown"])
        for batches, verdicts in zip(*streams, strict=True):
            grouped = pl.concat([batches, verdicts], how="horizontal").group_by(FIRST_BATCH, "failed", "unknown").len()
            for batch, failed, unknown, number in grouped.iter_rows():
                add_masks(masks.setdefault(batch, {}), {(failed, unknown): number})
            tick(len(verdicts))
        return masks

    rows = [part.rows for part in pairs.parts]
    masks: dict[str, Masks] = {batch.name: {} for batch in batches_of(dataset, pairs)}
    for of_part in engine.map_parts("audit: batches", masks_of_part, rows, progress):
        for batch, of_batch in of_part.items():
            add_masks(masks[batch], of_batch)
    return {batch: count(ledger, opened.plan, of_batch) for batch, of_batch in masks.items()}
