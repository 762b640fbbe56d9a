"""The accounts of a crawl as they lie above its rows: one an archive, and one for all of them.

They are not in the folder of the tables, which other tools open as it is; their names begin with _, so that who reads
the folder above as a list passes over them. Nothing in them depends on when or how fast an archive was read: equal
archives have equal accounts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from align_data.common.errors import DatasetError
from align_data.common.workers.values import of
from align_data.sources.crawl.account import CrawlAccount
from align_data.sources.crawl.answers import LostRecord, account_of
from align_data.sources.crawl.archive import ArchiveVersion
from align_data.sources.crawl.settings import Kind
from align_data.storage.manifests import checked, unchecked
from align_data.storage.store import Store

ACCOUNTS = "_accounts"
"""The folder of the archives' accounts."""
TOTAL = "_account.json"
"""The account of all archives; there once all of them have been tried."""
MARK = "_crawl.json"
"""What was asked for of the archives, which marks a folder as that of a crawl."""
_LOST = {"archive": str, "offset": int, "reason": str}
"""The fields of a lost record of one of several archives, and their types."""
NAMED_LOST = 20
"""Damages that an account names, at most."""


@dataclass(frozen=True)
class StoredTable:
    """What tells an archive's table from another one."""

    rows: int
    bytes: int
    footer: str | None


@dataclass(frozen=True)
class ArchiveAccount:
    """What became of one archive."""

    version: ArchiveVersion
    read_as: Kind | None
    """None where no record says what it is."""
    account: CrawlAccount
    lost: tuple[LostRecord, ...]
    """The first damaged records, and pages that were given up."""
    cut_short: bool
    table: StoredTable

    def dump(self) -> bytes:
        """Return it as a file."""
        return checked(
            {
                **asdict(self.version),
                "read_as": self.read_as,
                **self.account.to_json(),
                "cut_short": self.cut_short,
                "lost": [record._asdict() for record in self.lost],
                "table": asdict(self.table),
            }
        )


def load(content: bytes) -> ArchiveAccount:
    """Return an archive's account; DatasetError or ValueError where a file does not hold one."""
    value = unchecked(content, ACCOUNTS, old=False)
    return ArchiveAccount(
        of(ArchiveVersion, {name: value.get(name) for name in ("name", "size", "modified")}),
        _read_as(value.get("read_as")),
        account_of({name: value.get(name) for name in vars(CrawlAccount())}),
        tuple(LostRecord(*_fields(each, offset=int, reason=str)) for each in _list(value, "lost")),
        of(bool, value.get("cut_short")),
        of(StoredTable, value.get("table")),
    )


def _read_as(value: Any) -> Kind | None:
    return value if value is None else of(Kind, value)  # type: ignore[arg-type]  # it is one of some words


def account_name(stem: str) -> str:
    """Return the name of an archive's account in the folder of a crawl."""
    return f"{ACCOUNTS}/{stem}.json"


@dataclass(frozen=True)
class UnreadArchive:
    """An archive that could not be read, and why."""

    name: str
    reason: str

    @property
    def sentence(self) -> str:
        """Why it could not be read, with its name, which most reasons have in them."""
        return self.reason if self.name in self.reason else f"{self.name}: {self.reason}"


@dataclass
class CrawlTotal:
    """What became of all archives of a crawl."""

    archives: int = 0
    """Archives that were read."""
    account: CrawlAccount = field(default_factory=CrawlAccount)
    cut_short: list[str] = field(default_factory=list)
    """The names of the archives that end before they are whole."""
    lost: list[dict[str, Any]] = field(default_factory=list)
    """The first lost and pages that were given up: archive, offset and reason."""
    unread: list[UnreadArchive] = field(default_factory=list)
    """Archives that could not be read; the next run tries them again."""

    def add(self, archive: ArchiveAccount) -> None:
        """Add what became of another archive."""
        self.archives += 1
        self.account.add(archive.account)
        if archive.cut_short:
            self.cut_short.append(archive.version.name)
        missing = NAMED_LOST - len(self.lost)
        self.lost += [{"archive": archive.version.name, **record._asdict()} for record in archive.lost[:missing]]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "archives": self.archives,
            **self.account.to_json(),
            "cut_short": self.cut_short,
            "lost": self.lost,
            "unread": [asdict(each) for each in self.unread],
        }


def write_total(store: Store, total: CrawlTotal) -> None:
    """Write the account of all archives."""
    store.write_bytes(TOTAL, checked(total.to_json()))


def read_total(store: Store) -> CrawlTotal | None:
    """Return the account of all archives that lies in the folder of a crawl, None without one.

    Raises DatasetError for a damaged one.
    """
    content = store.read_bytes(TOTAL)
    if content is None:
        return None
    where = store.path(TOTAL)
    value = unchecked(content, where, "crawl again", old=False)
    try:
        return _total(value)
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{where} cannot be understood: {error}; crawl again") from error


def _total(value: Mapping[str, Any]) -> CrawlTotal:
    return CrawlTotal(
        of(int, value.get("archives")),
        account_of({name: value.get(name) for name in vars(CrawlAccount())}),
        [of(str, name) for name in _list(value, "cut_short")],
        [dict(zip(_LOST, _fields(each, **_LOST), strict=True)) for each in _list(value, "lost")],
        [of(UnreadArchive, each) for each in _list(value, "unread")],
    )


def _fields(value: Any, **kinds: type) -> list[Any]:
    """Return fields of a JSON object, each of its type."""
    record = of(dict[str, Any], value)
    return [of(kind, record.get(name)) for name, kind in kinds.items()]


def _list(value: Mapping[str, Any], name: str) -> Sequence[Any]:
    listed = value.get(name)
    if not isinstance(listed, list):
        raise TypeError(f"{name} is not a list")
    return listed
