"""Takedown: pairs become tombstones, in a dataset and in what was exported from it.

What is asked is written down whole before anything changes (plan.py); from then on it is binding: until it is carried
out no other stage works here, and the same command again, or any later takedown, carries it out first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from align_data.banned import ban
from align_data.engines.base import Engine
from align_data.errors import DatasetError
from align_data.layout import Dataset
from align_data.ledger import TAKEN_DOWN, Masks, add_masks, masks_of
from align_data.progress import Progress
from align_data.stages.takedown.asked import KINDS, Asked, read
from align_data.stages.takedown.files import Rewritten, rewritten
from align_data.stages.takedown.find import find
from align_data.stages.takedown.part import Done, Scrub, anew, scrub, scrub_rejected
from align_data.stages.takedown.part import examine as examine_part
from align_data.stages.takedown.plan import (
    Plan,
    Receipt,
    begin,
    forget,
    fresh,
    manifests,
    next_number,
    request_of,
    same_lists,
    store_receipt,
    tables,
    under_way,
)
from align_data.stages.takedown.shards import Export, Scrubbed, open_export, scrub_export
from align_data.stages.takedown.shards import check as check_shards
from align_data.stages.takedown.shards import examine as examine_shards
from align_data.tables import MANIFEST, Manifest, PartInfo, Table
from align_data.tombstones import every, fingerprint, part_of, write

__all__ = ["KINDS", "Asked", "Receipt", "Report", "read", "takedown"]


@dataclass
class Report:
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
        found = self.receipt
        return not (found.pairs or found.rejected or found.banned or any(one.pairs for one in found.shards))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        rest = {"stored": self.stored, "finished_before": self.before, "dry_run": self.dry_run}
        return {**self.receipt.to_json(), **rest}


def takedown(
    dataset: Dataset,
    asked: Asked,
    folders: Sequence[str],
    engine: Engine,
    progress: Progress,
    *,
    dry_run: bool = False,
    work: str | None = None,
) -> Report:
    """Take down all pairs that are asked for, and all tombstones out of the exported `folders`.

    Raises DatasetError for a folder that is no export of this dataset, before anything changes.
    """
    pairs = dataset.pairs.committed() or dataset.ingested()
    exports = _open(folders, pairs, work)
    request = request_of(asked, [export.key for export in exports])
    before, plan = [], under_way(dataset)
    if plan is None and not dry_run:
        forget(dataset)  # what one that was killed at its very end has left
    if plan is not None and dry_run:
        progress.say("an earlier takedown did not finish: it will be carried out first")
    elif plan is not None:
        progress.say(f"takedown {plan.number:04d} did not finish: it is carried out now")
        report = _carry_out(dataset, pairs, plan, engine, progress, work)
        if plan.request == request or not (asked.values or exports):
            return report
        before = [report.stored] if report.stored else []
        exports = _open(folders, pairs, work)  # they may be others now
    elif not (asked.values or exports):
        raise DatasetError("nothing is asked for: give a list of URLs, hosts, SHA-256 or uids, or exported folders")
    found = find(dataset, pairs, asked, engine, progress)
    dead = pl.concat([every(dataset.tombstones), pl.Series("uid", found.uids, pl.String)])
    held = [examine_shards(export, dead) for export in exports]
    account = found.account(asked)
    for kind, name in same_lists(dataset.store, asked).items():
        account[kind]["same_list_as"] = name
    new_bans = _bans(dataset, asked)
    receipt = Receipt(next_number(dataset.store), account, uids=found.uids, pairs=len(found.uids), banned=len(new_bans))
    receipt.rejected = sum(map(len, found.rejected.values()))
    receipt.shards = [
        Scrubbed(export.store.url, export.format, some.pairs, list(some.shards))
        for export, some in zip(exports, held, strict=True)
    ]
    report = Report(receipt, before=before, dry_run=dry_run)
    if dry_run:
        _foresee(dataset, pairs, receipt, found.rejected, engine, progress)
    for export, some in zip(exports, held, strict=True):
        check_shards(export, list(some.shards), engine, progress)
    if dry_run or report.nothing:
        receipt.tombstones = len(dead)
        return report
    new = Plan(
        receipt.takedown,
        request,
        receipt.asked,
        {str(part): rows for part, rows in sorted(found.rejected.items())},
        new_bans,
        [export.store.url for export in exports],
        manifests(dataset),
    )
    begin(dataset, new, found.uids)
    return replace(_carry_out(dataset, pairs, new, engine, progress, work), before=before)


def _bans(dataset: Dataset, asked: Asked) -> list[str]:
    """Return what is to be put into the table of the bytes that no fetch stores again."""
    return sorted({ban(sha256) for sha256 in asked.of("sha256")} - set(every(dataset.banned)))


def _open(folders: Sequence[str], pairs: Manifest, work: str | None) -> list[Export]:
    """Open every exported folder once, however it is called."""
    return list({export.key: export for export in (open_export(url, pairs, work) for url in folders)}.values())


def _by_part(pairs: Manifest, uids: Sequence[str]) -> dict[int, list[str]]:
    """Return the uids of each part that has any."""
    found: dict[int, list[str]] = {}
    for uid in sorted(uids):
        found.setdefault(part_of(pairs, uid), []).append(uid)
    return found


def _foresee(
    dataset: Dataset, pairs: Manifest, receipt: Receipt, rejected: Iterable[int], engine: Engine, progress: Progress
) -> None:
    """Fill in what a takedown would do to the dataset."""
    asked = _by_part(pairs, receipt.uids)
    job, parts = Scrub(dataset, pairs, receipt.takedown, "", asked), list(asked)
    rows = [pairs.parts[part].rows for part in parts]
    files = [dataset.rejected.part_name(part) for part in rejected]
    for notes in engine.map_parts("takedown: look", lambda n, _: examine_part(job, parts[n]), rows, progress):
        receipt.images += notes.images
        receipt.fetched += notes.fetched
        receipt.bytes += notes.bytes
        receipt.tars += len(notes.tars)
        files += [*notes.files, *(anew(tar, job.number) for tar, gone in notes.tars.items() if gone is not None)]
    files += [dataset.tombstones.part_name(0)] if parts else []
    files += [dataset.banned.part_name(0)] if receipt.banned else []
    files += [
        f"{table}/{MANIFEST}" for table in sorted({n.rpartition("/")[0] for n in files if n.endswith(".parquet")})
    ]
    receipt.files = [Rewritten(name, None, None) for name in files]


def _carry_out(
    dataset: Dataset, pairs: Manifest, plan: Plan, engine: Engine, progress: Progress, work: str | None
) -> Report:
    """Do what is planned, from wherever a killed run left it."""
    dataset.store.clear_work()  # a killed fetch leaves bytes there
    for table in tables(dataset):
        table.change()
    uids = every(fresh(dataset)).to_list()
    if uids:
        write(dataset.tombstones, [*every(dataset.tombstones), *uids])
    if plan.banned:
        write(dataset.banned, [*every(dataset.banned), *plan.banned])
    tombstones = fingerprint(dataset) or ""
    job = Scrub(dataset, pairs, plan.number, tombstones)
    parts = list(_by_part(pairs, uids))
    done = engine.map_parts(
        "takedown", lambda n, tick: scrub(job, parts[n], tick), [pairs.parts[part].rows for part in parts], progress
    )
    rejected = _reject(job, plan, engine, progress)
    _commit(dataset, tombstones, [*zip(parts, done, strict=True), *rejected])
    tombstoned = len(every(dataset.tombstones))
    receipt = Receipt(plan.number, plan.asked, uids=uids, tombstones=tombstoned, banned=len(plan.banned))
    for one in done:
        for name in ("pairs", "images", "fetched", "bytes", "tars"):
            setattr(receipt, name, getattr(receipt, name) + getattr(one, name))
    receipt.rejected = sum(map(len, plan.rejected.values()))
    receipt.files = [file for one in (*done, *(one for _, one in rejected)) for file in one.files]
    receipt.files += rewritten(dataset.store, plan.manifests.items())
    dead = every(dataset.tombstones)
    for place, url in enumerate(plan.shards):
        try:
            export = open_export(url, pairs, work)
            receipt.shards.append(scrub_export(dataset.store, place, export, dead, tombstones, engine, progress))
        except DatasetError as error:  # the others are not to wait for it
            progress.say(str(error))
            receipt.shards.append(Scrubbed(url, "", note=str(error)))
    return Report(receipt, store_receipt(dataset, receipt))


def _reject(job: Scrub, plan: Plan, engine: Engine, progress: Progress) -> list[tuple[int, Done]]:
    """Take the details out of the rejected rows that were asked for."""
    parts = [int(part) for part in plan.rejected]
    rows = [len(plan.rejected[str(part)]) for part in parts]
    done = engine.map_parts(
        "takedown: rejected",
        lambda n, tick: scrub_rejected(job, parts[n], plan.rejected[str(parts[n])], tick),
        rows,
        progress,
        "rows",
    )
    return list(zip(parts, done, strict=True))


def _commit(dataset: Dataset, tombstones: str, done: Sequence[tuple[int, Done]]) -> None:
    """Bring the manifests up to what was rewritten; each once, for what they count cannot be taken away twice."""
    for table in tables(dataset):
        manifest = table.committed()
        if manifest is None:
            continue
        parts, meta = list(manifest.parts), dict(manifest.meta)
        for part, one in done:
            if table.name in one.sizes:
                parts[part] = PartInfo(**{**one.sizes[table.name], "sha256": parts[part].sha256})
        if tombstones and meta.get("tombstones") != tombstones:
            if table.name.startswith("verdicts/"):
                meta |= {"masks": _masks(manifest, table, done), "tombstones": tombstones}
            elif table.name == "images" and any(one.statuses for _, one in done):
                left = Counter(meta["statuses"])
                for _, one in done:
                    left.subtract(one.statuses)
                meta |= {"statuses": {name: n for name, n in left.items() if n}, "tombstones": tombstones}
        if manifest.changing or parts != list(manifest.parts) or meta != manifest.meta:
            table.commit(parts, meta)


def _masks(manifest: Manifest, table: Table, done: Sequence[tuple[int, Done]]) -> list[list[int]]:
    """Return a ledger's masks, counted anew."""
    found: Masks = dict(masks_of(manifest))
    name = table.name.partition("/")[2]
    for _, one in done:
        for failed, unknown, number in one.masks.get(name, ()):
            add_masks(found, {(failed, unknown): -number, (failed | TAKEN_DOWN, unknown): number})
    return [[failed, unknown, number] for (failed, unknown), number in sorted(found.items()) if number]
