"""What the process that reads an archive says of it, and how that is checked: whoever made a page may control it.

Rows travel as the plain buffers of their columns. Nothing of them is believed: no lengths, types or codecs are said, so
that none can be wrong, and each column is validated to its last byte.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from align_data.common.workers.values import of
from align_data.sources.crawl.account import CrawlAccount
from align_data.sources.crawl.rows import CONTRACT
from align_data.sources.crawl.settings import Kind
from align_data.sources.crawl.warc.reader import ResumePoint

MAX_ANSWER = 2**25
"""Bytes of an answer."""
PAGE_ROWS = 2**25
"""Characters of all rows of a page, at most; a page of more is too costly."""
MAX_LOST = 200
"""Damages and costly pages that one answer tells of."""
_REASON = re.compile(r"[a-z][a-z0-9_]{0,39}")
_REASONS = 200
"""Different reasons, at most."""
_MOST = 2**48

Buffers = tuple[bytes | None, ...]


class LostRecord(NamedTuple):
    """A record that is damaged or was given up: where it begins, and why."""

    offset: int
    reason: str


class _Answer(NamedTuple):
    """What is said of some records; of the rows of a page that come in several answers, the last has what it counts."""

    rows: int
    columns: tuple[Buffers, ...]
    account: Mapping[str, Any] | None
    """None where more of the page comes; else of all records since the answer before that had one."""
    lost: tuple[LostRecord, ...]
    position: ResumePoint | None
    """Where what follows begins; None where the account is, and at the end of the file."""
    kind: Kind | None
    cut_short: bool
    crawl: str | None


class Portion(NamedTuple):
    """What became of some records: rows, counts, and where what follows begins."""

    rows: list[pa.Table]
    account: CrawlAccount
    lost: tuple[LostRecord, ...]
    position: ResumePoint | None
    """None at the end of the file."""
    kind: Kind | None
    """What the archive is read as, once its records have said it."""
    cut_short: bool
    """At the end: whether the file ends before it is whole."""
    crawl: str | None
    """The crawl that the archive has said so far that it is part of."""


def buffers(table: pa.Table) -> list[Buffers]:
    """Return the buffers of a table of rows; each of its columns has one chunk."""
    return [
        tuple(None if buffer is None else buffer.to_pybytes() for buffer in column.chunk(0).buffers())
        for column in table.columns
    ]


def table_of(rows: int, columns: tuple[Buffers, ...]) -> pa.Table:
    """Return the rows that buffers hold; ValueError where they do not."""
    schema = CONTRACT.arrow()
    if not 0 <= rows <= MAX_ANSWER or len(columns) != len(schema):
        raise ValueError("not the columns of rows")
    arrays = [_array(field, rows, column) for field, column in zip(schema, columns, strict=True)]
    return pa.table(arrays, schema=schema)


def _array(field: pa.Field, rows: int, column: Buffers) -> pa.Array:
    if len(column) != (3 if pa.types.is_large_string(field.type) else 2) or column[1] is None:
        raise ValueError(f"not the buffers of {field.name}")
    try:
        array = pa.Array.from_buffers(field.type, rows, [None if b is None else pa.py_buffer(b) for b in column])
        array.validate(full=True)
    except pa.ArrowException as error:
        raise ValueError(f"{field.name}: {error}") from error
    if array.null_count and not field.nullable:
        raise ValueError(f"{field.name} has nulls")
    return array


class InHand(NamedTuple):
    """A record that is about to be read, and where what follows it begins."""

    offset: int
    behind: ResumePoint


class Answers:
    """Checks the answers on one archive; ValueError for what cannot be so."""

    def __init__(self, position: ResumePoint | None, kind: Kind | None) -> None:
        self._position = position
        self._kind = kind
        self._last = -1
        self._tables: list[pa.Table] = []
        self._rows = self._bytes = 0

    def take(self, answer: Any, fed: int) -> Portion | None:
        """Return what an answer completes, None where more of a page comes; it was fed so many bytes."""
        part = of(_Answer, answer)
        if self._kind is not None and part.kind != self._kind:
            raise ValueError("an archive of another kind")
        self._kind = part.kind
        if part.rows:
            self._add(table_of(part.rows, part.columns))
        if part.account is None:
            if part.position is not None or not part.rows or self._bytes > 8 * PAGE_ROWS:
                raise ValueError("rows without an end")
            return None
        account = account_of(part.account)
        if account.rows != self._rows:
            raise ValueError("another number of rows than was counted")
        lost = tuple(map(_lost_record, part.lost))
        if len(lost) > MAX_LOST:
            raise ValueError("too many records that are lost")
        if part.position is not None:
            self._check(part.position, fed)
            self._position = part.position
        tables, self._tables, self._rows, self._bytes = self._tables, [], 0, 0
        return Portion(tables, account, lost, part.position, part.kind, part.cut_short, part.crawl)

    def in_hand(self, answer: Any, fed: int) -> InHand | None:
        """Return the record that an answer says is about to be read; None for an answer that says something else."""
        if not isinstance(answer, tuple) or not answer or answer[0] != "page":
            return None
        _, offset, behind = of(tuple[str, int, ResumePoint], answer)
        self._check(behind, fed)
        return InHand(_number(offset), behind)

    def _add(self, table: pa.Table) -> None:
        self._tables.append(table)
        self._rows += table.num_rows
        self._bytes += table.nbytes
        offsets = table.column("crawl_offset").to_numpy()
        if offsets.min() < 0 or (self._kind == "warc" and (offsets[0] < self._last or (np.diff(offsets) < 0).any())):
            raise ValueError("offsets that do not ascend")
        self._last = int(offsets[-1])

    def _check(self, position: ResumePoint, fed: int) -> None:
        before = self._position
        if not 0 <= position.offset <= fed or position.inside < 0:
            raise ValueError("a position outside of the file")
        if before is not None and position[:2] < before[:2]:
            raise ValueError("a position before the last one")


def account_of(plain: Mapping[str, Any]) -> CrawlAccount:
    """Return an account that came from another process or a file; ValueError where it does not add up."""
    empty = CrawlAccount()
    if plain.keys() != vars(empty).keys():
        raise ValueError("not the fields of an account")
    account = CrawlAccount(**{name: _count(plain[name], like) for name, like in vars(empty).items()})
    if not account.balanced():
        raise ValueError("an account that does not add up")
    return account


def _count(value: Any, like: Any) -> Any:
    if not isinstance(like, Counter):
        return _number(value)
    reasons = Counter({_word(reason): _number(number) for reason, number in of(dict[str, int], value).items()})
    if len(reasons) > _REASONS:
        raise ValueError("too many reasons")
    return reasons


def _lost_record(lost: LostRecord) -> LostRecord:
    return LostRecord(_number(lost.offset), _word(lost.reason))


def _word(reason: str) -> str:
    if not _REASON.fullmatch(reason):
        raise ValueError("not a reason")
    return reason


def _number(value: Any) -> int:
    number = of(int, value)
    if not 0 <= number <= _MOST:
        raise ValueError("not a count")
    return number
