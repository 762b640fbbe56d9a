"""Ingest: input lists in, `pairs` and `rejected` out, by one shuffle into parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from align_data.common.ahead import ahead
from align_data.common.progress import Progress, Tick
from align_data.data import pairs as pair
from align_data.data.accounts import Account, UnitAccount, total
from align_data.data.html_texts import Rewriting
from align_data.data.intake import (
    crawl_of_units,
    declared_by,
    folders_of_crawls,
    gathered,
    keyed_rows,
    made_of,
    notes_on,
    rejected_of_units,
    rows_of,
)
from align_data.data.layout import Dataset
from align_data.data.meta import AccountMeta, CrawlMeta, PairsMeta, RejectedMeta
from align_data.engines.base import Engine, Shuffle
from align_data.sources.lists import Choice, Reading, Source, contents_of, find, units
from align_data.sources.lists.column_names import PROVENANCE
from align_data.stages.ingest.before import PART_ROWS, Parts, begin, done_before
from align_data.storage.tables import PartInfo, Table

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
    made = made_of(sources, choice, reading, rewriting, parts=asdict(parts))
    modified = [source.modified for source in sources]
    earlier = done_before(dataset, made, sources, modified)
    if earlier is not None:
        return earlier
    todo, notes = units(sources, choice, reading)
    folders = folders_of_crawls(todo, inputs)
    for note in notes:
        progress.say(note)
    begin(dataset, made, modified, contents_of(sources))
    unit_rejects = rejected_of_units(dataset)
    declared = declared_by(todo)
    shuffle: Shuffle[int, UnitAccount, PartInfo] = Shuffle(
        prepare=lambda number, tick: keyed_rows(number, todo[number], declared, rewriting, unit_rejects, tick),
        merge=pair.merge,
        split=lambda accounts: _split(accounts, parts),
        write=lambda part, frames, tick: _write(dataset.pairs, part, declared, frames, tick),
        rows=rows_of(todo),
        foreseen=_foreseen(rows_of(todo), parts),
    )
    accounts, written = engine.shuffle(shuffle, range(len(todo)), progress)
    account = total(accounts, written)
    rejected = list(gathered(unit_rejects, len(todo), dataset.rejected))
    dataset.rejected.commit(rejected, RejectedMeta.model_validate(made))
    unit_rejects.remove()
    crawl, notes = crawl_of_units(folders, todo, accounts)
    dataset.pairs.commit(written, _meta(account, _split(accounts, parts), declared, rewriting, crawl))
    dataset.store.clear_work()
    for note in (*notes, *notes_on(accounts, account, sources, rewriting, reading)):
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


__all__ = ["PART_ROWS", "Account", "Parts", "Source", "example", "ingest"]
