"""A dataset that grows: a batch is added, and what was measured of the pairs is measured of all of them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from align_data.common.progress import Progress
from align_data.data.columns import lacking
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.signals import find, is_signal
from align_data.sources.lists import Choice, Reading
from align_data.stages.add import AddReport, add
from align_data.stages.measure import MeasureReport, measure


@dataclass(frozen=True)
class Growth:
    """What adding a batch did."""

    added: AddReport
    measured: MeasureReport
    stale: list[str]
    """Ledgers that were decided without the batch."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {**self.added.to_json(), "measured": self.measured.measured, "stale": self.stale}


def grow(
    inputs: Sequence[str],
    dataset: Dataset,
    engine: Engine,
    progress: Progress,
    choice: Choice = Choice(),  # noqa: B008 - frozen
    reading: Reading = Reading(),  # noqa: B008 - frozen
    name: str | None = None,
) -> Growth:
    """Add a batch, and bring up to date what was measured; what needs images waits until they are fetched."""
    report = add(inputs, dataset, engine, progress, choice, reading, name)
    measured = measure(dataset, engine, progress, measured_before(dataset))
    pairs = dataset.ingested().fingerprint
    ledgers = {ledger: dataset.ledger(ledger).committed() for ledger in dataset.ledgers()}
    stale = [ledger for ledger, manifest in ledgers.items() if manifest is not None and manifest.meta.pairs != pairs]
    return Growth(report, measured, stale)


def measured_before(dataset: Dataset) -> list[str]:
    """Return the signals that were ever measured here and can be now; of images only where none were fetched."""
    manifests = (dataset.measured(group).committed() for group in dataset.groups())
    names = [name for manifest in manifests if manifest is not None for name in manifest.meta.signals]
    fetched = dataset.images.committed() is not None
    kinds = ("row", "corpus", "list") if fetched else ("row", "corpus", "list", "image")
    signals = [find(name) for name in names if is_signal(name)]
    return [signal.name for signal in signals if signal.kind in kinds and lacking(dataset, signal) is None]
