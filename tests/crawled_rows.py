"""ROWS as align-data crawl writes them, made of rows of planted truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from align_data.sources.crawl.rows import ImageRow, PageFacts, RowBuilder

_IMAGE = ImageRow("http://i.example/1.jpg", "a dog", "alt", None, None, None, None, "src", None, 0)
_PAGE = PageFacts("http://p.example/", None, "utf-8", 200, None, "", "CC-MAIN-2025-47", "a.warc.gz", 0)
ImageOfPage = dict[str, Any]


def row(**values: Any) -> ImageOfPage:
    """Return a row with these values, and usual ones besides."""
    return {**_IMAGE._asdict(), **{name: getattr(_PAGE, name) for name in PageFacts.__slots__}, **values}


def write_rows(folder: Path, files: dict[str, Sequence[ImageOfPage]]) -> Path:
    """Write a folder of rows, a Parquet file a name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        builder = RowBuilder()
        for values in rows:
            image = ImageRow(*(values[field] for field in ImageRow._fields))
            builder.add(PageFacts(*(values[field] for field in PageFacts.__slots__)), [image])
        pq.write_table(builder.take(), folder / f"{name}.parquet", store_schema=False)
    return folder
