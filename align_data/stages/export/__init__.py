"""Export: the kept pairs of a ledger, as shards with their images, as metadata, or as uids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from align_data.decoding.render import How
from align_data.engines.base import Engine
from align_data.layout import Dataset
from align_data.progress import Progress
from align_data.stages.export.metadata import write_metadata, write_uids
from align_data.stages.export.selection import Exported, Selection, begin, finish, select
from align_data.stages.export.shards import Split, write_shards
from align_data.store import Store

__all__ = ["Exported", "Form", "Format", "How", "Split", "export"]

Format = Literal["webdataset", "parquet", "metadata", "uids"]
SHARD = 10_000


@dataclass(frozen=True)
class Form:
    """In what form pairs are exported."""

    format: Format = "webdataset"
    how: How = field(default_factory=How)
    shard_size: int = SHARD
    """Pairs of a shard."""
    splits: Sequence[Split] = ()
    source_uid: bool = False
    """For uids: the input's own instead of ours."""
    dry_run: bool = False


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

    Raises DatasetError while pairs are pending or images are missing, OutputError if the folder holds something else.
    """
    selection = select(dataset, ledger, without, drop_pending)
    if form.format in ("webdataset", "parquet"):
        return write_shards(
            dataset, selection, out, engine, progress,
            parquet=form.format == "parquet", how=form.how, shard_size=form.shard_size, splits=form.splits,
            drop_missing=drop_pending, dry_run=form.dry_run,
        )  # fmt: skip
    kept, pending = selection.counts()
    if form.dry_run:
        return Exported(kept, pending, [])
    what: dict[str, Any] = selection.describe(form.format)
    what["uid"] = "source" if form.source_uid else "align-data"
    begin(out, what)
    files = _write(dataset, selection, out, form, engine, progress)
    finish(out, what, {"files": files})
    return Exported(kept, pending, files)


def _write(
    dataset: Dataset, selection: Selection, out: Store, form: Form, engine: Engine, progress: Progress
) -> list[str]:
    if form.format == "uids":
        return write_uids(dataset, selection, out, form.source_uid)
    return write_metadata(dataset, selection, out, engine, progress)
