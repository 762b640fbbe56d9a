"""WARC records out of a stream of bytes: what cannot be one is counted, and the next one is looked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

LARGEST_RECORD = 16 * 2**20
"""Bytes of a record's content, at most; Common Crawl cuts a page at 5 MiB."""
LONGEST_HEADER = 64 * 2**10
"""Bytes of a record's header, at most."""
_WARC = b"WARC/"
_TYPE, _LENGTH = b"\r\nWARC-Type: ", b"\r\nContent-Length: "
_WORDS = {word.encode(): word for word in ("request", "response", "metadata")}
_BLANK_LINE = re.compile(rb"\n\r?\n")
_NOT_BLANK = re.compile(rb"[^\r\n\0]")
_START = re.compile(rb"WARC/[01]\.\d{1,2}[ \t]*\r?\n[A-Za-z][\w-]*[ \t]*:")
_LONGEST_START = 256
"""Bytes that show whether a record begins; it need not begin a line, for the one before may have been cut off."""
_BEHIND = 12
"""Bytes behind a record's content that show whether it ends there."""


class RecordPlace(NamedTuple):
    """Where a record begins: the file's byte, and the byte of what the gzip member there inflates to (else 0)."""

    offset: int
    inside: int


_place = tuple.__new__  # which takes half the time that RecordPlace does


@dataclass(slots=True)
class ArchiveRecord:
    """A record whose content is whole."""

    place: RecordPlace
    kind: str
    """Its WARC-Type in lower case, such as response."""
    head: bytes
    content: bytes

    @property
    def headers(self) -> dict[str, str]:
        """Its fields by their names in lower case, the first of those that are repeated; parsed at each call.

        What is not UTF-8 in them is U+FFFD.
        """
        return _headers(self.head)

    @property
    def url(self) -> str:
        """Its WARC-Target-URI; '' if it has none. wget puts it between < and >."""
        return self.headers.get("warc-target-uri", "").strip("<>")


class Damage(NamedTuple):
    """A record, or what should be one, that cannot be read; `reason` is in reasons.DAMAGED."""

    place: RecordPlace
    reason: str


def only_record(member: bytes, offset: int) -> ArchiveRecord | None:
    """Return the record that a gzip member is, if it is written as nearly all are; None says nothing."""
    blank = member.find(b"\r\n\r\n", 0, LONGEST_HEADER)
    kind, length = member.find(_TYPE, 0, blank), member.find(_LENGTH, 0, blank)
    if blank < 0 or kind < 0 or length < 0 or not member.startswith(_WARC) or member.find(b"\n\n", 0, blank) >= 0:
        return None
    digits = member[length + len(_LENGTH) : member.find(b"\r", length + 2)]
    if not digits.isdigit() or len(digits) > 9:
        return None
    begin = blank + 4
    end = begin + int(digits)
    if end + 4 != len(member) or not member.endswith(b"\r\n\r\n") or end - begin > LARGEST_RECORD:
        return None
    written = member[kind + len(_TYPE) : member.find(b"\r", kind + 2)]
    word = _WORDS.get(written) or written.decode("latin-1").strip().lower()
    return ArchiveRecord(_place(RecordPlace, (offset, 0)), word, member[:blank], member[begin:end])


class _Mark(NamedTuple):
    """Where a byte of the buffer was."""

    at: int
    place: RecordPlace


