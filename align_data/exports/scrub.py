"""An exported folder, and how pairs are taken out of it: what holds them, what is written anew, and in what order.

What belongs to one format is that format's (`shard_format.Scrub`); this is the same for all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from align_data.common.errors import DatasetError
from align_data.common.progress import Tick
from align_data.data.meta import PairsMeta
from align_data.exports import parquet
from align_data.exports.beside import write_beside
from align_data.exports.formats import format_called
from align_data.exports.manifest import (
    FILE,
    MANIFEST,
    WORKING,
    beside,
    differs,
    miscounts,
    read_manifest,
    sizes_name,
    stats_name,
)
from align_data.exports.shard_format import ExportFormat, facts_of_file
from align_data.storage import names
from align_data.storage.contracts import contract
from align_data.storage.frames import frame
from align_data.storage.store import UNFINISHED, Store, sha256_of
from align_data.storage.tables import Manifest


@dataclass(frozen=True)
class ExportFolder:
    """A folder that was exported. It travels to other machines."""

    store: Store
    manifest: Mapping[str, Any]

    @property
    def format(self) -> ExportFormat:
        """What its shards are."""
        return format_called(self.manifest["format"])

    @property
    def shards(self) -> list[str]:
        """The names of its shards."""
        return [str(shard["name"]) for shard in self.manifest["shards"]]

    @property
    def indexed(self) -> bool:
        """Whether it has images, and an index of them."""
        return "index" in self.manifest

    def sha256(self, name: str) -> str | None:
        """Return the SHA-256 of a file or a shard, None if it is not there."""
        if name not in self.shards:
            return sha256_of(self.store, name)
        try:
            return self.format.facts(self.store, name).sha256
        except FileNotFoundError:
            return None

    @property
    def key(self) -> str:
        """What is equal for two ways to write its name."""
        return str(self.store.fs.unstrip_protocol(self.store.root))


@dataclass
class Holding:
    """What an exported folder has of what is taken down."""

    shards: dict[str, list[str]] = field(default_factory=dict)
    """File → uids in it."""
    bytes: int = 0
    """Of the files."""

    @property
    def pairs(self) -> int:
        """How many pairs."""
        return sum(map(len, self.shards.values()))


def open_export(url: str, pairs: Manifest[PairsMeta], work: str | None = None) -> ExportFolder:
    """Open an exported folder; DatasetError if it is of another dataset, or has no content to take out."""
    store = Store(url, work)
    manifest = read_manifest(store)
    if manifest["of"] != pairs.fingerprint:
        raise DatasetError(f"{url} is an export of another dataset: give the dataset that it was made from")
    export = ExportFolder(store, manifest)
    if export.format.scrub is None:
        name = export.format.name
        raise DatasetError(f"{url} holds {name} and nothing else, which a takedown does not rewrite: export again")
    return export


def examine(export: ExportFolder, uids: pl.Series) -> Holding:
    """See which files hold some of the uids that are `uids`."""
    holding, dead = Holding(), uids.implode()
    if not len(uids):
        return holding
    if not export.indexed:
        for name in export.shards:
            columns = (rows["uid"] for rows in parquet.texts(export.store, name, ["uid"]))
            own = [uid for uids in columns for uid in uids.filter(uids.is_in(dead))]
            if own:
                holding.shards[name] = own
                holding.bytes += export.store.size(name)
        return holding
    named, index = set(export.shards), export.manifest["index"]["name"]
    for rows in parquet.texts(export.store, index, ["uid", "shard"]):
        for strange in sorted(set(rows["shard"]) - named):
            raise DatasetError(
                f"{export.store.path(index)} names the file {names.display(strange)}, "
                "which the manifest does not; see align-data verify"
            )
        for (name,), matches in rows.filter(pl.col("uid").is_in(dead)).group_by("shard", maintain_order=True):
            holding.shards.setdefault(str(name), []).extend(matches["uid"])
    holding.bytes = sum(shard["bytes"] for shard in export.manifest["shards"] if shard["name"] in holding.shards)
    return holding


def to_check(export: ExportFolder, shards: Sequence[str]) -> list[tuple[Mapping[str, Any], Callable[[], str | None]]]:
    """Return the files that must be what the manifest says before some shards are rewritten, and what tells it.

    A damaged shard that is rewritten would be as the new manifest says, and nobody could tell any more; a damaged index
    need not name the shards.
    """
    store, facts = export.store, export.format.facts
    entries = [(entry, facts) for entry in export.manifest["shards"] if entry["name"] in set(shards)]
    if export.indexed:
        entries.append((export.manifest["index"], facts_of_file))
    return [(entry, partial(differs, store, entry, own)) for entry, own in entries]


def refuse_damaged(export: ExportFolder, shards: Sequence[str], damage: Mapping[str, str]) -> None:
    """Raise DatasetError if a file that is to be rewritten is damaged, or cannot be rewritten."""
    store, damage = export.store, dict(damage)
    for name in _beside(export, shards):
        try:
            content = store.read_bytes(name)
            if name.endswith(".json"):
                json.loads(content or b"{}")
        except (OSError, DatasetError) as error:
            damage[name] = f"cannot be read: {error}"
        except (ValueError, RecursionError):
            damage[name] = "is not JSON"
    if shards and (miscount := miscounts(export.manifest)) is not None:
        damage[MANIFEST] = miscount
    if shards and store.local and not os.access(store.root, os.W_OK):
        damage["it"] = "cannot be written to"
    if damage:
        name, fault = next(iter(damage.items()))
        raise DatasetError(
            f"nothing is removed from {store.url}: {name} {fault}; align-data verify lists every problem. Repair it, "
            "or remove the folder and export again, then give --shards again"
        )


def _beside(export: ExportFolder, shards: Sequence[str]) -> list[str]:
    """Return the files that say what is in some shards."""
    if "files" in export.manifest:
        others = {stats_name(name) for name in export.shards if name not in set(shards)}
        return [file["name"] for file in export.manifest["files"] if file["name"] not in others] if shards else []
    names = dict.fromkeys(name for shard in shards for name in (stats_name(shard), sizes_name(shard)))
    return list(names) if export.indexed else []


def contradicting(export: ExportFolder, shards: Sequence[str]) -> list[str]:
    """Return the files beside some shards that do not say what the manifest does."""
    around, store = beside(export.manifest), export.store
    if "files" in export.manifest:
        entries = {file["name"]: file for file in export.manifest["files"]}
        return [name for name in _beside(export, shards) if differs(store, entries[name], facts_of_file) is not None]
    return [
        name
        for name in _beside(export, shards)
        if (content := store.read_bytes(name)) is not None and json.loads(content) != around[name]
    ]


def hashes_before(export: ExportFolder, shards: Sequence[str]) -> dict[str, str | None]:
    """Return the files that are to be rewritten with their SHA-256; the manifest's, where that has been checked."""
    hashes: dict[str, str | None] = {shard["name"]: shard["sha256"] for shard in export.manifest["shards"]}
    if export.indexed:
        hashes[export.manifest["index"]["name"]] = export.manifest["index"]["sha256"]
    return {name: hashes.get(name) or export.sha256(name) for name in rewritten_files(export, shards)}


