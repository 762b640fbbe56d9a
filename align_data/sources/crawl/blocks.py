"""An archive's bytes, from wherever it lies: read ahead, and again where a server does not answer for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from align_data.common.ahead import ahead
from align_data.common.errors import InputError
from align_data.sources.crawl.archive import Archive
from align_data.sources.files.fs_errors import reaching

ATTEMPTS = 7
"""How often bytes are asked for."""
FIRST_WAIT = 1.0
"""Seconds before the second time; before each further time it is twice as long."""
LONGEST_WAIT = 120.0
"""Seconds that a server is waited for, at most, where it says itself how long."""
_BLINK = 0.2
_REFUSED = range(400, 500)
_FOR_A_WHILE = (408, 425, 429)
"""Answers of these statuses can be others a moment later, unlike all that say that the request is wrong."""
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError, ImportError)

Pause = Callable[[], None]
"""Called while a server is waited for; raises where nobody waits for the bytes any more."""


def patiently(ask: Callable[[], Any], pause: Pause) -> Any:
    """Return what `ask` returns, which may fail for a while."""
    wait = FIRST_WAIT
    for attempt in range(ATTEMPTS):
        try:
            return ask()
        except Exception as error:  # clients of clouds raise errors of every kind
            if attempt == ATTEMPTS - 1 or _lasting(error):
                raise
            _sleep(max(wait, _asked_for(error)), pause)
            wait *= 2
    raise AssertionError


def _sleep(seconds: float, pause: Pause) -> None:
    until = time.monotonic() + seconds
    while (remaining := until - time.monotonic()) > 0:
        pause()
        time.sleep(min(_BLINK, remaining))


def _cause(error: BaseException) -> BaseException:
    """Return the error that fsspec turned into that nothing is there, whatever the answer was."""
    while isinstance(error, (FileNotFoundError, InputError)) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _lasting(error: Exception) -> bool:
    """Tell whether asking again would come to the same."""
    cause = _cause(error)
    status = getattr(cause, "status", None) or getattr(getattr(cause, "response", None), "status_code", None)
    if isinstance(status, int):
        return status in _REFUSED and status not in _FOR_A_WHILE
    return isinstance(cause, (*_LASTING, InputError, ValueError, TypeError, MemoryError))


def _asked_for(error: Exception) -> float:
    """Return the seconds that a server wants to be left alone for, as far as it says."""
    headers = getattr(_cause(error), "headers", None)
    try:
        seconds = float(headers.get("Retry-After", 0)) if headers is not None else 0.0
    except (ValueError, TypeError, AttributeError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT)


def blocks(archive: Archive, offset: int, size: int, pause: Pause) -> Generator[bytes]:
    """Yield the bytes of an archive from one on, in blocks of at most `size`; InputError where they cannot be read."""
    read = _read(archive, offset, size, pause)
    if isinstance(archive.located[0], LocalFileSystem):
        yield from read
        return
    with closing(ahead(read)) as following:
        yield from following


def _read(archive: Archive, offset: int, size: int, pause: Pause) -> Generator[bytes]:
    fs, path = archive.located
    file: Any = None
    at = offset
    block = bytearray()

    def ask() -> bytes:
        nonlocal file
        try:
            if file is None:
                file = _opened(fs, path, at)
            return bytes(file.read(size - len(block)))
        except BaseException:
            if file is not None:
                with suppress(Exception):
                    file.close()
            file = None
            raise

    try:
        with reaching(archive.name, "read"):
            while piece := patiently(ask, pause):
                at += len(piece)
                block += piece
                if len(block) == size:  # servers send what they have
                    yield bytes(block)
                    block.clear()
        if block:
            yield bytes(block)
    finally:
        if file is not None:
            file.close()


def _opened(fs: Any, path: str, at: int) -> Any:
    """Open a file at one of its bytes: one that cannot be looked for is read up to."""
    file = fs.open(path, "rb")
    try:
        file.seek(at)
    except (ValueError, OSError, NotImplementedError):
        remaining = at
        while remaining and (passed := file.read(min(remaining, 2**20))):
            remaining -= len(passed)
    return file
