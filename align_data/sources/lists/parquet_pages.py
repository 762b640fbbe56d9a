"""The pages of a Parquet column chunk, by their headers: how large they are before anything is decoded."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from align_data.sources.files.damage import DamagedError
from align_data.sources.lists.parquet_footer import BYTE_ARRAY, FIXED, Chunk
from align_data.sources.lists.thrift import TruncatedError, structure

PAGE = 16 * 2**20
"""Bytes of a page that is always decoded whole."""
_RATIO = 64
"""A larger page is decoded whole if it is not so many times what is stored of it."""
_HEADER = 2**24
_SMALL = 2**14
"""Bytes of a dictionary that is not looked into."""
DATA, _INDEX, DICTIONARY, DATA_V2 = range(4)
PLAIN, PLAIN_DICTIONARY, DELTA_BYTE_ARRAY, RLE_DICTIONARY = 0, 2, 7, 8
CODECS = {0: None, 1: "snappy", 2: "gzip", 4: "brotli", 5: "lz4_hadoop", 6: "zstd", 7: "lz4_raw"}
_LEVEL_RLE = 3
_LENGTH = struct.Struct("<I")
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Page:
    """One page: where its content lies, how large it is stored and decoded, and how many values it has."""

    kind: int
    offset: int
    stored: int
    size: int
    values: int
    encoding: int
    levels: tuple[int, int] | None
    """Bytes of its repetition and definition levels where the header says it (version 2), and its values follow."""
    compressed: bool
    rle: bool
    """Whether its levels are run-length encoded, as they are today."""

    @property
    def coded(self) -> bool:
        """Whether its values are numbers of a dictionary."""
        return self.encoding in (PLAIN_DICTIONARY, RLE_DICTIONARY)

    @property
    def large(self) -> bool:
        """Whether it is too large to be decoded whole."""
        return self.size > max(PAGE, _RATIO * self.stored)


def pages(file: Any, chunk: Chunk) -> Iterator[Page]:
    """Yield the pages of a chunk in order; DamagedError if they are not what its footer says."""
    at, end, values = chunk.offset, chunk.offset + chunk.size, 0
    while values < chunk.values:
        fields, at = _header(file, at, end)
        page = _page(fields, at)
        at += page.stored
        if at > end:
            raise DamagedError("a page extends past the end of its column")
        if page.kind != DICTIONARY:
            values += page.values
        if page.kind != _INDEX:
            yield page
    if values != chunk.values:
        raise DamagedError(f"its column {'.'.join(chunk.leaf.path)} has more values than it declares")


def _header(file: Any, at: int, end: int) -> tuple[dict[int, Any], int]:
    """Return the header of the page at `at` and where its content begins."""
    length = 2**10
    while True:
        file.seek(at)
        data = file.read(min(length, end - at))
        try:
            fields, size = structure(data)
        except TruncatedError:
            if length >= min(end - at, _HEADER):
                raise
            length *= 16
        else:
            return fields, at + size


def _page(fields: dict[int, Any], at: int) -> Page:
    kind = _number(fields, 1)
    if kind > DATA_V2:
        raise DamagedError(f"it has a page of an unknown kind, {kind}")
    head = fields.get({DATA: 5, _INDEX: 6, DICTIONARY: 7, DATA_V2: 8}[kind], {})
    size, stored = _number(fields, 2), _number(fields, 3)
    if kind == _INDEX:
        return Page(kind, at, stored, size, 0, PLAIN, None, False, True)
    levels, rle = None, kind != DATA or (_number(head, 3) == _LEVEL_RLE and _number(head, 4) == _LEVEL_RLE)
    if kind == DATA_V2:
        levels = _number(head, 6), _number(head, 5)
        if sum(levels) > min(size, stored):
            raise DamagedError("the levels of a page are larger than the page")
    compressed = bool(head.get(7, True)) if kind == DATA_V2 else True
    return Page(
        kind, at, stored, size, _number(head, 1), _number(head, 4 if kind == DATA_V2 else 2), levels, compressed, rle
    )


def _number(fields: Any, field: int) -> int:
    value = fields.get(field) if isinstance(fields, dict) else None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise DamagedError(f"a number of a page's header is {value}")
    return value


def content(file: Any, page: Page, codec: int) -> bytes:
    """Return the content of a page that is not large, decompressed; version 2's levels, which never are, left out."""
    skip = sum(page.levels or ())
    file.seek(page.offset + skip)
    data = file.read(page.stored - skip)
    name = CODECS.get(codec)
    if name is None or not page.compressed or page.size == skip:
        return bytes(data)
    if name.startswith("lz4"):
        name = "lz4_raw"
    return pa.Codec(name).decompress(data, page.size - skip, asbytes=True)  # type: ignore[no-any-return]


