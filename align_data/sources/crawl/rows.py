"""The rows of pages, gathered by column: what a page says of all its images is held once until a batch is made."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

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


class PageFacts(NamedTuple):
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
        images = list(zip(*chain.from_iterable(self._images), strict=True)) or [()] * len(ImageRow._fields)
        arrays = {
            name: _array(values, schema.field(name).type) for name, values in zip(ImageRow._fields, images, strict=True)
        }
        at = pa.array(np.repeat(np.arange(len(self._pages)), [len(rows) for rows in self._images]))
        pages = list(zip(*self._pages, strict=True)) or [()] * len(PageFacts._fields)
        for name, values in zip(PageFacts._fields, pages, strict=True):
            kind = schema.field(name).type
            same = _same(values)
            arrays[name] = _repeated(values[0], len(at), kind) if same else _array(values, kind).take(at)
        self._clear()
        return pa.table([arrays[name] for name in schema.names], schema=schema)


def _same(values: Sequence[Any]) -> bool:
    """Tell whether there are values, all equal: many columns have one."""
    return len(values) > 0 and values.count(values[0]) == len(values)


def _repeated(value: Any, times: int, kind: pa.DataType) -> pa.Array:
    return pa.nulls(times, kind) if value is None else pa.repeat(pa.scalar(value, kind), times)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    return _repeated(values[0], len(values), kind) if _same(values) else pa.array(values, kind)
