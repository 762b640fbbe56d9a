"""Verify: every file of an export against its manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from align_data.common.errors import DatasetError
from align_data.common.progress import Progress
from align_data.exports.formats import format_called
from align_data.exports.manifest import MANIFEST, beside, differs, miscounts, read_manifest
from align_data.exports.shard_format import ExportFormat, Facts, ShardFacts, facts_of_file
from align_data.storage.store import Store


@dataclass
class ExportCheck:
    """What was verified; an export is whole if nothing differs."""

    shards: int = 0
    pairs: int = 0
    bytes: int = 0
    differs: dict[str, str] = field(default_factory=dict)
    """File → what is wrong with it."""

    @property
    def whole(self) -> bool:
        """Whether everything is as the manifest says."""
        return not self.differs


def verify(folder: Store, workers: int, progress: Progress) -> ExportCheck:
    """Read every file of an export and compare it with the manifest; DatasetError where there is no manifest."""
    manifest = read_manifest(folder)
    shards, around = manifest["shards"], beside(manifest)
    format_ = format_called(manifest["format"])
    hashed = [(shard, format_.facts) for shard in shards]
    if "index" in manifest:
        hashed.append((manifest["index"], facts_of_file))
    hashed += [(file, _facts_beside) for file in manifest.get("files", ())]
    check = ExportCheck(len(shards), manifest["exported"], sum(shard["bytes"] for shard in shards))

    def compare(entry: Mapping[str, Any], facts: Facts) -> str | None:
        fault = differs(folder, entry, facts)
        tick(1)
        return fault

    with progress.step("verify", len(hashed), "files") as tick, ThreadPoolExecutor(workers) as pool:
        for (entry, _), fault in zip(hashed, pool.map(compare, *zip(*hashed, strict=True)), strict=True):
            if fault is not None:
                check.differs[entry["name"]] = fault
    for name, expected in around.items():
        if (fault := _contradiction(folder, name, expected)) is not None:
            check.differs[name] = fault
    for name in _strangers(folder, manifest, format_, around):
        check.differs[name] = "is not in the manifest"
    if (fault := miscounts(manifest)) is not None:
        check.differs[MANIFEST] = fault
    return check


def _facts_beside(folder: Store, name: str) -> ShardFacts:
    """Return bytes and SHA-256 of a file beside the shards; OSError for a link, too: it is named with the others."""
    try:
        return facts_of_file(folder, name)
    except DatasetError as error:
        raise OSError(str(error)) from error


def _contradiction(folder: Store, name: str, expected: Any) -> str | None:
    """Say in what a file beside the shards is not what follows from the manifest."""
    try:
        content = folder.read_bytes(name)
        if content is None:
            return "is missing"
        stored = json.loads(content)
    except (OSError, DatasetError) as error:  # a folder, a pipe, a link
        return f"cannot be read: {error}"
    except (ValueError, RecursionError):
        return "is not JSON"
    return None if stored == expected else "says otherwise than the manifest"


def _strangers(
    folder: Store, manifest: Mapping[str, Any], format_: ExportFormat, around: Mapping[str, Any]
) -> list[str]:
    """Return the files in an export, whatever they are, that its manifest does not name."""
    files = {str(path).removeprefix(f"{folder.root}/") for path in folder.fs.find(folder.root)}
    files -= {
        MANIFEST,
        *around,
        *(file["name"] for file in manifest.get("files", ())),
        *([manifest["index"]["name"]] if "index" in manifest else []),
    }
    shards = {shard["name"] for shard in manifest["shards"]}
    return sorted(file for file in files if not any(format_.holds(shard, file) for shard in _candidates(file) & shards))


def _candidates(file: str) -> set[str]:
    """Return the shards that a file may be, or be in."""
    return {file, file.rpartition("/")[0]}