def longest(data: bytes, entries: int) -> int:
    """Return the length of the longest of the plain values in `data`."""
    at = maximum = 0
    unpack = _LENGTH.unpack_from
    try:
        for _ in range(entries):  # what an ordinary list pays for its bounds: as little as can be is done here
            (length,) = unpack(data, at)
            at += 4 + length
            if length > maximum:  # noqa: PLR1730 - twice as fast as max
                maximum = length
    except struct.error:
        at = len(data) + 1
    if at > len(data):
        raise DamagedError("the values of a page extend past its end")
    return maximum


def hybrid(data: bytes, width: int, count: int) -> Numbers:
    """Return `count` numbers of `width` bits that are run-length encoded or packed."""
    numbers = np.zeros(count, np.int64)
    if width > 32:
        raise DamagedError(f"the numbers of a page have {width} bits")
    at = got = 0
    size = (width + 7) // 8
    while got < count and width:
        head, at = _varint(data, at)
        run = min((head >> 1) * (8 if head & 1 else 1), count - got)
        if head & 1:
            numbers[got : got + run] = _unpack(data[at : at + (run * width + 7) // 8], width, run)
        else:
            numbers[got : got + run] = int.from_bytes(data[at : at + size], "little")
        at += (head >> 1) * width if head & 1 else size
        if not run:
            raise DamagedError("the levels or indices of a page are truncated")
        got += run
    return numbers


def _unpack(packed: bytes, width: int, count: int) -> Numbers:
    """Return numbers of `width` bits, some at a time: each is 64 bits for each of its bits on the way."""
    if len(packed) * 8 < count * width:
        raise DamagedError("the levels or indices of a page are truncated")
    numbers = np.empty(count, np.int64)
    raw = np.frombuffer(packed, np.uint8)
    weights = np.int64(1) << np.arange(width, dtype=np.int64)
    for start in range(0, count, 2**16):  # a multiple of eight: each begins at a byte
        length = min(2**16, count - start)
        bits = np.unpackbits(raw[start * width // 8 :], count=length * width, bitorder="little")
        numbers[start : start + length] = bits.reshape(-1, width) @ weights
    return numbers


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(data):
            break
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    raise DamagedError("the levels or indices of a page are truncated")


def row_starts(file: Any, page: Page, chunk: Chunk) -> Numbers:
    """Return the values of a page of lists at which a row begins, by its repetition levels."""
    width = chunk.leaf.repetition.bit_length()
    if page.levels is not None:
        file.seek(page.offset)
        data = bytes(file.read(page.levels[0]))
    elif page.rle:
        whole = content(file, page, chunk.codec)
        data = whole[4 : 4 + int.from_bytes(whole[:4], "little")]
    else:
        raise DamagedError("its levels use the obsolete encoding BIT_PACKED")
    return np.flatnonzero(hybrid(data, width, page.values) == 0)


def widest(file: Any, page: Page, chunk: Chunk) -> int:
    """Return how long a value of a dictionary, at most, can be."""
    if chunk.leaf.type != BYTE_ARRAY:
        return chunk.leaf.width if chunk.leaf.type == FIXED else 12
    if page.size < _SMALL or CODECS.get(chunk.codec) == "lz4_hadoop":
        return page.size
    return longest(content(file, page, chunk.codec), page.values)


class Bounds:
    """How many bytes some consecutive values of a chunk can be, by its pages; none of them is large."""

    def __init__(self, file: Any, chunk: Chunk, all_pages: Sequence[Page]) -> None:
        data = [page for page in all_pages if page.kind != DICTIONARY]
        words = [page for page in all_pages if page.kind == DICTIONARY]
        shared = [page.size for page in data if page.encoding == DELTA_BYTE_ARRAY]
        self.widest = max([0, *(widest(file, page, chunk) for page in words), *shared])
        """Bytes of a value whose length the page's size does not bound: of a dictionary, or sharing its beginning."""
        self.largest = max((page.size for page in all_pages), default=0)
        self._starts = np.cumsum([0, *(page.values for page in data)])
        self._sizes = np.cumsum([0, *(0 if page.coded else page.size for page in data)])
        self._rows: Numbers | None = None
        if chunk.leaf.repetition:
            starts = [row_starts(file, page, chunk) + start for page, start in zip(data, self._starts, strict=False)]
            self._rows = np.concatenate([*starts, self._starts[-1:]])

    def of(self, rows: int) -> int:
        """Return how many bytes any so many rows in a row can be, at most."""
        values = rows
        if self._rows is not None:
            ends = np.minimum(np.arange(len(self._rows)) + rows, len(self._rows) - 1)
            values = int((self._rows[ends] - self._rows).max(initial=0))
        stops = self._starts[1:] + values - 1  # behind the values that begin with a page's last
        pages_ = np.searchsorted(self._starts, stops, side="left").clip(max=len(self._starts) - 1)
        plain = int((self._sizes[pages_] - self._sizes[:-1]).max(initial=0))
        return plain + values * self.widest