def rewritten_files(export: ExportFolder, shards: Sequence[str]) -> list[str]:
    """Return all files that are written anew where some shards are."""
    index = [export.manifest["index"]["name"]] if export.indexed else []
    return [*shards, *_beside(export, shards), *index, MANIFEST] if shards else []


def sweep(export: ExportFolder) -> None:
    """Remove what killed runs were writing."""
    for folder in {"", *(name.rpartition("/")[0] for name in export.shards)}:
        for name in export.store.names(folder):
            if UNFINISHED.fullmatch(name):
                export.store.remove(f"{folder}/{name}".lstrip("/"))
    for folder in WORKING:  # an export that was killed at its very end leaves them
        export.store.clear(folder, FILE)


@dataclass(frozen=True)
class ScrubbedShard:
    """A shard without what is gone."""

    name: str
    pairs: int
    bytes: int
    sha256: str
    offsets: list[tuple[str, int]]
    """Of each image, as the index has it."""


def scrub_shard(export: ExportFolder, name: str, uids: Sequence[str], tick: Tick) -> ScrubbedShard:
    """Rewrite one shard, if a killed run has not."""
    scrub = export.format.scrub
    assert scrub is not None
    offsets = scrub(export.store, name, set(uids))
    if surviving := {uid for uid, _ in offsets}.intersection(uids):
        raise DatasetError(  # the fault of a format: a receipt must not say what is not so
            f"{export.store.path(name)} still has {len(surviving):,} of the {len(uids):,} pairs to remove: the format "
            f"{export.format.name} did not scrub it, and the takedown is not finished"
        )
    tick(len(uids))
    facts = export.format.facts(export.store, name)
    return ScrubbedShard(name, len(offsets), facts.bytes, facts.sha256, offsets)


