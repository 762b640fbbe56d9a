"""Exported shards as the trainer reads them: on a disk or behind an fsspec URL, each from its beginning to its end."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from align_data.common.errors import DatasetError
from align_data.exports.manifest import MANIFEST
from align_data.storage import names
from align_data.storage.image_formats import EXTENSIONS
from align_data.storage.store import HIDDEN, Store
from align_data.storage.tables import digest
from align_data.storage.tars import ended

_IMAGES = frozenset({*EXTENSIONS.values(), "jpeg"})
_ENDINGS = (".tar", ".parquet")
_COPY = 2**20


class CorruptShardError(DatasetError):
    """A shard that cannot be read to its end."""


class Sample(NamedTuple):
    """A pair, with its image as it is in the shard."""

    uid: str
    url: str
    alt_text: str
    image: bytes


class _Named(NamedTuple):
    """What a manifest says of a shard."""

    bytes: int | None = None
    pairs: int | None = None
    sha256: str | None = None


class Shards:
    """The shards of a folder, in order: tars with KEY.jpg, KEY.txt and KEY.json, or Parquet files with images."""

    def __init__(self, store: Store, named: dict[str, _Named], only: frozenset[str] | None = None) -> None:
        self.store, self.names, self.only = store, list(named), only
        self._named = named
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
        named = _named(store) or {name: _Named() for name in store.names() if _is_shard(name)}
        if not named:
            raise DatasetError(
                f"{url} has no shards: give the folder that `align-data export` wrote, one of its splits, or one of "
                "WebDataset tars"
            )
        return cls(store, named, None if only is None else frozenset(only))

    @property
    def pairs(self) -> int | None:
        """How many pairs there are, where a manifest says it and all are asked for."""
        found = [named.pairs for named in self._named.values()]
        return None if self.only is not None or None in found else sum(pairs or 0 for pairs in found)

    @property
    def identity(self) -> str:
        """What tells these shards from others: what the manifest says of them, else their names and sizes."""
        known = [
            [name, *(named if named.sha256 is not None else [self.store.size(name)])]
            for name, named in self._named.items()
        ]
        return digest([known, None if self.only is None else sorted(self.only)])

    def read(self, name: str) -> Iterator[Sample]:
        """Yield the pairs of one shard, in its order.

        Raises CorruptShardError where it cannot be read to its end, and at the end where it is not what the manifest
        says: a shard is hashed as it is read, the first time.
        """
        path, known = self.store.path(name), self._named[name]
        sha256 = None if name in self._whole else known.sha256
        try:
            if known.bytes is not None and (there := self.store.size(name)) != known.bytes:
                # A tar that is cut off between two members reads like a whole one.
                raise CorruptShardError(f"{path} has {there:,} bytes, not {known.bytes:,}")
            read = _parquet if name.endswith(".parquet") else _tar
            with self.store.read(name) as file:
                hashing = _Hashing(file) if sha256 is not None else None
                for sample in read(hashing or file, path, name):
                    if self.only is None or sample.uid in self.only:
                        yield sample
                if hashing is not None and (found := hashing.rest()) != sha256:
                    raise CorruptShardError(f"{path} has the SHA-256 {found}, not {sha256} as the manifest says")
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
    return name.endswith(_ENDINGS) and not name.startswith(HIDDEN) and name != "index.parquet"


def _named(store: Store) -> dict[str, _Named]:
    """Return the shards that a manifest names: its folder's, or its parent's if that is a split."""
    manifest = store.read_bytes(MANIFEST)
    if manifest is not None:
        return dict(sorted(_sizes(manifest, store.path(MANIFEST))))
    parent, _, split = store.url.rpartition("/")
    above = Store(parent, own=False).read_bytes(MANIFEST) if parent and split else None
    if above is None:
        return {}
    found = _sizes(above, parent)
    return dict(sorted((n.removeprefix(f"{split}/"), what) for n, what in found if n.startswith(f"{split}/")))


def _sizes(manifest: bytes, where: str) -> list[tuple[str, _Named]]:
    try:
        shards: list[dict[str, Any]] = json.loads(manifest)["shards"]
        return [(names.SHARD.check(shard["name"], where), _entry(shard)) for shard in shards]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{where} is not a manifest of shards: {error!r}") from error


def _entry(shard: dict[str, Any]) -> _Named:
    found = _Named(*(shard.get(key) for key in _Named._fields))
    for value, kind in zip(found, (int, int, str), strict=True):
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise TypeError(f"{names.display(value)} is not what is known of a shard")
    return found


class _Hashing:
    """A file that is hashed as it is read from its beginning to its end."""

    def __init__(self, file: Any) -> None:
        self._file, self._sha256, self._whole = file, hashlib.sha256(), False

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        some: bytes = self._file.read(size)
        if not self._whole:
            self._sha256.update(some)
        return some

    def seek(self, at: int) -> int:
        """Go to a place; first all is hashed."""
        self.rest()
        return int(self._file.seek(at))

    def rest(self) -> str:
        """Read what is left; return the SHA-256 of all."""
        while not self._whole:
            self._whole = not self.read(_COPY)
        return self._sha256.hexdigest()


def _tar(file: Any, path: str, name: str) -> Iterator[Sample]:
    """Yield what is in a tar whose members of a pair follow each other."""
    with tarfile.open(fileobj=file, mode="r|") as tar:
        shard, key = name.rpartition(".")[0], ""
        parts: dict[str, bytes] = {}
        for member in tar:
            if member.size < 0:
                raise CorruptShardError(f"{path} is damaged: {member.name} has {member.size:,} bytes")
            folder, _, base = member.name.rpartition("/")  # a dot in the folder ends no key
            stem, _, extension = base.partition(".")
            if not stem or not member.isfile():
                continue
            stem = f"{folder}/{stem}".removeprefix("./").lstrip("/")
            if stem != key and parts:
                yield from _sample(shard, key, parts)
                parts = {}
            key = stem
            content = tar.extractfile(member)
            parts[extension.lower()] = content.read() if content is not None else b""
            tar.members = []  # type: ignore[attr-defined]  # else the tar remembers every header
        if parts:
            yield from _sample(shard, key, parts)
        if not ended(file, tar.offset):
            raise CorruptShardError(f"{path} is truncated")


def _sample(shard: str, key: str, parts: dict[str, bytes]) -> Iterator[Sample]:
    image = next((parts[extension] for extension in parts if extension in _IMAGES), None)
    if image is None:
        return
    known = json.loads(parts["json"]) if "json" in parts else {}
    text = parts["txt"].decode() if "txt" in parts else str(known.get("alt_text") or known.get("caption") or "")
    uid = known.get("uid") or known.get("key") or f"{shard}/{key}"  # keys may begin anew in every shard
    yield Sample(str(uid), str(known.get("url") or ""), text, image)


def _parquet(file: Any, path: str, _: str) -> Iterator[Sample]:
    table = pq.ParquetFile(io.BytesIO(file.read()))
    if "image" not in table.schema_arrow.names:
        raise CorruptShardError(f"{path} has no column image: it was exported without images")
    for batch in table.iter_batches(batch_size=64, columns=["uid", "url", "alt_text", "image"]):
        for row in batch.to_pylist():
            yield Sample(row["uid"], row["url"], row["alt_text"], row["image"]["bytes"])
