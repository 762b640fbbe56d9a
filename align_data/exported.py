"""What stands in an exported folder: export writes it, takedown changes it, verify reads it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from align_data.errors import DatasetError
from align_data.store import Store

MANIFEST = "manifest.json"
WORKING = ("_rows", "_index")
"""Folders that are there only while shards are made."""
_ENTRY: Mapping[str, type] = {"name": str, "pairs": int, "bytes": int, "sha256": str}
_INDEX: Mapping[str, type] = {"name": str, "rows": int, "sha256": str}


@dataclass(frozen=True)
class FileInfo:
    """A shard, or a file of metadata or uids, as the manifest names it."""

    name: str
    pairs: int
    bytes: int
    sha256: str


def read_manifest(folder: Store) -> dict[str, Any]:
    """Return the manifest of an export; DatasetError where there is none, or what is there is none."""
    content = folder.read_bytes(MANIFEST)
    if content is None:
        raise DatasetError(
            f"{folder.url} has no {MANIFEST}: it is no export, or one that did not finish; remove it and export again"
        )
    try:
        manifest = dict(json.loads(content))
        for shard in manifest["shards"]:
            _check(shard, _ENTRY)
        if "index" in manifest:
            _check(manifest["index"], _INDEX)
        _check(manifest, {"format": str, "of": str, "pairs": int, "exported": int})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{folder.path(MANIFEST)} is no manifest of an export: {error!r}") from error
    return manifest


def _check(entry: Mapping[str, Any], types: Mapping[str, type]) -> None:
    for key, type_ in types.items():
        if not isinstance(entry[key], type_) or isinstance(entry[key], bool):
            raise TypeError(f"{key} is {entry[key]!r}")


def differs(folder: Store, entry: Mapping[str, Any]) -> str | None:
    """Say in what a file is not what the manifest says of it; None if it is."""
    try:
        with folder.fs.open(folder.path(entry["name"]), "rb") as file:
            sha256, size = hashlib.sha256(), 0
            while some := file.read(2**20):
                sha256.update(some)
                size += len(some)
    except OSError as error:
        return "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
    if size != entry.get("bytes", size):
        return f"has {size:,} bytes, not {entry['bytes']:,}"
    if sha256.hexdigest() != entry["sha256"]:
        return f"has the SHA-256 {sha256.hexdigest()}, not {entry['sha256']}"
    return None


def beside(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands beside the shards for the readers of open_clip and img2dataset: file → the JSON in it."""
    if "index" not in manifest:
        return {}
    folders = [f"{name}/" for name in ("train", *manifest.get("splits", ()))] if manifest.get("splits") else [""]
    found: dict[str, Any] = {sizes_name(folder): {} for folder in folders}
    for shard in manifest["shards"]:
        found[stats_name(shard["name"])] = stats(shard["pairs"])
        found.setdefault(sizes_name(shard["name"]), {})[shard["name"].rpartition("/")[2]] = shard["pairs"]
    return found


def stats_name(shard: str) -> str:
    """Return the file that has a shard's stats."""
    return f"{shard.rpartition('.')[0]}_stats.json"


def stats(pairs: int) -> dict[str, Any]:
    """Return what img2dataset would say of a shard of so many pairs."""
    failed = {"failed_to_download": 0, "failed_to_resize": 0}
    return {"count": pairs, "successes": pairs, **failed, "status_dict": {"success": pairs}}


def sizes_name(name: str) -> str:
    """Return the file that has the pairs of all shards of a folder, given one's name or the folder with its '/'."""
    return f"{name[: name.rfind('/') + 1]}sizes.json"
