"""Values of a column chunk whose pages are too large to be decoded whole: read one by one, what is too long unread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import pyarrow as pa

from align_data.sources.files.damage import DamagedError
from align_data.sources.lists.batches import MAX_BYTES
from align_data.sources.lists.parquet_footer import BYTE_ARRAY, Chunk
from align_data.sources.lists.parquet_pages import CODECS, DICTIONARY, PAGE, PLAIN, Numbers, Page, hybrid
from align_data.sources.lists.pieces import Unread, Value

_WORDS = 64 * 2**20
"""Bytes of a dictionary that are held."""
_SKIP = 2**20
_UNREAD = 2**35
"""Bytes of a chunk that are passed over, at most."""


def values(file: Any, chunk: Chunk, all_pages: Sequence[Page]) -> Iterator[Value]:
    """Yield the values of a chunk, a row each; of a page that cannot be read in bounds, an Unread for each row."""
    words: list[Value] = []
    lost: Unread | None = None
    passed = 0
    for page in all_pages:
        passed += page.size
        unread = _unreadable(chunk, page, passed)
        if page.kind == DICTIONARY:
            loaded = unread or _words(file, chunk, page)
            words, lost = ([], loaded) if isinstance(loaded, Unread) else (loaded, None)
            continue
        unread = unread or (lost if page.coded else None)
        yield from _page(file, chunk, page, words) if unread is None else repeat(unread, page.values)


def _unreadable(chunk: Chunk, page: Page, passed: int) -> Unread | None:
    """Return why a page cannot be read value by value, if it cannot."""
    simple = chunk.leaf.type == BYTE_ARRAY and not chunk.leaf.repetition and chunk.leaf.definition <= 1
    streams = CODECS.get(chunk.codec) in (None, "gzip", "brotli", "zstd")
    readable = page.rle and (not page.large if page.coded else page.encoding == PLAIN)
    if simple and streams and readable and passed < _UNREAD and chunk.codec in CODECS:
        return None
    return Unread(f"a page of {page.size:,} bytes")


class _Content:
    """The content of a page as a stream."""

    def __init__(self, file: Any, chunk: Chunk, page: Page) -> None:
        skip = sum(page.levels or ())
        stored = file.get_stream(page.offset + skip, page.stored - skip)
        codec = CODECS[chunk.codec]
        self._stream = pa.CompressedInputStream(stored, codec) if codec and page.compressed else stored
        self._remaining = page.size - skip

    def take(self, length: int) -> bytes:
        self._remaining -= length
        data = self._stream.read(length) if self._remaining >= 0 else b""
        if len(data) < length:
            raise DamagedError("the values of a page extend past its end")
        return bytes(data)

    def skip(self, length: int) -> None:
        while length:
            length -= len(self.take(min(length, _SKIP)))

    def plain(self) -> Value:
        """Return the next value, or what it would have been."""
        length = int.from_bytes(self.take(4), "little")
        if length <= MAX_BYTES:
            return self.take(length)
        self.skip(length)
        return Unread(f"of {length} bytes")

    def tail(self) -> bytes:
        return self.take(self._remaining)


def _words(file: Any, chunk: Chunk, page: Page) -> list[Value] | Unread:
    """Return the values of a dictionary, or why it is not held."""
    content = _Content(file, chunk, page)
    words: list[Value] = []
    size = 0
    for _ in range(page.values):
        words.append(content.plain())
        size += 64 + (len(words[-1]) if isinstance(words[-1], bytes) else 0)
        if size > _WORDS:
            return Unread(f"a page of {page.size:,} bytes")
    return words


def _page(file: Any, chunk: Chunk, page: Page, words: list[Value]) -> Iterator[Value]:
    content = _Content(file, chunk, page)
    validity = _present(file, chunk, page, content)
    present = int(validity.sum()) if validity is not None else page.values
    taken: Iterator[Value]
    if page.coded:
        width = content.take(1)[0] if present else 0
        numbers = hybrid(content.tail(), width, present)
        if present and numbers.max(initial=0) >= len(words):
            raise DamagedError("a page has an index that its dictionary lacks")
        taken = (words[number] for number in numbers)
    else:
        taken = (content.plain() for _ in range(present))
    yield from taken if validity is None else (next(taken) if valid else None for valid in validity)


def _present(file: Any, chunk: Chunk, page: Page, content: _Content) -> Numbers | None:
    """Return 1 for a value that is there, 0 for null; None where all must be there."""
    if not chunk.leaf.definition:
        return None
    if page.levels is not None:
        file.seek(page.offset + page.levels[0])
        return hybrid(bytes(file.read(page.levels[1])), 1, page.values)
    length = int.from_bytes(content.take(4), "little")
    if length > PAGE:
        raise DamagedError("the levels of a page are larger than its values can be")
    return hybrid(content.take(length), 1, page.values)
