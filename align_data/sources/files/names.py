"""What files are called in tables and sentences: by the path below the folder that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from align_data.common.errors import InputError, encodable
from align_data.common.secrets import mask
from align_data.sources.files.patterns import plain


def relative(names: Sequence[str]) -> list[str]:
    """Return the paths of files, given by their full names, below the folder that all share; no URL's signature in it.

    Raises InputError for a name that is not UTF-8.
    """
    for name in names:
        if not encodable(name):
            raise InputError(f"a file's name is not UTF-8: {name.encode('utf-8', 'backslashreplace').decode()}")
    paths = [plain(name).split("/") for name in names]
    parents = [path[:-1] for path in paths]
    shared = sum(1 for _ in takewhile(lambda folders: len(set(folders)) == 1, zip(*parents, strict=False)))
    return ["/".join(path[shared:]) for path in paths]


def public(fs: Any, name: str) -> str:
    """Return a file's name as it may be told and stored: without what is secret in that of a URL."""
    return name if isinstance(fs, LocalFileSystem) else mask(name)
