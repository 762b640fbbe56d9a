"""What names came to, remembered for as long as it holds: by each process, and by all on a machine together.

What they share is a file of slots of one size, and a name has its slot by its hash: a name that comes to a taken one
takes it over. So the file never grows, and nobody waits for a lock: of a slot that two processes write at once the
checksum is wrong, and the name is looked up again.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

NAMES = "names.log"
_IN_PROCESS = 10_000
"""Names that a process remembers by itself."""
_SLOTS = 2**17
_HASH = 16
_CHECK = 8
_HEAD = struct.Struct(f"<{_HASH}sdiH")
"""A name's hash, until when it holds, the error's number or 0, how many bytes follow."""
_ADDRESS = struct.Struct("<B16s")
_SLOT = 256
MOST_ADDRESSES = (_SLOT - _CHECK - _HEAD.size) // _ADDRESS.size
"""Addresses of a name that are remembered."""
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True)
class Remembered:
    """What a name came to."""

    until: float
    """Seconds since the epoch."""
    addresses: Sequence[str] = ()
    error: int = 0
    """The number of a gaierror, where it came to nothing."""
    reason: str = ""


class NameTable:
    """The file."""

    def __init__(self, path: Path, slots: int = _SLOTS) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        self._slots = slots

    def get(self, name: str) -> Remembered | None:
        """Return what a name came to; None if nobody knows it, or not any more."""
        key = _hash(name)
        slot = os.pread(self._file, _SLOT, self._place(key))
        if len(slot) < _SLOT or _checksum(slot[_CHECK:]) != slot[:_CHECK]:
            return None
        known, until, error, size = _HEAD.unpack_from(slot, _CHECK)
        if known != key or until <= time.time():
            return None
        content = slot[_CHECK + _HEAD.size :][:size]
        if error:
            return Remembered(until, (), error, content.decode(errors="ignore"))
        return Remembered(until, [_unpacked(*fields) for fields in _ADDRESS.iter_unpack(content)])

    def put(self, name: str, remembered: Remembered) -> None:
        """Let all know what a name came to."""
        key = _hash(name)
        content = (
            remembered.reason.encode()[: _SLOT - _CHECK - _HEAD.size]
            if remembered.error
            else b"".join(map(_packed, remembered.addresses[:MOST_ADDRESSES]))
        )
        slot = _HEAD.pack(key, remembered.until, remembered.error, len(content)) + content
        slot = slot.ljust(_SLOT - _CHECK, b"\0")
        with suppress(OSError):  # of a full disk: then every process asks for itself
            os.pwrite(self._file, _checksum(slot) + slot, self._place(key))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _place(self, key: bytes) -> int:
        return int.from_bytes(key[:8]) % self._slots * _SLOT


class NameCache:
    """What one process knows of names, and what others do if there is a table."""

    def __init__(self, table: NameTable | None = None) -> None:
        self._table = table
        self._own: OrderedDict[str, Remembered] = OrderedDict()

    def get(self, name: str) -> Remembered | None:
        """Return what a name came to, if that still holds."""
        known = self._own.get(name)
        if known is not None and known.until > time.time():
            return known
        known = None if self._table is None else self._table.get(name)
        if known is not None:
            self._keep(name, known)
        return known

    def put(self, name: str, remembered: Remembered) -> None:
        """Remember what a name came to."""
        self._keep(name, remembered)
        if self._table is not None:
            self._table.put(name, remembered)

    def close(self) -> None:
        """Close the table."""
        if self._table is not None:
            self._table.close()

    def _keep(self, name: str, remembered: Remembered) -> None:
        self._own[name] = remembered
        self._own.move_to_end(name)
        if len(self._own) > _IN_PROCESS:
            self._own.popitem(last=False)


def _hash(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=_HASH).digest()


def _checksum(slot: bytes) -> bytes:
    return blake2b(slot, digest_size=_CHECK).digest()


def _packed(address: str) -> bytes:
    kind = 6 if ":" in address else 4
    return _ADDRESS.pack(kind, socket.inet_pton(_FAMILIES[kind], address.partition("%")[0]))


def _unpacked(kind: int, octets: bytes) -> str:
    return socket.inet_ntop(_FAMILIES[kind], octets[:4] if kind == 4 else octets)
