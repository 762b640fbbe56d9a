"""What a page asks of robots, as one text: from its meta elements and from its X-Robots-Tag headers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from align_data.common.opt_outs import DIRECTIVES, Directive, directives
from align_data.sources.crawl.pages.texts import collapsed

MAX_DIRECTIVES = 50
"""Different ones of a page, and characters of one, that are kept."""
MAX_DIRECTIVE = 100

# Meta elements that speak to robots: to all, or to the one that they name.
_SPEAKS = re.compile(r"robots|align-data|[a-z0-9_-]*bot(?:-[a-z]+)?|slurp|yandex|baiduspider|teoma")


def robots_text(headers: Iterable[str], metas: Iterable[tuple[str | None, str | None]]) -> str:
    """Return the directives of X-Robots-Tag headers, and of meta elements by name and content; "" if there are none.

    In lower case, each once, parted by commas, in their order, headers first. One for a robot stands behind its name,
    each by itself: 'noai, googlebot: noindex, googlebot: nofollow'.
    """
    spoken: dict[str, Directive] = {}
    for header in headers:
        for directive in directives(collapsed(header)):
            _keep(spoken, directive)
    for name, content in metas:
        speaks = _speaks(name) if name and content and len(name) <= MAX_DIRECTIVE else None
        if speaks and content:
            agent = "" if speaks == "robots" else speaks
            for word in dict.fromkeys(collapsed(content).lower().split(",")):
                # Between directives that have no values, some pages write white space for a comma.
                for part in [word] if ":" in word else word.split():
                    _keep(spoken, Directive(agent, *(side.strip() for side in part.partition(":")[::2])))
    if len(spoken) > MAX_DIRECTIVES:  # those that ask not to be used are kept first
        spoken = dict(sorted(spoken.items(), key=lambda item: item[1].name not in DIRECTIVES)[:MAX_DIRECTIVES])
    return ", ".join(spoken)


@lru_cache(4096)
def _speaks(name: str) -> str | None:
    """Return the name of a meta element that speaks to robots, in lower case; None for another."""
    speaks = _SPEAKS.fullmatch(name.strip().lower())
    return speaks[0] if speaks else None


def _keep(spoken: dict[str, Directive], directive: Directive) -> None:
    """Keep a directive by its text; one that is empty, or far longer than any that there is, says nothing."""
    agent, name, value = directive
    text = f"{agent}: {name}" if agent else name
    text = f"{text}: {value}" if value else text
    if name and len(text) <= MAX_DIRECTIVE:
        spoken.setdefault(text, directive)
