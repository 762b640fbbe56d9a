"""Verify: every file of an export against its manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from align_data.common.errors import DatasetError
from align_data.common.progress import Progress
from align_data.exports.manifest import MANIFEST, beside, differs, miscounts, read_manifest
from align_data.storage.store import Store


@dataclass
class Verdict:
    """What was found; an export is whole if nothing differs."""

    shards: int = 0
    pairs: int = 0
    bytes: int = 0
    differs: dict[str, str] = field(default_factory=dict)
    """File → what is wrong with it."""

    @property
    def whole(self) -> bool:
        """Whether everything is as the manifest says."""
        return not self.differs


def verify(folder: Store, workers: int, progress: Progress) -> Verdict:
    """Read every file of an export and compare it with the manifest; DatasetError where there is no manifest."""
    manifest = read_manifest(folder)
    shards, around = manifest["shards"], beside(manifest)
    hashed = [*shards, manifest["index"]] if "index" in manifest else shards
    found = Verdict(len(shards), manifest["exported"], sum(shard["bytes"] for shard in shards))

    def look(entry: Mapping[str, Any]) -> str | None:
        wrong = differs(folder, entry)
        tick(1)
        return wrong

    with progress.step("verify", len(hashed), "files") as tick, ThreadPoolExecutor(workers) as pool:
        for entry, wrong in zip(hashed, pool.map(look, hashed), strict=True):
            if wrong is not None:
                found.differs[entry["name"]] = wrong
    for name, expected in around.items():
        if (wrong := _says_other(folder, name, expected)) is not None:
            found.differs[name] = wrong
    for name in sorted(set(_files(folder)) - {MANIFEST, *around, *(entry["name"] for entry in hashed)}):
        found.differs[name] = "is not in the manifest"
    if (wrong := miscounts(manifest)) is not None:
        found.differs[MANIFEST] = wrong
    return found


def _says_other(folder: Store, name: str, expected: Any) -> str | None:
    """Say in what a file beside the shards is not what follows from the manifest."""
    try:
        content = folder.read_bytes(name)
        if content is None:
            return "is missing"
        said = json.loads(content)
    except (OSError, DatasetError) as error:  # a folder, a pipe, a link
        return f"cannot be read: {error}"
    except (ValueError, RecursionError):
        return "is not JSON"
    return None if said == expected else "says otherwise than the manifest"


def _files(folder: Store) -> list[str]:
    """Return all files in an export, whatever they are."""
    return [str(path).removeprefix(f"{folder.root}/") for path in folder.fs.find(folder.root)]
