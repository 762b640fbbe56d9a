"""Verify: every file of an export against its manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from align_data.errors import DatasetError
from align_data.exported import MANIFEST
from align_data.progress import Progress
from align_data.store import Store

_ENDINGS = (".tar", ".parquet")


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
    """Read every shard of an export and compare it with the manifest; DatasetError where there is no manifest."""
    manifest = read_manifest(folder)
    shards, index = manifest["shards"], manifest["index"]
    found = Verdict(len(shards), manifest["exported"], sum(shard["bytes"] for shard in shards))
    with progress.step("verify", len(shards) + 1, "files") as tick, ThreadPoolExecutor(workers) as pool:
        for name, wrong in pool.map(lambda shard: _wrong(folder, shard, tick), [*shards, index]):
            if wrong is not None:
                found.differs[name] = wrong
    named = {shard["name"] for shard in shards} | {index["name"]}
    for name in _files(folder, {name.rpartition("/")[0] for name in named}):
        if name not in named:
            found.differs[name] = "is not in the manifest"
    pairs = sum(shard["pairs"] for shard in shards)
    if not pairs == index["rows"] == manifest["exported"]:
        found.differs[MANIFEST] = (
            f"says {manifest['exported']:,} pairs, its shards {pairs:,}, its index {index['rows']:,}"
        )
    return found


def read_manifest(folder: Store) -> dict[str, Any]:
    """Return the manifest of exported shards; DatasetError where there is none."""
    content = folder.read_bytes(MANIFEST)
    if content is None:
        raise DatasetError(f"{folder.url} has no {MANIFEST}: it is no export, or one that has not finished")
    try:
        manifest = dict(json.loads(content))
        for shard in [*manifest["shards"], manifest["index"]]:
            str(shard["name"]), str(shard["sha256"])
        int(manifest["exported"])
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{folder.path(MANIFEST)} is no manifest of shards: {error!r}") from error
    return manifest


def _wrong(folder: Store, shard: Mapping[str, Any], tick: Callable[[int], None]) -> tuple[str, str | None]:
    """Return a shard's name, and what is wrong with it."""
    name = shard["name"]
    try:
        with folder.fs.open(folder.path(name), "rb") as file:
            sha256, size = hashlib.sha256(), 0
            while some := file.read(2**20):
                sha256.update(some)
                size += len(some)
    except OSError as error:
        return name, "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
    finally:
        tick(1)
    if size != shard.get("bytes", size):
        return name, f"has {size:,} bytes, not {shard['bytes']:,}"
    if sha256.hexdigest() != shard["sha256"]:
        return name, f"has the SHA-256 {sha256.hexdigest()}, not {shard['sha256']}"
    return name, None


def _files(folder: Store, inside: set[str]) -> list[str]:
    """Return the tars and Parquet files in some folders of an export."""
    return [
        f"{part}/{name}".lstrip("/")
        for part in sorted(inside | {""})
        for name in folder.names(part)
        if name.endswith(_ENDINGS) and not name.startswith((".", "_"))
    ]
