"""FlatBuffers, as Arrow's messages and footers use them: read with bounds, believing nothing."""

from __future__ import annotations

import struct
from typing import Any

from align_data.sources.files.damage import DamagedError


class FlatTable:
    """One table: fields by number, each of a type that the reader must know. Raises DamagedError for what is outside.

    A field is None, or its default, where the table does not have it.
    """

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._fields = at - _unpack("<i", data, at)[0]
        self._size, _ = _unpack("<HH", data, self._fields)

    @staticmethod
    def root(data: bytes) -> FlatTable:
        """Return the table that a buffer is of."""
        return FlatTable(data, _unpack("<I", data, 0)[0])

    def _place(self, field: int) -> int | None:
        entry = 4 + 2 * field
        offset = _unpack("<H", self._data, self._fields + entry)[0] if entry + 2 <= self._size else 0
        return self._at + offset if offset else None

    def number(self, field: int, form: str, default: int = 0) -> int:
        """Return a number, stored as `struct` calls it."""
        place = self._place(field)
        return default if place is None else int(_unpack("<" + form, self._data, place)[0])

    def table(self, field: int) -> FlatTable | None:
        """Return a table in this one."""
        place = self._place(field)
        return None if place is None else FlatTable(self._data, _target(self._data, place))

    def tables(self, field: int) -> list[FlatTable]:
        """Return a vector of tables."""
        start, length = self._vector(field, 4)
        return [FlatTable(self._data, _target(self._data, start + 4 * i)) for i in range(length)]

    def structs(self, field: int, form: str) -> list[tuple[Any, ...]]:
        """Return a vector of structs or numbers, each stored as `struct` calls it."""
        size = struct.calcsize("<" + form)
        start, length = self._vector(field, size)
        return list(struct.iter_unpack("<" + form, self._data[start : start + size * length]))

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Return where the elements of a vector begin, and how many they are."""
        place = self._place(field)
        if place is None:
            return 0, 0
        start = _target(self._data, place)
        length = int(_unpack("<I", self._data, start)[0])
        if start + 4 + size * length > len(self._data):
            raise DamagedError("its metadata is truncated")
        return start + 4, length


def _target(data: bytes, place: int) -> int:
    """Return where an offset leads."""
    return int(place + _unpack("<I", data, place)[0])


def _unpack(form: str, data: bytes, at: int) -> tuple[Any, ...]:
    if at < 0 or at + struct.calcsize(form) > len(data):
        raise DamagedError("its metadata points outside itself")
    return struct.unpack_from(form, data, at)
