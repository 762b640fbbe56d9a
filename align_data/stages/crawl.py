"""Crawl: archives in, a table of rows and an account of each out; what ingest then reads as lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from align_data.common.errors import AlignDataError, DatasetError, InputError
from align_data.common.progress import NONE, Progress, Tick
from align_data.engines.base import Engine
from align_data.sources.crawl.account import CrawlAccount
from align_data.sources.crawl.accounts import (
    ACCOUNTS,
    MARK,
    NAMED_LOST,
    ArchiveAccount,
    CrawlTotal,
    StoredTable,
    UnreadArchive,
    account_name,
    load,
    write_total,
)
from align_data.sources.crawl.accounts import TOTAL as TOTAL_NAME
from align_data.sources.crawl.answers import LostRecord, Portion
from align_data.sources.crawl.archive import TABLES, Archive, ArchiveVersion
from align_data.sources.crawl.blocks import patiently
from align_data.sources.crawl.children import close_all
from align_data.sources.crawl.inputs import ArchiveSelection, find_archives
from align_data.sources.crawl.reading import ArchiveReading
from align_data.sources.crawl.rows import CONTRACT
from align_data.sources.crawl.settings import CrawlSettings
from align_data.storage.manifests import checked, unchecked
from align_data.storage.part_writer import PartWriter
from align_data.storage.store import Store

GROUP_ROWS, GROUP_BYTES = 50_000, 2**25
"""Rows of a row group, and bytes of their texts, at most: so its memory is bounded, whatever the rows are."""
_FOLDERS = ("", TABLES, ACCOUNTS)
_NAMED = 3
"""Archives that a sentence names, at most."""


@dataclass(frozen=True)
class CrawlReport:
    """What became of all archives, and what this run did."""

    total: CrawlTotal
    read: int
    """Archives that this run has read."""


class _Outcome(NamedTuple):
    """What became of one archive in this run: its account as it was written, or why it could not be read."""

    account: bytes | None
    reason: str = ""


@dataclass(frozen=True)
class _CrawlRun:
    """What is the same for all archives of a run. It travels to other machines."""

    archives: Sequence[Archive]
    store: Store
    settings: CrawlSettings
    sized: bool
    """Whether progress counts bytes: where the size of each archive is known before it is read."""


def crawl(
    inputs: Sequence[str],
    selection: ArchiveSelection,
    store: Store,
    engine: Engine,
    progress: Progress,
    settings: CrawlSettings = CrawlSettings(),  # noqa: B008 - frozen
) -> CrawlReport:
    """Read archives into tables of rows, which the caller has locked the folder of, and return their account.

    Archives that are read already are not read again, unless they have changed. One that cannot be read is in the
    account, and does not stop the others.
    """
    inside = store.fs.unstrip_protocol(store.root) + "/"
    archives, notes = find_archives(inputs, selection, but=inside)
    for note in notes:
        progress.say(note)
    stored = _begin(store, selection, settings, archives)
    complete = [archive for archive in archives if archive.stem in stored]
    looked = dict(zip((a.stem for a in complete), _looked_at(complete, store, settings, engine, progress), strict=True))
    todo = [archive for archive in archives if looked.get(archive.stem) is None]
    outcomes = _read_all(_CrawlRun(todo, store, settings, all(a.size is not None for a in todo)), engine, progress)
    read = dict(zip((archive.stem for archive in todo), outcomes, strict=True))
    total = CrawlTotal()
    for archive in archives:
        outcome = read.get(archive.stem)
        content = outcome.account if outcome is not None else looked[archive.stem]
        if content is not None:
            total.add(load(content))
        elif outcome is not None:
            total.unread.append(UnreadArchive(archive.name, outcome.reason))
    write_total(store, total)
    return CrawlReport(total, sum(outcome.account is not None for outcome in outcomes))


def _begin(store: Store, selection: ArchiveSelection, settings: CrawlSettings, archives: Sequence[Archive]) -> set[str]:
    """Mark the folder as that of this crawl, and return what has a table and an account.

    Raises DatasetError where it is another's.
    """
    mark = {"texts": list(settings.texts), "from": selection.kind, "columns": CONTRACT.arrow().names}
    content = store.read_bytes(MARK)
    if content is None:
        foreign = [name for name in store.names() if name not in (".lock", "_log", "_work")]
        if foreign:
            raise DatasetError(
                f"{store.url} holds {foreign[0]}, and is not a folder of rows: choose an empty or a new --out"
            )
        store.write_bytes(MARK, checked(mark))
    else:
        _same_options(store, unchecked(content, store.path(MARK), "choose another --out"), mark)
    store.sweep(_FOLDERS)
    stored = _stems(store, ACCOUNTS, ".json") & _stems(store, TABLES, ".parquet")
    strange = sorted(stored - {archive.stem for archive in archives})
    if strange:
        further = f" and {len(strange) - 1:,} more" if len(strange) > 1 else ""
        raise DatasetError(
            f"{store.url} has the rows of {strange[0]}{further}, which these inputs do not name: name all that are to "
            "be in it, or choose another --out"
        )
    store.remove(TOTAL_NAME)
    return stored


def _stems(store: Store, folder: str, ending: str) -> set[str]:
    return {name.removesuffix(ending) for name in store.names(folder) if name.endswith(ending)}


def _same_options(store: Store, before: dict[str, Any], now: dict[str, Any]) -> None:
    if before.get("columns") != now["columns"]:
        raise DatasetError(f"{store.url} was made by another version of align-data: choose another --out")
    for option, name in (("--text", "texts"), ("--from", "from")):
        if before.get(name) != now[name]:
            values = [",".join(v) if isinstance(v, list) else v or "nothing" for v in (before.get(name), now[name])]
            raise DatasetError(
                f"{store.url} was made with {option} {values[0]}, not {values[1]}: choose another --out for it"
            )


def _looked_at(
    archives: Sequence[Archive], store: Store, settings: CrawlSettings, engine: Engine, progress: Progress
) -> list[bytes | None]:
    """Return the account of each archive that has one and is as it was read; None where it is to be read again."""
    if not archives:
        return []
    run = _CrawlRun(archives, store, settings, sized=False)
    looked = engine.map_parts(
        "crawl: look", lambda part, tick: _unchanged(run, part, tick), [1] * len(archives), progress, unit="archives"
    )
    changed = [archive.name for archive, (_, is_changed) in zip(archives, looked, strict=True) if is_changed]
    if changed:
        further = f" and {len(changed) - _NAMED:,} more" if len(changed) > _NAMED else ""
        progress.say(f"changed since they were read, so read again: {', '.join(changed[:_NAMED])}{further}")
    return [content for content, _ in looked]


def _unchanged(run: _CrawlRun, part: int, tick: Tick) -> tuple[bytes | None, bool]:
    """Return the account of an archive as it was read, None where it is to be read; and whether it has changed."""
    archive, store = run.archives[part], run.store
    content = store.read_bytes(account_name(archive.stem))
    tick(1)
    try:
        account = load(content or b"")
        size = store.size(archive.table)
    except (AlignDataError, ValueError, TypeError, OSError):
        return None, False
    if account.table.bytes != size:
        return None, False
    if archive.listed:  # a look would be a request, of which the list of a crawl would make tens of thousands
        return content, False
    with suppress(InputError):
        if archive.version() != account.version:
            return None, True
    return content, False


def _read_all(run: _CrawlRun, engine: Engine, progress: Progress) -> list[_Outcome]:
    """Read archives; return what became of each."""
    if not run.archives:
        return []
    sizes = [(archive.size or 0) if run.sized else 1 for archive in run.archives]
    unit = "bytes" if run.sized else "archives"
    try:
        return engine.map_parts("crawl", lambda part, tick: _outcome(run, part, tick), sizes, progress, unit=unit)
    finally:
        close_all()


def _outcome(run: _CrawlRun, part: int, tick: Tick) -> _Outcome:
    """Read one archive; what is wrong with it is its own."""
    archive = run.archives[part]
    try:
        return _Outcome(_crawled(run, archive, tick))
    except InputError as error:
        return _Outcome(None, str(error))


def _crawled(run: _CrawlRun, archive: Archive, tick: Tick) -> bytes:
    """Write an archive's account, and then its table; return the account."""
    store = run.store

    def pause() -> None:
        tick(0)

    version = patiently(archive.version, pause)
    store.remove(archive.table)  # so no table is ever there without its account
    reading = ArchiveReading(archive, run.settings, pause)
    accounting = _ArchiveAccounting(archive, run, reading, tick)
    with store.create(archive.table) as path:
        table = _write(path, accounting, lambda: _check_whole(archive, version, reading.read))
        account = accounting.account(version, table).dump()
        store.write_bytes(account_name(archive.stem), account)
    tick(accounting.remaining(), NONE, {"archives": 1} if run.sized else NONE)  # else the unit is archives already
    return account


