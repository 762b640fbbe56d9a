"""Batches: what a dataset was made of, list by list, and which of them each pair was first in."""

from __future__ import annotations

from align_data.common.errors import DatasetError, nearest
from align_data.data.layout import Dataset
from align_data.data.meta import BatchMeta, PairsMeta
from align_data.storage.tables import Manifest

FIRST_BATCH = "first_batch"
"""The column of `pairs` with the name of a pair's first batch, from the first `align-data add` on."""
CARRIED = "carried"
"""In the footer of a part that pairs have come between the rows of: what its values were by before."""
INITIAL = "1"
"""What the batch is called that a dataset began with."""


def batches_of(dataset: Dataset, pairs: Manifest[PairsMeta]) -> list[BatchMeta]:
    """Return the batches of a dataset in their order: one where nothing was added to what was ingested."""
    if pairs.meta.batches:
        return list(pairs.meta.batches)
    rejected = dataset.rejected.committed()
    inputs = list(rejected.meta.inputs) if rejected is not None else []
    return [BatchMeta(name=INITIAL, inputs=inputs, account=pairs.meta.account, pairs=pairs.fingerprint)]


def check_batch(dataset: Dataset, name: str) -> None:
    """Raise DatasetError for a name that no batch of a dataset has."""
    names = [batch.name for batch in batches_of(dataset, dataset.ingested())]
    if name not in names:
        raise DatasetError(
            f"{dataset.store.url} has no batch {name[:200]}{nearest(name, names)}; its batches are: {', '.join(names)}"
        )


def added_since(pairs: Manifest[PairsMeta], fingerprint: str) -> list[str] | None:
    """Return the batches that brought pairs since `pairs` had a fingerprint; None where it never had it."""
    added: list[str] = []
    for batch in reversed(pairs.meta.batches):
        if batch.pairs == fingerprint:
            return added[::-1]
        added.append(batch.name)
    return None
