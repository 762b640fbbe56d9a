"""Archives for the benchmark, of any size, and the rows that are to come of them.

    python benchmarks/crawl_corpus.py FOLDER --megabytes 60 --files 2

A few hundred pages of our own making (benchmarks/crawled_pages.py) are repeated at new URLs. --megabytes is what each
WAT is to have; its WARC then has two to four times that. Beside them is what is to come of them: the rows,
in order, and the account.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
from crawl_archives import Archive
from crawled_pages import pages, repeated
from planted_truth import Expected, PlantedPage

MIXES = {
    "mixed": {"modern": 14, "linked": 58, "plain": 20, "other": 8},
    "modern": {"modern": 1},
}
"""Shares of kinds of pages. Mixed has as many images a MB of WAT as 37 real pages have, 2,200; modern twice as many."""
DISTINCT = 300
COMPARED = {
    "url": pl.String,
    "alt_text": pl.String,
    "text_from": pl.String,
    "title": pl.String,
    "caption": pl.String,
    "declared_width": pl.Int32,
    "declared_height": pl.Int32,
    "url_from": pl.String,
    "url_best": pl.String,
    "position": pl.Int32,
    "page_url": pl.String,
    "declared_language": pl.String,
    "status": pl.Int32,
    "license": pl.String,
    "crawl": pl.String,
    "crawl_file": pl.String,
    "crawl_offset": pl.Int64,
}
"""Columns that the truth decides to the byte."""


def write(folder: Path, megabytes: float, files: int, mix: str = "mixed", seed: int = 7) -> None:
    """Write so many archives with their WATs, and what is to come of them."""
    shutil.rmtree(folder, ignore_errors=True)
    for kind in ("warc", "wat", "truth"):
        (folder / kind).mkdir(parents=True)
    distinct = list(pages(seed, MIXES[mix], DISTINCT))
    for number in range(files):
        _write_file(folder, number, distinct, megabytes * 1e6)


def _write_file(folder: Path, number: int, distinct: Sequence[PlantedPage], size: float) -> None:
    stem = f"CC-MAIN-20251127010000-20251127040000-{number:05d}.warc"
    name, crawl = f"{stem}.gz", "CC-MAIN-2025-47"
    expected, truths = {"warc": Expected(), "wat": Expected()}, {"warc": _Truth(), "wat": _Truth()}
    with ExitStack() as opened:
        warc = opened.enter_context((folder / "warc" / name).open("wb"))
        wat = opened.enter_context((folder / "wat" / f"{stem}.wat.gz").open("wb"))
        archive = Archive(warc, wat, name=name, crawl=crawl, seed=number)
        pages_written = html = 0
        source = islice(repeated(distinct), number * 50, None)  # no two files alike
        while wat.tell() < size:
            planted = next(source)
            at = archive.add(planted.page)
            pages_written += 1
            html += 0 if planted.skipped else len(planted.page.body)
            for kind, rows in expected.items():
                rows.add(planted, kind)
                for row in rows.rows:
                    row.update(crawl=crawl, crawl_file=name, crawl_offset=at)
                truths[kind].add(rows.rows)
                rows.rows = []
        facts = {"pages": pages_written, "html": html, "warc": warc.tell(), "wat": wat.tell(), "warc_raw": archive.raw}
    facts |= {"wat_raw": archive.wat_raw}
    for kind, rows in expected.items():
        truths[kind].frame().write_parquet(folder / "truth" / f"{kind}-{number:05d}.parquet")
        account = {"pages": rows.pages, "images": rows.images, "refused": rows.refused, "repeated": rows.repeated}
        text = json.dumps({**facts, **account, "rows": truths[kind].rows}, indent=1)
        (folder / "truth" / f"{kind}-{number:05d}.json").write_text(text, encoding="utf-8")


class _Truth:
    """Rows, held by columns."""

    def __init__(self) -> None:
        self._frames: list[pl.DataFrame] = []
        self._pending: list[dict[str, Any]] = []
        self.rows = 0

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        self._pending.extend(rows)
        self.rows += len(rows)
        if len(self._pending) > 50_000:
            self._frames.append(self._take())

    def _take(self) -> pl.DataFrame:
        frame = pl.DataFrame(self._pending, schema_overrides=COMPARED, schema=COMPARED, strict=False)
        self._pending = []
        return frame

    def frame(self) -> pl.DataFrame:
        return pl.concat([*self._frames, self._take()])


def truths(folder: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Return the account of each archive of a kind, as planted."""
    for path in sorted((folder / "truth").glob(f"{kind}-*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    """Write archives."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=float, default=60, help="of each WAT (default 60)")
    parser.add_argument("--files", type=int, default=2)
    parser.add_argument("--mix", choices=MIXES, default="mixed", help="kinds of pages")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    write(options.folder, options.megabytes, options.files, options.mix, options.seed)
    for kind in ("warc", "wat"):
        for truth in truths(options.folder, kind):
            print(f"{kind}: {truth[kind] / 1e6:.1f} MB, {truth['pages']:,} pages, {truth['rows']:,} rows")


if __name__ == "__main__":
    main()
