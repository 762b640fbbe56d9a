"""A plain folder of files: each shard a folder with KEY.jpg, KEY.txt and KEY.json of each pair, and metadata.parquet.

Hugging Face's imagefolder reads metadata.parquet, whose texts are exact: in a CSV file "NA" and "None" would be null.

The SHA-256 of such a shard is that of what `sha256sum *` prints in it: a line for each file, in the order of the names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from itertools import groupby

import pyarrow as pa
import pyarrow.parquet as pq

from align_data.exports.parquet import known, scrub
from align_data.exports.shard_format import (
    ExportFormat,
    ImagePlace,
    RenderedPair,
    Sample,
    ShardFacts,
    ShardJob,
    WrittenShard,
    check_sha256,
    sizes_of,
)
from align_data.exports.webdataset import BESIDE, sample_files, sample_of
from align_data.storage import names
from align_data.storage.image_formats import EXTENSIONS
from align_data.storage.store import HIDDEN, Store, sha256_of

METADATA = "metadata.parquet"
_MEMBER = re.compile(names.MEMBER_OR_METADATA.pattern)


def _write(store: Store, name: str, pairs: Iterator[RenderedPair], job: ShardJob) -> WrittenShard:
    store.clear(name, _MEMBER)  # what a killed run has left of it
    places: list[ImagePlace] = []
    listing, rows = {}, []
    schema = pa.schema([pa.field("file_name", pa.string()), *known(job.signals)])
    for pair in pairs:
        key = pair.row["uid"]
        row = {column: pair.row.get(column) for column in schema.names}
        rows.append({**row, **sizes_of(pair.image), "file_name": f"{key}.{pair.image.extension}"})
        places.append(ImagePlace(key, 0, len(pair.image.content)))
        for extension, content in sample_files(pair, job):
            file = f"{key}.{extension}"
            store.write_bytes(f"{name}/{file}", content)
            listing[file] = hashlib.sha256(content).hexdigest()
    with store.create(f"{name}/{METADATA}") as path:
        pq.write_table(pa.Table.from_pylist(rows, schema), path, compression="zstd")
    listing[METADATA] = sha256_of(store, f"{name}/{METADATA}") or ""
    return WrittenShard(ShardFacts(_size(store, name), _digest(listing)), places)


def _digest(listing: dict[str, str]) -> str:
    """Return the SHA-256 of the lines that `sha256sum` prints of some files."""
    lines = (f"{sha256}  {file}\n" for file, sha256 in sorted(listing.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _read(store: Store, name: str, sha256: str | None) -> Iterator[Sample]:
    listing: dict[str, str] = {}
    files = [file for file in store.names(name) if not file.startswith(HIDDEN)]
    for key, own in groupby(files, key=lambda file: file.partition(".")[0]):
        parts = {}
        for file in own:
            with store.read(f"{name}/{file}") as source:
                content = source.read()
            listing[file] = hashlib.sha256(content).hexdigest()
            parts[file.partition(".")[2].lower()] = content
        yield from sample_of(name, key, parts)
    if sha256 is not None:
        check_sha256(store.path(name), _digest(listing), sha256)


def _scrub(store: Store, name: str, uids: set[str]) -> list[tuple[str, int]]:
    offsets = []
    for file in store.names(name):
        key, _, extension = names.MEMBER_OR_METADATA.check(file, store.path(name)).partition(".")
        if file == METADATA:
            scrub(store, f"{name}/{METADATA}", uids)
        elif key in uids:
            store.remove(f"{name}/{file}")
        elif extension not in BESIDE:
            offsets.append((key, 0))
    return offsets


def _facts(store: Store, name: str) -> ShardFacts:
    files = store.names(name)
    listing = {file: sha256_of(store, f"{name}/{file}") or "" for file in files}
    return ShardFacts(_size(store, name), _digest(listing))


def _size(store: Store, name: str) -> int:
    return sum(store.size(f"{name}/{file}") for file in store.names(name))


FORMAT = ExportFormat(
    "files",
    "a folder a shard, of files",
    names.FOLDER_SHARD,
    _write,
    _read,
    _scrub,
    facts=_facts,
    size=_size,
    member=names.MEMBER_OR_METADATA,
    loader="imagefolder",
    loaded=(*(f"*.{ending}" for ending in sorted({*EXTENSIONS.values()})), METADATA),
)
