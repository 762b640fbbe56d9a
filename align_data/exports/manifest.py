"""What stands in an exported folder: export writes it, takedown changes it, verify reads it."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from align_data.common.errors import DatasetError
from align_data.exports.formats import ENDINGS, format_called
from align_data.exports.shard_format import Facts
from align_data.storage import names
from align_data.storage.store import Store

MANIFEST = "manifest.json"
WORKING = ("_rows", "_index")
"""Folders that are there only while shards are made."""
FILE = re.compile(
    rf"(?:[^/]+/){{0,2}}(?:\d{{5,}}(?:{ENDINGS})(?:\.parquet)?|\d{{5,}}_stats\.json|sizes\.json|part-\d{{5,}}\.parquet)"
    rf"|(?:[^/]+/)?\d{{5,}}/{names.MEMBER.pattern}"
    r"|index\.parquet|uids\.npy|manifest\.json|_begun\.json"
)
"""What export writes: shards and the like in the folders of splits, and its working folders the same."""
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
    """Return the manifest of an export; DatasetError where there is none, or it is damaged."""
    content = folder.read_bytes(MANIFEST)
    if content is None:
        raise DatasetError(
            f"{folder.url} has no {MANIFEST}: it is not an export, or an unfinished one; remove it and export again"
        )
    return parsed(content, folder.path(MANIFEST))


def parsed(content: bytes, where: str) -> dict[str, Any]:
    """Return what a manifest says; DatasetError where it is damaged, or names a file that no export has."""
    try:
        manifest = dict(json.loads(content))
        for shard in manifest["shards"]:
            _check(shard, _ENTRY)
        if "index" in manifest:
            _check(manifest["index"], _INDEX)
        _check(manifest, {"format": str, "of": str, "pairs": int, "exported": int})
        _check({"without_image": 0, "takedowns": [], **manifest}, {"without_image": int, "takedowns": list})
        splits = list(manifest.get("splits", ()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{where} is not a manifest of an export: {error!r}") from error
    form = format_called(manifest["format"], where).form
    for split in splits:
        names.SPLIT.check(split, where)
    folders = set(folders_of(splits))
    entries = [shard["name"] for shard in manifest["shards"]]
    for name in entries:
        form.check(name, where)
        if f"{name.rpartition('/')[0]}/".lstrip("/") not in folders:
            raise DatasetError(f"{where}: {names.display(name)} is in no split of the export")
    if len(set(entries)) < len(entries):
        raise DatasetError(f"{where} is not a manifest of an export: it names a file twice")
    if "index" in manifest:
        names.INDEX.check(manifest["index"]["name"], where)
    return manifest


def _check(entry: Mapping[str, Any], types: Mapping[str, type]) -> None:
    for key, type_ in types.items():
        if not isinstance(entry[key], type_) or isinstance(entry[key], bool):
            raise TypeError(f"{key} is {names.display(entry[key])}")
        if type_ is int and entry[key] < 0:
            raise ValueError(f"{key} is {entry[key]}")


def differs(folder: Store, entry: Mapping[str, Any], facts: Facts) -> str | None:
    """Say in what a file or shard is not what the manifest says of it, None if it is; `facts` are its format's."""
    try:
        stored = facts(folder, entry["name"])
    except OSError as error:
        return "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
    if stored.bytes != entry.get("bytes", stored.bytes):
        return f"has {stored.bytes:,} bytes, not {entry['bytes']:,}"
    if stored.sha256 != entry["sha256"]:
        return f"has the SHA-256 {stored.sha256}, not {entry['sha256']}"
    return None


def miscounts(manifest: Mapping[str, Any]) -> str | None:
    """Say in what a manifest's numbers of pairs do not agree."""
    counts = {
        "pairs": manifest["pairs"] - manifest.get("without_image", 0),
        "exported": manifest["exported"],
        "its shards": sum(shard["pairs"] for shard in manifest["shards"]),
        **({"its index": manifest["index"]["rows"]} if "index" in manifest else {}),
    }
    if len(set(counts.values())) == 1:
        return None
    return "counts the pairs otherwise each time: " + ", ".join(f"{name} {n:,}" for name, n in counts.items())


def beside(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands beside the shards for the readers of open_clip and img2dataset: file → the JSON in it."""
    if "index" not in manifest:
        return {}
    shards = {shard["name"]: shard["pairs"] for shard in manifest["shards"]}
    beside_shards = {stats_name(name): stats(pairs) for name, pairs in shards.items()}
    return beside_shards | sizes(folders_of(manifest.get("splits", ())), shards)


def folders_of(splits: Collection[str]) -> list[str]:
    """Return the folder, with its '/', of what is in no split, which comes first, and of each split."""
    return [f"{name}/" for name in ("train", *splits)] if splits else [""]


def stats_name(shard: str) -> str:
    """Return the file that has a shard's stats."""
    return f"{posixpath.splitext(shard)[0]}_stats.json"


def stats(pairs: int) -> dict[str, Any]:
    """Return what img2dataset would say of a shard of so many pairs."""
    failed = {"failed_to_download": 0, "failed_to_resize": 0}
    return {"count": pairs, "successes": pairs, **failed, "status_dict": {"success": pairs}}


def sizes(folders: Iterable[str], shards: Mapping[str, int]) -> dict[str, Any]:
    """Return what open_clip reads to know how many pairs a shard has: a file for each folder → the JSON in it."""
    contents: dict[str, Any] = {sizes_name(folder): {} for folder in folders}
    for name, pairs in shards.items():
        contents.setdefault(sizes_name(name), {})[name.rpartition("/")[2]] = pairs
    return contents


def sizes_name(name: str) -> str:
    """Return the file that has the pairs of all shards of a folder, given one's name or the folder with its '/'."""
    return f"{name[: name.rfind('/') + 1]}sizes.json"
