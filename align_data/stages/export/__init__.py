"""Export: the kept pairs of a ledger, as shards with their images, as metadata, or as uids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from align_data import __version__
from align_data.common.errors import DatasetError
from align_data.common.progress import Progress
from align_data.data.columns import available, identities
from align_data.data.layout import Dataset
from align_data.decoding.render import How
from align_data.engines.base import Engine
from align_data.exports.formats import format_called
from align_data.exports.shard_format import ShardJob
from align_data.signals import ordered
from align_data.stages.export.metadata import Files
from align_data.stages.export.selection import STRIPPED, Exported, Selection, begin, finish, select, unchanged
from align_data.stages.export.shards import Run, ShardedExport, Split
from align_data.storage.store import Store
from align_data.storage.tables import digest

__all__ = ["Exported", "Form", "How", "Split", "export"]

SHARD = 10_000


@dataclass(frozen=True)
class Form:
    """In what form pairs are exported."""

    format: str = "webdataset"
    how: How = field(default_factory=How)
    shard_size: int = SHARD
    """Pairs of a shard."""
    splits: Sequence[Split] = ()
    source_uid: bool = False
    """For uids: the input's own instead of ours."""
    dry_run: bool = False
    strip_credentials: bool = False
    """Whether URLs lose user, password and what signs them."""


def export(
    dataset: Dataset,
    ledger: str,
    out: Store,
    form: Form,
    engine: Engine,
    progress: Progress,
    *,
    without: Sequence[str] = (),
    drop_pending: bool = False,
) -> Exported:
    """Write the kept pairs into the folder `out`; its manifest comes last.

    Raises DatasetError while pairs are pending or images are missing, and where the dataset is changed meanwhile;
    OutputError if the folder holds something else.
    """

    def identified() -> tuple[Selection, dict[str, Any]]:
        selection = select(dataset, ledger, without, drop_pending)
        return selection, _identity(dataset, selection, form)

    selection, identity = identified()
    output: ShardedExport | Files
    if format_called(form.format).images:
        signals = tuple(identity["signals"])
        job = ShardJob(dataset.store, form.format, form.how, signals, ledger, form.strip_credentials)
        run = Run(dataset, selection, out, job, form.shard_size, tuple(form.splits), digest(identity))
        output = ShardedExport.plan(run, engine, progress, drop_missing=drop_pending)
    else:
        signals = tuple(identity.get("signals", ()))
        output = Files(dataset, selection, out, signals, form.format, form.source_uid, form.strip_credentials)
    if form.dry_run or begin(out, identity, output.folders):
        return output.exported
    with unchanged(out, identity, lambda: identified()[1]):
        facts = output.write(engine, progress)
    finish(out, identity, facts)
    return output.exported


def _identity(dataset: Dataset, selection: Selection, form: Form) -> dict[str, Any]:
    """Return what decides every byte of an export, for its manifest."""
    identity = selection.describe(form.format)
    if form.format == "uids":
        return {**identity, "uid": "source" if form.source_uid else "align-data"}
    if form.strip_credentials:
        identity[STRIPPED] = True
    measured = available(dataset, dataset.ingested())
    identity["signals"] = identities(dataset, ordered(measured))
    if not format_called(form.format).images:
        return identity
    content = dataset.content.committed()
    if content is None or "decodable" not in measured:
        raise DatasetError(
            f"{dataset.store.url} has no measured images to put into shards: run align-data fetch and align-data "
            "measure, or export without images: --format metadata"
        )
    return {
        **identity,
        "images": form.how.describe(),
        "shard_size": form.shard_size,
        "splits": {split.name: split.share for split in form.splits},
        "versions": {"align_data": __version__, "pillow": version("pillow"), "pyarrow": pa.__version__},
        "content": content.fingerprint,
    }
