"""Which of the inputs are archives of a crawl, and which are lists."""

from __future__ import annotations

import re
from collections.abc import Sequence

from align_data.sources.crawl.kinds import is_archive, is_paths, refusal
from align_data.sources.files.patterns import expand
from align_data.sources.lists.registry import is_list

_PATTERN = re.compile(r"[*?\[{]")


def divide(inputs: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the inputs that are archives, and those that are lists; a folder that has both is in both.

    Raises InputError for one that matches nothing.
    """
    archives: list[str] = []
    lists: list[str] = []
    for pattern in inputs:
        if _of_crawl(pattern):
            archives.append(pattern)
            continue
        matches = expand(pattern, lambda path: is_archive(path) or is_list(path))
        of_crawl = [_of_crawl(path) for _, path in matches]
        if not any(of_crawl):
            lists.append(pattern)
        elif all(of_crawl):
            archives.append(pattern)
        elif _PATTERN.search(pattern):
            for (fs, path), is_of_crawl in zip(matches, of_crawl, strict=True):
                (archives if is_of_crawl else lists).append(_only(str(fs.unstrip_protocol(path))))
        else:
            archives.append(pattern)
            lists.append(pattern)
    return archives, lists


def _of_crawl(path: str) -> bool:
    return is_archive(path) or is_paths(path) or refusal(path) is not None


def _only(path: str) -> str:
    """Return a path as a pattern that matches only it."""
    return re.sub(r"([*?\[])", r"[\1]", path)
