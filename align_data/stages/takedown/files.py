"""What takedown writes down before it changes a file, and members of tars."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from align_data.common.errors import DatasetError
from align_data.storage import names
from align_data.storage.manifests import checked, unchecked
from align_data.storage.store import Store
from align_data.storage.tars import BLOCK, copy, ended, ending, regular, whole

T = TypeVar("T")

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


def recall(store: Store, name: str, understood: Callable[[dict[str, Any]], T]) -> T | None:
    """Return what was written down, as `understood`; None if nothing was.

    Raises DatasetError for what is not as we write it: a dataset may come from a stranger, notes and all.
    """
    file = f"{FOLDER}/{name}.json"
    content = store.read_bytes(file)
    if content is None:
        return None
    values = unchecked(content, store.path(file), "the takedown cannot go on", old=False)
    try:
        return understood(values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise wrong_note(store, name, repr(error)) from error


def wrong_note(store: Store, name: str, why: str) -> DatasetError:
    """Return what is raised for a note that is not as we write it."""
    return DatasetError(f"{store.path(f'{FOLDER}/{name}.json')} is not a note of a takedown: {why}; restore it")


def check_names(store: Store, name: str, noted: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise DatasetError where a note names a file that a takedown cannot have meant."""
    for file in sorted(set(noted) - set(allowed)):
        raise wrong_note(store, name, f"it names the file {names.display(file)}")


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


def members(store: Store, tar: str, form: names.NamePattern) -> list[Member]:
    """Return the members of a tar; DatasetError if it is broken, or holds what we never write."""
    try:
        with store.read(tar) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            entries = []
            for m in archive:
                form.check(m.name, store.path(tar))
                if not regular(m) or m.offset_data != m.offset + BLOCK:
                    raise tarfile.ReadError(f"{m.name} is not a plain file")
                entries.append(Member(m.name, m.offset, m.offset_data, m.size, m.offset_data + whole(m.size)))
            if not ended(file, archive.offset):
                raise tarfile.ReadError(f"there is no end at byte {archive.offset:,}")
            return entries
    except (tarfile.TarError, OSError) as error:
        raise DatasetError(f"cannot read {store.path(tar)}: {error}; it is damaged") from error


def copy_members(store: Store, tar: str, remaining: Sequence[Member], path: str) -> None:
    """Write some members of a tar, byte for byte, into a file as a tar of their own."""
    with store.read(tar) as source, Path(path).open("wb") as target:
        for member in remaining:
            source.seek(member.start)
            copy(source, target, member.end - member.start)
        target.write(ending(target.tell()))
