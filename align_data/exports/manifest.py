"""What stands in an exported folder: export writes it, takedown changes it, verify reads it."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from align_data.common.errors import DatasetError
from align_data.exports.formats import ENDINGS, format_called
from align_data.exports.shard_format import Facts
from align_data.exports.shard_names import TRAIN, ShardNames
from align_data.storage import names
from align_data.storage.store import Store

MANIFEST = "manifest.json"
WORKING = ("_rows", "_index")
"""Folders that are there only while shards are made."""
FILE = re.compile(
    rf"(?:(?:{'|'.join(WORKING)})/)?{names.SHARD_STEM.pattern}(?:(?:{ENDINGS})(?:\.parquet)?|/(?:{names.MEMBER_OR_METADATA.pattern}))"
    rf"|{names.BESIDE.pattern}|index\.(?:pq|parquet)|uids\.npy|manifest\.json|_begun\.json"
)
"""What export writes: shards and the like in the folders of splits, and its working folders the same."""
_ENTRY: Mapping[str, type] = {"name": str, "pairs": int, "bytes": int, "sha256": str, "split": str}
_INDEX: Mapping[str, type] = {"name": str, "rows": int, "sha256": str}
_BESIDE: Mapping[str, type] = {"name": str, "bytes": int, "sha256": str}
_CARD: Mapping[str, type] = {"license": str, "title": str, "paper": str, "rules": list, "columns": dict}


@dataclass(frozen=True)
class FileInfo:
    """A shard, or a file of metadata or uids, as the manifest names it."""

    name: str
    pairs: int
    bytes: int
    sha256: str
    split: str = TRAIN
    types: tuple[str, ...] = ()
    """What the images' names end in."""

    def entry(self) -> dict[str, Any]:
        """Return what the manifest says of it."""
        types = {"types": list(self.types)} if self.types else {}
        return {
            "name": self.name,
            "pairs": self.pairs,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "split": self.split,
            **types,
        }


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
            _check({"split": TRAIN, **shard}, _ENTRY)
        if "index" in manifest:
            _check(manifest["index"], _INDEX)
        _check(manifest, {"format": str, "of": str, "pairs": int, "exported": int})
        for file in manifest.get("files", ()):
            _check(file, _BESIDE)
        optional = {"without_image": 0, "takedowns": [], "shard_names": "", **manifest}
        _check(optional, {"without_image": int, "takedowns": list, "shard_names": str})
        _check_card(manifest)
        splits = list(manifest.get("splits", ()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{where} is not a manifest of an export: {error!r}") from error
    form = format_called(manifest["format"], where).form
    for split in splits:
        names.SPLIT.check(split, where)
    entries = [shard["name"] for shard in manifest["shards"]]
    for name in entries:
        form.check(name, where)
    _check_places(manifest, splits, where)
    entries += [names.BESIDE.check(file["name"], where) for file in manifest.get("files", ())]
    if len(set(entries)) < len(entries):
        raise DatasetError(f"{where} is not a manifest of an export: it names a file twice")
    if "index" in manifest:
        names.INDEX.check(manifest["index"]["name"], where)
    return manifest


def _check_card(manifest: Mapping[str, Any]) -> None:
    """Raise TypeError or KeyError where what the files beside the shards tell is not of their types."""
    if "card" in manifest or "files" in manifest:
        _check(manifest["card"], _CARD)
        _check(manifest, {"ledger": str, "signals": dict, "shard_names": str})
        _check_texts([*manifest["card"]["rules"], *manifest["card"]["columns"].values()])
        _check_texts(type_ for shard in manifest["shards"] for type_ in shard.get("types", ()))
        for entry in manifest.get("takedowns", ()):
            _check(entry, {"pairs": int})


def _check_texts(values: Iterable[Any]) -> None:
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{names.display(value)} is not a text")


def _check_places(manifest: Mapping[str, Any], splits: Sequence[str], where: str) -> None:
    """Raise DatasetError for a shard that is not where shards of the export are."""
    if not manifest.get("shard_names"):
        folders = set(folders_of(splits))
        for shard in manifest["shards"]:
            if f"{shard['name'].rpartition('/')[0]}/".lstrip("/") not in folders:
                raise DatasetError(f"{where}: {names.display(shard['name'])} is in no split of the export")
        return
    pattern, ending = ShardNames(manifest["shard_names"]), format_called(manifest["format"]).ending
    by_split = shards_by_split(manifest)
    strange = set(by_split) - {TRAIN, *splits} or (set(splits) if "{split}" not in pattern.pattern else set())
    if strange:
        raise DatasetError(f"{where}: {names.display(min(strange))} is not a split of the export")
    for split, shards in by_split.items():
        for number, shard in enumerate(shards):
            if shard["name"] != (name := pattern.name(split, number, len(shards)) + ending):
                raise DatasetError(f"{where}: {names.display(shard['name'])} should be {names.display(name)}")


def shards_by_split(manifest: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the shards of each split that has some."""
    by_split: dict[str, list[Mapping[str, Any]]] = {}
    for shard in manifest["shards"]:
        split = shard["split"] if "split" in shard else shard["name"].rpartition("/")[0] or TRAIN
        by_split.setdefault(split, []).append(shard)
    return by_split


def loaded_files(manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return for each split the patterns of the files that Hugging Face's datasets reads of it."""
    format_, pattern = format_called(manifest["format"]), ShardNames(manifest["shard_names"])
    inside = [f"/{file}" for file in format_.loaded] or [format_.ending]
    return {
        split: [f"{pattern.glob(split, len(shards))}{end}" for end in inside]
        for split, shards in shards_by_split(manifest).items()
    }


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
    """Return what an older export, whose manifest does not name it, has beside its shards: file → the JSON in it."""
    if "index" not in manifest or "files" in manifest:
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
