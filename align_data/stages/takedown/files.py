"""What takedown writes down before it changes a file, and members of tars."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from align_data.errors import DatasetError
from align_data.manifests import checked, unchecked
from align_data.store import Store
from align_data.tars import copy, ended, ending, whole

FOLDER = "_takedown"
"""The folder of what is written down, there only while a takedown is under way."""


class Rewritten(NamedTuple):
    """A file that was rewritten, with the SHA-256 of its bytes; None where there was none, or is none any more."""

    name: str
    before: str | None
    after: str | None


def sha256_of(store: Store, name: str) -> str | None:
    """Return the SHA-256 of a file, None if it is not there."""
    try:
        with store.read(name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def rewritten(store: Store, before: Iterable[tuple[str, str | None]]) -> list[Rewritten]:
    """Return the files that have changed since their SHA-256 was taken."""
    now = [Rewritten(name, sha256, sha256_of(store, name)) for name, sha256 in before]
    return [file for file in now if file.before != file.after]


def recall(store: Store, name: str) -> dict[str, Any] | None:
    """Return what was written down, None if nothing was."""
    file = f"{FOLDER}/{name}.json"
    content = store.read_bytes(file)
    return None if content is None else unchecked(content, store.path(file), "the takedown cannot go on", old=False)


def note(store: Store, name: str, value: dict[str, Any]) -> None:
    """Write something down."""
    store.write_bytes(f"{FOLDER}/{name}.json", checked(value))


class Member(NamedTuple):
    """A member of a tar: where its headers begin, where its bytes lie, and where the next member may begin."""

    name: str
    start: int
    data: int
    size: int
    end: int


def members(store: Store, tar: str) -> list[Member]:
    """Return the members of a tar; DatasetError if it is broken."""
    try:
        with store.read(tar) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            found = [Member(m.name, m.offset, m.offset_data, m.size, m.offset_data + whole(m.size)) for m in archive]
            if not ended(file, archive.offset):
                raise tarfile.ReadError(f"there is no end at byte {archive.offset:,}")
            return found
    except tarfile.TarError as error:
        raise DatasetError(f"cannot read {store.path(tar)}: {error}; it is damaged") from error


def copy_members(store: Store, tar: str, kept: Sequence[Member], path: str) -> None:
    """Write some members of a tar, byte for byte, into a file as a tar of their own."""
    with store.read(tar) as source, Path(path).open("wb") as target:
        for member in kept:
            source.seek(member.start)
            copy(source, target, member.end - member.start)
        target.write(ending(target.tell()))
