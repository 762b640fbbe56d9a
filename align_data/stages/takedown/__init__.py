"""Takedown: pairs become tombstones, in a dataset and in what was exported from it.

The whole plan is written down before anything changes (plan.py); from then on it is binding: until it is carried
out no other stage works here, and the same command again, or any later takedown, carries it out first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import polars as pl

from align_data.common.errors import DatasetError
from align_data.common.progress import Progress
from align_data.data import counted
from align_data.data.labels import erase
from align_data.data.layout import Dataset
from align_data.data.ledger import TAKEN_DOWN, Masks, add_masks, listed_masks, masks_of
from align_data.data.meta import ImagesMeta, LedgerMeta, PairsMeta
from align_data.data.tombstones import every, fingerprint, write
from align_data.engines.base import Engine
from align_data.exports.scrub import ExportFolder, open_export
from align_data.exports.scrub import examine as examine_shards
from align_data.neighbours.scratch import clear_scratch
from align_data.stages.takedown.files import Rewritten, rewritten
from align_data.stages.takedown.forget import forget_keys
from align_data.stages.takedown.integrity import Integrity
from align_data.stages.takedown.lists import KINDS, TakedownLists, read
from align_data.stages.takedown.part import PartReceipt, Scrub, anew, scrub, scrub_rejected
from align_data.stages.takedown.part import examine as examine_part
from align_data.stages.takedown.plan import (
    Receipt,
    TakedownPlan,
    begin,
    forget,
    fresh,
    not_read,
    request_of,
    store_receipt,
    tables,
    under_way,
)
from align_data.stages.takedown.planning import Request, by_part, make_plan
from align_data.stages.takedown.references import erase_references, referring
from align_data.stages.takedown.shards import ScrubbedExport, scrub_export
from align_data.stages.takedown.shards import check as check_shards
from align_data.storage.store import sha256_of
from align_data.storage.tables import Manifest, PartInfo, Table

__all__ = ["KINDS", "Receipt", "TakedownLists", "TakedownReport", "not_read", "read", "takedown"]


@dataclass
class TakedownReport:
    """What a takedown did, or would do."""

    receipt: Receipt
    stored: str | None = None
    """The receipt's name in the dataset; None if nothing had to be done, or nothing was."""
    before: list[str] = field(default_factory=list)
    """Receipts of takedowns that had been begun, and that this one has carried out."""
    dry_run: bool = False

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to take down."""
        receipt = self.receipt
        shards = any(export.pairs for export in receipt.shards)
        return not (receipt.pairs or receipt.rejected or receipt.banned or shards)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        run = {"stored": self.stored, "finished_before": self.before, "dry_run": self.dry_run}
        return {**self.receipt.to_json(), **run}


def takedown(
    dataset: Dataset,
    lists: TakedownLists,
    folders: Sequence[str],
    engine: Engine,
    progress: Progress,
    *,
    dry_run: bool = False,
    copies: bool = False,
    forget_counts: bool = False,
    work: str | None = None,
) -> TakedownReport:
    """Take down all pairs that the lists name, and all tombstones out of the exported `folders`.

    With `copies` the pairs of other URLs whose images have the same bytes go too, with `forget_counts` the keys of
    counts that only these pairs had. What cannot be read stays as it is, with all pairs of its part, and the
    receipt names it. Raises DatasetError for a folder that is not an export of this dataset, before anything changes.
    """
    dataset.check_added()
    pairs = dataset.pairs.committed() or dataset.ingested()
    exports = _open(folders, pairs, work)
    digest = request_of(lists, [export.key for export in exports], copies=copies, forget=forget_counts)
    request = Request(lists, folders, digest, copies, forget_counts)
    before, plan = [], under_way(dataset)
    if not dry_run:
        _clear(dataset, plan)
    if plan is not None and dry_run:
        progress.say("an earlier takedown did not finish: it will be carried out first")
    elif plan is not None:
        also = f", also in {', '.join(plan.shards)}" if plan.shards else ""  # which this command need not name
        progress.say(f"takedown {plan.number:04d} did not finish: it is carried out now{also}")
        report = _carry_out(dataset, pairs, plan, engine, progress, work)
        if plan.request == digest or not (lists.values or exports):
            return report
        before = [report.stored] if report.stored else []
        exports = _open(folders, pairs, work)  # they may be others now
    elif not (lists.values or exports):
        raise DatasetError("nothing to take down: give a list of URLs, hosts, SHA-256 or uids, or exported folders")
    integrity = Integrity.of(dataset, pairs) if plan is None or not dry_run else Integrity.unchecked(dataset, pairs)
    request = replace(request, folders=[export.store.url for export in exports])
    new, uids = make_plan(integrity, request, engine, progress)
    dead = pl.concat([every(dataset.tombstones), pl.Series("uid", uids, pl.String)])
    shard_matches = [examine_shards(export, dead) for export in exports]
    receipt = Receipt.of(new, uids)
    receipt.shards = [
        ScrubbedExport(export.store.url, export.format.name, matches.pairs, list(matches.shards))
        for export, matches in zip(exports, shard_matches, strict=True)
    ]
    report = TakedownReport(receipt, before=before, dry_run=dry_run)
    if report.nothing and receipt.unread:
        raise DatasetError(f"nothing is taken down: {not_read(receipt.unread)}")
    if dry_run:
        _foresee(dataset, pairs, receipt, map(int, new.rejected), engine, progress)
    for export, matches in zip(exports, shard_matches, strict=True):
        check_shards(export, list(matches.shards), engine, progress)
    if dry_run or report.nothing:
        receipt.forgotten = {kind: len(keys) for kind, keys in new.forget.items()}
        receipt.tombstones = len(dead)
        return report
    begin(dataset, new, uids)
    return replace(_carry_out(dataset, pairs, new, engine, progress, work), before=before)


def _clear(dataset: Dataset, plan: TakedownPlan | None) -> None:
    """Remove what killed runs have left that is no part of a dataset."""
    dataset.store.clear_work()  # bytes of images
    clear_scratch(dataset)  # hashes, and names of pairs
    counted.forget(dataset)  # keys of texts
    if plan is None:
        forget(dataset)  # of a takedown that was killed at its very end


def _open(folders: Sequence[str], pairs: Manifest[PairsMeta], work: str | None) -> list[ExportFolder]:
    """Open every exported folder once, however it is called."""
    return list({export.key: export for export in (open_export(url, pairs, work) for url in folders)}.values())


def _foresee(
    dataset: Dataset,
    pairs: Manifest[PairsMeta],
    receipt: Receipt,
    rejected: Iterable[int],
    engine: Engine,
    progress: Progress,
) -> None:
    """Fill in what a takedown would do to the dataset."""
    uids_by_part = by_part(pairs, receipt.uids)
    job, parts = Scrub(dataset, pairs, receipt.takedown, "", uids_by_part), list(uids_by_part)
    rows = [pairs.parts[part].rows for part in parts]
    files = [dataset.rejected.part_name(part) for part in rejected]
    dead = pl.Series("uid", receipt.uids, pl.String)
    for part in range(len(pairs.parts)):
        files += [table.part_name(part) for table in referring(dataset, part, dead)]
    for notes in engine.map_parts("takedown: look", lambda n, _: examine_part(job, parts[n]), rows, progress):
        receipt.images += notes.images
        receipt.fetched += notes.fetched
        receipt.bytes += notes.bytes
        receipt.embeddings += notes.embeddings
        receipt.tars += len(notes.tars)
        files += [*notes.files, *(anew(tar, job.number) for tar, members in notes.tars.items() if members is not None)]
    files += [dataset.tombstones.part_name(0)] if parts else []
    files += [dataset.banned.part_name(0)] if receipt.banned else []
    touched = {name.rpartition("/")[0] for name in files if name.endswith(".parquet")}
    known = (*tables(dataset), dataset.tombstones, dataset.banned)
    files += [table.manifest_names[0] for table in sorted(known, key=lambda table: table.name) if table.name in touched]
    receipt.files = [Rewritten(name, None, None) for name in dict.fromkeys(files)]


def _carry_out(
    dataset: Dataset,
    pairs: Manifest[PairsMeta],
    plan: TakedownPlan,
    engine: Engine,
    progress: Progress,
    work: str | None,
) -> TakedownReport:
    """Do what is planned, from wherever a killed run left it."""
    for table in tables(dataset):
        table.change()
    uids = every(fresh(dataset)).to_list()
    if uids:
        write(dataset.tombstones, [*every(dataset.tombstones), *uids])
    if plan.banned:
        write(dataset.banned, [*every(dataset.banned), *plan.banned])
    tombstones = fingerprint(dataset) or ""
    job = Scrub(dataset, pairs, plan.number, tombstones)
    parts = list(by_part(pairs, uids))
    receipts = engine.map_parts(
        "takedown", lambda n, tick: scrub(job, parts[n], tick), [pairs.parts[part].rows for part in parts], progress
    )
    every_part = [*zip(parts, receipts, strict=True), *_reject(job, plan, engine, progress)]
    dead = every(dataset.tombstones)
    every_part += enumerate(erase_references(dataset, pairs, dead, engine, progress))
    every_part += forget_keys(dataset, plan.forget, plan.manifests, engine, progress)
    _commit(dataset, tombstones, every_part)
    marks, files_of_marks = erase(dataset)
    receipt = Receipt.of(plan, uids)
    receipt.pairs, receipt.tombstones, receipt.marks = 0, len(every(dataset.tombstones)), marks
    for part_receipt in receipts:
        for name in ("pairs", "images", "fetched", "bytes", "tars", "embeddings"):
            setattr(receipt, name, getattr(receipt, name) + getattr(part_receipt, name))
    for _, part_receipt in every_part:
        for kind, number in part_receipt.forgotten.items():
            receipt.forgotten[kind] = receipt.forgotten.get(kind, 0) + number
    receipt.files = [file for _, part_receipt in every_part for file in part_receipt.files]
    receipt.files += (Rewritten(*file) for file in files_of_marks)
    receipt.files += rewritten(plan.manifests.items(), partial(sha256_of, dataset.store))
    for place, url in enumerate(plan.shards):
        try:
            export = open_export(url, pairs, work)
            receipt.shards.append(scrub_export(dataset.store, place, export, dead, tombstones, engine, progress))
        except DatasetError as error:  # the others are not to wait for it
            progress.say(str(error))
            receipt.shards.append(ScrubbedExport(url, "", note=str(error)))
    return TakedownReport(receipt, store_receipt(dataset, receipt))


def _reject(job: Scrub, plan: TakedownPlan, engine: Engine, progress: Progress) -> list[tuple[int, PartReceipt]]:
    """Take the details out of the rejected rows that the lists name."""
    parts = [int(part) for part in plan.rejected]
    rows = [len(plan.rejected[str(part)]) for part in parts]
    receipts = engine.map_parts(
        "takedown: rejected",
        lambda n, tick: scrub_rejected(job, parts[n], plan.rejected[str(parts[n])], tick),
        rows,
        progress,
        "rows",
    )
    return list(zip(parts, receipts, strict=True))


def _commit(dataset: Dataset, tombstones: str, receipts: Sequence[tuple[int, PartReceipt]]) -> None:
    """Bring the manifests up to what was rewritten; each once, for what they count cannot be taken away twice."""
    for table in tables(dataset):
        manifest = table.committed()
        if manifest is None:
            continue
        parts, meta = list(manifest.parts), manifest.meta
        for part, part_receipt in receipts:
            if table.name in part_receipt.sizes:
                hashes = {"sha256": parts[part].sha256, "xxh3": parts[part].xxh3}
                parts[part] = PartInfo(**{**part_receipt.sizes[table.name], **hashes})
        if isinstance(meta, LedgerMeta) and tombstones not in ("", meta.tombstones):
            masks = _masks(manifest, table, receipts)
            meta = meta.model_copy(update={"masks": masks, "tombstones": tombstones})
        if isinstance(meta, ImagesMeta) and tombstones not in ("", meta.tombstones):
            removed = sum((Counter(part_receipt.statuses) for _, part_receipt in receipts), Counter[str]())
            statuses = {name: n for name, number in meta.statuses.items() if (n := number - removed[name])}
            if removed:
                meta = meta.model_copy(update={"statuses": statuses, "tombstones": tombstones})
        if manifest.changing or parts != list(manifest.parts) or meta != manifest.meta:
            table.commit(parts, meta)


def _masks(
    manifest: Manifest[LedgerMeta], table: Table[Any], receipts: Sequence[tuple[int, PartReceipt]]
) -> list[list[int]]:
    """Return a ledger's masks, counted anew."""
    masks: Masks = dict(masks_of(manifest))
    name = table.name.partition("/")[2]
    for _, part_receipt in receipts:
        for failed, unknown, number in part_receipt.masks.get(name, ()):
            add_masks(masks, {(failed, unknown): -number, (failed | TAKEN_DOWN, unknown): number})
    return listed_masks(masks)
