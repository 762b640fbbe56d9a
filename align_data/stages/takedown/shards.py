"""Exported folders without what was taken down: shards, what stands beside them, and the manifest last."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from align_data.common.errors import DatasetError
from align_data.common.progress import Progress, Tick
from align_data.data.meta import PairsMeta
from align_data.engines.base import Engine
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
from align_data.stages.takedown.files import (
    Rewritten,
    check_names,
    copy_members,
    members,
    note,
    recall,
    rewritten,
    sha256_of,
)
from align_data.storage import names
from align_data.storage.contracts import contract
from align_data.storage.store import UNFINISHED, Store
from align_data.storage.tables import Manifest, frame

_BESIDE = ("txt", "json")
"""Members of a sample that are not its image."""


@dataclass(frozen=True)
class Export:
    """A folder that was exported. It travels to other machines."""

    store: Store
    manifest: Mapping[str, Any]

    @property
    def format(self) -> str:
        """What its files are."""
        return str(self.manifest["format"])

    @property
    def sharded(self) -> bool:
        """Whether it has images, and an index of them."""
        return "index" in self.manifest

    @property
    def key(self) -> str:
        """What is equal for two ways to write its name."""
        return str(self.store.fs.unstrip_protocol(self.store.root))


@dataclass
class ShardMatches:
    """What a folder has of what is taken down."""

    shards: dict[str, list[str]] = field(default_factory=dict)
    """File → uids in it."""
    bytes: int = 0
    """Of the files."""

    @property
    def pairs(self) -> int:
        """How many pairs."""
        return sum(map(len, self.shards.values()))


@dataclass
class Scrubbed:
    """What was done in a folder."""

    folder: str
    format: str
    pairs: int = 0
    shards: list[str] = field(default_factory=list)
    """Files that held some."""
    files: list[Rewritten] = field(default_factory=list)
    note: str = ""
    """Why nothing was done."""


def open_export(url: str, pairs: Manifest[PairsMeta], work: str | None = None) -> Export:
    """Open an exported folder; DatasetError if it is none of this dataset, or has no content to take out."""
    store = Store(url, work)
    manifest = read_manifest(store)
    if manifest["of"] != pairs.fingerprint:
        raise DatasetError(f"{url} is an export of another dataset: give the dataset that it was made from")
    if manifest["format"] == "uids":
        raise DatasetError(f"{url} holds only uids, which a takedown does not rewrite: export again")
    return Export(store, manifest)


def examine(export: Export, gone: pl.Series) -> ShardMatches:
    """See which files hold some of the uids that are `gone`."""
    held, dead = ShardMatches(), gone.implode()
    if not len(gone):
        return held
    if not export.sharded:
        for name in (file["name"] for file in export.manifest["shards"]):
            pieces = (rows["uid"] for rows in _read(export.store, name, ["uid"]))
            found = [uid for uids in pieces for uid in uids.filter(uids.is_in(dead))]
            if found:
                held.shards[name] = found
                held.bytes += export.store.size(name)
        return held
    known = {shard["name"] for shard in export.manifest["shards"]}
    for rows in _read(export.store, export.manifest["index"]["name"], ["uid", "shard"]):
        for other in sorted(set(rows["shard"]) - known):
            raise DatasetError(
                f"{export.store.path(export.manifest['index']['name'])} names the file {names.display(other)}, "
                "which the manifest does not; see align-data verify"
            )
        for (name,), some in rows.filter(pl.col("uid").is_in(dead)).group_by("shard", maintain_order=True):
            held.shards.setdefault(str(name), []).extend(some["uid"])
    held.bytes = sum(shard["bytes"] for shard in export.manifest["shards"] if shard["name"] in held.shards)
    return held


def _parquet_file(store: Store, name: str) -> pq.ParquetFile:
    with _readable(store, name):
        return pq.ParquetFile(store.open(name))


def _read(store: Store, name: str, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Yield columns of text of a Parquet file, group by group."""
    file = _parquet_file(store, name)
    with _readable(store, name):
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=columns)
            if table.column_names != columns:
                raise ValueError(f"it has no column {', '.join(sorted(set(columns) - set(table.column_names)))}")
            table = table.cast(pa.schema([(column, pa.large_string()) for column in columns]))
            table.validate(full=True)
            yield frame(table)


@contextmanager
def _readable(store: Store, name: str) -> Iterator[None]:
    """Turn what pyarrow says of a damaged file into a sentence."""
    try:
        yield
    except (OSError, ValueError, TypeError, NotImplementedError) as error:  # pyarrow's own are children of these
        what = " ".join(str(error).split())
        raise DatasetError(f"cannot read {store.path(name)}: {what}; see align-data verify") from error


