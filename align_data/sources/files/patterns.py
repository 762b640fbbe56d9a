"""From what a user types to files: paths, folders, patterns and fsspec URLs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from align_data.common.errors import InputError
from align_data.sources.files.fs_errors import reaching

_WEB = re.compile(r"https?://", re.IGNORECASE)
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_MOST = 10_000
"""Patterns that one with braces may stand for."""


def plain(path: str) -> str:
    """Return a path, or a URL of the web without what stands behind its path: that signs it, and does not name it."""
    return re.split(r"[?#]", path, maxsplit=1)[0] if _WEB.match(path) else path


def expand(pattern: str, listed: Callable[[str], bool]) -> list[tuple[Any, str]]:
    """Return the files that a pattern names, each with its file system; of a folder those that are `listed`.

    Raises InputError for a pattern that matches nothing, and for a place that cannot be looked at.
    """
    if not pattern:
        raise InputError("the name of an input is empty")
    with reaching(pattern):
        fs, path = fsspec.core.url_to_fs(pattern)
        # A file or a folder may really be called so.
        if not _BRACES.search(pattern) or fs.exists(path):
            return _matches(pattern, fs, path, listed)
    return [file for alternative in _alternatives(pattern) for file in expand(alternative, listed)]


def _alternatives(pattern: str) -> list[str]:
    """Return the patterns that one with braces stands for: {a,b} is a and b."""
    expanded = [pattern]
    while any(_BRACES.search(current) for current in expanded):
        expanded = [alternative for current in expanded for alternative in _first_brace(current)]
        if len(expanded) > _MOST:
            raise InputError(f"{pattern} expands to more than {_MOST:,} patterns")
    return list(dict.fromkeys(expanded))


def _first_brace(pattern: str) -> Iterator[str]:
    brace = _BRACES.search(pattern)
    if brace is None:
        yield pattern
        return
    for choice in brace[1].split(","):
        yield pattern[: brace.start()] + choice + pattern[brace.end() :]


def _matches(pattern: str, fs: Any, path: str, listed: Callable[[str], bool]) -> list[tuple[Any, str]]:
    # In a URL of the web a question mark begins the query, and asking whether it is a folder would download it.
    web = _WEB.match(pattern) is not None and "." in plain(path).rpartition("/")[2]
    if any(mark in plain(pattern) for mark in "*?[") and (web or not fs.isdir(path)):
        paths = [p for p in fs.glob(path) if not _passed_over(p, path) and not fs.isdir(p)]
        paths = paths or ([path] if fs.isfile(path) else [])
    elif not web and fs.isdir(path):
        files = _all(path) if isinstance(fs, LocalFileSystem) else fs.find(path)
        paths = [p for p in files if listed(p) and not _hidden(p[len(path) :].split("/"))]
    elif web:
        fs.info(path)  # which says why it cannot be read; whether it exists would only be no
        paths = [path]
    else:
        paths = [path] if fs.exists(path) else []
    if not paths:
        raise InputError(
            f"nothing matches {pattern}; give files, a folder or a pattern such as 'lists/*.parquet' or "
            "'crawl/*.warc.gz'"
        )
    return [(fs, p) for p in paths]


def _all(folder: str) -> list[str]:
    """Return all files below a folder of this machine; a folder that may not be read is an error, not no files."""

    def stop(error: OSError) -> None:
        raise error

    return [f"{at}/{name}" for at, _, names in os.walk(folder, onerror=stop, followlinks=True) for name in names]


def _hidden(parts: list[str]) -> bool:
    return any(part.startswith((".", "_")) for part in parts)


def _passed_over(path: str, pattern: str) -> bool:
    """Tell whether a pattern's match is hidden and not meant.

    As in a shell a wildcard does not stand for a dot at the beginning; nor does it for the _ of a folder, and ** for
    that of a file, which tools write beside the lists.
    """
    parts, pattern_parts = path.split("/"), pattern.split("/")
    if any("**" in want for want in pattern_parts):
        fixed = next(i for i, want in enumerate(pattern_parts) if any(mark in want for mark in "*?["))
        named = [want for want in pattern_parts if want.startswith((".", "_"))]
        return _hidden([p for p in parts[fixed:] if not any(fnmatchcase(p, want) for want in named)])
    pairs = list(zip(reversed(parts), reversed(pattern_parts), strict=False))
    signs = [(part[:1], want[:1]) for part, want in pairs if part != want]
    return any(part == "." != want for part, want in signs) or any(part == "_" != want for part, want in signs[1:])
