"""Chips: each thing that an address asks of pairs, in words, with the address that asks for all but that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from align_data.data.ledger import FAILS
from align_data.explorer.pair_form import CONTAINS, VERDICTS
from align_data.selection.conditions import NULL, Condition, ConditionError
from align_data.selection.draft import NAMES as OF_DRAFT
from align_data.selection.draft import RECIPE, SET, WITHOUT, Words
from align_data.selection.selection import BUT, MOVED, NAMES, NEAREST, ONLY, OUTCOME, RANDOM, SIDE, SORT, WHERE

PAGE = "page"
"""The word that names a page, which another selection does not have."""

NAMED = 12
"""Alternatives that a chip names."""


@dataclass(frozen=True)
class Chip:
    """One thing that is asked."""

    words: str
    without: str
    """The part of an address that asks for all else."""
    problem: bool = False
    """Whether it cannot be understood."""


def chips(words: Words) -> Iterator[Chip]:
    """Yield a chip for each thing that an address asks; one for all of `but`, and one for a threshold and its side."""
    entries = [(name, value) for name, value in words if name != PAGE]
    but = [value for name, value in entries if name == BUT and value]
    if but:
        yield _chip(entries, (BUT,), f"fails only among {', '.join(but)}")
    nearest = next((value for name, value in entries if name == NEAREST and value), None)
    side = next((value for name, value in entries if name == SIDE and value), None)
    if nearest or side:
        yield _chip(entries, (NEAREST, SIDE), f"nearest to {nearest or '?'}{f', {side}' if side else ''}")
    for at, (name, value) in enumerate(entries):
        if value.strip() and name in (*NAMES, *OF_DRAFT) and name not in (BUT, NEAREST, SIDE, RECIPE):
            without = [*entries[:at], *entries[at + 1 :]]
            yield Chip(_phrase(name, value.strip()), urlencode(without), name == WHERE and _parsed(value) is None)


def _chip(entries: Words, names: tuple[str, ...], words: str) -> Chip:
    return Chip(words, urlencode([(name, value) for name, value in entries if name not in names]))


def _phrase(name: str, value: str) -> str:
    """Return in words what a name and its value ask for."""
    if name == WHERE:
        return _condition(value)
    if name == SORT:
        return f"by {value.removeprefix('-')}, {'greatest' if value.startswith('-') else 'least'} first"
    phrases = {
        ONLY: f"fails {value} and no other rule",
        OUTCOME: value,
        MOVED: value.replace("-", " → "),
        RANDOM: f"at random, seed {value}",
        SET: f"draft: {value}",
        WITHOUT: f"draft: without {value}",
    }
    return phrases.get(name, f"draft: with {value}")


def _condition(line: str) -> str:
    condition = _parsed(line)
    if condition is None:
        return line
    column, op, value = condition.column, condition.op, condition.value
    if column.startswith(FAILS) and op == "=" and value in VERDICTS:
        rule = column.removeprefix(FAILS)
        return f"{rule} unknown" if value == NULL else f"{VERDICTS[value]} {rule}"
    if op in CONTAINS:
        return f"{'text' if column == 'alt_text' else column} {CONTAINS[op]} “{value}”"
    if op == "=" and len(condition.values) > NAMED:
        return f"{column} is one of {len(condition.values):,}"
    if value == NULL and op in ("=", "!="):
        return f"{column} {'unknown' if op == '=' else 'known'}"
    return f"{column} {op.replace('>=', '≥').replace('<=', '≤').replace('!=', '≠')} {value}"


def _parsed(line: str) -> Condition | None:
    try:
        return Condition.parse(line)
    except ConditionError:
        return None
