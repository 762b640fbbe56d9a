"""What takedown writes down before it changes a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from align_data.common.errors import DatasetError
from align_data.storage import names
from align_data.storage.manifests import checked, unchecked
from align_data.storage.store import Store

T = TypeVar("T")

FOLDER = "_takedown"
"""The folder of what is written down, there only while a takedown is under way."""


class Rewritten(NamedTuple):
    """A file that was rewritten, with the SHA-256 of its bytes; None where there was none, or is none any more."""

    name: str
    before: str | None
    after: str | None


def rewritten(before: Iterable[tuple[str, str | None]], sha256: Callable[[str], str | None]) -> list[Rewritten]:
    """Return the files that have changed since their SHA-256 was taken; `sha256` takes it now."""
    now = [Rewritten(name, known, sha256(name)) for name, known in before]
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
