"""A file that the user gives, read whole, and the lines of one that is a list."""

from __future__ import annotations

import stat
from pathlib import Path

from align_data.common.errors import InputError


def read_user_file(file: str, what: str, limit: int | None = None) -> bytes:
    """Return the content of a file; InputError, which calls it `what`, where it cannot be read.

    With a limit it must be a regular file of at most so many bytes: nothing of a larger one is read.
    """
    if limit is not None:
        check_user_file(file, what, limit)
    try:
        return Path(file).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        raise _unreadable(file, what, error) from error


def check_user_file(file: str, what: str, limit: int) -> int:
    """Return how large a regular file is; InputError for one that is larger than `limit`, or waits or never ends."""
    try:
        facts = Path(file).stat()
    except (OSError, ValueError) as error:
        raise _unreadable(file, what, error) from error
    if not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)):  # of a folder the system itself says so
        raise InputError(f"cannot read {what} {file}: it is not a regular file")
    if facts.st_size > limit:
        raise InputError(f"{what} {file} has {facts.st_size:,} bytes; at most {limit:,} are read")
    return facts.st_size


def _unreadable(file: str, what: str, error: Exception) -> InputError:
    return InputError(f"cannot read {what} {file}: {getattr(error, 'strerror', None) or error}")


def read_lines(file: str, what: str) -> list[tuple[int, str]]:
    """Return number and text of each line that is not blank, without white space around it; as `lines_of`."""
    return lines_of(read_user_file(file, what), file, what)


def lines_of(content: bytes, file: str, what: str) -> list[tuple[int, str]]:
    """Return number and text of each line of a file's content that is not blank, without white space around it.

    LF and CRLF end a line, and CR in a file without LF; no other sign does, for a URL may hold it. InputError where it
    is not UTF-8.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"cannot read {what} {file}: it is not UTF-8") from None
    lines = text.split("\n" if "\n" in text else "\r")
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
