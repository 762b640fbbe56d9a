"""Finding the input files: paths, folders, globs and fsspec URLs."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import fsspec

from align_data.common.errors import InputError
from align_data.sources.crawl.kinds import is_archive
from align_data.sources.files.fs_errors import reaching
from align_data.sources.files.names import public, relative
from align_data.sources.files.patterns import expand, plain
from align_data.sources.lists import registry
from align_data.sources.lists.source import Source

_OF_DATASET = "_manifests/pairs.json"
"""What tells a dataset from other folders that have one called pairs."""
HASHED = 4 * 2**30
"""Bytes of lists on this machine that are hashed whole."""


def find(patterns: Iterable[str], but: str | None = None) -> list[Source]:
    """Return the files that paths, folders, globs and URLs name, each once, sorted by name; none below `but`.

    Raises InputError for a pattern that matches nothing, a file of an unknown format, and an empty file.
    """
    files: dict[str, tuple[Any, str]] = {}
    for pattern in patterns:
        matches = {fs.unstrip_protocol(path): (fs, path) for fs, path in _expanded(pattern)}
        files |= {name: file for name, file in matches.items() if but is None or not name.startswith(but)}
        if not any(name in files for name in matches):
            raise InputError(f"{pattern} is inside the dataset that would contain it")
        _refuse_pairs(pattern, [file for name, file in matches.items() if name in files])
    names = sorted(files)
    return [_source(*files[name], path) for name, path in zip(names, relative(names), strict=True)]


def _refuse_pairs(pattern: str, files: Iterable[tuple[Any, str]]) -> None:
    """Raise InputError for the pairs of a dataset, which are no list: one of them stands for several rows of a list."""
    for folder, fs in {path.rpartition("/")[0]: fs for fs, path in files}.items():
        above, _, name = folder.rpartition("/")
        if name == "pairs" and fs.exists(f"{above}/{_OF_DATASET}"):
            raise InputError(
                f"{pattern} is a dataset already, and how often a pair came would be lost: add other lists to it with "
                f"align-data add {shlex.quote(above)} LIST..., or give the lists that it was made of"
            )


def contents_of(sources: Sequence[Source]) -> list[str] | None:
    """Return the hash of each whole file, where that costs little: a file that was only touched is then known again."""
    if any(source.remote for source in sources) or sum(source.size for source in sources) > HASHED:
        return None
    return [source.content() for source in sources]


def _expanded(pattern: str) -> list[tuple[Any, str]]:
    """Return the files that a pattern names; InputError where these are none, or archives of a crawl alone."""
    try:
        matches = expand(pattern, registry.is_list)
    except InputError:
        if _has_archives(pattern):
            raise _archives(pattern) from None
        if _is_of_crawl(pattern):
            raise InputError(
                f"{pattern} is of a crawl that could not read any archive: run align-data crawl again"
            ) from None
        raise
    if all(is_archive(path) for _, path in matches):
        raise _archives(pattern)
    return matches


def _has_archives(pattern: str) -> bool:
    try:
        return bool(expand(pattern, is_archive))
    except InputError:
        return False


def _is_of_crawl(pattern: str) -> bool:
    """Tell whether a folder is that of a crawl's rows."""
    from align_data.sources.crawl.accounts import MARK  # noqa: PLC0415 - for a folder without lists alone

    with reaching(pattern):
        fs, path = fsspec.core.url_to_fs(pattern)
        return bool(fs.exists(f"{path.rstrip('/')}/{MARK}"))


def _archives(pattern: str) -> InputError:
    return InputError(
        f"{plain(pattern)} is of archives of a crawl, and not a list: align-data crawl makes rows of them, which are "
        "one; align-data run does both"
    )


def _source(fs: Any, path: str, name: str) -> Source:
    format_, codec = registry.by_name(path)
    with reaching(path, "look at"):
        size = fs.size(path)
    if format_ is None and size:
        with reaching(path, "read"):
            format_ = registry.by_content(fs.cat_file(path, 0, registry.HEAD))
        codec = None  # by its bytes it is not compressed, whatever it is called
    if format_ is None:
        raise registry.unknown(path)
    if size is None:
        raise InputError(f"{plain(path)}: its server does not report its size; download it first")
    if not size:
        raise InputError(f"{path} is empty, not even a header: leave it out")
    # Its name goes into the dataset, and is how rows are named.
    return Source(fs, path, public(fs, name), format_.name, codec, int(size))
