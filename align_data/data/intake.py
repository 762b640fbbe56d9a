"""What lists of images and texts say, read unit by unit into keyed rows: what ingest and add both begin with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import polars as pl

from align_data.common.ahead import ahead
from align_data.common.progress import Tick
from align_data.data import pairs as pair
from align_data.data.accounts import Account, UnitAccount, left_empty, not_utf8, of_html
from align_data.data.html_texts import Rewriting, rewritten
from align_data.data.layout import Dataset
from align_data.data.meta import CrawlMeta
from align_data.sources.lists import FORMATS, Choice, Reading, Source, Unit, read
from align_data.storage.tables import PIECE_BYTES, PIECE_ROWS, Meta, PartInfo, PartWriter, Table

if TYPE_CHECKING:
    from align_data.data.crawled import CrawlFolder

_PART_ROWS = 500_000
"""Rejected rows of a part."""


def made_of(
    sources: Sequence[Source], choice: Choice, reading: Reading, rewriting: Rewriting, **how: Any
) -> dict[str, Any]:
    """Return what tells these inputs, read so, from others."""
    made: dict[str, Any] = {"inputs": [source.identity for source in sources], "columns": choice.named(), **how}
    if reading.named():  # what was made before there were these options is the same still
        made["reading"] = reading.named()
    if rewriting.named():
        made["rewriting"] = rewriting.named()
    return made


def declared_by(units: Sequence[Unit]) -> list[str]:
    """Return what the units say of a pair beside URL and text."""
    return [name for name in pair.BESIDE if any(name in {**unit.columns, **dict(unit.constants)} for unit in units)]


def notes_on(
    accounts: Sequence[UnitAccount],
    account: Account,
    sources: Sequence[Source],
    rewriting: Rewriting,
    reading: Reading,
) -> Iterator[str]:
    """Yield what there is to say of rows that have been read."""
    yield from (*left_empty(accounts), *of_html(account, rewriting))
    if account.reasons.get("invalid_utf8") and any("encoding" in FORMATS[source.format].options for source in sources):
        yield not_utf8(account.reasons["invalid_utf8"], reading)


def rejected_of_units(dataset: Dataset) -> Table[Meta]:
    """Return the table of the rejected rows of each unit, there only while they are read."""
    return Table(dataset.store, "_rejected", dataset.rejected.contract, Meta)


def folders_of_crawls(todo: Sequence[Unit], inputs: Sequence[str]) -> list[CrawlFolder]:
    """Return the folders of a crawl's rows that inputs lie in."""
    crawled = {unit.source.path: unit.source for unit in todo if "crawl_file" in unit.columns}
    if not crawled:
        return []
    from align_data.data.crawled import crawl_folders  # noqa: PLC0415 - other lists do not wait for it

    return crawl_folders(crawled.values(), inputs)


def crawl_of_units(
    folders: Sequence[CrawlFolder], todo: Sequence[Unit], accounts: Sequence[UnitAccount]
) -> tuple[CrawlMeta | None, list[str]]:
    """Return what became of the archives whose rows were read, and notes."""
    if not folders:
        return None, []
    from align_data.data.crawled import crawl_of  # noqa: PLC0415 - other lists do not wait for it

    rows: Counter[str] = Counter()
    for unit, account in zip(todo, accounts, strict=True):
        rows[unit.source.path] += account.rows
    return crawl_of(folders, rows)


def rows_of(todo: Sequence[Unit]) -> int | None:
    """Return how many rows there are; None where only reading tells."""
    counts = [unit.rows for unit in todo if unit.rows is not None]
    return sum(counts) if len(counts) == len(todo) else None


def keyed_rows(
    number: int, unit: Unit, declared: Sequence[str], rewriting: Rewriting, rejected: Table[Meta], tick: Tick
) -> Generator[pl.DataFrame, None, UnitAccount]:
    """Yield the unit's pairs, keyed, piece by piece; write its rejected rows beside."""
    rows = accepted = size = 0
    reasons, emptied, html = Counter[str](), Counter[str](), Counter[str]()

    def rewrite(texts: pl.Series) -> pl.Series:
        return rewritten(texts, rewriting, html)

    with ExitStack() as stack:
        writer: PartWriter | None = None
        for accepted_rows, rejected_rows in _cleaned(unit, rewrite, emptied):
            rows += len(accepted_rows) + len(rejected_rows)
            accepted += len(accepted_rows)
            size += pair.size(accepted_rows)
            reasons.update(rejected_rows["reason"].to_list())
            if len(rejected_rows):
                writer = writer or stack.enter_context(rejected.writer(number, {}))
                writer.write(rejected_rows.select(pl.lit(unit.source.name).alias("source"), "row", "reason", "detail"))
            if len(accepted_rows):
                yield pair.keyed(accepted_rows, declared)
            tick(len(accepted_rows) + len(rejected_rows))
    return UnitAccount(rows, accepted, size, reasons, emptied, html)


def _cleaned(
    unit: Unit, rewrite: Callable[[pl.Series], pl.Series], emptied: Counter[str]
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield good and rejected rows; what a file stores in small row groups is joined to pieces worth sorting."""
    waiting: list[tuple[pl.DataFrame, pl.DataFrame]] = []
    rows = size = 0
    for frame, rejects in ahead(read(unit)):  # where there are fewer units than cores, these are not idle
        accepted, rejected = pair.clean(frame, rewrite)
        emptied.update(rejects.emptied)
        early = pl.DataFrame(
            {"row": rejects.rows, "reason": rejects.reasons, "detail": rejects.details}, rejected.schema
        )
        waiting.append((accepted, pl.concat([early, rejected]).sort("row") if len(early) else rejected))
        rows, size = rows + len(frame) + len(rejects.rows), size + pair.size(accepted, pair.BESIDE)
        if rows > PIECE_ROWS // 2 or size > PIECE_BYTES // 4:
            yield _joined(waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield _joined(waiting)


def _joined(waiting: list[tuple[pl.DataFrame, pl.DataFrame]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    if len(waiting) == 1:
        return waiting[0]
    return pl.concat([accepted for accepted, _ in waiting]), pl.concat([rejected for _, rejected in waiting])


def gathered(units_: Table[Meta], number: int, rejected: Table[Any]) -> Iterator[PartInfo]:
    """Write the units' rejected rows, in their order, as parts."""
    pieces = (
        piece
        for unit in range(number)
        if units_.facts(unit) is not None
        for piece in units_.pieces(unit, rejected.contract.arrow().names)
    )
    part, piece = 0, next(pieces, None)
    while piece is not None or part == 0:  # a table without rows has one part too
        with rejected.writer(part, {}) as writer:
            rows = 0
            while piece is not None and rows < _PART_ROWS:
                writer.write(piece)
                rows += len(piece)
                piece = next(pieces, None)
        assert writer.info is not None
        yield writer.info
        part += 1
