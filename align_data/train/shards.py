"""Exported shards as the trainer reads them: on a disk or behind an fsspec URL, each from its beginning to its end."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from align_data.common.errors import DatasetError
from align_data.exports.formats import SHARD, format_of
from align_data.exports.manifest import MANIFEST, parsed, shards_by_split
from align_data.exports.shard_format import CorruptShardError, Sample
from align_data.storage import names
from align_data.storage.store import HIDDEN, Store
from align_data.storage.tables import digest

__all__ = ["CorruptShardError", "Sample", "Shards"]


class _ShardEntry(NamedTuple):
    """What a manifest says of a shard."""

    bytes: int | None = None
    pairs: int | None = None
    sha256: str | None = None


class Shards:
    """The shards of a folder, in order, in any format that is read (`exports.formats`)."""

    def __init__(self, store: Store, entries: dict[str, _ShardEntry], only: frozenset[str] | None = None) -> None:
        self.store, self.names, self.only = store, list(entries), only
        self._entries = entries
        self._whole: set[str] = set()
        """Shards that had the manifest's SHA-256 when they were first read."""
        self.skipped: dict[str, str] = {}
        """Shards that could not be read, and why."""

    @classmethod
    def open(cls, url: str, only: Collection[str] | None = None) -> Shards:
        """Look what is in a folder; with `only`, all but these uids are passed over. DatasetError where nothing is.

        Of an export, only what its manifest names is there; else every tar or Parquet file is a shard.
        """
        store = Store(url, own=False)  # they are only read: links are the user's
        manifest = store.read_bytes(MANIFEST)
        if manifest is not None:
            entries = {name: entry for name, _, entry in sorted(_entries(manifest, store.path(MANIFEST)))}
        else:
            store, entries = _of_split(store)
        entries = entries or {name: _ShardEntry() for name in store.names() if _is_shard(name)}
        if not entries:
            raise DatasetError(
                f"{url} has no shards: give the folder that `align-data export` wrote, one of its splits, or one of "
                "WebDataset tars"
            )
        return cls(store, entries, None if only is None else frozenset(only))

    @property
    def pairs(self) -> int | None:
        """How many pairs there are, where a manifest says it and all are asked for."""
        return self.pairs_of(self.names)

    @property
    def identity(self) -> str:
        """What tells these shards from others: what the manifest says of them, else their names and sizes."""
        entries = [
            [name, *(entry if entry.sha256 is not None else [_size(self.store, name)])]
            for name, entry in self._entries.items()
        ]
        return digest([entries, None if self.only is None else sorted(self.only)])

    def pairs_of(self, shards: Collection[str]) -> int | None:
        """How many pairs some of the shards have, where a manifest says it and all of theirs are asked for."""
        counts = [self._entries[name].pairs for name in shards]
        return None if self.only is not None or None in counts else sum(pairs or 0 for pairs in counts)

    def content_key(self, name: str) -> str | None:
        """Return 32 hex digits that follow from a shard's name and content; None where it is not as it should be.

        The content is known by the manifest's SHA-256; without one by what the file system says of the files, so that
        one which is only copied has another key.
        """
        entry = self._entries[name]
        try:
            size = _size(self.store, name)
            if entry.bytes not in (None, size):
                return None
            content = entry.sha256 or _as_listed(self.store, name)
        except (OSError, DatasetError):
            return None
        return digest([name, size, content, None if self.only is None else sorted(self.only)])[:32]

    def read(self, name: str) -> Iterator[Sample]:
        """Yield the pairs of one shard, in its order.

        Raises CorruptShardError where it cannot be read to its end, and at the end where it is not what the manifest
        says: a shard is hashed as it is read, the first time.
        """
        path, entry = self.store.path(name), self._entries[name]
        sha256 = None if name in self._whole else entry.sha256
        try:
            format_ = format_of(name)
            assert format_ is not None
            assert format_.read is not None
            if entry.bytes is not None and (size := format_.size(self.store, name)) != entry.bytes:
                # A tar that is cut off between two members reads like a whole one.
                raise CorruptShardError(f"{path} has {size:,} bytes, not {entry.bytes:,}")
            for sample in format_.read(self.store, name, sha256):
                if self.only is None or sample.uid in self.only:
                    yield sample
            self._whole.add(name)
        except DatasetError:
            raise
        except Exception as error:
            raise CorruptShardError(
                f"{self.store.path(name)} cannot be read: {error or type(error).__name__}"
            ) from error

    def whole(self, name: str) -> list[Sample]:
        """Return the pairs of one shard; none where it is corrupt: then it is named in `skipped`."""
        if name in self.skipped:
            return []
        try:
            return list(self.read(name))
        except CorruptShardError as error:
            self.skipped[name] = str(error)
            return []

    def __iter__(self) -> Iterator[Sample]:
        """Yield all pairs; a corrupt shard gives none of its own."""
        for name in self.names:
            yield from self.whole(name)


def _is_shard(name: str) -> bool:
    return format_of(name) is not None and not name.startswith(HIDDEN) and name != "index.parquet"


def _size(store: Store, name: str) -> int:
    format_ = format_of(name)
    assert format_ is not None
    return format_.size(store, name)


def _as_listed(store: Store, name: str) -> list[list[str]]:
    """Return what the file system tells the files of a shard from others by, such as their times."""
    path = store.path(name)
    return [[str(file).removeprefix(path), store.fs.ukey(file)] for file in sorted(store.fs.find(path))]


def _of_split(store: Store) -> tuple[Store, dict[str, _ShardEntry]]:
    """Return where the shards are, and those that a manifest names, of one split of an export, called EXPORT/SPLIT."""
    parent, _, split = store.url.rpartition("/")
    above = Store(parent, own=False) if parent and split else store
    manifest = above.read_bytes(MANIFEST)
    if manifest is None or above is store:
        return store, {}
    own = sorted((name, entry) for name, of, entry in _entries(manifest, above.path(MANIFEST)) if of == split)
    if all(name.startswith(f"{split}/") for name, _ in own):  # it is a folder too
        return store, {name.removeprefix(f"{split}/"): entry for name, entry in own}
    return above, dict(own)


def _entries(manifest: bytes, where: str) -> list[tuple[str, str, _ShardEntry]]:
    """Return name, split and facts of the shards that a manifest names."""
    try:
        content = json.loads(manifest)
        if "shard_names" in content:
            parsed(manifest, where)
        else:
            for shard in content["shards"]:
                SHARD.check(shard["name"], where)
        shards = shards_by_split(content)
        return [(str(shard["name"]), split, _entry(shard)) for split, own in shards.items() for shard in own]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{where} is not a manifest of shards: {error!r}") from error


def _entry(shard: Mapping[str, Any]) -> _ShardEntry:
    entry = _ShardEntry(*(shard.get(key) for key in _ShardEntry._fields))
    for value, kind in zip(entry, (int, int, str), strict=True):
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise TypeError(f"{names.display(value)} is not what is known of a shard")
    return entry
