"""How archives are read: what is taken of a page, and what a page may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from align_data.sources.crawl.warc.reader import ResumePoint

Kind = Literal["warc", "wat"]
"""What an archive is read as."""
KINDS: tuple[Kind, ...] = ("warc", "wat")
HANDLER = "align_data.sources.crawl.worker:handler"
NO_MEMORY = 86
"""The exit code of a process that reads and has no memory left."""


@dataclass(frozen=True)
class CrawlSettings:
    """How archives are read."""

    texts: tuple[str, ...] = ("alt",)
    """The texts of an image that rows are made of, a row each."""
    page_seconds: float = 10.0
    """What a page may take."""
    memory: int = 300 * 2**20
    """Bytes that the process which reads may hold beyond what it holds when it begins."""
    block: int = 2**21
    """Bytes of the archive that it gets at once."""
    handler: str = HANDLER
    """What it runs."""


class Start(NamedTuple):
    """An archive that is to be read, from where on."""

    name: str
    crawl_file: str
    kind: Kind | None
    position: ResumePoint | None
    crawl: str | None
    """What its records before that have said it is part of."""


class Block(NamedTuple):
    """Bytes of an archive, which follow on those before; the first of an archive say which one it is."""

    start: Start | None
    data: bytes
    final: bool
    careful: bool
    """Whether each page is named before it is read, so that it is known which one ends the process."""