def _write(path: str, accounting: _ArchiveAccounting, check: Callable[[], None]) -> StoredTable:
    """Write a table of all rows; it is not whole until `check` has found nothing."""
    writer = PartWriter(CONTRACT, None, path, hashed=False)
    try:
        for group in row_groups(accounting.tables()):
            writer.write(group)
        check()
    except BaseException:
        writer.abandon()
        raise
    writer.close({})
    assert writer.info is not None
    return StoredTable(writer.info.rows, writer.info.bytes, writer.info.footer)


def _check_whole(archive: Archive, version: ArchiveVersion, read: int) -> None:
    """Raise InputError where an archive was written to while it was read."""
    now = version if archive.listed else archive.version()
    if now != version or (version.size is not None and version.size != read):
        raise InputError(f"{archive.name} has changed while it was read: run the command again")


class _ArchiveAccounting:
    """What became of an archive's records so far."""

    def __init__(self, archive: Archive, run: _CrawlRun, reading: ArchiveReading, tick: Tick) -> None:
        self._archive, self._run, self._reading, self._tick = archive, run, reading, tick
        self._account = CrawlAccount()
        self._lost: list[LostRecord] = []
        self._kind, self._cut_short = archive.kind, False
        self._counted = 0

    def tables(self) -> Iterator[pa.Table]:
        """Yield the archive's rows."""
        for portion in self._reading.portions():
            self._add(portion)
            yield from portion.rows
            self._progress(portion)

    def _add(self, portion: Portion) -> None:
        self._account.add(portion.account)
        self._lost += portion.lost[: NAMED_LOST - len(self._lost)]
        self._kind = portion.kind or self._kind
        self._cut_short = portion.cut_short

    def _progress(self, portion: Portion) -> None:
        further = max(0, self._reading.read - self._counted) if self._run.sized else 0
        self._counted += further
        self._tick(further, NONE, {"pairs": portion.account.rows})

    def remaining(self) -> int:
        """Return what of the archive's progress was not counted yet."""
        whole = (self._archive.size or 0) if self._run.sized else 1
        return max(0, whole - self._counted)

    def account(self, version: ArchiveVersion, table: StoredTable) -> ArchiveAccount:
        """Return the account of the archive, which is read to its end."""
        return ArchiveAccount(version, self._kind, self._account, tuple(self._lost), self._cut_short, table)


def row_groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of all tables in row groups, whose ends depend on the rows alone."""
    waiting: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        sizes = _sizes(table)
        at = 0
        while at < table.num_rows:
            ends = np.cumsum(sizes[at : at + GROUP_ROWS - rows])
            fit = int(np.searchsorted(ends, GROUP_BYTES - size, side="right"))
            if fit == 0 and not rows:
                fit = 1  # a row that is larger than a group is one
            if fit:
                waiting.append(table.slice(at, fit))
                rows, size, at = rows + fit, size + int(ends[fit - 1]), at + fit
            if at < table.num_rows or rows == GROUP_ROWS:
                yield pa.concat_tables(waiting)
                waiting, rows, size = [], 0, 0
    if waiting:
        yield pa.concat_tables(waiting)


def _sizes(table: pa.Table) -> Any:
    """Return the bytes of each row's texts."""
    sizes = np.zeros(table.num_rows, np.int64)
    for column in table.columns:
        if pa.types.is_large_string(column.type):
            for chunk in column.chunks:
                offsets = np.frombuffer(chunk.buffers()[1], np.int64, len(chunk) + 1, chunk.offset * 8)
                sizes += np.diff(offsets)
    return sizes