def scrub_export(
    dataset: Store, place: int, export: Export, gone: pl.Series, tombstones: str, engine: Engine, progress: Progress
) -> Scrubbed:
    """Take what is gone out of a folder; `dataset` is where it is written down, under the number `place`."""
    name = f"shards-{place:05d}"
    done = recall(dataset, f"{name}-done", _scrubbed)
    if done is not None:
        return done
    _sweep(export)
    known = recall(dataset, name, lambda said: {"shards": dict(said["shards"]), "files": dict(said["files"])})
    if known is not None:
        files = [one["name"] for one in export.manifest["shards"]]
        check_names(dataset, name, known["shards"], files)
        check_names(dataset, name, known["files"], _rewrites(export, files))
    else:
        held = examine(export, gone)
        check(export, list(held.shards), engine, progress)
        for file in _otherwise(export, list(held.shards)):
            progress.say(f"{export.store.path(file)} differs from the manifest, and is rewritten from it")
        known = {"shards": held.shards, "files": _before(export, list(held.shards))}
        note(dataset, name, known)
    shards, before = known["shards"], known["files"]
    result = Scrubbed(export.store.url, export.format, sum(map(len, shards.values())), list(shards))
    if shards:
        names = list(shards)
        sizes = [len(uids) for uids in shards.values()]
        made = engine.map_parts(
            f"takedown: {export.format}",
            lambda number, tick: _scrub_shard(export, names[number], shards[names[number]], tick),
            sizes,
            progress,
        )
        if sha256_of(export.store, MANIFEST) == before[MANIFEST]:
            _finish(export, shards, {one.name: one for one in made}, tombstones)
    result.files = rewritten(export.store, before.items())
    note(dataset, f"{name}-done", asdict(result))
    return result


def _scrubbed(said: dict[str, Any]) -> Scrubbed:
    return Scrubbed(**{**said, "files": [Rewritten(*file) for file in said["files"]]})


def check(export: Export, shards: Sequence[str], engine: Engine, progress: Progress) -> None:
    """Raise DatasetError if a file that is to be rewritten is not what the manifest says, or cannot be rewritten.

    A damaged shard that is rewritten would be as the new manifest says, and nobody could tell any more; a damaged index
    need not name the shards.
    """
    store = export.store
    entries = [entry for entry in export.manifest["shards"] if entry["name"] in set(shards)]
    if export.sharded:
        entries.append(export.manifest["index"])
    sizes = [int(entry.get("pairs", 0)) for entry in entries]
    found = engine.map_parts("takedown: check", lambda n, _: differs(store, entries[n]), sizes, progress)
    wrong = {entry["name"]: said for entry, said in zip(entries, found, strict=True) if said is not None}
    for name in _beside(export, shards):
        try:
            json.loads(store.read_bytes(name) or b"{}")
        except (OSError, DatasetError) as error:
            wrong[name] = f"cannot be read: {error}"
        except (ValueError, RecursionError):
            wrong[name] = "is not JSON"
    if shards and (said := miscounts(export.manifest)) is not None:
        wrong[MANIFEST] = said
    if shards and store.local and not os.access(store.root, os.W_OK):
        wrong["it"] = "cannot be written to"
    if wrong:
        name, said = next(iter(wrong.items()))
        raise DatasetError(
            f"nothing is removed from {store.url}: {name} {said}; align-data verify lists every problem. Repair it, "
            "or remove the folder and export again, then give --shards again"
        )


def _beside(export: Export, shards: Sequence[str]) -> list[str]:
    """Return the files that say how many pairs some shards have."""
    names = dict.fromkeys(name for shard in shards for name in (stats_name(shard), sizes_name(shard)))
    return list(names) if export.sharded else []


def _otherwise(export: Export, shards: Sequence[str]) -> list[str]:
    """Return the files beside some shards that do not say what the manifest does."""
    around, store = beside(export.manifest), export.store
    return [
        name
        for name in _beside(export, shards)
        if (content := store.read_bytes(name)) is not None and json.loads(content) != around[name]
    ]


def _before(export: Export, shards: Sequence[str]) -> dict[str, str | None]:
    """Return the files that are to be rewritten with their SHA-256; the manifest's, where that has been checked."""
    known: dict[str, str | None] = {one["name"]: one["sha256"] for one in export.manifest["shards"]}
    if export.sharded:
        known[export.manifest["index"]["name"]] = export.manifest["index"]["sha256"]
    return {name: known.get(name) or sha256_of(export.store, name) for name in _rewrites(export, shards)}


def _rewrites(export: Export, shards: Sequence[str]) -> list[str]:
    """Return all files that are written anew where some shards are."""
    index = [export.manifest["index"]["name"]] if export.sharded else []
    return [*shards, *_beside(export, shards), *index, MANIFEST] if shards else []


def _sweep(export: Export) -> None:
    """Remove what killed runs were writing."""
    files = [shard["name"] for shard in export.manifest["shards"]] if export.sharded else []
    for folder in {"", *(name.rpartition("/")[0] for name in files)}:
        for name in export.store.names(folder):
            if UNFINISHED.fullmatch(name):
                export.store.remove(f"{folder}/{name}".lstrip("/"))
    for folder in WORKING:  # an export that was killed at its very end leaves them
        export.store.clear(folder, FILE)


