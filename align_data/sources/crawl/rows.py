"""The rows of pages, gathered by column: what a page says of all its images is held once until a batch is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from align_data.storage.contracts import contract

CONTRACT = contract("rows")


class ImageRow(NamedTuple):
    """What a row says of its image; see schemas/rows.yaml."""

    url: str
    alt_text: str
    text_from: str
    title: str | None
    caption: str | None
    declared_width: int | None
    declared_height: int | None
    url_from: str
    url_best: str | None
    position: int


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What all rows of a page say."""

    page_url: str
    declared_language: str | None
    charset: str | None
    status: int
    license: str | None
    robots: str | None
    crawl: str | None
    crawl_file: str
    crawl_offset: int


class RowBuilder:
    """Gathers the rows of pages until `take`."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._images: list[Sequence[ImageRow]] = []
        self._pages: list[PageFacts] = []
        self.rows = 0

    def add(self, page: PageFacts, images: Sequence[ImageRow]) -> None:
        """Add a page's rows, in the order of the document."""
        if images:
            self._pages.append(page)
            self._images.append(images)
            self.rows += len(images)

    def take(self) -> pa.Table:
        """Return all rows as the contract has them, and forget them."""
        schema = CONTRACT.arrow()
        per_image = list(zip(*chain.from_iterable(self._images), strict=True)) or [()] * len(ImageRow._fields)
        arrays = {
            name: pa.array(values, schema.field(name).type)
            for name, values in zip(ImageRow._fields, per_image, strict=True)
        }
        at = pa.array(np.repeat(np.arange(len(self._pages)), [len(images) for images in self._images]))
        for name in PageFacts.__slots__:
            once = pa.array([getattr(page, name) for page in self._pages], schema.field(name).type)
            arrays[name] = once.take(at)
        self._clear()
        return pa.table(arrays).select(schema.names).cast(schema)
