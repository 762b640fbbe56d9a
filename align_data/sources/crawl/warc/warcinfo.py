"""What an archive says of itself: the crawl that it is part of."""

from __future__ import annotations

import re

_LONGEST = 200
_PART_OF = re.compile(rb"(?:^|\n)isPartOf:[ \t]*([^\r\n]+)", re.IGNORECASE)


def crawl_of(fields: bytes) -> str | None:
    """Return the crawl that the content of a warcinfo record names; None if it names none."""
    part_of = _PART_OF.search(fields)
    return crawl_name(part_of[1].decode("utf-8", "replace")) if part_of else None


def crawl_name(value: str) -> str | None:
    """Return the name of a crawl, cut off where it is too long for one."""
    return value.strip()[:_LONGEST] or None
