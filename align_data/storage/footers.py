"""The footer of a part: what its writer has to say of it, under a seal that covers all of the footer.

Page checksums cover what is between; so no byte of a part can change without being noticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_FACTS = b"align_data.facts"
_OLD_FACTS = b"align_data"
_SEAL = b"align_data.seal"
_BLANK = b"0" * 64
_MARK = _SEAL + b"\x18\x40"
"""How Thrift's compact form writes the key and then that a text of 64 bytes follows."""
_MAGIC = b"PAR1"
_GUESS = 2**16


@dataclass(frozen=True)
class PartFooter:
    """The footer of a part."""

    metadata: pq.FileMetaData
    facts: dict[str, Any] | None
    """What the part was made of; None if it does not say."""
    seal: str | None
    """The SHA-256 of the footer, its own place blank; None for a part written before there were seals."""


def entries(facts: Mapping[str, Any]) -> dict[bytes, bytes]:
    """Return what a writer adds to a footer, for `sealed` to complete."""
    return {_FACTS: json.dumps(facts, sort_keys=True).encode(), _SEAL: _BLANK}


def sealed(end: bytes) -> tuple[bytes, str]:
    """Return the end of a file, all of its footer in it, with the seal in its place; and the seal."""
    size = int.from_bytes(end[-8:-4], "little") + 8
    footer = end[-size:-8]
    at = len(end) - size + footer.index(_MARK + _BLANK) + len(_MARK)
    seal = hashlib.sha256(footer).hexdigest()
    return end[:at] + seal.encode() + end[at + len(_BLANK) :], seal


def read(file: Any) -> PartFooter:
    """Read the footer of a Parquet file that is open for pyarrow; ValueError or ArrowInvalid where it is damaged."""
    end = file.size()
    file.seek(max(0, end - _GUESS))
    tail = file.read()
    size = int.from_bytes(tail[-8:-4], "little") + 8
    if tail[-4:] != _MAGIC or size > end:
        raise ValueError("it does not end as a Parquet file does")
    if size > len(tail):
        file.seek(end - size)
        tail = file.read()
    footer = bytes(tail[-size:-8])
    own_seal = _seal_of(footer)
    metadata = pq.read_metadata(pa.BufferReader(_MAGIC + tail[-size:]))
    entries_by_key = metadata.metadata or {}
    if own_seal is None and _FACTS in entries_by_key:
        raise ValueError("its footer has lost its seal")
    facts = entries_by_key.get(_FACTS, entries_by_key.get(_OLD_FACTS))
    return PartFooter(metadata, None if facts is None else dict(json.loads(facts)), own_seal)


def _seal_of(footer: bytes) -> str | None:
    """Return the seal of a footer, None if it has none; ValueError if the footer is not as it was sealed."""
    before, mark, after = footer.rpartition(_MARK)
    if not mark:
        return None
    digest = hashlib.sha256(before + mark + _BLANK + after[64:]).hexdigest()
    if after[:64] != digest.encode():
        raise ValueError("its footer is not as it was written")
    return digest
