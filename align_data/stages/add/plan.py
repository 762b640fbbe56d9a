"""A batch that is read and merged, written down: from then on it is put in its place, whatever kills a run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from align_data.common.errors import DatasetError
from align_data.data.layout import ADDED, Dataset
from align_data.data.meta import PairsMeta
from align_data.storage.manifests import checked, unchecked
from align_data.storage.store import Store
from align_data.storage.tables import CHUNK, Manifest, Meta, PartInfo, Table

FOLDER = ADDED.partition("/")[0]
_MERGED = re.compile(rf"(?:pairs|rejected)/(?:{CHUNK.pattern})")
"""What is in the folder beside the note."""


@dataclass(frozen=True)
class BatchPlan:
    """What is to be put in place of what."""

    batch: str
    before: str
    """The fingerprint of `pairs` without the batch."""
    pairs: Sequence[Mapping[str, Any]]
    """What the parts of `pairs` are with it."""
    merged: Sequence[int]
    """The parts that are others than before."""
    meta: Mapping[str, Any]
    """What the manifest of `pairs` says with it."""
    rejected: Sequence[int]
    """The parts of `rejected` that its rejected rows make, behind those that there are."""
    carried: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Group → its signals whose values stay, and are measured of the new pairs."""

    def manifest(self) -> Manifest[PairsMeta]:
        """Return the manifest of `pairs` with the batch."""
        infos = tuple(PartInfo(**info) for info in self.pairs)
        return Manifest("pairs", infos, PairsMeta.model_validate(self.meta))

    def store(self, store: Store) -> None:
        """Write it down."""
        store.write_bytes(ADDED, checked(asdict(self)))


def merged_pairs(dataset: Dataset) -> Table[Meta]:
    """Return the table of the merged parts of `pairs`, until they are in their places."""
    return Table(dataset.store, f"{FOLDER}/pairs", dataset.pairs.contract, Meta, hashed=True)


def batch_rejected(dataset: Dataset) -> Table[Meta]:
    """Return the table of the batch's rejected rows, until they are in their places."""
    return Table(dataset.store, f"{FOLDER}/rejected", dataset.rejected.contract, Meta)


def under_way(dataset: Dataset) -> BatchPlan | None:
    """Return what was being put in its place when a run was killed; DatasetError for what is not as we write it."""
    content = dataset.store.read_bytes(ADDED)
    if content is None:
        return None
    where = dataset.store.path(ADDED)
    values = unchecked(content, where, "adding cannot go on", old=False)
    try:
        plan = BatchPlan(**values)
        plan.manifest()
        if not all(isinstance(part, int) for part in (*plan.merged, *plan.rejected)):
            raise ValueError("parts are numbers")
    except (ValueError, TypeError, KeyError) as error:
        raise DatasetError(
            f"{where} is not a note of what is being added: {' '.join(str(error).split())[:200]}; restore it"
        ) from error
    return plan


def forget(dataset: Dataset) -> None:
    """Remove what was only needed until the batch was in its place; the note goes last."""
    dataset.store.clear(FOLDER, _MERGED)
    dataset.store.remove(ADDED)
    dataset.store.clear(FOLDER, _MERGED)  # now that nothing is in it
