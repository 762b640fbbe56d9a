"""Thrift's compact protocol, as Parquet's footers and page headers use it: read with bounds, believing nothing."""

from __future__ import annotations

from typing import Any

from align_data.sources.files.damage import DamagedError

_DEPTH = 64
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = range(1, 14)


class TruncatedError(DamagedError):
    """A structure that goes on behind the bytes at hand."""


def structure(data: bytes, at: int = 0) -> tuple[dict[int, Any], int]:
    """Return the structure that begins at `at`, its fields by number, and where it ends.

    Integers are int, binaries bytes, lists and sets list, structures dict. Raises DamagedError for what is not Thrift.
    """
    reader = _Reader(data, at)
    return reader.structure(0), reader.at


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at

    def structure(self, depth: int) -> dict[int, Any]:
        if depth > _DEPTH:
            raise DamagedError("its metadata is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            kind = head & 15
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_I16, _I32, _I64):
            return self._signed()
        if kind in (_BYTE, _TRUE, _FALSE):  # in a list a boolean is a byte
            return self._byte()
        if kind in (_BINARY, _DOUBLE, _UUID):
            return self._take({_DOUBLE: 8, _UUID: 16}.get(kind) or self._varint())
        nested = {_STRUCT: self.structure, _LIST: self._list, _SET: self._list, _MAP: self._map}.get(kind)
        if nested is None:
            raise DamagedError(f"its metadata has a value of an unknown kind, {kind}")
        return nested(depth + 1)

    def _list(self, depth: int) -> list[Any]:
        if depth > _DEPTH:
            raise DamagedError("its metadata is nested too deeply")
        head = self._byte()
        length = self._varint() if head >> 4 == 15 else head >> 4
        self._afford(length)
        kind = head & 15
        return [self._value(kind, depth) for _ in range(length)]

    def _map(self, depth: int) -> list[tuple[Any, Any]]:
        if depth > _DEPTH:
            raise DamagedError("its metadata is nested too deeply")
        length = self._varint()
        self._afford(length)
        kinds = self._byte() if length else 0
        return [(self._value(kinds >> 4, depth), self._value(kinds & 15, depth)) for _ in range(length)]

    def _afford(self, values: int) -> None:
        """Refuse more values than bytes are left: each takes one at least."""
        if values > len(self.data) - self.at:
            raise TruncatedError("its metadata is truncated")

    def _take(self, length: int) -> bytes:
        self._afford(length)
        self.at += length
        return self.data[self.at - length : self.at]

    def _byte(self) -> int:
        if self.at >= len(self.data):
            raise TruncatedError("its metadata is truncated")
        self.at += 1
        return self.data[self.at - 1]

    def _varint(self) -> int:
        value = self._byte()
        if value < 128:
            return value
        value &= 127
        for shift in range(7, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise DamagedError("its metadata has a number of more than 64 bits")

    def _signed(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
