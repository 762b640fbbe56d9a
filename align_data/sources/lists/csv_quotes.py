"""Quotation marks in delimited text: which lines they leave whole, and how the others are read.

The grammar is RFC 4180's: a quotation mark at the beginning of a value quotes it to the next one that is not doubled,
behind which the value ends; within a value that is not quoted it is a character. A row that cannot be read so is read
with its quotation marks escaped by backslashes, if that can be done. If neither can, its first line is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from align_data.sources.lists.csv_lines import Lines

LONGEST = 100
"""Lines that a value may run over unless the user says that values hold line breaks."""
_QUOTE = 34
_DOUBLED = re.compile(rb'[^"]*+(?:""[^"]*+)*+'), re.compile(rb'"(")')
"""What is between quotation marks, and what in it stands for a character."""
_ESCAPED = re.compile(rb'(?:[^"\\]++|\\.|"")*+', re.DOTALL), re.compile(rb'[\\"](["\\\n]|\r\n?)')
_URL = re.compile(rb'[\s"]*(?:[a-z][a-z0-9+.-]*:)?//\S', re.IGNORECASE)


class RunsOnError(Exception):
    """A value runs from line `start` to `end` over lines that look like rows, such as `sample`."""

    def __init__(self, start: int, end: int, sample: int | None) -> None:
        super().__init__(start, end, sample)
        self.start, self.end, self.sample = start, end, sample


@dataclass(frozen=True)
class Record:
    """What became of the lines from `start` to `end`: the fields of a row, or what is wrong with it."""

    start: int
    end: int
    fields: list[bytes]
    fault: str = ""


@dataclass(frozen=True)
class _Parsed:
    """The fields of a row and where each ends, up to where they could be read."""

    fields: list[bytes]
    ends: list[int]
    stuck: int | None = None
    """The quotation mark that has no place, or the limit where one was looked for; None for a whole row."""


@dataclass(frozen=True)
class _Window:
    """The lines from `start` to before `behind` in which the end of a row is looked for."""

    lines: Lines
    start: int
    behind: int
    limit: int
    """Where the last of them ends."""
    unfinished: bool
    """Whether what follows has yet to be read."""

    def end(self, parsed: _Parsed) -> int:
        """Return the line that a whole row ends on."""
        return self.lines.at(parsed.ends[-1])


@dataclass(frozen=True)
class Grammar:
    """How rows are read: what is between fields, how many they are and which is the URL, None where that is not known.

    `multiline`: whether values hold line breaks; None for where that is plausible.
    """

    delimiter: bytes
    width: int | None = None
    url: int | None = None
    multiline: bool | None = None

    def scan(self, lines: Lines, start: int, final: bool) -> tuple[list[Record], int]:
        """Read the rows that need care, from line `start`; return them, and how many lines of the block are done.

        Each line outside of them is a row. Raises RunsOnError.
        """
        records: list[Record] = []
        free = start
        for number in _irregular(lines, self.delimiter):
            if number < free:
                continue
            record = self.record(lines, number, final)
            if record is None:
                return records, number
            records.append(record)
            free = record.end + 1
        return records, len(lines)

    def record(self, lines: Lines, start: int, final: bool) -> Record | None:
        """Read the row that begins on a line; None if it may end behind the block."""
        span = {None: LONGEST, True: len(lines), False: 1}[self.multiline]
        behind = min(start + span, len(lines))
        cut = behind == len(lines) and self.multiline is not False and (self.multiline or behind < start + span)
        window = _Window(lines, start, behind, int(lines.ends[behind - 1]), bool(cut) and not final)
        parsed = self._parse(window, *_DOUBLED)
        if self._fits(parsed, window):
            return Record(start, window.end(parsed), parsed.fields)
        if window.unfinished and parsed.stuck == window.limit:
            return None
        if lines.data.find(b'\\"', lines.starts[start], window.limit) >= 0:
            runs_on = parsed.stuck is None and window.end(parsed) > start  # which may be right as it is
            escaped = self._parse(window, *_ESCAPED)
            if self._fits(escaped, window) and not (runs_on and window.end(escaped) > start):
                return Record(start, window.end(escaped), escaped.fields)
            if window.unfinished and escaped.stuck == window.limit and not runs_on:
                return None
        return self._misfit(parsed, window, final)

    def _misfit(self, parsed: _Parsed, window: _Window, final: bool) -> Record:
        """Reject a row or the line that it begins on, or refuse the file."""
        lines, start = window.lines, window.start
        if parsed.stuck is None:
            rowlike = self._rowlike_beside(parsed, window)
            if rowlike is not None:
                raise RunsOnError(start, window.end(parsed), rowlike)
            return Record(start, window.end(parsed), [], f"{len(parsed.fields)} fields, not {self.width}")
        if parsed.stuck < lines.ends[start]:
            return Record(start, start, [], "a quotation mark in a quoted value is not doubled")
        open_ = parsed.stuck == window.limit and not (final and window.behind == len(lines))
        if open_ and self.multiline is None and self.url is not None:
            following = [number for number in range(start + 1, window.behind) if lines.line(number)]
            rowlike_ = [number for number in following if self._rowlike(lines.line(number))]
            if len(rowlike_) * 2 <= len(following):
                raise RunsOnError(start, window.behind - 1, next(iter(rowlike_), None))
        return Record(start, start, [], "a quotation mark opens a value that does not end")

    def _fits(self, parsed: _Parsed, window: _Window) -> bool:
        return (
            parsed.stuck is None
            and self.width in (None, len(parsed.fields))
            and self._rowlike_beside(parsed, window) is None
        )

    def _rowlike_beside(self, parsed: _Parsed, window: _Window) -> int | None:
        """Return the first line of a row of several that looks like a row, but for the line that holds the URL."""
        lines, end = window.lines, window.end(parsed)
        if end == window.start or self.multiline or self.url is None:
            return None
        own = None
        if self.url < len(parsed.fields) and not re.search(rb"[\r\n]", parsed.fields[self.url]):
            own = lines.at(parsed.ends[self.url])
        beside = (number for number in range(window.start, end + 1) if number != own)
        return next((number for number in beside if self._rowlike(lines.line(number))), None)

    def _rowlike(self, line: bytes) -> bool:
        """Tell whether a line begins as a row does: a URL is where rows have theirs."""
        assert self.url is not None
        if b"//" not in line:
            return False
        fields = self.loosely(line)
        return len(fields) > max(1, self.url) and _URL.match(fields[self.url]) is not None

    def loosely(self, line: bytes) -> list[bytes]:
        """Cut a line at its delimiters: what is not quoted as it should be is not quoted at all."""
        fields = []
        at, unfinished = 0, True
        while unfinished:
            match = self._loose.match(line, at)
            assert match is not None
            fields.append(match[1])
            at, unfinished = match.end(), bool(match[2])
        return fields

    def _parse(self, window: _Window, value: re.Pattern[bytes], escape: re.Pattern[bytes]) -> _Parsed:
        """Read the fields of the row that begins where the window does."""
        data, limit = window.lines.data, window.limit
        at = int(window.lines.starts[window.start])
        fields: list[bytes] = []
        ends: list[int] = []
        while True:
            quoted = at < limit and data[at] == _QUOTE
            body = (value if quoted else self._bare).match(data, at + quoted, limit)
            assert body is not None
            end = body.end()
            if quoted and (end == limit or data[end] != _QUOTE):
                return _Parsed(fields, ends, limit)
            behind = self._behind.match(data, end + quoted, limit)
            if behind is None:
                return _Parsed(fields, ends, end)
            fields.append(escape.sub(rb"\1", body[0]) if quoted else body[0])
            ends.append(end)
            if behind[1] != self.delimiter:
                return _Parsed(fields, ends)
            at = behind.end()

    @cached_property
    def _bare(self) -> re.Pattern[bytes]:
        return re.compile(rb"[^%b\r\n]*+" % re.escape(self.delimiter))

    @cached_property
    def _behind(self) -> re.Pattern[bytes]:
        """What may be behind a value: blanks, then a delimiter or the end of a line."""
        return re.compile(rb" *+(%b|[\r\n]|\Z)" % re.escape(self.delimiter))

    @cached_property
    def _loose(self) -> re.Pattern[bytes]:
        sign = re.escape(self.delimiter)
        return re.compile(rb'("[^"]*+(?:""[^"]*+)*+" *+(?=%b|\Z)|[^%b]*+)(%b|\Z)' % (sign, sign, sign))


def _irregular(lines: Lines, delimiter: bytes) -> Iterable[int]:
    """Return the lines whose quotation marks are neither all characters nor all open, close or are doubled in place."""
    signs = lines.signs[: lines.stops[-1]] if len(lines) else lines.signs[:0]
    marks = np.flatnonzero(signs == _QUOTE)
    if not len(marks):
        return []
    line = np.searchsorted(lines.stops, marks, side="right")
    firsts = np.flatnonzero(np.diff(line, prepend=-1))
    counts = np.diff(firsts, append=len(marks))
    odd = (np.arange(len(marks)) - np.repeat(firsts, counts)) % 2 == 1
    next_to = np.diff(marks) == 1
    opens = (marks == lines.starts[line]) | (signs[marks - 1] == ord(delimiter))
    closes = (marks + 1 == lines.ends[line]) | (signs[np.minimum(marks + 1, len(signs) - 1)] == ord(delimiter))
    inner = np.where(odd, np.append(next_to, False), np.append(False, next_to))
    regular = np.logical_and.reduceat(np.where(odd, closes, opens) | inner, firsts) & (counts % 2 == 0)
    characters = ~np.logical_or.reduceat(opens, firsts)
    return [int(number) for number in line[firsts[~(regular | characters)]]]
