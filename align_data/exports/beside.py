"""What lies beside the shards for other readers: a card, indexes and counts, all made from the manifest.

Export writes these files, and takedown writes them anew, so that they count what is there.
"""

from __future__ import annotations

import csv
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from align_data.exports.card import card
from align_data.exports.croissant import croissant
from align_data.exports.files import METADATA
from align_data.exports.formats import format_called
from align_data.exports.manifest import shards_by_split, sizes, stats, stats_name
from align_data.storage.store import Store, sha256_of

_NUMBER = re.compile(r"[0-9]+")
_PANDAS_NULLS = frozenset(
    (
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"),
        *("NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    )
)
"""Texts of which pandas, and with it open_clip, makes a missing value when it reads a CSV file."""


def write_beside(store: Store, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Write all files beside the shards; return what the manifest says of them."""
    for name, content in _small(manifest):
        store.write_bytes(name, content.encode())
    for name, shards in _tables(manifest).items():
        _write_table(store, name, shards)
    return [
        {"name": name, "bytes": store.size(name), "sha256": sha256_of(store, name)} for name in names_beside(manifest)
    ]


def names_beside(manifest: Mapping[str, Any]) -> list[str]:
    """Return the names of the files beside the shards."""
    return [name for name, _ in _small(manifest)] + list(_tables(manifest))


def _small(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the files that follow from the manifest alone."""
    yield "README.md", card(manifest)
    yield "croissant.json", _json(croissant(manifest))
    if format_called(manifest["format"]).tars:
        for split, shards in shards_by_split(manifest).items():
            yield f"wids-{split}.json", _json(_wids(split, shards))
        pairs = {shard["name"]: shard["pairs"] for shard in manifest["shards"]}
        yield from ((name, _json(inside)) for name, inside in sizes((), pairs).items())
    for shard in manifest["shards"]:
        if _NUMBER.fullmatch(posixpath.splitext(posixpath.basename(shard["name"]))[0]):  # as img2dataset calls them
            yield stats_name(shard["name"]), json.dumps(stats(shard["pairs"])) + "\n"


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _wids(split: str, shards: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the index of shards that the library wids, of webdataset, reads."""
    listed = [{"url": s["name"], "nsamples": s["pairs"], "filesize": s["bytes"]} for s in shards]
    return {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": split, "shardlist": listed}


def _tables(manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the tables of captions, each with the shards whose images it names: open_clip's csv mode reads them."""
    if format_called(manifest["format"]).member is None:
        return {}
    return {f"{split}.tsv": [s["name"] for s in shards] for split, shards in shards_by_split(manifest).items()}


def _write_table(store: Store, name: str, shards: list[str]) -> None:
    with store.create(name) as path, Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["filepath", "title"])
        for shard in shards:
            table = pq.ParquetFile(store.open(f"{shard}/{METADATA}"))
            for batch in table.iter_batches(columns=["file_name", "alt_text"]):
                for file_name, text in zip(*batch.to_pydict().values(), strict=True):
                    writer.writerow([f"{shard}/{file_name}", f"{text} " if text in _PANDAS_NULLS else text])
