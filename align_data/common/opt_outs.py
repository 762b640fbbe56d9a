"""The words by which a page or a server asks that it not be used so: one table, for crawling, fetching and signals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

DIRECTIVES = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
"""Of X-Robots-Tag and of a page's meta robots, those that ask it; 'none' is short for 'noindex, nofollow'."""
FOR_US = frozenset({"*", "robots", "align-data"})
"""Whom a directive such as 'robots: noai' may name that speaks to everyone, or to us."""
_WITH_VALUES = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
_AGENT = re.compile(r"\*|[a-z][a-z0-9._/-]*")


class Directive(NamedTuple):
    """A directive for robots, in lower case."""

    agent: str
    """Whom it names; empty if it speaks to everyone."""
    name: str
    value: str
    """What stands behind a colon, as in max-snippet:20."""


def directives(text: str) -> Iterator[Directive]:
    """Yield the directives of an X-Robots-Tag; 'googlebot: noindex, nofollow' is that one's until another is named."""
    agent = ""
    for word in text.lower().split(","):
        name, colon, value = (word_part.strip() for word_part in word.partition(":"))
        if colon and name not in _WITH_VALUES | DIRECTIVES and _AGENT.fullmatch(name):
            agent, name, value = name, value, ""
        yield Directive(agent, name, value)
