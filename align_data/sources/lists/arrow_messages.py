"""The messages of an Arrow IPC file or stream, one behind the other: nothing of a body is read before it is checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from align_data.sources.files.damage import DamagedError
from align_data.sources.lists.flatbuffers import FlatTable

FILE_MAGIC = b"ARROW1"
_FEATHER_1 = b"FEA1"
_MARK = b"\xff\xff\xff\xff"
SCHEMA, DICTIONARY, BATCH = 1, 2, 3
_METADATA = 2**28
"""Bytes that the metadata of a message may have."""
_ROWS = 10_000_000
"""Rows that a batch of any size may claim; one of more must have a byte for each."""
CODECS = {0: "lz4", 1: "zstd"}


@dataclass(frozen=True)
class ArrowMessage:
    """One message: what it is, its metadata, and where in the file its body lies."""

    kind: int
    header: FlatTable
    metadata: bytes
    body: int
    size: int
    """Bytes of the body."""


@dataclass(frozen=True)
class StoredBuffer:
    """Where the bytes of a buffer lie in the file, and the codec they are compressed with, if they are."""

    offset: int
    size: int
    codec: str | None


@dataclass(frozen=True)
class StoredBatch:
    """What a record batch says of itself: its rows, the length of each of its arrays, and their buffers."""

    rows: int
    lengths: tuple[int, ...]
    buffers: tuple[StoredBuffer, ...]
    variadic: tuple[int, ...]
    """How many buffers of values each array of views has, in their order."""


@dataclass(frozen=True)
class ArrowFile:
    """What a file or a stream holds: its schema, the number of each column's dictionary, and its messages in order."""

    schema: pa.Schema
    dictionaries: tuple[int | None, ...]
    """None for a column that has none."""
    messages: Iterator[ArrowMessage]


def opened(file: Any) -> ArrowFile:
    """Read the schema of an open file or stream; DamagedError for what is neither, then and where a message is."""
    size = file.size()
    head = _read(file, 0, min(size, len(FILE_MAGIC)))
    if head[:4] == _FEATHER_1:
        raise DamagedError("it is Feather version 1, as it was before 2020; write it again as version 2 or as Parquet")
    if head == FILE_MAGIC:
        start, footer = _footer(file, size)
        file.seek(0)
        schema, table = pa.ipc.open_file(file).schema, footer.table(1)
        return _arrow_file(schema, table, _named(file, footer, start))
    stream = _stream(file, size)
    schema_message = next(stream, None)
    if schema_message is None or schema_message.kind != SCHEMA:
        raise DamagedError("it does not begin with a schema")
    length = len(schema_message.metadata).to_bytes(4, "little")
    schema = pa.ipc.read_schema(pa.BufferReader(_MARK + length + schema_message.metadata))
    return _arrow_file(schema, schema_message.header, stream)


def _arrow_file(schema: pa.Schema, table: FlatTable | None, messages: Iterator[ArrowMessage]) -> ArrowFile:
    encodings = [field.table(4) for field in table.tables(1)] if table is not None else []
    if table is None or len(encodings) != len(schema):
        raise DamagedError("its schema does not add up")
    if table.number(0, "h"):
        raise DamagedError("its numbers are big-endian; write it again on a little-endian machine")
    return ArrowFile(schema, tuple(None if e is None else e.number(0, "q") for e in encodings), messages)


def _stream(file: Any, end: int) -> Iterator[ArrowMessage]:
    """Yield the messages of a stream up to the mark that ends it."""
    at = 0
    while (message := _message(file, at, end)) is not None:
        yield message
        at = message.body + message.size


def _named(file: Any, footer: FlatTable, end: int) -> Iterator[ArrowMessage]:
    """Yield the messages that a file's footer names: dictionaries first."""
    for field, kind in ((2, DICTIONARY), (3, BATCH)):
        free = len(FILE_MAGIC)
        for offset, _, size in footer.structs(field, "qi4xq"):
            if not free <= offset < end:
                raise DamagedError("its footer names a record batch that lies in another, or outside of the file")
            message = _message(file, offset, end)
            if message is None or (message.kind, message.size) != (kind, size):
                raise DamagedError("its footer does not say what its record batches are")
            yield message
            free = message.body + message.size


def _message(file: Any, at: int, end: int) -> ArrowMessage | None:
    """Return the message that begins at `at`, None for the mark that ends a stream."""
    prefix = _read(file, at, min(8, end - at))
    if len(prefix) < 4:
        raise DamagedError("it has no end: what wrote it was killed, or it was cut; write it again")
    marked = prefix[:4] == _MARK  # which came with Arrow 0.15
    length = int.from_bytes(prefix[4:8] if marked else prefix[:4], "little", signed=True)
    start = at + (8 if marked else 4)
    if length == 0 and len(prefix) >= start - at:
        if start != end:
            raise DamagedError("data follows the end of its stream")
        return None
    if not 0 < length <= min(_METADATA, end - start):
        raise DamagedError("a message extends past its end")
    metadata, body = _read(file, start, length), start + length
    table = FlatTable.root(metadata)
    kind, header, size = table.number(1, "B"), table.table(2), table.number(3, "q")
    if header is None or kind not in (SCHEMA, DICTIONARY, BATCH):
        raise DamagedError(f"it has a message of an unknown kind, {kind}")
    if not 0 <= size <= end - body:
        raise DamagedError("the body of a message extends past its end")
    return ArrowMessage(kind, header, metadata, body, size)


def _footer(file: Any, size: int) -> tuple[int, FlatTable]:
    """Return where a file's footer begins, and the footer."""
    tail = _read(file, max(8, size - 10), min(10, max(0, size - 8)))
    length = int.from_bytes(tail[:4], "little", signed=True)
    if len(tail) < 10 or tail[4:] != FILE_MAGIC or not 0 < length <= min(_METADATA, size - 18):
        raise DamagedError("it does not end as an Arrow file does")
    start = size - 10 - length
    return start, FlatTable.root(_read(file, start, length))


def stored_batch(message: ArrowMessage, header: FlatTable, size: int) -> StoredBatch:
    """Return what a record batch, or a dictionary's values, say of themselves; `size` is that of the file.

    Raises DamagedError for buffers that do not lie in the body, and for more rows than can be there.
    """
    rows = header.number(0, "q")
    if not 0 <= rows <= _ROWS + size:
        raise DamagedError(f"a record batch claims {rows:,} rows in {size:,} bytes")
    lengths = tuple(length for length, _ in header.structs(1, "qq"))
    compression = header.table(3)
    number = 0 if compression is None else compression.number(0, "b")
    if number not in CODECS or (compression is not None and compression.number(1, "b")):
        raise DamagedError(f"it is compressed in an unknown way, {number}")
    codec = None if compression is None else CODECS[number]
    buffers = []
    for offset, stored in header.structs(2, "qq"):
        if offset < 0 or stored < 0 or offset + stored > message.size:
            raise DamagedError("a buffer lies outside of its record batch")
        buffers.append(StoredBuffer(message.body + offset, stored, codec if stored else None))
    return StoredBatch(rows, lengths, tuple(buffers), tuple(count for (count,) in header.structs(4, "q")))


def _read(file: Any, at: int, size: int) -> bytes:
    file.seek(at)
    return bytes(file.read(size))