@dataclass(frozen=True)
class _Shard:
    """A shard without what is gone."""

    name: str
    pairs: int
    bytes: int
    sha256: str
    offsets: list[tuple[str, int]]
    """Of each image, as the index has it."""


def _scrub_shard(export: Export, name: str, uids: Sequence[str], tick: Tick) -> _Shard:
    """Rewrite one shard, if a killed run has not."""
    scrub = _scrub_tar if name.endswith(".tar") else _scrub_parquet
    offsets = scrub(export.store, name, set(uids))
    sha256 = sha256_of(export.store, name)
    assert sha256 is not None
    tick(len(uids))
    size = export.store.size(name)
    return _Shard(name, len(offsets), size, sha256, offsets)


def _scrub_tar(store: Store, name: str, dead: set[str]) -> list[tuple[str, int]]:
    """Take samples out of a WebDataset tar; return the keys and offsets of the other samples' images."""
    found = members(store, name, names.MEMBER)
    kept = [member for member in found if member.name.partition(".")[0] not in dead]
    if len(kept) < len(found):
        with store.create(name) as path:
            copy_members(store, name, kept, path)
    at, offsets = 0, []
    for member in kept:
        key, _, ending = member.name.partition(".")
        if ending not in _BESIDE:
            offsets.append((key, at + member.data - member.start))
        at += member.end - member.start
    return offsets


def _scrub_parquet(store: Store, name: str, dead: set[str]) -> list[tuple[str, int]]:
    """Take rows out of a Parquet file; return the uids and numbers of the others."""
    file, gone = _parquet_file(store, name), pl.Series(sorted(dead), dtype=pl.String).implode()
    uids = frame(file.read(columns=["uid"]))["uid"]
    kept = uids.filter(~uids.is_in(gone))
    if len(kept) < len(uids):
        packed = file.metadata.row_group(0).column(0).compression
        with (
            store.create(name) as path,
            pq.ParquetWriter(
                path,
                file.schema_arrow,
                compression="none" if packed == "UNCOMPRESSED" else packed.lower(),
                store_schema=b"ARROW:schema" in (file.metadata.metadata or {}),
            ) as writer,
        ):
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                stays = ~frame(table.select(["uid"]))["uid"].is_in(gone)
                if stays.any():
                    some = table.filter(stays.to_arrow()).combine_chunks()
                    writer.write_table(some, row_group_size=some.num_rows)
    return list(zip(kept, range(len(kept)), strict=True))


def _finish(export: Export, held: Mapping[str, Sequence[str]], made: Mapping[str, _Shard], tombstones: str) -> None:
    """Write what stands beside the shards, the index, and the manifest last."""
    store, before = export.store, export.manifest
    manifest = dict(before)
    removed = sum(map(len, held.values()))
    manifest["shards"] = [
        {**one, "pairs": new.pairs, "bytes": new.bytes, "sha256": new.sha256} if (new := made.get(one["name"])) else one
        for one in before["shards"]
    ]
    manifest["exported"] = before["exported"] - removed
    around = beside(manifest)
    for name in _beside(export, list(made)):
        _update(store, name, around[name])
    if export.sharded:
        manifest["index"] = _write_index(export, made)
    manifest["pairs"] = before["pairs"] - removed
    entry = {"tombstones": tombstones, "pairs": removed, "files": list(made)}
    manifest["takedowns"] = [*before.get("takedowns", []), entry]
    store.write_bytes(MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())


def _update(store: Store, name: str, values: Mapping[str, Any]) -> None:
    """Write a JSON file anew, as it was laid out; one that somebody has removed stays away."""
    content = store.read_bytes(name)
    if content is not None:
        indent = 1 if content.startswith(b"{\n") else None
        store.write_bytes(name, (json.dumps(values, indent=indent) + "\n").encode())


def _write_index(export: Export, made: Mapping[str, _Shard]) -> dict[str, Any]:
    """Write the index with the places in the new shards; return what the manifest says of it."""
    known = export.manifest["index"]
    file, schema, rows = _parquet_file(export.store, known["name"]), contract("index").arrow(), 0
    with (
        export.store.create(known["name"]) as path,
        pq.ParquetWriter(path, schema, compression="zstd") as writer,
    ):
        for group in range(file.num_row_groups):
            table = frame(file.read_row_group(group))
            for (name,), some in table.group_by("shard", maintain_order=True):
                kept = some
                if (new := made.get(str(name))) is not None:
                    places = pl.DataFrame(new.offsets, contract("index").polars("uid", "offset"), orient="row")
                    kept = some.drop("offset").join(places, on="uid", how="inner", maintain_order="left")
                if len(kept):
                    arrow = kept.select(schema.names).to_arrow(compat_level=pl.CompatLevel.oldest())
                    writer.write_table(arrow.cast(schema), row_group_size=len(kept))
                    rows += len(kept)
    return {**known, "rows": rows, "sha256": sha256_of(export.store, known["name"])}