class RecordParser:
    """Takes the bytes of records in pieces of any size, and yields the records.

    `plain` is whether they come as they are stored: places are then bytes of the file. Where `lost` it begins by
    looking for a record. Holds a record, 16 MiB.
    """

    def __init__(self, *, plain: bool, lost: bool = False) -> None:
        self.recognized = False
        """Whether any bytes were the beginning of a record."""
        self.lost = lost
        """Whether a record is being looked for, since one was damaged."""
        self._plain = plain
        self._data: bytes | bytearray = b""
        self._used = 0
        self._need = 0
        self._marks: list[_Mark] = []
        self._skipped: RecordPlace | None = None  # the record too large that is being passed over
        self._remaining = 0  # bytes of it
        self.fruitless = 0
        """Bytes fed since the last record while one is looked for or passed over, and those that only fill up space."""
        self._starved = False

    @property
    def idle(self) -> bool:
        """Whether it waits for the beginning of a record."""
        return self._used == len(self._data) and self._skipped is None

    @property
    def place(self) -> RecordPlace:
        """Where the first record begins that was not yielded, or the search for it; undefined while idle."""
        return self._skipped or self._place(self._used)

    def _place(self, index: int) -> RecordPlace:
        mark = next((mark for mark in reversed(self._marks) if mark.at <= index), self._marks[0])
        (offset, inside), further = mark.place, index - mark.at
        return RecordPlace(offset + further, 0) if self._plain else RecordPlace(offset, inside + further)

    def feed(self, data: bytes, place: RecordPlace, *, closed: bool = False) -> Iterator[ArchiveRecord | Damage]:
        """Yield the records that further bytes, which lie at `place`, make whole; `closed` if a member ends there."""
        if self._used == len(self._data):
            self._data, self._used, self._marks = data, 0, [_Mark(0, place)]
        else:
            self._marks.append(_Mark(len(self._data), place))
            if not isinstance(self._data, bytearray):
                self._data = bytearray(self._data)
            self._data += data
        if self.lost or self._skipped is not None:
            self.fruitless += len(data)
        if closed or len(self._data) >= self._need:
            yield from self._records(closed=closed)
            self._forget()

    def begin_member(self, data: bytes) -> Iterator[Damage]:
        """Give up a record that the member before did not end, if a record begins with this one."""
        if not self.idle and data.startswith(_WARC):
            yield self.drop()

    def drop(self, reason: str | None = None) -> Damage:
        """Give up the record that is not whole: by itself for its length, or a header without an end."""
        if reason is None:
            headed = self._skipped is not None or _BLANK_LINE.search(self._data, self._used)
            reason = "length" if headed else "header"
        damage = Damage(self.place, reason)
        self.clear()
        return damage

    def clear(self) -> None:
        """Forget all bytes that were fed; a record begins with the next ones."""
        self._data, self._used, self._need = b"", 0, 0
        self._skipped, self.lost, self.fruitless = None, False, 0

    def end(self) -> Iterator[ArchiveRecord | Damage]:
        """Yield the last record, once all bytes were fed; one that is cut off is left to `drop`, and not idle."""
        yield from self._records(closed=True)
        if self.lost:
            self.clear()

    def _forget(self) -> None:
        """Keep the bytes that are not used."""
        unneeded = self._used
        if unneeded == len(self._data):
            self._data, self._used = b"", 0
        elif unneeded:
            self._data = bytearray(memoryview(self._data)[unneeded:])
            self._used = 0
        else:
            return
        self._need = max(0, self._need - unneeded)
        marks = [_Mark(mark.at - unneeded, mark.place) for mark in self._marks]
        behind = [mark for mark in marks if mark.at > 0]
        self._marks = marks[len(marks) - len(behind) - 1 :]

    def _records(self, *, closed: bool) -> Iterator[ArchiveRecord | Damage]:
        self._starved = False
        while not self._starved:
            if self.lost:
                self._search(closed=closed)
                continue
            event = self._next(closed=closed) if self._skipped is None else self._skip(closed=closed)
            if event is not None:
                yield event

    def _wait(self, need: int = 0) -> None:
        """Wait for so many bytes of the buffer, or for any."""
        self._starved = True
        self._need = need

    def _lose(self, reason: str, place: RecordPlace, search: int) -> Damage:
        """Look for a record from a byte of the buffer on."""
        self.lost, self._used = True, search
        return Damage(place, reason)

    def _next(self, *, closed: bool) -> ArchiveRecord | Damage | None:
        """Return the record that begins here."""
        data = self._data
        begins = _NOT_BLANK.search(data, self._used)
        at = begins.start() if begins else len(data)
        self.fruitless = 0 if begins else self.fruitless + at - self._used
        self._used = at
        if not data.startswith(_WARC, at):
            if not _WARC.startswith(data[at : at + len(_WARC)]):
                return self._lose("header", self._place(at), at + 1)
            self._wait()
            return None
        self.recognized = True
        blank = _BLANK_LINE.search(data, at, at + LONGEST_HEADER)
        if blank is not None and _START.search(data, at + 1, blank.end()):  # the header of the record behind it
            return self._lose("header", self._place(at), at + 1)
        if blank is not None:
            return self._headed(at, bytes(data[at : blank.start()]).removesuffix(b"\r"), blank.end(), closed=closed)
        if len(data) - at >= LONGEST_HEADER:
            return self._lose("header", self._place(at), at + 1)
        return self._unfinished(at, at + 1, closed=closed)

    def _headed(self, at: int, head: bytes, begin: int, *, closed: bool) -> ArchiveRecord | Damage | None:
        """Return the record of this header, whose content begins here."""
        data, headers = self._data, _headers(head)
        length = content_length(headers.get("content-length", ""))
        if length is None:
            return self._lose("length", self._place(at), begin - 1)
        if length > LARGEST_RECORD:
            self._skipped, self._remaining, self._used = self._place(at), length + 1, begin - 1
            return None
        end = begin + length
        behind = _BEHIND if b"\r" in head else _LONGEST_START
        if len(data) < end + behind and not closed:
            self._wait(end + behind)
            return None
        if len(data) < end or not _ends(data, begin, end):
            shortened = None if b"\r" in head else self._converted(begin, length, closed=closed)
            if shortened is None:
                return (
                    self._unfinished(at, begin - 1, closed=closed)
                    if len(data) < end
                    else self._lose("length", self._place(at), begin - 1)
                )
            end = shortened
        place = self._place(at)
        begins = _NOT_BLANK.search(data, end)
        self._used = begins.start() if begins else len(data)
        kind = headers.get("warc-type")
        if kind is None:
            return Damage(place, "header")
        content = data[begin:end] if isinstance(data, bytes) else bytes(memoryview(data)[begin:end])
        return ArchiveRecord(place, kind.lower(), head, content)

    def _converted(self, begin: int, length: int, *, closed: bool) -> int | None:
        """Return where a content ends whose CR LF became LF after its length was written; None for another fault."""
        data = self._data
        follows = _START.search(data, begin - 1, begin + length + _LONGEST_START)
        if follows is None and not closed:
            return None
        end = follows.start() if follows else len(data)
        end -= bytes(data[max(begin, end - 2) : end]).count(b"\n")
        return end if begin <= end < begin + length <= end + data.count(b"\n", begin, end) + 2 else None

    def _unfinished(self, at: int, search: int, *, closed: bool) -> Damage | None:
        """Wait for the rest of a record; its length is wrong where others lie inside it and no more follows."""
        if closed and _START.search(self._data, search):
            return self._lose("length", self._place(at), search)
        self._wait()
        return None

    def _search(self, *, closed: bool) -> None:
        """Look for a record's first line, as far as there are bytes."""
        start = self._start(len(self._data), closed=closed, whole=closed)
        if start is not None:
            self.lost, self._used, self.fruitless = False, start, 0

    def _start(self, stop: int, *, closed: bool, whole: bool) -> int | None:
        """Return where the next record's first line begins; None, having gone on, if it is not seen before `stop`.

        `whole` is whether no more bytes belong to what is searched.
        """
        data, at = self._data, self._used
        while (at := data.find(_WARC, at, stop)) >= 0:
            if len(data) - at < _LONGEST_START and not closed:
                break
            if _START.match(data, at):
                return at
            at += 1
        self._used = at if at >= 0 else max(self._used, stop if whole else stop - len(_WARC) + 1)
        self._wait()
        return None

    def _skip(self, *, closed: bool) -> Damage | None:
        """Pass over a record too large, unless another one begins inside: its length is then wrong."""
        assert self._skipped is not None
        place, before = self._skipped, self._used
        stop = min(len(self._data), before + self._remaining)
        reached = stop == before + self._remaining
        start = self._start(stop, closed=closed, whole=closed or reached)
        self._remaining -= (self._used if start is None else start) - before
        if start is not None:
            self._skipped, self.fruitless, self._used = None, 0, start
            return Damage(place, "length")
        if self._remaining:
            return None
        self._skipped, self.fruitless, self._starved = None, 0, False
        return Damage(place, "record_too_large")


def _ends(data: bytes | bytearray, begin: int, end: int) -> bool:
    """Tell whether a record's content may end here, by what is behind it, else by what is in it."""
    behind = bytes(data[end : end + _BEHIND])
    apart, follows = behind.startswith(b"\r\n\r\n"), _WARC.startswith(behind.lstrip(b"\r\n\0")[: len(_WARC)])
    return (apart and follows) or ((apart or follows) and not _START.search(data, begin, end))


def _headers(head: bytes) -> dict[str, str]:
    """Return the fields of a header behind its first line; one that begins with a space goes on with the one before."""
    headers: dict[str, str] = {}
    name = ""
    for line in head.decode("utf-8", "replace").split("\n")[1:]:
        if line[:1] in (" ", "\t") and name:
            headers[name] += " " + line.strip()
            continue
        field, colon, value = line.partition(":")
        if colon:
            name = field.strip().lower()
            headers.setdefault(name, value.strip())
    return headers


def content_length(value: str) -> int | None:
    """Return a Content-Length as a number; None if it is not one."""
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None
