"""What became of the rows of lists, and what there is to say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from align_data.sources.lists import Reading
from align_data.storage.tables import PartInfo


@dataclass
class Account:
    """What became of the input's rows: rows = pairs + merged + rejected, always."""

    rows: int = 0
    pairs: int = 0
    merged: int = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    already: bool = False
    """Whether it had all been done before."""


@dataclass(frozen=True)
class UnitAccount:
    """What became of the rows of one unit of a list."""

    rows: int
    accepted: int
    bytes: int
    reasons: Counter[str]
    emptied: Counter[str]
    """Of each declared column how many values are not UTF-8, and were left out."""


def total(accounts: Sequence[UnitAccount], written: Sequence[PartInfo]) -> Account:
    """Return the account of all units, whose pairs were written to these parts."""
    reasons: Counter[str] = Counter()
    for account in accounts:
        reasons.update(account.reasons)
    pairs = sum(info.rows for info in written)
    accepted = sum(a.accepted for a in accounts)
    return Account(
        rows=sum(a.rows for a in accounts),
        pairs=pairs,
        merged=accepted - pairs,
        rejected=sum(reasons.values()),
        reasons=dict(sorted(reasons.items())),
    )


def left_empty(accounts: Sequence[UnitAccount]) -> Iterator[str]:
    """Yield which declared values could not be read."""
    for name, values in sorted(sum((a.emptied for a in accounts), Counter[str]()).items()):
        yield f"{name}: {values:,} values are not UTF-8, and are left empty; their rows stay"


def not_utf8(rows: int, reading: Reading) -> str:
    """Say what to do where rows could not be decoded."""
    rejected = "1 row was rejected because it is" if rows == 1 else f"{rows:,} rows were rejected because they are"
    if reading.encoding:
        return f"{rejected} not {reading.encoding}: name another --encoding"
    return (
        f"{rejected} not UTF-8: name what the list was written in, "
        "such as --encoding latin-1 or --encoding cp1252, with another --out"
    )
