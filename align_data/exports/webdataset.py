"""WebDataset shards: a tar with KEY.jpg, KEY.txt and KEY.json of each pair."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any

from align_data.exports.hashing_files import HashedWriter, created
from align_data.exports.shard_format import (
    IMAGES,
    CorruptShardError,
    ExportFormat,
    ImagePlace,
    RenderedPair,
    Sample,
    ShardFacts,
    ShardJob,
    WrittenShard,
    hashed,
    sizes_of,
)
from align_data.storage import names
from align_data.storage.store import Store
from align_data.storage.tars import copy_members, ended, ending, member, members

_JSON = json.JSONEncoder(ensure_ascii=False).encode
BESIDE = ("txt", "json")
"""Members of a sample that are not its image."""


def sample_files(pair: RenderedPair, job: ShardJob) -> Iterator[tuple[str, bytes]]:
    """Yield ending and content of a pair's files: the image, which comes first, its text, and what is known of it."""
    row, image = pair
    facts = {
        "uid": row["uid"],
        "url": row["url"],
        "alt_text": row["alt_text"],
        **sizes_of(image),
        "sha256": row.get("sha256"),
        "signals": {name: row[name] for name in job.signals},
        "recipe": job.ledger,
    }
    yield image.extension, image.content
    yield "txt", row["alt_text"].encode()
    yield "json", _JSON(facts).encode()


def _write(store: Store, name: str, pairs: Iterator[RenderedPair], job: ShardJob) -> WrittenShard:
    with created(store, name) as out:
        places = list(_members(out, pairs, job))
        size, sha256 = out.at, out.finish()
    return WrittenShard(ShardFacts(size, sha256), places)


def _members(out: HashedWriter, pairs: Iterator[RenderedPair], job: ShardJob) -> Iterator[ImagePlace]:
    for pair in pairs:
        key = pair.row["uid"]
        yield ImagePlace(key, out.at + tarfile.BLOCKSIZE, len(pair.image.content))
        for extension, content in sample_files(pair, job):
            for piece in member(f"{key}.{extension}", content):
                out.write(piece)
    out.write(ending(out.at))


def _read(store: Store, name: str, sha256: str | None) -> Iterator[Sample]:
    path = store.path(name)
    return hashed(store, name, sha256, lambda file: _samples(file, path, name.rpartition(".")[0]))


def _samples(file: Any, path: str, shard: str) -> Iterator[Sample]:
    """Yield what is in a tar whose members of a pair follow each other."""
    with tarfile.open(fileobj=file, mode="r|") as tar:
        key = ""
        parts: dict[str, bytes] = {}
        for entry in tar:
            if entry.size < 0:
                raise CorruptShardError(f"{path} is damaged: {entry.name} has {entry.size:,} bytes")
            folder, _, base = entry.name.rpartition("/")  # a dot in the folder ends no key
            stem, _, extension = base.partition(".")
            if not stem or not entry.isfile():
                continue
            stem = f"{folder}/{stem}".removeprefix("./").lstrip("/")
            if stem != key and parts:
                yield from sample_of(shard, key, parts)
                parts = {}
            key = stem
            content = tar.extractfile(entry)
            parts[extension.lower()] = content.read() if content is not None else b""
            tar.members = []  # type: ignore[attr-defined]  # else the tar remembers every header
        if parts:
            yield from sample_of(shard, key, parts)
        if not ended(file, tar.offset):
            raise CorruptShardError(f"{path} is truncated")


def sample_of(shard: str, key: str, parts: Mapping[str, bytes]) -> Iterator[Sample]:
    """Yield the sample that some files of one key make, given by their endings; none where no image is among them."""
    image = next((parts[extension] for extension in parts if extension in IMAGES), None)
    if image is None:
        return
    facts = json.loads(parts["json"]) if "json" in parts else {}
    text = parts["txt"].decode() if "txt" in parts else str(facts.get("alt_text") or facts.get("caption") or "")
    uid = facts.get("uid") or facts.get("key") or f"{shard}/{key}"  # keys may begin anew in every shard
    yield Sample(str(uid), str(facts.get("url") or ""), text, image)


def _scrub(store: Store, name: str, uids: set[str]) -> list[tuple[str, int]]:
    stored = members(store, name, names.MEMBER)
    remaining = [entry for entry in stored if entry.name.partition(".")[0] not in uids]
    if len(remaining) < len(stored):
        with store.create(name) as path:
            copy_members(store, name, remaining, path)
    at, offsets = 0, []
    for entry in remaining:
        key, _, extension = entry.name.partition(".")
        if extension not in BESIDE:
            offsets.append((key, at + entry.data - entry.start))
        at += entry.end - entry.start
    return offsets


FORMAT = ExportFormat(
    "webdataset", "tars", names.TAR_SHARD, _write, _read, _scrub, ".tar", loader="webdataset", tars=True
)
