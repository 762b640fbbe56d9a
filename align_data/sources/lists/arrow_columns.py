"""Columns of an Arrow record batch, read a few rows at a time from beginning to end, whatever their size.

pyarrow would hold a whole batch, and all that it decompresses to. Here every length and offset is checked before what
it names is read, and only that much is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from align_data.sources.files.damage import DamagedError
from align_data.sources.lists.arrow_buffers import BitsAhead, BufferReader, NumbersAhead
from align_data.sources.lists.arrow_messages import StoredBatch
from align_data.sources.lists.batches import MAX_BYTES, is_text
from align_data.sources.lists.captions import is_list
from align_data.sources.lists.pieces import Unread, Value

_CHILDREN = 2**16
"""Captions of a row, at most."""
_SPAN = 4 * MAX_BYTES
"""Bytes that the texts of a few rows may lie apart."""
_WHOLE = 2**28
"""Bytes of compressed values that are held because they are not in order."""


class ArrowColumn(Protocol):
    """A column of which the next rows can be taken."""

    def room(self, rows: int) -> int:
        """Return how many of the next rows, of these many, are not too large to be taken together; at least one."""

    def take(self, rows: int) -> Any:
        """Return the next rows, at most as many as `room` says: an array, or a list of `Value`."""


def _bitmap(valid: Any) -> Any:
    return None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())


class _Fixed:
    """Values of a fixed width."""

    def __init__(self, kind: pa.DataType, valid: BufferReader, values: BufferReader) -> None:
        self._kind, self._valid, self._values = kind, BitsAhead(valid), values

    def room(self, rows: int) -> int:
        return rows

    def take(self, rows: int) -> pa.Array:
        data = pa.py_buffer(self._values.take(rows * (self._kind.bit_width // 8)))
        return pa.Array.from_buffers(self._kind, rows, [_bitmap(self._valid.take(rows)), data])


class _Booleans:
    """Values of one bit."""

    def __init__(self, valid: BufferReader, values: BufferReader) -> None:
        self._valid, self._values = BitsAhead(valid), BitsAhead(values)

    def room(self, rows: int) -> int:
        return rows

    def take(self, rows: int) -> pa.Array:
        values, valid = self._values.take(rows), self._valid.take(rows)
        if values is None:
            raise DamagedError("a column of booleans has no values")
        return pa.array(values, pa.bool_(), mask=None if valid is None else ~valid)


class _Nulls:
    """What has no values, or none that are read."""

    def room(self, rows: int) -> int:
        return rows

    def take(self, rows: int) -> pa.Array:
        return pa.nulls(rows)


class _Texts:
    """Texts or bytes, one behind the other, and where each begins."""

    def __init__(self, valid: BufferReader, offsets: NumbersAhead, values: BufferReader) -> None:
        self._valid, self._offsets, self._values = BitsAhead(valid), offsets, values
        self._at = 0

    def room(self, rows: int) -> int:
        ends = _ends(self._offsets.peek(rows + 1), self._values.size)
        return max(1, int(np.searchsorted(ends, MAX_BYTES, side="right")) - 1)

    def take(self, rows: int) -> pa.Array | list[Value]:
        offsets = self._offsets.peek(rows + 1).astype(np.int64)
        self._offsets.drop(rows)
        valid = self._valid.take(rows)
        start, stop = int(offsets[0]), int(offsets[-1])
        self._values.skip(start - self._at)  # a slice of an array may be stored with all of it
        self._at = stop
        if stop - start > MAX_BYTES:  # it is alone
            self._values.skip(stop - start)
            return [None if valid is not None and not valid[0] else Unread(f"of {stop - start} bytes")]
        data = pa.py_buffer(self._values.take(stop - start))
        places = pa.py_buffer((offsets - start).tobytes())
        return pa.Array.from_buffers(pa.large_binary(), rows, [_bitmap(valid), places, data])


def _ends(offsets: Any, limit: int) -> Any:
    """Return offsets from the first on; DamagedError where they do not grow, or lead behind `limit`."""
    offsets = offsets.astype(np.int64)
    if offsets[0] < 0 or offsets[-1] > limit or bool((offsets[1:] < offsets[:-1]).any()):
        raise DamagedError("the offsets of a column are not in order")
    return offsets - offsets[0]


class _Views:
    """Texts or bytes that lie anywhere in some buffers: a length of four bytes, then the value or where it lies."""

    def __init__(self, valid: BufferReader, views: BufferReader, values: Sequence[BufferReader]) -> None:
        self._valid, self._views, self._values = BitsAhead(valid), NumbersAhead(views, "(4,)<i4"), values
        if sum(buffer.size for buffer in values if buffer.compressed) > _WHOLE:
            raise DamagedError(
                f"a record batch has compressed views of more than {_WHOLE // 2**20} MB; write it in smaller batches"
            )

    def _next(self, rows: int) -> Any:
        """Return the next views, those of null empty."""
        views, valid = self._views.peek(rows).copy(), self._valid.peek(rows)
        if valid is not None:
            views[~valid] = 0
        if bool((views[:, 0] < 0).any()):
            raise DamagedError("a value has a length below zero")
        return views

    def room(self, rows: int) -> int:
        views = self._next(rows)
        sizes = np.concatenate([[0], np.cumsum(views[:, 0].astype(np.int64))])
        rows = max(1, int(np.searchsorted(sizes, MAX_BYTES, side="right")) - 1)
        while rows > 1 and sum(stop - start for _, start, stop in self._spans(views[:rows])) > _SPAN:
            rows //= 2
        return rows

    def _spans(self, views: Any) -> Iterator[tuple[int, int, int]]:
        """Yield the buffers that values lie in, and between where."""
        apart = views[views[:, 0] > 12]
        for number in np.unique(apart[:, 2]):
            if not 0 <= number < len(self._values):
                raise DamagedError("a value lies in a missing buffer")
            own = apart[apart[:, 2] == number].astype(np.int64)
            yield int(number), int(own[:, 3].min()), int((own[:, 3] + own[:, 0]).max())

    def take(self, rows: int) -> pa.Array | list[Value]:
        views = self._next(rows)
        valid = self._valid.take(rows)
        self._views.drop(rows)
        if rows == 1 and views[0, 0] > MAX_BYTES:
            for number, start, stop in self._spans(views):
                self._values[number].check(start, stop)
            return [Unread(f"of {views[0, 0]} bytes")]
        buffers = []
        apart = views[:, 0] > 12
        numbers = views[:, 2].copy()
        for place, (number, start, stop) in enumerate(self._spans(views)):
            buffers.append(pa.py_buffer(self._values[number].between(start, stop)))
            inside = apart & (numbers == number)
            views[inside, 2] = place
            views[inside, 3] -= start
        table = pa.py_buffer(views.tobytes())
        array = pa.Array.from_buffers(pa.binary_view(), rows, [_bitmap(valid), table, *buffers])
        array.validate(full=True)
        return array.cast(pa.large_binary())


class _Steps:
    """The offsets of lists that are all of one length."""

    def __init__(self, step: int) -> None:
        self._step, self._at = step, 0

    def peek(self, count: int) -> Any:
        return self._at + self._step * np.arange(count, dtype=np.int64)

    def drop(self, count: int) -> None:
        self._at += self._step * count


class _Lists:
    """Lists of texts."""

    def __init__(self, valid: BufferReader, offsets: NumbersAhead | _Steps, texts: ArrowColumn, length: int) -> None:
        self._valid, self._offsets, self._texts, self._length = BitsAhead(valid), offsets, texts, length
        self._at = 0

    def room(self, rows: int) -> int:
        ends = _ends(self._offsets.peek(rows + 1), self._length)
        self._pass_over(int(self._offsets.peek(1)[0]) - self._at)
        rows = max(1, int(np.searchsorted(ends, _CHILDREN, side="right")) - 1)
        captions = int(ends[rows])
        if captions > _CHILDREN or not captions:
            return rows
        return max(1, int(np.searchsorted(ends[: rows + 1], self._texts.room(captions), side="right")) - 1)

    def take(self, rows: int) -> pa.Array | list[Value]:
        offsets = self._offsets.peek(rows + 1).astype(np.int64)
        self._offsets.drop(rows)
        valid, captions = self._valid.take(rows), int(offsets[-1] - offsets[0])
        if captions > _CHILDREN or (captions and self._texts.room(captions) < captions):  # it is alone
            self._pass_over(captions)
            return [Unread(f"of more than {MAX_BYTES:,} bytes or {_CHILDREN:,} captions")]
        texts = self._texts.take(captions) if captions else pa.array([], pa.large_binary())
        self._at += captions
        if isinstance(texts, list):
            return texts
        places = pa.py_buffer((offsets - offsets[0]).tobytes())
        kind = pa.large_list(texts.type)
        return pa.Array.from_buffers(kind, rows, [_bitmap(valid), places], children=[texts])

    def _pass_over(self, captions: int) -> None:
        self._at += captions
        while captions > 0:
            step = self._texts.room(min(captions, _CHILDREN))
            self._texts.take(step)
            captions -= step


class _Words:
    """Numbers of the values of a dictionary."""

    def __init__(self, numbers: _Fixed, words: pa.Array) -> None:
        self._numbers, self._words = numbers, words
        longest = (pc.max(pc.binary_length(words)).as_py() or 0) if is_text(words.type) else 0
        self._rows = max(1, MAX_BYTES // max(1, longest))

    def room(self, rows: int) -> int:
        return min(rows, self._rows)

    def take(self, rows: int) -> pa.Array:
        return self._words.take(self._numbers.take(rows))  # which checks that each is there


def slots(kind: pa.DataType) -> tuple[int, int, int]:
    """Return how many arrays, buffers and, of these buffers' views, lists of further buffers a type has in a batch."""
    if isinstance(kind, pa.BaseExtensionType):
        return slots(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return slots(kind.index_type)
    arrays, buffers, views = 1, _own_buffers(kind), int(_is_view(kind))
    for number in range(kind.num_fields):
        below = slots(kind.field(number).type)
        arrays, buffers, views = arrays + below[0], buffers + below[1], views + below[2]
    return arrays, buffers, views


def _own_buffers(kind: pa.DataType) -> int:
    if pa.types.is_null(kind) or pa.types.is_run_end_encoded(kind):
        return 0
    if pa.types.is_union(kind):
        return 2 if kind.mode == "dense" else 1
    if pa.types.is_struct(kind) or pa.types.is_fixed_size_list(kind):
        return 1
    listed = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    return 3 if listed or (is_text(kind) and not _is_view(kind)) else 2


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


class BatchColumns:
    """Gives the columns of a batch one after another, in the order of the schema."""

    def __init__(self, file: Any, batch: StoredBatch) -> None:
        self._file = file
        self._lengths, self._buffers = iter(batch.lengths), iter(batch.buffers)
        self._variadic = iter(batch.variadic)

    def skip(self, kind: pa.DataType) -> None:
        """Pass over a column."""
        arrays, buffers, views = slots(kind)
        for _ in range(arrays):
            self._next(self._lengths)
        for _ in range(buffers + sum(self._next(self._variadic) for _ in range(views))):
            self._next(self._buffers)

    def column(self, kind: pa.DataType, rows: int, words: pa.Array | None = None) -> ArrowColumn:
        """Return the next column, of so many rows; `words` are the values of its dictionary."""
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        if pa.types.is_dictionary(kind):
            if words is None:
                raise DamagedError("a column's dictionary is missing")
            numbers = self.column(kind.index_type, rows)
            assert isinstance(numbers, _Fixed)
            return _Words(numbers, words)
        if is_list(kind):
            return self._lists(kind, rows)
        width = _bit_width(kind)
        if pa.types.is_null(kind) or not (is_text(kind) or width):
            self.skip(kind)
            return _Nulls()
        self._length(rows)
        valid = self._buffer()
        if _is_view(kind):
            views, count = self._buffer(), self._next(self._variadic)
            return _Views(valid, views, [self._buffer() for _ in range(count)])
        if is_text(kind):
            wide = pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
            return _Texts(valid, NumbersAhead(self._buffer(), "<i8" if wide else "<i4"), self._buffer())
        return _Booleans(valid, self._buffer()) if width == 1 else _Fixed(kind, valid, self._buffer())

    def _lists(self, kind: pa.DataType, rows: int) -> ArrowColumn:
        self._length(rows)
        valid = self._buffer()
        offsets: NumbersAhead | _Steps
        if pa.types.is_fixed_size_list(kind):
            offsets = _Steps(kind.list_size)
        else:
            offsets = NumbersAhead(self._buffer(), "<i8" if pa.types.is_large_list(kind) else "<i4")
        self._lengths, (length,) = _peeked(self._lengths)
        if length < 0:
            raise DamagedError(f"a column has {length:,} values")
        return _Lists(valid, offsets, self.column(kind.value_type, length), length)

    def finish(self) -> None:
        """Raise DamagedError where the batch has more than its columns need."""
        if any(next(remaining, None) is not None for remaining in (self._lengths, self._buffers, self._variadic)):
            raise DamagedError("a record batch has more than its columns")

    def _length(self, rows: int) -> None:
        if self._next(self._lengths) != rows:
            raise DamagedError("a column does not have as many values as its record batch has rows")

    def _buffer(self) -> BufferReader:
        return BufferReader(self._file, self._next(self._buffers))

    @staticmethod
    def _next(remaining: Iterator[Any]) -> Any:
        try:
            return next(remaining)
        except StopIteration:
            raise DamagedError("a record batch has less than its columns need") from None


def _peeked(numbers: Iterator[int]) -> tuple[Iterator[int], tuple[int, ...]]:
    whole = tuple(numbers)
    return iter(whole), whole[:1] or (-1,)


def _bit_width(kind: pa.DataType) -> int:
    """Return the bits of a value, 0 where they are not the same for all, or the type is of several values."""
    try:
        return 0 if pa.types.is_nested(kind) else int(kind.bit_width)
    except ValueError:
        return 0
