"""What parent and child say to each other: frames of plain values, so that reading one runs nothing.

A frame is its length, eight bytes, and a value in MessagePack: None, bool, int, float, str, bytes, lists and mappings
of these. What a child answers may be written by whoever made the bytes that it decoded: its frames have a limit.
"""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

import msgpack

LENGTH = struct.Struct(">Q")
MAX_ANSWER = 2**16
"""Bytes of an answer, unless its question may have a longer one."""
_ITEMS = 2**12
"""Elements of an array or a mapping in an answer: space for all that it announces is taken before the first is read."""


class FrameError(ValueError):
    """Bytes that are not a frame of plain values."""


def frame(value: Any) -> bytes:
    """Return a plain value as a frame."""
    body: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return LENGTH.pack(len(body)) + body


def value(body: bytes | bytearray, *, bounded: bool = True) -> Any:
    """Return the value of a frame's body, arrays as tuples; FrameError where it is not one.

    `bounded`, as every answer of a child is read, allows short arrays only.
    """
    max_items = _ITEMS if bounded else len(body)
    errors = "strict" if bounded else "surrogatepass"
    try:
        return msgpack.unpackb(
            body,
            use_list=False,
            ext_hook=_refuse,
            max_array_len=max_items,
            max_map_len=max_items,
            unicode_errors=errors,
        )
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise FrameError(str(error)) from error


def _refuse(code: int, _: bytes) -> Any:
    raise FrameError(f"a value of the extension type {code}")


def read(source: BinaryIO) -> Any:
    """Read the parent's next frame; EOFError where it has ended."""
    (length,) = LENGTH.unpack(_exactly(source, LENGTH.size))
    return value(_exactly(source, length), bounded=False)


def _exactly(source: BinaryIO, size: int) -> bytes:
    content = source.read(size)
    if len(content) < size:
        raise EOFError
    return content
