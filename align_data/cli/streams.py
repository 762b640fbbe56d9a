"""The standard streams: of any encoding, closed, full, or read by somebody who has gone."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from pathlib import Path

from align_data.common.errors import OutputError


def prepare() -> None:
    """Make both streams accept any text; OutputError if standard output is closed."""
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end
    if sys.stdout is None:
        raise OutputError("standard output is closed; send it to /dev/null if it is not wanted")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # alt-texts are of every script, terminals are not


def finish() -> None:
    """Write out what standard output still holds; OutputError if it cannot be written."""
    try:
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError):  # else Python tries once more when it ends, and says so
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"cannot write standard output: {error.strerror or error}") from error


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What a write is refused with, without a file's name, whichever file it was."""


def _takes_more() -> bool:
    """Whether standard output takes another line: what it refused is dropped, so that flushing cannot tell."""
    try:
        sys.stdout.write("\n")
        finish()
    except (OSError, OutputError):
        return False
    return True


def unwritten(error: OSError) -> OutputError | None:
    """Return what to say of an error that came of writing standard output; None for any other."""
    try:
        finish()
    except OutputError as refused:
        return refused
    # Of a large text nothing may be left to flush. Errors of files name them, and no other pipe's end gets here.
    own = error.errno == errno.EPIPE or (not error.filename and error.errno in _FULL and not _takes_more())
    return OutputError(f"cannot write standard output: {error.strerror}") if own else None
