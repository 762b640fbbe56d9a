"""All formats of lists: the one place that a new format is named in."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

from align_data.common.errors import InputError, nearest
from align_data.common.registry import registry
from align_data.sources.files.patterns import plain
from align_data.sources.lists import arrow, delimited, jsonl, parquet
from align_data.sources.lists.input_format import InputFormat

_ALL = (parquet.FORMAT, delimited.CSV, delimited.TSV, jsonl.FORMAT, arrow.FORMAT)
FORMATS: Mapping[str, InputFormat] = registry("formats of lists", ((format_.name, format_) for format_ in _ALL))
ENDINGS: Mapping[str, InputFormat] = registry(
    "formats of lists", ((ending, format_) for format_ in _ALL for ending in format_.endings)
)
CODECS = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
HEAD = max(len(magic) for format_ in _ALL for magic in format_.magic)
"""Bytes that tell a file whose name does not."""


def by_name(path: str) -> tuple[InputFormat | None, str | None]:
    """Return the format that a file's name says, and the codec that it is compressed with; None for what it does not.

    Raises InputError for a format that is not read where it is compressed.
    """
    ending, codec = _endings(path)
    format_ = ENDINGS.get(ending)
    if format_ is not None and codec and not format_.compressed:
        raise unknown(path)
    return format_, codec


def by_content(head: bytes) -> InputFormat | None:
    """Return the format that a file of these first bytes has, where they tell."""
    return next((format_ for format_ in _ALL if any(head.startswith(magic) for magic in format_.magic)), None)


def unknown(path: str) -> InputError:
    """Return what is raised for a file of no format of these."""
    ending, _ = _endings(path)
    packed = joined([format_.title for format_ in _ALL if format_.compressed], "and")
    return InputError(
        f"{path} is not in a known format{nearest(ending, ENDINGS)}: known are {', '.join(ENDINGS)}; {packed} also "
        f"with {', '.join(CODECS)} behind"
    )


def is_list(path: str) -> bool:
    """Tell whether a file of a folder is a list, by its name; .json is what tools call all that lies beside lists."""
    ending, _ = _endings(path)
    return ending in ENDINGS and ending not in ENDINGS[ending].ambiguous


def described() -> str:
    """Return the formats as a sentence of a help text has them."""
    titles = joined([format_.title for format_ in _ALL], "or")
    packed = joined([format_.title for format_ in _ALL if format_.compressed], "and")
    return f"{titles}; {packed} also as .gz or .zst"


def with_option(name: str) -> list[str]:
    """Return the names of the formats that an option of `Reading` is for."""
    return [format_.name for format_ in _ALL if name in format_.options]


def titles(option: str) -> str:
    """Return the titles of the formats that an option of `Reading` is for, as a help text lists them."""
    return joined([FORMATS[name].title for name in with_option(option)], "and")


def joined(words: Iterable[str], conjunction: str) -> str:
    """Return some words as a sentence lists them."""
    *before, final = words
    return f"{', '.join(before)} {conjunction} {final}" if before else final


def _endings(path: str) -> tuple[str, str | None]:
    """Return the ending that says a path's format, and the codec of the one behind it."""
    stem, ending = posixpath.splitext(plain(path).lower())
    if ending in CODECS:
        return posixpath.splitext(stem)[1], CODECS[ending]
    return ending, None
