"""The manifest of a table: a small JSON file that is written last, and that says of itself whether it is whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from align_data import __version__
from align_data.common.errors import DatasetError

FORMAT = 3
"""The version of the folder layout that is written.

Format 1 had no checksums, in manifests and in parts; format 2 told parts by their SHA-256, and ledgers had uids.
"""
READ = (1, 2, FORMAT)
"""The versions that are read; any other is refused."""
NUMBER = Annotated[int, Field(ge=0, lt=2**62)]
HASH = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
XXH3 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
_STRICT = ConfigDict(strict=True, frozen=True, extra="forbid")


@dataclass(frozen=True)
class PartInfo:
    """A finished part."""

    rows: int
    bytes: int
    sha256: str | None
    """Of the file, as it was first written, by format 2 and before; None today."""
    footer: str | None = None
    """The seal of the file's footer, as it is now; None for a part written before there were seals."""
    xxh3: str | None = None
    """The xxh3_128 of the file, as it was first written; None for a table that nothing is derived from by content."""

    @property
    def identity(self) -> str | None:
        """What tells the part from another by its content, and what was derived from it goes by.

        A takedown takes rows' content out of the file and leaves this.
        """
        return self.sha256 or self.xxh3


class Meta(BaseModel):
    """What a stage has to say of a table in its manifest; further entries are kept as they are."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    def dump(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return self.model_dump(mode="json", exclude_unset=True)


M = TypeVar("M", bound=Meta)


@dataclass(frozen=True)
class Manifest(Generic[M]):
    """What a committed table holds: its parts in order and what its stage has to say of them."""

    table: str
    parts: tuple[PartInfo, ...]
    meta: M
    changing: bool = False
    """Whether parts are being replaced, so that they may be others than those named here."""

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self.parts)

    @cached_property
    def fingerprint(self) -> str:
        """Return a hash over the content of all parts."""
        return digest([part.identity for part in self.parts])


def digest(value: Any) -> str:
    """Return the sha256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def checked(value: Mapping[str, Any]) -> bytes:
    """Return a JSON object as the content of a file, with a checksum of the rest."""
    return (json.dumps({**value, "checksum": digest(value)}, indent=1) + "\n").encode()


def unchecked(
    content: bytes, where: str, advice: str = "the dataset is damaged", *, old: bool = True
) -> dict[str, Any]:
    """Return the JSON object in a file without its checksum; DatasetError if it is none, or not as it was written.

    One without a checksum is of an older version, and with `old` it is taken as it is.
    """
    try:
        value = _object(content)
        if not old and "checksum" not in value:
            raise ValueError("it has no checksum")
        return _whole(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise _damaged(where, error, advice) from error


def _object(content: bytes) -> dict[str, Any]:
    value = json.loads(content)
    if not isinstance(value, dict):
        raise TypeError("it is not a JSON object")
    return value


def _whole(value: dict[str, Any]) -> dict[str, Any]:
    checksum = value.pop("checksum", None)
    if checksum is not None and checksum != digest(value):
        raise ValueError("its checksum does not match")
    return value


def _damaged(where: str, error: Exception, advice: str) -> DatasetError:
    return DatasetError(f"{where} cannot be understood: {' '.join(str(error).split())[:200]}; {advice}")


class _StoredPart(BaseModel):
    model_config = _STRICT

    rows: NUMBER
    bytes: NUMBER
    sha256: HASH | None
    footer: HASH | None = None
    xxh3: XXH3 | None = None


class _StoredManifest(BaseModel):
    model_config = _STRICT

    align_data: str
    format: int
    table: str
    rows: NUMBER
    meta: dict[str, Any]
    parts: list[_StoredPart]
    changing: bool = False


def dump(table: str, parts: Sequence[PartInfo], meta: Meta, *, changing: bool = False) -> bytes:
    """Return the manifest as a file."""
    content = {
        "align_data": __version__,
        "format": FORMAT,
        "table": table,
        "rows": sum(part.rows for part in parts),
        "meta": meta.dump(),
        "parts": [asdict(part) for part in parts],
        **({"changing": True} if changing else {}),
    }
    return checked(content)


def load(content: bytes, where: str, table: str, meta: type[M], redo: str) -> Manifest[M]:
    """Return the manifest of `table` in a file called `where`, with what its stage says as `meta`.

    `redo` says how to do without a manifest that cannot be read.

    Raises DatasetError if it is of another format version or cannot be understood.
    """
    advice = "the dataset is damaged"
    try:
        value = _object(content)
        version, by = value["format"], value.get("align_data")
        written = by if isinstance(by, str) and len(by) < 100 else "unknown"
        if not isinstance(version, int) or isinstance(version, bool):
            raise TypeError("its format is not a number")
        if version not in READ:
            raise DatasetError(
                f"{where} has format {str(version)[:20]}; align-data {__version__} reads format {FORMAT}, 2 and 1: "
                f"use the version that wrote it ({written})"
            )
        if version != 1 and "checksum" not in value:
            raise ValueError("it has no checksum")
        value = _whole(value)
    except KeyError as error:
        raise _damaged(where, ValueError(f"it has no {error.args[0]}"), advice) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise _damaged(where, error, advice) from error
    try:
        stored = _StoredManifest.model_validate(value)
        if stored.table != table or stored.rows != sum(part.rows for part in stored.parts):
            raise DatasetError(
                _of_another_form(
                    where, f"it is of the table {stored.table[:100]!r} with {stored.rows} rows", written, redo
                )
            )
        typed = meta.model_validate(stored.meta)
    except ValidationError as error:
        mistake = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in mistake["loc"])[:100]
        why = f"{place}: the entry is missing" if mistake["type"] == "missing" else f"{place}: {mistake['msg']}"
        raise DatasetError(_of_another_form(where, why, written, redo)) from error
    return Manifest(table, tuple(PartInfo(**dict(part)) for part in stored.parts), typed, stored.changing)


def _of_another_form(where: str, why: str, written: str, redo: str) -> str:
    return (
        f"{where} is not a manifest as align-data {__version__} writes it: {why}; it is damaged, or of an "
        f"early version: use the one that wrote it ({written}), or {redo}"
    )
