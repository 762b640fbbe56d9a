"""What cc2dataset does to a WAT, written out: FastWARC, simdjson, urljoin, MD5; to Parquet.

    python benchmarks/crawl_baseline.py FILE.warc.wat.gz OUT.parquet [--installed]

With --installed the package cc2dataset itself reads the file, by the function that it gives to Spark for each file.
What it does not do: collapse white space, drop repeated images of a page, say what became of the others. A file in
which anything but a record's JSON is damaged gives nothing at all.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pyarrow as pa
import pyarrow.parquet as pq

COLUMNS = ("uid", "url", "alt", "cc_filename", "page_url")
_SCHEMES = ("http://", "https://")


def pairs(content: bytes) -> Iterator[tuple[str, ...]]:
    """Yield the pairs of a WAT, one tuple of COLUMNS each; all of them are held first, as there."""
    import simdjson  # noqa: PLC0415  the real cc2dataset needs neither here
    from fastwarc.warc import ArchiveIterator, WarcRecordType  # noqa: PLC0415

    rows: list[tuple[str, ...]] = []
    for record in ArchiveIterator(BytesIO(content), record_types=WarcRecordType.metadata, parse_http=False):
        try:
            about = simdjson.load(record.reader)
        except ValueError:
            continue
        rows.extend(_of_page(about))
    yield from rows


def _of_page(about: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    envelope = about["Envelope"]
    html = envelope["Payload-Metadata"].get("HTTP-Response-Metadata", {}).get("HTML-Metadata", {})
    if "Links" not in html:
        return
    page = base = envelope["WARC-Header-Metadata"]["WARC-Target-URI"]
    if "Base" in html.get("Head", {}):
        base = urljoin(base, html["Head"]["Base"])
    file = about["Container"]["Filename"]
    for link in html["Links"]:
        if link.get("path", "") != "IMG@/src" or not link.get("alt", ""):
            continue
        url, alt = link["url"], link["alt"]
        if not url.startswith(_SCHEMES):
            try:
                url = urljoin(base, url)
            except ValueError:
                continue
        if url.startswith(_SCHEMES):
            yield hashlib.md5((alt + url).encode()).hexdigest(), url, alt, file, page


def installed(path: str) -> Iterator[tuple[str, ...]]:
    """Yield the pairs that cc2dataset itself finds."""
    from cc2dataset.main import process_wat  # noqa: PLC0415

    yield from process_wat(path, "image")


def main() -> None:
    """Read a WAT and write its pairs."""
    source, out = sys.argv[1:3]
    rows = installed(source) if "--installed" in sys.argv else pairs(Path(source).read_bytes())
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        while batch := list(islice(rows, 100_000)):
            columns = [pa.array(column, pa.string()) for column in zip(*batch, strict=True)]
            writer.write_table(pa.table(columns, schema=schema))


if __name__ == "__main__":
    main()
