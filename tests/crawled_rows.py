"""ROWS as align-data crawl writes them, made of rows of planted truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from align_data.sources.crawl.account import CrawlAccount
from align_data.sources.crawl.accounts import (
    MARK,
    ArchiveAccount,
    CrawlTotal,
    StoredTable,
    UnreadArchive,
    account_name,
    write_total,
)
from align_data.sources.crawl.answers import LostRecord
from align_data.sources.crawl.archive import TABLES, ArchiveVersion
from align_data.sources.crawl.rows import ImageRow, PageFacts, RowBuilder
from align_data.storage.manifests import checked
from align_data.storage.store import Store

_IMAGE = ImageRow("http://i.example/1.jpg", "a dog", "alt", None, None, None, None, "src", None, 0)
_PAGE = PageFacts("http://p.example/", None, "utf-8", 200, None, "", "CC-MAIN-2025-47", "a.warc.gz", 0)
ImageOfPage = dict[str, Any]


def row(**values: Any) -> ImageOfPage:
    """Return a row with these values, and usual ones besides."""
    return {**_IMAGE._asdict(), **_PAGE._asdict(), **values}


def write_rows(folder: Path, files: dict[str, Sequence[ImageOfPage]]) -> Path:
    """Write the tables of a crawl's folder, a Parquet file a name; return the folder."""
    (folder / TABLES).mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        builder = RowBuilder()
        for values in rows:
            image = ImageRow(*(values[field] for field in ImageRow._fields))
            builder.add(PageFacts(*(values[field] for field in PageFacts._fields)), [image])
        pq.write_table(builder.take(), folder / TABLES / f"{name}.parquet", store_schema=False)
    return folder


def account_for(rows: int, seed: int = 1) -> CrawlAccount:
    """Return an account that adds up, of so many rows."""
    skipped, damaged = Counter(request=5 * seed, not_html=seed), Counter(gzip=2)
    refused = Counter(alt_missing=7 * seed, alt_empty=3, data_url=seed)
    account = CrawlAccount(0, 4 * seed, skipped, damaged, 0, seed - 1, rows, refused, 6 * seed)
    account.records = account.pages + skipped.total() + damaged.total()
    account.images = rows + refused.total() + account.repeated - account.further_texts
    assert account.balanced()
    return account


def write_crawl(
    folder: Path,
    files: Mapping[str, Sequence[ImageOfPage]],
    *,
    finished: bool = True,
    cut_short: Sequence[str] = (),
    unread: Sequence[str] = (),
) -> CrawlTotal:
    """Write a folder of rows with an account of each table and one of all, as align-data crawl does; return the last."""
    write_rows(folder, dict(files))
    store, total = Store(folder), CrawlTotal()
    store.write_bytes(MARK, checked({"texts": ["alt"]}))
    for seed, (name, rows) in enumerate(files.items(), 1):
        account = ArchiveAccount(
            ArchiveVersion(f"{name}.gz", 1000, "then"),
            "warc",
            account_for(len(rows), seed),
            (LostRecord(77 * seed, "gzip"),),
            name in cut_short,
            StoredTable(len(rows), (folder / TABLES / f"{name}.parquet").stat().st_size, None),
        )
        store.write_bytes(account_name(name), account.dump())
        total.add(account)
    total.unread += [UnreadArchive(name, "it is empty") for name in unread]
    if finished:
        write_total(store, total)
    return total
