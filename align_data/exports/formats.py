"""All formats of exports: the one place that a new format is named in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from align_data.common.errors import DatasetError, nearest
from align_data.common.registry import registry
from align_data.exports import files, parquet, uids, webdataset
from align_data.exports.shard_format import ExportFormat
from align_data.storage.names import SPLIT, NamePattern, display

_ALL = (webdataset.FORMAT, parquet.FORMAT, files.FORMAT, parquet.METADATA, uids.FORMAT)
FORMATS: Mapping[str, ExportFormat] = registry("formats of exports", ((format_.name, format_) for format_ in _ALL))
READ = tuple(format_ for format_ in _ALL if format_.read is not None)
_BY_ENDING = registry("formats with shards", ((format_.ending, format_) for format_ in READ))
ENDINGS = "|".join(re.escape(ending) for ending in _BY_ENDING if ending)
"""Of shards that are files, as a pattern."""
SHARD = NamePattern(
    rf"(?:{SPLIT.pattern}/)?(?:[A-Za-z0-9][A-Za-z0-9._-]{{0,199}}(?:{ENDINGS})|[0-9]{{5,12}})",
    "a shard in its folder, such as 00000.tar",
)


def format_called(name: object, where: str = "") -> ExportFormat:
    """Return the format of this name; DatasetError, which begins with `where` it stands, for any other."""
    if isinstance(name, str) and name in FORMATS:
        return FORMATS[name]
    near = nearest(name, FORMATS) if isinstance(name, str) else ""
    begin = f"{where}: " if where else ""
    raise DatasetError(f"{begin}{display(name)} is not a format of exports{near}: there are {', '.join(FORMATS)}")


def format_of(name: str) -> ExportFormat | None:
    """Return the format that has shards of this name, wherever they come from; None where none has."""
    ending = name.rpartition(".")[1] + name.rpartition(".")[2] if "." in name else ""
    format_ = _BY_ENDING.get(ending)
    return format_ if format_ is not None and (ending or format_.form.fits(name)) else None


def described(names: Iterable[str]) -> str:
    """Return what a help text says of formats."""
    return " ".join(f"{name}: {FORMATS[name].about}." for name in names)