def finish(
    export: ExportFolder, uids: Mapping[str, Sequence[str]], scrubbed: Mapping[str, ScrubbedShard], tombstones: str
) -> None:
    """Write what stands beside the shards, the index, and the manifest last."""
    store, before = export.store, export.manifest
    manifest = dict(before)
    removed = sum(map(len, uids.values()))
    manifest["shards"] = [
        {**shard, "pairs": new.pairs, "bytes": new.bytes, "sha256": new.sha256}
        if (new := scrubbed.get(shard["name"]))
        else shard
        for shard in before["shards"]
    ]
    manifest["exported"] = before["exported"] - removed
    if export.indexed:
        manifest["index"] = _write_index(export, scrubbed)
    manifest["pairs"] = before["pairs"] - removed
    entry = {"tombstones": tombstones, "pairs": removed, "files": list(scrubbed)}
    manifest["takedowns"] = [*before.get("takedowns", []), entry]
    if "files" in before:
        manifest["files"] = write_beside(store, manifest)
    else:
        around = beside(manifest)
        for name in _beside(export, list(scrubbed)):
            _update(store, name, around[name])
    store.write_bytes(MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())


def _update(store: Store, name: str, values: Mapping[str, Any]) -> None:
    """Write a JSON file anew, as it was laid out; one that somebody has removed stays away."""
    content = store.read_bytes(name)
    if content is not None:
        indent = 1 if content.startswith(b"{\n") else None
        store.write_bytes(name, (json.dumps(values, indent=indent) + "\n").encode())


def _write_index(export: ExportFolder, scrubbed: Mapping[str, ScrubbedShard]) -> dict[str, Any]:
    """Write the index with the places in the new shards; return what the manifest says of it."""
    entry = export.manifest["index"]
    file, schema, rows = parquet.opened(export.store, entry["name"]), contract("index").arrow(), 0
    with (
        export.store.create(entry["name"]) as path,
        pq.ParquetWriter(path, schema, compression="zstd") as writer,
    ):
        for group in range(file.num_row_groups):
            table = frame(file.read_row_group(group))
            for (name,), located in table.group_by("shard", maintain_order=True):
                remaining = located
                if (new := scrubbed.get(str(name))) is not None:
                    places = pl.DataFrame(new.offsets, contract("index").polars("uid", "offset"), orient="row")
                    remaining = located.drop("offset").join(places, on="uid", how="inner", maintain_order="left")
                if len(remaining):
                    arrow = remaining.select(schema.names).to_arrow(compat_level=pl.CompatLevel.oldest())
                    writer.write_table(arrow.cast(schema), row_group_size=len(remaining))
                    rows += len(remaining)
    return {**entry, "rows": rows, "sha256": sha256_of(export.store, entry["name"])}
