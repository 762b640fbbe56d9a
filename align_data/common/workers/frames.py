"""What parent and child say to each other: frames of plain values, so that reading one runs nothing.

A frame is its length, eight bytes, and a value in MessagePack: None, bool, int, float, str, bytes, lists and mappings
of these. What a child answers may be written by whoever made the bytes that it decoded: its frames have a limit.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO

import msgpack

LENGTH = struct.Struct(">Q")
_SPAN = struct.Struct(">QQ")
MAX_ANSWER = 2**16
"""Bytes of an answer, unless its question may have a longer one."""
_ITEMS = 2**12
"""Elements of an array or a mapping in an answer: space for all that it announces is taken before the first is read."""
_LENT = 1
"""The extension type of bytes that the child finds in the memory that it shares with its parent."""


class FrameError(ValueError):
    """Bytes that are not a frame of plain values."""


def frame(value: Any) -> bytes:
    """Return a plain value as a frame."""
    body: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return LENGTH.pack(len(body)) + body


def _refuse(code: int, _: bytes) -> Any:
    raise FrameError(f"a value of the extension type {code}")


def value(body: bytes | bytearray, *, bounded: bool = True, extension: Callable[[int, bytes], Any] = _refuse) -> Any:
    """Return the value of a frame's body, arrays as tuples; FrameError where it is not one.

    `bounded`, as every answer of a child is read, allows short arrays only.
    """
    max_items = _ITEMS if bounded else len(body)
    errors = "strict" if bounded else "surrogatepass"
    try:
        return msgpack.unpackb(
            body,
            use_list=False,
            ext_hook=extension,
            max_array_len=max_items,
            max_map_len=max_items,
            unicode_errors=errors,
        )
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise FrameError(str(error)) from error


def borrowable(offset: int, size: int) -> Any:
    """Return what stands in a task for bytes of the memory that parent and child share."""
    return msgpack.ExtType(_LENT, _SPAN.pack(offset, size))


def _borrowed(memory: int, code: int, span: bytes) -> Any:
    if code != _LENT:
        return _refuse(code, span)
    offset, size = _SPAN.unpack(span)
    return os.pread(memory, size, offset)


def read(source: BinaryIO, memory: int = -1) -> Any:
    """Read the parent's next frame, and what of it lies in shared memory; EOFError where the parent has ended."""
    (length,) = LENGTH.unpack(_exactly(source, LENGTH.size))
    return value(_exactly(source, length), bounded=False, extension=partial(_borrowed, memory))


def _exactly(source: BinaryIO, size: int) -> bytes:
    content = source.read(size)
    if len(content) < size:
        raise EOFError
    return content
