"""The embeddings of shards in a folder, so that a search embeds its query alone.

A table a shard, for each model and for images and texts apart. What a table is called follows from the model and from
the content of the shard, so that a shard which changed, moved or came to it is embedded, and no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa

from align_data.common.errors import DatasetError
from align_data.common.progress import Progress
from align_data.storage.contracts import contract
from align_data.storage.frames import frame
from align_data.storage.manifests import Meta, digest
from align_data.storage.store import Store
from align_data.storage.tables import CHUNK, Table
from align_data.train.embed import TwoTowers, embedded_batches
from align_data.train.metrics import Vectors
from align_data.train.shards import Shards

Kind = Literal["images", "texts"]
_FOLDER = "search"
_KEY = re.compile(r"[0-9a-f]{32}")
_BATCHES = 128
"""Batches that are written, and then read, at once."""
_TYPE = np.dtype("<f4")
_PAIR = ("uid", "url", "alt_text")


@dataclass(frozen=True)
class PairVectors:
    """Neighbouring pairs of a shard with their embeddings (n, dim)."""

    shard: str
    rows: pl.DataFrame
    """uid, url and alt_text."""
    vectors: Vectors


def pair_vectors(
    model: TwoTowers, shards: Shards, shard: str, kind: Kind, undecodable: dict[str, str]
) -> Iterator[PairVectors]:
    """Embed the pairs of a shard; those whose image cannot be decoded go to `undecodable`, uid → reason.

    Where the shard is corrupt there are none, and it is named in `shards.skipped`.
    """
    samples = shards.whole(shard)
    for batch in embedded_batches(model, samples, images=kind == "images", texts=kind == "texts"):
        undecodable |= batch.undecodable
        rows = [(sample.uid, sample.url, sample.alt_text) for sample in batch.samples]
        yield PairVectors(
            shard,
            pl.DataFrame(rows, dict.fromkeys(_PAIR, pl.String), orient="row"),
            batch.images if kind == "images" else batch.texts,
        )


class StoredIndex:
    """What is stored in `folder` of some shards, by one model, of their images or their texts."""

    def __init__(self, folder: str, model: TwoTowers, shards: Shards, kind: Kind) -> None:
        self.store, self.model, self.shards, self.kind = Store(folder), model, shards, kind
        self.undecodable: dict[str, str] = {}
        """uid → reason, of all pairs that have no embedding because their image cannot be decoded."""
        self.embedded = 0
        """Pairs that `update` embedded."""

    @cached_property
    def _keys(self) -> dict[str, str]:
        """Shard → the key of its content; shards that cannot be opened have none, and are named when they are read."""
        return {name: key for name in self.shards.names if (key := self.shards.content_key(name)) is not None}

    @cached_property
    def _of_model(self) -> str:
        return digest([self.model.digest, self.model.side, self.model.dim])[:32]

    def _table(self, key: str) -> Table[Meta]:
        return Table(self.store, f"{_FOLDER}/{self._of_model}/{self.kind}/{key}", contract("search_index"), Meta)

    def update(self, progress: Progress) -> None:
        """Embed the pairs of shards that are not stored; remove what is stored of shards that are no more.

        DatasetError where another process is updating the folder.
        """
        facts = {name: self._facts(name) for name in self.shards.names}
        missing = [name for name, known in facts.items() if known is None]
        stale = self._stale()
        if missing or stale:
            with self.store.lock():
                self.store.sweep([f"{_FOLDER}/{self._of_model}/{self.kind}/*"])
                for folder in stale:
                    self.store.clear(folder, CHUNK)
                with progress.step("embed", self.shards.pairs_of(missing), "pairs") as tick:
                    for name in missing:
                        embedded = self._embed(name)
                        self.embedded += embedded
                        tick(embedded)
        for name in self.shards.names:
            self.undecodable |= (facts[name] or self._facts(name) or {}).get("undecodable", {})

    def _facts(self, name: str) -> dict[str, Any] | None:
        key = self._keys.get(name)
        facts = None if key is None else self._table(key).facts(0)
        return facts if facts is not None and isinstance(facts.get("undecodable"), dict) else None

    def _stale(self) -> list[str]:
        """Return the folders of shards that are no more, by whatever model: what was taken down must not stay."""
        keys = set(self._keys.values())
        return [
            f"{_FOLDER}/{model}/{kind}/{key}"
            for model in self.store.names(_FOLDER)
            for kind in ("images", "texts")
            for key in self.store.names(f"{_FOLDER}/{model}/{kind}")
            if _KEY.fullmatch(key) and key not in keys
        ]

    def _embed(self, name: str) -> int:
        """Store the embeddings of a shard and return its pairs; nothing is stored where it is corrupt."""
        facts: dict[str, Any] = {"dim": self.model.dim, "undecodable": {}}
        vectors = pair_vectors(self.model, self.shards, name, self.kind, facts["undecodable"])
        begin = list(islice(vectors, 1))  # from here on it is known whether the shard is whole
        if name in self.shards.skipped or name not in self._keys:
            return 0
        embedded = 0
        with self._table(self._keys[name]).writer(0, facts) as writer:
            pieces = chain(begin, vectors)
            while some := list(islice(pieces, _BATCHES)):
                writer.write(_columns(some))
                embedded += sum(len(piece.rows) for piece in some)
        return embedded + len(facts["undecodable"])

    def __iter__(self) -> Iterator[PairVectors]:
        """Yield what is stored, in the order of the shards; DatasetError where it is damaged."""
        for name in self.shards.names:
            if name not in self._keys or name in self.shards.skipped:
                continue
            for piece in self._table(self._keys[name]).arrow_pieces(0, [*_PAIR, "embedding"]):
                yield PairVectors(name, frame(piece.drop_columns(["embedding"])), self._vectors(piece["embedding"]))

    def _vectors(self, column: pa.ChunkedArray) -> Vectors:
        array = pa.concat_arrays(column.chunks).cast(pa.large_binary())
        _, offsets, values = array.buffers()
        ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
        if not (np.diff(ends) == self.model.dim * _TYPE.itemsize).all():
            raise DatasetError(f"{self.store.url} has embeddings that are not of {self.model.dim} numbers: remove it")
        vectors: Vectors = np.frombuffer(values, _TYPE, len(array) * self.model.dim, int(ends[0]))
        return vectors.reshape(-1, self.model.dim)


def _columns(pieces: list[PairVectors]) -> pa.Table:
    rows = pl.concat(piece.rows for piece in pieces)
    vectors = [row.astype(_TYPE).tobytes() for piece in pieces for row in piece.vectors]
    table: pa.Table = rows.to_arrow().append_column("embedding", pa.array(vectors, pa.large_binary()))
    return table
