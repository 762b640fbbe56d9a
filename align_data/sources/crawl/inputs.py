"""Finding archives: files, folders, patterns, fsspec URLs, and lists of paths, of which a share can be sampled."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from isal import isal_zlib
from xxhash import xxh3_64

from align_data.common.errors import InputError
from align_data.sources.crawl.archive import Archive
from align_data.sources.crawl.kinds import is_archive, is_paths, refusal, refusal_of_content
from align_data.sources.crawl.path_lists import paths
from align_data.sources.crawl.settings import Kind
from align_data.sources.files.fs_errors import reaching
from align_data.sources.files.names import public, relative
from align_data.sources.files.patterns import expand, plain

_HEAD = 4_096
"""Bytes that tell a file whose name does not."""
_STEM = 150
"""Characters of the name of an archive's table."""


@dataclass(frozen=True)
class ArchiveSelection:
    """Which archives are read, and as what."""

    kind: Kind | None = None
    """What all are read as; None where their records say it."""
    prefix: str | None = None
    """Where the paths of lists begin."""
    share: float | None = None
    """Of all archives those that are read; None for all."""
    seed: int = 0


def find_archives(
    patterns: Sequence[str],
    selection: ArchiveSelection = ArchiveSelection(),
    but: str | None = None,
) -> tuple[list[Archive], list[str]]:
    """Return the archives that inputs name, each once, sorted by name, but for those below `but`; and notes on them.

    Raises InputError for a pattern that matches nothing, and for what is not an archive. No archive of a list of paths
    is looked at: there may be tens of thousands.
    """
    files: dict[str, tuple[Any, str, int | None]] = {}
    passed_over: list[str] = []
    lists = 0
    for pattern in patterns:
        matches = expand(pattern, lambda path: is_archive(path) or _notable(path, passed_over))
        for fs, path in matches:
            full = str(fs.unstrip_protocol(path))
            if but is not None and full.startswith(but):
                continue
            if is_paths(path):
                lists += 1
                files |= {each: (None, each, None) for each in map(_readable, paths(fs, path, selection.prefix))}
            else:
                files[full] = _checked(fs, path, selection.kind)
    if not files:
        raise InputError(f"no archive is named by {', '.join(patterns)}")
    if selection.prefix is not None and not lists:
        raise InputError("--prefix is for lists of paths, such as warc.paths.gz, and no input is one: omit it")
    notes = [_note(passed_over)] if passed_over else []
    archives = _named(files, selection.kind)
    return _sampled(archives, selection), notes


def _notable(path: str, passed_over: list[str]) -> bool:
    """Remember a file of a folder that is of a crawl, and not read; it is not taken for one that is."""
    if refusal(path) or is_paths(path):
        passed_over.append(path)
    return False


def _note(passed_over: Sequence[str]) -> str:
    further = f" and {len(passed_over) - 1:,} more" if len(passed_over) > 1 else ""
    why = refusal(passed_over[0]) or "is a list of paths: name it as an input of its own"
    return f"passed over: {passed_over[0]}{further}, which {why}" if further else f"passed over: {passed_over[0]} {why}"


def _readable(path: str) -> str:
    """Return a path; InputError for one whose name says that it is not read."""
    why = refusal(path)
    if why:
        raise InputError(f"{plain(path)} {why}")
    return path


def _checked(fs: Any, path: str, kind: Kind | None) -> tuple[Any, str, int | None]:
    """Return a file that is named or matched; InputError where it is not an archive, by its name or else its bytes."""
    _readable(path)
    size = None
    if isinstance(fs, LocalFileSystem):
        with reaching(path, "look at"):
            size = int(fs.size(path))
    if kind is None and not is_archive(path):
        with reaching(path, "read"):
            head = fs.cat_file(path, 0, _HEAD)
        why = refusal_of_content(_inflated(head))
        if why:
            raise InputError(f"{plain(path)} {why}; or say what it is with --from")
    return fs, path, size


def _inflated(head: bytes) -> bytes:
    """Return the first bytes of what a file holds, as far as its first bytes tell."""
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        return bytes(isal_zlib.decompressobj(31).decompress(head, _HEAD))
    except isal_zlib.error:  # type: ignore[misc]  # it is of C
        return head


def _named(files: dict[str, tuple[Any, str, int | None]], kind: Kind | None) -> list[Archive]:
    """Return archives under names that say which is which, also where two are called alike in two folders."""
    full = sorted(files)
    names = relative(full)
    bases = Counter(name.rpartition("/")[2] for name in names)
    stems = Counter(map(_stem, names))
    archives = []
    for each, name in zip(full, names, strict=True):
        fs, path, size = files[each]
        shown, base = public(fs, name), name.rpartition("/")[2]
        stem = _stem(name)
        if stems[stem] > 1 or stem != re.sub(r"\.gz$", "", base):
            stem = f"{stem}-{xxh3_64(name.encode()).hexdigest()[:8]}"
        crawl_file = shown.rpartition("/")[2] if bases[base] == 1 else shown
        archives.append(Archive(path, shown, crawl_file, stem, kind, size, fs))
    if len({archive.stem for archive in archives}) < len(archives):
        raise InputError("two archives would have tables of the same name: rename one, or crawl them apart")
    return archives


def _stem(name: str) -> str:
    """Return what the table of an archive can be called, by its name."""
    base = re.sub(r"\.gz$", "", name.rpartition("/")[2])
    return re.sub(r"[^A-Za-z0-9.=+_-]", "_", base).lstrip("._")[:_STEM] or "archive"


def _sampled(archives: list[Archive], selection: ArchiveSelection) -> list[Archive]:
    """Return a share of archives, at least one: a larger share has all of a smaller one.

    Which they are follows from their file names and the seed, so every machine takes the same, wherever they lie there.
    """
    if selection.share is None:
        return archives
    number = max(1, round(len(archives) * selection.share))

    def place(archive: Archive) -> tuple[int, str]:
        base = archive.name.rpartition("/")[2]
        return xxh3_64(f"{selection.seed}\0{base}".encode()).intdigest(), archive.name

    return sorted(sorted(archives, key=place)[:number], key=lambda archive: archive.name)
