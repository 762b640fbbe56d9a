"""Lists of archives' paths, as Common Crawl publishes them: a path a line, below a prefix."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from align_data.common.errors import InputError, encodable
from align_data.sources.files.fs_errors import reaching

_GZIP = b"\x1f\x8b"
_LONGEST = 4_096
"""Bytes of a path."""
_LARGEST = 2**31
"""Bytes of a list, decompressed: that of a crawl has 15 MB."""


def paths(fs: Any, path: str, prefix: str | None) -> Iterator[str]:
    """Yield the URLs or paths that a list names; InputError for what cannot be one, with its line."""
    for number, line in enumerate(_lines(fs, path), 1):
        entry = line.strip()
        if not entry:
            continue
        try:
            yield _located(entry.decode(), prefix)
        except ValueError as error:
            raise InputError(f"line {number:,} of {path} {error}") from None


def _located(entry: str, prefix: str | None) -> str:
    """Return where an entry lies; ValueError, the end of a sentence, for one that cannot be."""
    if not encodable(entry) or not entry.isprintable():
        raise ValueError("is not the path of an archive")
    if entry.startswith(("https://", "http://", "s3://", "gs://", "hdfs://")):
        return entry
    if prefix is None:
        raise ValueError(
            f"is a path, {entry[:100]}, and nothing says where it begins: add --prefix, such as "
            "https://data.commoncrawl.org, s3://commoncrawl or a folder"
        )
    if "://" in entry or ".." in entry.split("/"):
        raise ValueError(f"leads out of --prefix: {entry[:100]}")
    return f"{prefix.rstrip('/')}/{entry.lstrip('/')}"


def _lines(fs: Any, path: str) -> Iterator[bytes]:
    size = number = 0
    with _sentence(path), fs.open(path, "rb") as stored:
        head = stored.read(len(_GZIP))
        stored.seek(0)
        lines = cast("BinaryIO", gzip.GzipFile(fileobj=stored)) if head == _GZIP else stored
        while line := lines.readline(_LONGEST + 1):
            size, number = size + len(line), number + 1
            if len(line) > _LONGEST or size > _LARGEST:
                raise InputError(f"line {number:,} of {path} is not the path of an archive: it is too long")
            yield line


@contextmanager
def _sentence(path: str) -> Iterator[None]:
    """Turn what is said of a list that cannot be read into an InputError that names it."""
    try:
        with reaching(path, "read"):
            yield
    except (EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path} to its end: {error}; download it again") from error
