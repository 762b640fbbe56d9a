"""The parent's ends of a child's pipes: frames written and read with a limit in time and in size."""

from __future__ import annotations

import os
import select
import time
from typing import IO

from align_data.common.workers.frames import LENGTH, FrameError

_PIPE_BYTES = 2**16
"""Bytes that are read at once: what a pipe holds."""


class SilentError(Exception):
    """The child neither reads nor answers in time."""


class Pipes:
    """Writes questions and reads answers; whatever the child does, it buffers little more than `max_bytes` bytes."""

    def __init__(self, into: IO[bytes], out: IO[bytes], max_bytes: int) -> None:
        self._into, self._out, self._max_bytes = into.fileno(), out.fileno(), max_bytes
        self._buffer = bytearray()
        os.set_blocking(self._into, False)
        os.set_blocking(self._out, False)

    def write(self, frame: bytes, seconds: float | None) -> None:
        """Write a question; FrameError if the child has sent more than the previous answer."""
        if self._buffer or _ready(self._out, select.POLLIN, 0):
            if not self._buffer and not self._read_available():
                raise EOFError  # it has ended since
            raise FrameError("an answer to no question")
        until = _until(seconds)
        remaining = memoryview(frame)
        while remaining:
            _wait(self._into, select.POLLOUT, until)
            try:
                remaining = remaining[os.write(self._into, remaining) :]
            except BlockingIOError:
                continue

    def read(self, seconds: float | None) -> bytes:
        """Return the body of the next answer; EOFError if the child has ended."""
        until = _until(seconds)
        while len(self._buffer) < LENGTH.size or len(self._buffer) < LENGTH.size + self._length():
            _wait(self._out, select.POLLIN, until)
            if not self._read_available():
                raise EOFError
        end = LENGTH.size + self._length()
        body = bytes(self._buffer[LENGTH.size : end])
        del self._buffer[:end]
        return body

    def _length(self) -> int:
        (length,) = LENGTH.unpack_from(self._buffer)
        if length > self._max_bytes:
            raise FrameError(f"an answer of {length:,} bytes, where {self._max_bytes:,} are the most")
        return int(length)

    def _read_available(self) -> bool:
        """Read the available bytes; return whether the child can still send more."""
        try:
            received = os.read(self._out, _PIPE_BYTES)
        except BlockingIOError:
            return True
        self._buffer += received
        return bool(received)


def _until(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _wait(pipe: int, event: int, until: float | None) -> None:
    remaining = None if until is None else until - time.monotonic()
    if (remaining is not None and remaining <= 0) or not _ready(pipe, event, remaining):
        raise SilentError


def _ready(pipe: int, event: int, seconds: float | None) -> bool:
    poll = select.poll()
    poll.register(pipe, event)
    return bool(poll.poll(None if seconds is None else seconds * 1000))
