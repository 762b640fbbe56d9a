"""Ingest: input lists in, `pairs` and `rejected` out, by one shuffle into parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from align_data.common.ahead import ahead
from align_data.common.progress import Progress, Tick
from align_data.data import pairs as pair
from align_data.data.html_texts import Rewriting, rewritten
from align_data.data.layout import Dataset
from align_data.data.meta import AccountMeta, CrawlMeta, PairsMeta, RejectedMeta
from align_data.engines.base import Engine, Shuffle
from align_data.sources.lists import FORMATS, Choice, Reading, Source, Unit, contents_of, find, read, units
from align_data.sources.lists.column_names import PROVENANCE
from align_data.stages.ingest.account import Account, UnitAccount, left_empty, not_utf8, of_html, total
from align_data.stages.ingest.before import PART_ROWS, Parts, begin, done_before, rejected_of_units
from align_data.storage.tables import PIECE_BYTES, PIECE_ROWS, Meta, PartInfo, PartWriter, Table

if TYPE_CHECKING:
    from align_data.data.crawled import CrawlFolder

_ACCEPTED = 0.97
"""Of a usual list's rows, those that are accepted."""


def ingest(
    inputs: Sequence[str],
    dataset: Dataset,
    engine: Engine,
    progress: Progress,
    choice: Choice = Choice(),  # noqa: B008 - frozen
    parts: Parts = Parts(),  # noqa: B008 - frozen
    reading: Reading = Reading(),  # noqa: B008 - frozen
    rewriting: Rewriting = Rewriting(),  # noqa: B008 - frozen
) -> Account:
    """Read the inputs into a new dataset and return the account of their rows.

    The same inputs again are nothing to do; other inputs, or the same read or rewritten otherwise, are a DatasetError.
    """
    inside = dataset.store.fs.unstrip_protocol(dataset.store.root) + "/"
    # A dataset beside its lists must not eat its own parts.
    sources = find(inputs, but=inside)
    made_of = {
        "inputs": [source.identity for source in sources],
        "columns": choice.named(),
        "parts": asdict(parts),
    }
    if reading.named():  # a dataset of before there were these options is the same still
        made_of["reading"] = reading.named()
    if rewriting.named():
        made_of["rewriting"] = rewriting.named()
    modified = [source.modified for source in sources]
    earlier = done_before(dataset, made_of, sources, modified)
    if earlier is not None:
        return earlier
    todo, notes = units(sources, choice, reading)
    folders = _crawl_folders(todo, inputs)
    for note in notes:
        progress.say(note)
    begin(dataset, made_of, modified, contents_of(sources))
    unit_rejects = rejected_of_units(dataset)
    declared = [name for name in pair.BESIDE if any(name in {**unit.columns, **dict(unit.constants)} for unit in todo)]
    shuffle: Shuffle[int, UnitAccount, PartInfo] = Shuffle(
        prepare=lambda number, tick: _prepare(number, todo[number], declared, rewriting, unit_rejects, tick),
        merge=pair.merge,
        split=lambda accounts: _split(accounts, parts),
        write=lambda part, frames, tick: _write(dataset.pairs, part, declared, frames, tick),
        rows=_rows(todo),
        foreseen=_foreseen(_rows(todo), parts),
    )
    accounts, written = engine.shuffle(shuffle, range(len(todo)), progress)
    account = total(accounts, written)
    rejected = list(_gather_rejected(unit_rejects, len(todo), dataset.rejected))
    dataset.rejected.commit(rejected, RejectedMeta.model_validate(made_of))
    unit_rejects.remove()
    crawl, notes = _crawl_of(folders, todo, accounts)
    dataset.pairs.commit(written, _meta(account, _split(accounts, parts), declared, rewriting, crawl))
    dataset.store.clear_work()
    notes += [*left_empty(accounts), *of_html(account, rewriting)]
    if account.reasons.get("invalid_utf8") and any("encoding" in FORMATS[source.format].options for source in sources):
        notes.append(not_utf8(account.reasons["invalid_utf8"], reading))
    for note in notes:
        progress.say(note)
    return account


