"""Bytes lent to a child: written into memory that both have, where a pipe would copy them page by page.

The parent writes into this memory and never maps it: whatever a child does with it, it is nothing to the parent.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate, pairwise
from typing import Any

from align_data.common.workers.frames import borrowable

MOST = 2**23
"""Bytes that are lent, at most: more go through the pipe."""


class SharedMemory:
    """Memory that holds the bytes of one task, where the system has such memory."""

    def __init__(self) -> None:
        self.file: int | None = None
        with suppress(AttributeError, OSError):  # only Linux has it
            self.file = os.memfd_create("lent")

    def lend(self, contents: Sequence[bytes]) -> list[Any]:
        """Return what stands for each content in a task, until others are lent; they themselves where they are not."""
        ends = [0, *accumulate(len(content) for content in contents)]
        if self.file is None or ends[-1] > MOST:
            return list(contents)
        try:
            written = os.pwritev(self.file, contents, 0)
        except OSError:  # there is no more memory
            return list(contents)
        if written != ends[-1]:
            return list(contents)
        return [borrowable(start, end - start) for start, end in pairwise(ends)]

    def close(self) -> None:
        """Give the memory back."""
        if self.file is not None:
            os.close(self.file)
            self.file = None
