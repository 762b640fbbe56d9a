"""Export: the kept pairs of a ledger, as shards with their images, as metadata, or as uids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from align_data.exports.beside import write_beside
from align_data.exports.formats import format_called
from align_data.exports.manifest import read_manifest
from align_data.exports.parquet import known
from align_data.exports.shard_format import ShardJob
from align_data.exports.shard_names import DEFAULT, ShardNames
from align_data.recipes.plan import PlannedRule
from align_data.signals import ordered
from align_data.stages.export.metadata import Files, schema_of
from align_data.stages.export.selection import (
    STRIPPED,
    Exported,
    Selection,
    begin,
    check_free,
    finish,
    select,
    unchanged,
)
from align_data.stages.export.shards import Run, ShardedExport, Split
from align_data.storage.store import Store
from align_data.storage.tables import digest

__all__ = ["Exported", "Form", "How", "Split", "check_free", "export"]

SHARD = 10_000


@dataclass(frozen=True)
class Form:
    """In what form pairs are exported."""

    format: str = "webdataset"
    how: How = field(default_factory=lambda: How(one_type=True))
    shard_size: int = SHARD
    """Pairs of a shard."""
    splits: Sequence[Split] = ()
    source_uid: bool = False
    """For uids: the input's own instead of ours."""
    dry_run: bool = False
    strip_credentials: bool = False
    """Whether URLs lose user, password and what signs them."""
    shard_names: str = DEFAULT
    """A pattern (`shard_names.ShardNames`)."""
    license: str = ""
    """Of the set, for its card; empty where it is not known."""

    @property
    def names(self) -> ShardNames:
        """The names of the shards."""
        ending = format_called(self.format).ending
        return ShardNames.of(self.shard_names, [split.name for split in self.splits], ending)


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
        run = Run(dataset, selection, out, job, form.shard_size, tuple(form.splits), form.names, digest(identity))
        output = ShardedExport.plan(run, engine, progress, drop_missing=drop_pending)
    else:
        signals = tuple(identity.get("signals", ()))
        names = form.names if "shard_names" in identity else None
        output = Files(dataset, selection, out, signals, form.format, form.source_uid, form.strip_credentials, names)
    if form.dry_run:
        return output.exported
    if begin(out, identity, output.folders):
        return _of_types(output.exported, read_manifest(out))
    with unchanged(out, identity, lambda: identified()[1]):
        facts = output.write(engine, progress)
        if "card" in identity:
            facts["files"] = write_beside(out, {**identity, **facts})
    finish(out, identity, facts)
    return _of_types(output.exported, facts)


def _of_types(exported: Exported, manifest: Mapping[str, Any]) -> Exported:
    """Return what was exported, with the types of the images that a manifest says."""
    return replace(exported, types=sorted({type_ for shard in manifest["shards"] for type_ in shard.get("types", ())}))


def _identity(dataset: Dataset, selection: Selection, form: Form) -> dict[str, Any]:
    """Return what decides every byte of an export, for its manifest."""
    identity = selection.describe(form.format)
    if form.format == "uids":
        return {**identity, "uid": "source" if form.source_uid else "align-data"}
    if form.strip_credentials:
        identity[STRIPPED] = True
    measured = available(dataset, dataset.ingested())
    identity["signals"] = identities(dataset, ordered(measured))
    identity |= {"shard_names": form.names.pattern, "card": _card(dataset, selection, form, list(identity["signals"]))}
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


def _card(dataset: Dataset, selection: Selection, form: Form, signals: Sequence[str]) -> dict[str, Any]:
    """Return what the card of an export tells people, besides numbers."""
    recipe = selection.ledger.plan.recipe
    asked = [rule for rule in selection.ledger.plan.in_force if rule.name not in selection.without]
    images = format_called(form.format).images
    schema = pa.schema(known(signals)) if images else schema_of(dataset, signals)
    return {
        "license": form.license,
        "title": recipe.title,
        "paper": recipe.paper,
        "rules": [f"`{rule.name}`: {_asks(rule)} ({rule.rule.source})" for rule in asked],
        "columns": {column.name: str(column.type) for column in schema},
    }


def _asks(rule: PlannedRule) -> str:
    """Return what a rule asks for, in words."""
    return rule.request if rule.rule.signal is None else f"{rule.rule.signal} {rule.request}"
