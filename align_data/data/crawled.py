"""Lists that are rows of a crawl: known by the mark above them, and accounted for by the crawl's own accounts.

These are a stranger's, as lists are: what does not add up, or is of other rows than these, is told and left out.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
from pydantic import ValidationError

from align_data.common.errors import AlignDataError, InputError
from align_data.common.secrets import mask
from align_data.data.meta import CrawlMeta
from align_data.sources.crawl.accounts import MARK, NAMED_LOST, TOTAL, CrawlTotal, account_name, load, read_total
from align_data.sources.crawl.archive import TABLES
from align_data.sources.lists import Source
from align_data.storage.store import Store

MAX_ACCOUNT = 2**26
"""Bytes of an account; of all archives of the largest crawl it has a tenth of that."""
_NOT_AN_ACCOUNT = (AlignDataError, ValueError, TypeError, OSError)
_NAME = 300
"""Characters of an archive's name."""


@dataclass(frozen=True)
class CrawlFolder:
    """The folder of a crawl, and the lists of it that are inputs."""

    store: Store
    sources: Sequence[Source]
    whole: bool
    """Whether the crawl has finished."""


def crawl_folders(sources: Iterable[Source], inputs: Iterable[str]) -> list[CrawlFolder]:
    """Return the folders of crawls that lists lie in; InputError for one that is named whole, and is not finished."""
    by_folder: dict[str, list[Source]] = {}
    for source in sources:
        path, name = posixpath.split(posixpath.dirname(source.path))
        if name == TABLES and path:
            by_folder.setdefault(source.fs.unstrip_protocol(path) if source.remote else path, []).append(source)
    stores = {url: Store(url, own=False) for url in by_folder}
    folders = [
        CrawlFolder(store, by_folder[url], store.exists(TOTAL)) for url, store in stores.items() if store.exists(MARK)
    ]
    unfinished: dict[str, str] = {}
    for folder in folders:
        if not folder.whole:
            whole = folder.store.fs.unstrip_protocol(folder.store.root)
            unfinished |= {whole: f"{TABLES}/*.parquet", f"{whole}/{TABLES}": "*.parquet"}
    for pattern in inputs if unfinished else ():
        fs, path = fsspec.core.url_to_fs(pattern)
        lists = unfinished.get(fs.unstrip_protocol(path.rstrip("/")))
        if lists is not None:
            raise InputError(
                f"{pattern} is of a crawl that has not finished: run align-data crawl again; or take what it has read "
                f"so far by the names of its lists, as in '{pattern.rstrip('/')}/{lists}'"
            )
    return folders


def crawl_of(folders: Sequence[CrawlFolder], rows: Mapping[str, int]) -> tuple[CrawlMeta | None, list[str]]:
    """Return what became of the archives whose rows were read, and notes on lists that no account is of.

    `rows` are those of each list that were read, by its path. None where no list has an account.
    """
    total, unread, notes = CrawlTotal(), 0, list[str]()
    for folder in folders:
        of_all = _total(folder, rows)
        if of_all is not None:
            _add(total, of_all)
            unread += len(of_all.unread)
            if of_all.unread:
                notes.append(f"{_shown(folder)}: archives of its crawl that could not be read: {len(of_all.unread):,}")
            continue
        without = [source for source in folder.sources if not _added(total, folder.store, source, rows)]
        if without:
            further = f" and {len(without) - 1:,} others" if len(without) > 1 else ""
            notes.append(
                f"{without[0].name}{further}: no account of the crawl fits its rows, which count as those of any list"
            )
        if not folder.whole:
            notes.append(f"{_shown(folder)}: its crawl has not finished; these are rows of what it has read so far")
    if not total.archives:
        return None, notes
    crawl, read = _meta(total, unread), sum(rows.values())
    if crawl.rows < read:
        notes.append(f"{crawl.rows:,} of the {read:,} rows in are of a crawl, {read - crawl.rows:,} of other lists")
    return crawl, notes


def _shown(folder: CrawlFolder) -> str:
    return mask(folder.store.url)


def _total(folder: CrawlFolder, rows: Mapping[str, int]) -> CrawlTotal | None:
    """Return the account of all archives of a crawl, where exactly their rows were read."""
    if not folder.whole or folder.store.size(TOTAL) > MAX_ACCOUNT:
        return None
    try:
        total = read_total(folder.store)
    except _NOT_AN_ACCOUNT:
        return None
    if total is None or total.archives != len(folder.sources):
        return None
    same = total.account.rows == sum(rows[source.path] for source in folder.sources)
    return total if same and _valid(total) else None


def _added(total: CrawlTotal, store: Store, source: Source, rows: Mapping[str, int]) -> bool:
    """Add what became of the archive of a list, and tell whether its account is of these rows."""
    name = account_name(posixpath.basename(source.path).removesuffix(".parquet"))
    try:
        if not store.exists(name) or store.size(name) > MAX_ACCOUNT:
            return False
        account = load(store.read_bytes(name) or b"")
        own = CrawlTotal()
        own.add(account)
        fits = account.account.rows == rows[source.path] and _valid(own)
    except _NOT_AN_ACCOUNT:
        return False
    if fits:
        _add(total, own)
    return fits


def _valid(total: CrawlTotal) -> bool:
    """Tell whether an account can be kept."""
    try:
        _meta(total, 0)
    except ValidationError:
        return False
    return True


def _add(total: CrawlTotal, other: CrawlTotal) -> None:
    total.archives += other.archives
    total.account.add(other.account)
    total.cut_short += other.cut_short
    total.lost += other.lost[: NAMED_LOST - len(total.lost)]


def _meta(total: CrawlTotal, unread: int) -> CrawlMeta:
    """Return what a dataset keeps of an account; ValidationError for what is none."""
    counts = {"archives": total.archives, **total.account.to_json()}
    further = {"cut_short": len(total.cut_short), "unread": unread, "lost": list(_lost(total.lost))}
    return CrawlMeta.model_validate({**counts, **further})


def _lost(lost: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for record in lost[:NAMED_LOST]:
        archive = record.get("archive")
        yield {**record, "archive": mask(archive)[:_NAME] if isinstance(archive, str) else archive}
