"""What a format of exports is: how its shards are called, written, read, hashed and freed of what is taken down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from align_data.common.errors import DatasetError, DefinitionError
from align_data.decoding.render import How, Rendered
from align_data.exports.hashing_files import HashedReader
from align_data.storage import names
from align_data.storage.image_formats import EXTENSIONS
from align_data.storage.store import Store, sha256_of

DIGEST = "digest"
"""The column, while shards are made, with the SHA-256 of the image's bytes as it was measured."""
PLACE = {"tar": pa.string(), "offset": pa.int64(), "size": pa.int64(), DIGEST: pa.string()}
ORIGINAL_SIZE = ("original_width", "original_height")
"""The columns, while shards are made, with an image's size as it was fetched, where a smaller one is stored."""
IMAGES = frozenset({*EXTENSIONS.values(), "jpeg"})
_PLAIN: dict[str, pa.DataType] = {"uid": pa.string(), "url": pa.string(), "alt_text": pa.string()}


class CorruptShardError(DatasetError):
    """A shard that cannot be read to its end."""


@dataclass(frozen=True)
class ShardJob:
    """How shards are made."""

    store: Store
    """Where the images are."""
    format: str
    how: How
    signals: tuple[str, ...]
    ledger: str
    strip_credentials: bool = False


class RenderedPair(NamedTuple):
    """A pair as it goes into a shard."""

    row: Mapping[str, Any]
    image: Rendered


class Sample(NamedTuple):
    """A pair as it is read from a shard, with its image as it is there."""

    uid: str
    url: str
    alt_text: str
    image: bytes


class ImagePlace(NamedTuple):
    """Where the index says that an image is: its uid, a format's own offset, and its bytes."""

    uid: str
    offset: int
    size: int


class ShardFacts(NamedTuple):
    """What a manifest says of a shard: its bytes, and the SHA-256 by which they are known."""

    bytes: int
    sha256: str


class WrittenShard(NamedTuple):
    """A shard that is written, and where in it each pair is."""

    facts: ShardFacts
    places: list[ImagePlace]


Write = Callable[[Store, str, Iterator[RenderedPair], ShardJob], WrittenShard]
Read = Callable[[Store, str, str | None], Iterator[Sample]]
"""A store, a shard's name, and the SHA-256 that it must have, None where that is not known or was checked before."""
Scrub = Callable[[Store, str, set[str]], list[tuple[str, int]]]
"""A store, a shard's name and the uids that go → uid and offset of each of the others, as the index has them."""

Facts = Callable[[Store, str], ShardFacts]
"""A store and a shard's name → its bytes and SHA-256; OSError where it cannot be read."""


def facts_of_file(store: Store, name: str) -> ShardFacts:
    """Return bytes and SHA-256 of a shard that is one file; OSError where it cannot be read."""
    sha256 = sha256_of(store, name)
    if sha256 is None:
        raise FileNotFoundError(name)
    return ShardFacts(store.size(name), sha256)


def size_of_file(store: Store, name: str) -> int:
    """Return the bytes of a shard that is one file."""
    return store.size(name)


@dataclass(frozen=True)
class ExportFormat:
    """One format of exports. A new one is a module with such a value, a line in `formats`, and a test."""

    name: str
    about: str
    """What a help text says of it."""
    form: names.NamePattern
    """Of its shards' names."""
    write: Write | None = None
    """None for a format without images."""
    read: Read | None = None
    scrub: Scrub | None = None
    """None for what a takedown cannot rewrite."""
    ending: str = ""
    """What the name of a shard ends in; nothing for a folder."""
    facts: Facts = facts_of_file
    size: Callable[[Store, str], int] = size_of_file
    member: names.NamePattern | None = None
    """Of the names of the files in a shard that is a folder."""
    loader: str | None = None
    """What Hugging Face's datasets calls its reader of these shards; None where it has none."""
    loaded: tuple[str, ...] = ()
    """What that reads of a shard that is a folder, as patterns."""
    tars: bool = False
    """Whether a shard is a tar: open_clip and wids know from a file beside tars how many samples each has."""

    def __post_init__(self) -> None:
        if self.images and not self.form.fits(shard := f"00000{self.ending}"):
            raise DefinitionError(f"the format {self.name} would call a shard {shard}, which is not of its own form")

    @property
    def images(self) -> bool:
        """Whether it has images, and with them shards of a size, an index and splits."""
        return self.write is not None

    def holds(self, shard: str, file: str) -> bool:
        """Tell whether a file of an export belongs to a shard."""
        inside = file.removeprefix(f"{shard}/")
        return file == shard if self.member is None else inside != file and self.member.fits(inside)


def rows_schema(signals: Iterable[str]) -> pa.Schema:
    """Return what is kept of a row until its shard is made."""
    from align_data.data.layout import measured_schema  # noqa: PLC0415 - a child that makes tars starts in half the time

    sizes = pa.schema([(name, pa.int32()) for name in ORIGINAL_SIZE])
    return pa.unify_schemas([pa.schema(_PLAIN), measured_schema(list(signals)), pa.schema(PLACE), sizes])


def sizes_of(image: Rendered) -> dict[str, int]:
    """Return an image's sizes, as it was and as it is written."""
    return {
        "original_width": image.original_width,
        "original_height": image.original_height,
        "width": image.width,
        "height": image.height,
    }


def hashed(store: Store, name: str, sha256: str | None, read: Callable[[Any], Iterator[Sample]]) -> Iterator[Sample]:
    """Yield what `read` reads of a file; CorruptShardError at the end where it has another SHA-256."""
    with store.read(name) as file:
        if sha256 is None:
            yield from read(file)
            return
        hashing = HashedReader(file)
        yield from read(hashing)
        check_sha256(store.path(name), hashing.finish(), sha256)


def check_sha256(path: str, sha256: str, expected: str) -> None:
    """Raise CorruptShardError for a shard that is not the one that the manifest names."""
    if sha256 != expected:
        raise CorruptShardError(f"{path} has the SHA-256 {sha256}, not {expected} as the manifest says")
