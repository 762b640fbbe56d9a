"""What became of the rows of lists, and what there is to say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from align_data.data.html_texts import Rewriting
from align_data.sources.lists import Reading
from align_data.storage.tables import PartInfo


@dataclass
class Account:
    """What became of the input's rows: rows = pairs + merged + rejected + refused_tombstone, always."""

    rows: int = 0
    pairs: int = 0
    merged: int = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    already: bool = False
    """Whether it had all been done before."""
    entities: int | None = None
    """Rows whose text has character references of HTML; None where an earlier version did not look."""
    markup: int | None = None
    """Rows whose text has tags of HTML."""
    refused_tombstone: int = 0
    """Rows of what was taken down before they came again."""


@dataclass(frozen=True)
class UnitAccount:
    """What became of the rows of one unit of a list."""

    rows: int
    accepted: int
    bytes: int
    reasons: Counter[str]
    emptied: Counter[str]
    """Of each declared column how many values are not UTF-8, and were left out."""
    html: Counter[str]
    """How many texts have entities, and how many markup."""


def total(accounts: Sequence[UnitAccount], written: Sequence[PartInfo]) -> Account:
    """Return the account of all units, whose pairs were written to these parts."""
    reasons: Counter[str] = Counter()
    for account in accounts:
        reasons.update(account.reasons)
    pairs = sum(info.rows for info in written)
    accepted = sum(a.accepted for a in accounts)
    html = sum((a.html for a in accounts), Counter[str]())
    return Account(
        rows=sum(a.rows for a in accounts),
        pairs=pairs,
        merged=accepted - pairs,
        rejected=sum(reasons.values()),
        reasons=dict(sorted(reasons.items())),
        entities=html["entities"],
        markup=html["markup"],
    )


def left_empty(accounts: Sequence[UnitAccount]) -> Iterator[str]:
    """Yield which declared values could not be read."""
    for name, values in sorted(sum((a.emptied for a in accounts), Counter[str]()).items()):
        yield f"{name}: {values:,} values are not UTF-8, and are left empty; their rows stay"


def of_html(account: Account, rewriting: Rewriting) -> Iterator[str]:
    """Yield what was done to texts that are HTML still, and what could be."""
    kinds = (
        ("entities", "decoded in", account.entities or 0, rewriting.decode_entities),
        ("markup", "stripped from", account.markup or 0, rewriting.strip_markup),
    )
    for kind, how, texts, is_done in kinds:
        if is_done:
            yield f"{kind} {how} {_texts(texts)}"
    left = {kind: texts for kind, _, texts, is_done in reversed(kinds) if texts and not is_done}
    if left:
        (kind, texts), *others = left.items()
        numbers = [f"{_texts(texts)} {'contains' if texts == 1 else 'contain'} {kind}"]
        numbers += [f"{texts:,} {kind}" for kind, texts in others]
        options = {"entities": "--decode-entities", "markup": "--strip-markup"}
        yield f"{', '.join(numbers)}: {' and '.join(options[kind] for kind in left)}, with another --out"


def _texts(number: int) -> str:
    return f"{number:,} {'text' if number == 1 else 'texts'}"


def not_utf8(rows: int, reading: Reading) -> str:
    """Say what to do where rows could not be decoded."""
    rejected = "1 row was rejected because it is" if rows == 1 else f"{rows:,} rows were rejected because they are"
    if reading.encoding:
        return f"{rejected} not {reading.encoding}: name another --encoding"
    return (
        f"{rejected} not UTF-8: name what the list was written in, "
        "such as --encoding latin-1 or --encoding cp1252, with another --out"
    )