def _meta(
    account: Account, splits: Sequence[int], declared: Sequence[str], rewriting: Rewriting, crawl: CrawlMeta | None
) -> PairsMeta:
    """Return what the manifest of `pairs` says: of a crawl only where there is one."""
    meta: dict[str, Any] = {"account": AccountMeta(**asdict(account)), "splits": [f"{key:016x}" for key in splits]}
    if provenance := [name for name in PROVENANCE if name in declared]:
        meta["provenance"] = provenance
    if rewriting.named():
        meta["rewriting"] = rewriting.named()
    return PairsMeta(**meta) if crawl is None else PairsMeta(**meta, crawl=crawl)


def _crawl_folders(todo: Sequence[Unit], inputs: Sequence[str]) -> list[CrawlFolder]:
    """Return the folders of a crawl's rows that inputs lie in."""
    crawled = {unit.source.path: unit.source for unit in todo if "crawl_file" in unit.columns}
    if not crawled:
        return []
    from align_data.data.crawled import crawl_folders  # noqa: PLC0415 - other lists do not wait for it

    return crawl_folders(crawled.values(), inputs)


def _crawl_of(
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


def _rows(todo: Sequence[Unit]) -> int | None:
    """Return how many rows there are; None where only reading tells."""
    counts = [unit.rows for unit in todo if unit.rows is not None]
    return sum(counts) if len(counts) == len(todo) else None


def _prepare(
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


@dataclass(frozen=True)
class Rejected:
    """A rejected row, as an example of its reason."""

    source: str
    row: int
    reason: str
    detail: str


def example(dataset: Dataset, account: Account) -> Rejected | None:
    """Return the first row that was rejected for the most frequent reason, None where none was."""
    manifest = dataset.rejected.committed()
    if not account.reasons or manifest is None:
        return None
    frequent = max(account.reasons, key=lambda reason: account.reasons[reason])
    for part in range(len(manifest.parts)):
        for piece in dataset.rejected.pieces(part, ["source", "row", "reason", "detail"]):
            for row in piece.filter(pl.col("reason") == frequent).head(1).iter_rows():
                return Rejected(*row)
    return None


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


def _split(accounts: Sequence[UnitAccount], parts: Parts) -> list[int]:
    """Return the URL keys at which the parts begin, after the first: equal ranges, as many as the size asks for."""
    rows, size = sum(a.accepted for a in accounts), sum(a.bytes for a in accounts)
    return _edges(max(1, -(-rows // parts.rows), -(-size // parts.bytes)))


def _foreseen(rows: int | None, parts: Parts) -> list[int] | None:
    """Return what _split will, if texts are of usual length and few rows are rejected; None where a few change it."""
    if rows is None:
        return None
    most, least = max(1, -(-rows // parts.rows)), max(1, -(-int(rows * _ACCEPTED) // parts.rows))
    return _edges(most) if most == least else None


def _edges(number: int) -> list[int]:
    return [(i << 64) // number for i in range(1, number)]


def _write(
    table: Table[PairsMeta], part: int, declared: Sequence[str], frames: Iterator[pl.DataFrame], tick: Tick
) -> PartInfo:
    """Write one part of `pairs`, if a killed run has not."""
    if table.facts(part) is not None:
        return table.info(part)
    with table.writer(part, {}, pair.table_columns(declared)) as writer:
        for piece in ahead(pair.pieces(map(pair.finished, frames))):
            writer.write(piece)
            tick(len(piece))
    assert writer.info is not None
    return writer.info


def _gather_rejected(units_: Table[Meta], number: int, rejected: Table[RejectedMeta]) -> Iterator[PartInfo]:
    """Write the units' rejected rows, in their order, as parts."""
    pieces = (
        piece
        for unit in range(number)
        if units_.facts(unit) is not None
        for piece in units_.pieces(unit, rejected.contract.arrow().names)
    )
    part, piece = 0, next(pieces, None)
    while piece is not None or part == 0:
        with rejected.writer(part, {}) as writer:
            rows = 0
            while piece is not None and rows < PART_ROWS:
                writer.write(piece)
                rows += len(piece)
                piece = next(pieces, None)
        assert writer.info is not None
        yield writer.info
        part += 1


__all__ = ["PART_ROWS", "Account", "Parts", "Source", "example", "ingest"]
