"""The form of the page of pairs: fields for what people ask most, and lines in which everything can be asked.

An address has the words of the command line. The form shows each condition in the field that it fits, and as a line
where it fits none; a form that is sent becomes words again. What cannot be understood stays as it was typed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest

from align_data.data.ledger import FAILS
from align_data.selection.conditions import Condition, ConditionError
from align_data.selection.draft import NAMES as OF_DRAFT
from align_data.selection.draft import Words
from align_data.selection.selection import BUT, MOVED, NEAREST, ONLY, OUTCOME, RANDOM, SIDE, SORT, WHERE
from align_data.signals.label import LABEL

EQUAL = ("host", "language", "script", "status")
"""Columns with a field of their own."""
TEXT, TEXT_OP, COLUMN, LOW, HIGH, DESCENDING = "text", "text_op", "column", "from", "to", "descending"
IS, RULE = "is.", "rule."
"""What the names of fields begin with: of what a column equals, of what a rule says."""
VERDICTS = {"true": "fails", "false": "passes", "null": "unknown"}
CONTAINS = {"~": "contains", "~~": "matches"}


@dataclass
class Range:
    """The ends of a range, as they were typed."""

    low: str = ""
    high: str = ""


@dataclass
class PairForm:
    """The conditions of an address, each in its field."""

    text: str = ""
    text_op: str = "~"
    equal: dict[str, str] = field(default_factory=dict)
    verdicts: dict[str, str] = field(default_factory=dict)
    """Rule → true, false or null, as a condition on `fails_RULE` has it."""
    ranges: dict[str, Range] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @staticmethod
    def of(words: Words, columns: Collection[str], numbers: Collection[str]) -> PairForm:
        """Return the form for an address; `columns` can be asked about, and `numbers` of them have an order."""
        form = PairForm()
        for line in (value.strip() for name, value in words if name == WHERE and value.strip()):
            if not form._take(line, columns, numbers):
                form.lines.append(line)
        return form

    def _take(self, line: str, columns: Collection[str], numbers: Collection[str]) -> bool:
        """Put a condition in its field; False where it has none, or another is in it."""
        try:
            condition = Condition.parse(line)
        except ConditionError:
            return False
        column, op, value = condition.column, condition.op, condition.value
        if column not in columns:
            return False
        if column == "alt_text" and op in CONTAINS and not self.text:
            self.text, self.text_op = value, op
        elif column in EQUAL and op == "=" and column not in self.equal:
            self.equal[column] = value
        elif column.startswith(FAILS) and op == "=" and value in VERDICTS and column not in self.verdicts:
            self.verdicts[column] = value
        elif column in numbers and op == ">=" and not self.ranges.get(column, Range()).low:
            self.ranges.setdefault(column, Range()).low = value
        elif column in numbers and op == "<=" and not self.ranges.get(column, Range()).high:
            self.ranges.setdefault(column, Range()).high = value
        else:
            return False
        return True


@dataclass(frozen=True)
class SentForm:
    """The fields of a form that somebody sent."""

    fields: Words

    def words(self) -> list[tuple[str, str]]:
        """Return the words of an address that ask for the same."""
        words = [(name, value) for name, value in self.fields if name in (*OF_DRAFT, LABEL) and value]
        words += [(WHERE, condition) for condition in self._conditions()]
        singles = (ONLY, BUT, OUTCOME, MOVED, NEAREST, SIDE, RANDOM)
        words += [(name, value.strip()) for name, value in self.fields if name in singles and value.strip()]
        if sort := self._first(SORT):
            words.append((SORT, f"-{sort}" if self._first(DESCENDING) else sort))
        return words

    def _conditions(self) -> Iterator[str]:
        if text := self._first(TEXT):
            yield f"alt_text{'~~' if self._first(TEXT_OP) == '~~' else '~'}{text}"
        for name, value in self.fields:
            if name.startswith(IS) and value.strip():
                yield f"{name.removeprefix(IS)}={value.strip()}"
            elif name.startswith(RULE) and value:
                yield f"{name.removeprefix(RULE)}={value}"
        for column, low, high in zip_longest(*(self._all(name) for name in (COLUMN, LOW, HIGH)), fillvalue=""):
            for op, end in ((">=", low), ("<=", high)):
                if end:  # without a column it is no condition, and is said to be none
                    yield f"{column}{op}{end}"
        yield from filter(None, self._all(WHERE))

    def _all(self, name: str) -> list[str]:
        return [value.strip() for of, value in self.fields if of == name]

    def _first(self, name: str) -> str:
        return next(iter(self._all(name)), "")
