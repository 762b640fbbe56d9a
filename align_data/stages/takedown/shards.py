"""Exported folders without what was taken down: shards, what stands beside them, and the manifest last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from align_data.common.progress import Progress
from align_data.engines.base import Engine
from align_data.exports import scrub
from align_data.exports.manifest import MANIFEST
from align_data.exports.scrub import ExportFolder, examine
from align_data.stages.takedown.files import Rewritten, check_names, note, recall, rewritten
from align_data.storage.store import Store


@dataclass
class ScrubbedExport:
    """What was done in a folder."""

    folder: str
    format: str
    pairs: int = 0
    shards: list[str] = field(default_factory=list)
    """Files that held some."""
    files: list[Rewritten] = field(default_factory=list)
    note: str = ""
    """Why nothing was done."""


def scrub_export(
    dataset: Store,
    place: int,
    export: ExportFolder,
    dead: pl.Series,
    tombstones: str,
    engine: Engine,
    progress: Progress,
) -> ScrubbedExport:
    """Take what is gone out of a folder; `dataset` is where it is written down, under the number `place`."""
    name = f"shards-{place:05d}"
    receipt = recall(dataset, f"{name}-done", _scrubbed)
    if receipt is not None:
        return receipt
    scrub.sweep(export)
    noted = recall(dataset, name, lambda noted: {"shards": dict(noted["shards"]), "files": dict(noted["files"])})
    if noted is not None:
        files = export.shards
        check_names(dataset, name, noted["shards"], files)
        check_names(dataset, name, noted["files"], scrub.rewritten_files(export, files))
    else:
        holding = examine(export, dead)
        check(export, list(holding.shards), engine, progress)
        for file in scrub.contradicting(export, list(holding.shards)):
            progress.say(f"{export.store.path(file)} differs from the manifest, and is rewritten from it")
        noted = {"shards": holding.shards, "files": scrub.hashes_before(export, list(holding.shards))}
        note(dataset, name, noted)
    shards, before = noted["shards"], noted["files"]
    result = ScrubbedExport(export.store.url, export.format.name, sum(map(len, shards.values())), list(shards))
    if shards:
        names = list(shards)
        sizes = [len(uids) for uids in shards.values()]
        scrubbed = engine.map_parts(
            f"takedown: {export.format.name}",
            lambda number, tick: scrub.scrub_shard(export, names[number], shards[names[number]], tick),
            sizes,
            progress,
        )
        if export.sha256(MANIFEST) == before[MANIFEST]:
            scrub.finish(export, shards, {shard.name: shard for shard in scrubbed}, tombstones)
    result.files = rewritten(before.items(), export.sha256)
    note(dataset, f"{name}-done", asdict(result))
    return result


def _scrubbed(noted: dict[str, Any]) -> ScrubbedExport:
    return ScrubbedExport(**{**noted, "files": [Rewritten(*file) for file in noted["files"]]})


def check(export: ExportFolder, shards: Sequence[str], engine: Engine, progress: Progress) -> None:
    """Raise DatasetError if a file that is to be rewritten is not what the manifest says, or cannot be rewritten."""
    checks = scrub.to_check(export, shards)
    sizes = [int(entry.get("pairs", 0)) for entry, _ in checks]
    faults = engine.map_parts("takedown: check", lambda n, _: checks[n][1](), sizes, progress)
    damage = {str(entry["name"]): fault for (entry, _), fault in zip(checks, faults, strict=True) if fault is not None}
    scrub.refuse_damaged(export, shards, damage)
