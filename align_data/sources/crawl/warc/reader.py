"""An archive's bytes in, its records out: gzip of a record each, gzip of all of them, or neither."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from align_data.common.errors import InputError
from align_data.sources.crawl.warc.members import GZIP, BrokenMember, GzipMembers, Inflated
from align_data.sources.crawl.warc.records import ArchiveRecord, Damage, RecordParser, RecordPlace, only_record

_WARC = b"WARC/"
_ARC = b"filedesc://"
_ENOUGH = 16
"""Bytes that tell a format."""
_FRUITLESS = 2**30
"""Bytes that a member may inflate to without a record, at most: a bomb's are a thousand times what is stored."""
_FORMATS = {
    _ARC: "ARC, the format before WARC, which is not read: convert it with `warcio recompress`",
    b"PK\x03\x04": "ZIP; if it is WACZ, give the files of its folder archive/",
    b"PK\x05\x06": "an empty ZIP",
    b"\x28\xb5\x2f\xfd": "Zstandard, which is not read: decompress it with `zstd -d`",
    b"\x50\x2a\x4d\x18": "Zstandard with a dictionary, which is not read: decompress it with `zstd -d`",
    b"BZh": "bzip2, which is not read: decompress it with `bunzip2`",
    b"\xfd7zXZ": "XZ, which is not read: decompress it with `unxz`",
    b"PAR1": "Parquet; a list of pairs is an input of `align-data ingest`",
}
_TEXTS = {b"<": "HTML or XML, perhaps a server's message of an error", b"{": "JSON", b"[": "JSON"}


class ResumePoint(NamedTuple):
    """Where reading may begin; a plain value of four plain values."""

    offset: int
    """The file's byte: what is fed begins with it."""
    inside: int
    """Bytes of what the gzip member there inflates to that are passed over."""
    gzip: bool
    lost: bool
    """Whether a damage is behind, and the next record is looked for."""


class ArchiveReader:
    """Reads one WARC file, WAT included, that is fed to it in blocks of any size.

    Feed the file's bytes in order, exhausting what each call returns before the next, and call `end`:

        reader = ArchiveReader("a.warc.gz")
        for block in blocks:
            for event in reader.feed(block): ...
        for event in reader.end(): ...

    Each event is an `ArchiveRecord`, or a `Damage` for a record that cannot be read: both count as one record. Places
    are the member's first byte in a gzip file; records of one member have the same `place.offset`, and `place.inside`
    tells them apart. Behind an event, `resume_point` says where another reader may begin, to yield what follows it:
    `ArchiveReader(name, resume_point)`, fed from the byte `resume_point.offset` on. What is read depends on neither
    blocks nor resumptions. Memory is bounded, whatever is in the file: 16 MiB stored, three times as much inflated.

    Raises InputError for what is not WARC: of a foreign format that its first bytes show at once, else at the end, if
    there was no record.
    """

    def __init__(self, name: str, start: ResumePoint | None = None) -> None:
        self.cut_short = False
        """At the end: whether the file ends before its last record is whole, or has no record at all.

        Also if a member of several records is damaged and nothing behind it can be read.
        """
        self._name = name
        self._fed = start.offset if start else 0  # bytes of the file
        self._head: bytes | None = b""  # the first bytes, until they are enough to tell what the file is
        self._members: GzipMembers | None = None
        self._parser = RecordParser(plain=True)
        self._inside = 0  # bytes of the first member that are to be passed over
        self._foreign: bytes | None = None  # how the file begins, if not as WARC does
        self._open = False  # whether the member being read has more
        self._next: int | None = None  # the member that begins behind a damage that is being yielded
        self._latest = -1  # the member of the latest record
        self._empty = start is None
        self._inflated_bytes = 0  # of the member being read
        if start is not None:
            self._resume(start)

    def _resume(self, start: ResumePoint) -> None:
        self._head = None
        self._inside = start.inside
        searched = start.lost and (start.inside > 0 or not start.gzip)
        self._parser = RecordParser(plain=not start.gzip, lost=searched)
        self._parser.recognized = True
        if start.gzip:
            self._members = GzipMembers(start.offset, lost=start.lost and not searched)

    @property
    def resume_point(self) -> ResumePoint:
        """Where reading may begin for what was not yielded yet."""
        members, parser = self._members, self._parser
        if members is None:
            return ResumePoint(self._fed if parser.idle else parser.place.offset, 0, gzip=False, lost=parser.lost)
        if self._next is not None:
            return ResumePoint(self._next, 0, gzip=True, lost=False)
        if parser.idle and not self._open:
            return ResumePoint(members.next, 0, gzip=True, lost=members.lost)
        return ResumePoint(*parser.place, gzip=True, lost=parser.lost)

    def feed(self, data: bytes) -> Iterator[ArchiveRecord | Damage]:
        """Yield the records that the file's next bytes make whole, and those that are damaged."""
        if self._head is not None:
            self._head += data
            if len(self._head) < _ENOUGH:
                return
            data = self._recognize()
        yield from self._read(data)

    def end(self) -> Iterator[ArchiveRecord | Damage]:
        """Yield what remains once the whole file was fed."""
        if self._head:
            yield from self._read(self._recognize())
        yield from self._ended()
        if self._foreign is not None and not self._parser.recognized:
            raise InputError(
                f"{self._name} is not a WARC archive: it has no record, and begins as {_kind(self._foreign)}"
            )
        self.cut_short |= self._empty

    def _noted(self, event: ArchiveRecord | Damage) -> ArchiveRecord | Damage:
        self._empty = False
        if isinstance(event, ArchiveRecord):
            self._latest = event.place.offset
            self.cut_short = False
        return event

    def _recognize(self) -> bytes:
        """Tell gzip from what is not by the first bytes, and return them; InputError for another format."""
        assert self._head is not None
        head, self._head = self._head, None
        foreign = next((kind for magic, kind in _FORMATS.items() if head.startswith(magic)), None)
        if foreign:
            raise InputError(f"{self._name} is not a WARC archive but {foreign}")
        first = head.lstrip(b"\r\n\0")[: len(_WARC)]
        plain = bool(first) and _WARC.startswith(first)
        # A first member may be damaged in its very first bytes.
        if head.startswith(GZIP[:2]) or (self._name.endswith(".gz") and not plain):
            self._members = GzipMembers()
            self._parser = RecordParser(plain=False)
        if first and not plain and not head.startswith(GZIP[: len(head)]):
            self._foreign = head
        return head

    def _read(self, data: bytes) -> Iterator[ArchiveRecord | Damage]:
        if self._members is None:
            at, self._fed = self._fed, self._fed + len(data)
            yield from map(self._noted, self._parser.feed(data, RecordPlace(at, 0)))
            return
        yield from self._of_members(self._members.feed(data))

    def _of_members(self, events: Iterator[Inflated | BrokenMember]) -> Iterator[ArchiveRecord | Damage]:
        quick = False
        for event in events:
            if isinstance(event, BrokenMember):
                yield from map(self._noted, self._broken(event))
            elif quick and event.begins and event.ends and (record := only_record(event.data, event.offset)):
                self._latest = event.offset
                self.cut_short = False
                yield record
                continue
            else:
                yield from map(self._noted, self._inflated(event))
            # Behind a member that ended with a record, a member of one record needs no parser.
            quick = self._parser.idle and self._parser.recognized and not (self._open or self._inside or self._empty)

    def _ended(self) -> Iterator[ArchiveRecord | Damage]:
        if self._members is None:
            yield from map(self._noted, self._parser.end())
            if not self._parser.idle:
                self.cut_short = True
                yield self._noted(self._parser.drop("truncated"))
            return
        yield from self._of_members(self._members.end())
        if not self._parser.idle:
            yield self._noted(self._parser.drop())

    def _inflated(self, event: Inflated) -> Iterator[ArchiveRecord | Damage]:
        """Yield the records of a member's bytes."""
        parser, data, inside = self._parser, event.data, 0
        if event.begins:
            self._next, self._open = event.offset, False
            yield from parser.begin_member(data)
            self._next, self._inflated_bytes = None, 0
            self._note_foreign(data)
        if self._inside:
            inside = min(self._inside, len(data))
            data = data[inside:]
            self._inside -= inside
        self._open = not event.ends
        place = RecordPlace(event.offset, self._inflated_bytes + inside)
        self._inflated_bytes += len(event.data)
        yield from parser.feed(data, place, closed=event.ends)
        if event.ends and parser.lost:
            parser.clear()
        elif parser.fruitless > _FRUITLESS:
            yield from self._give_up()

    def _give_up(self) -> Iterator[Damage]:
        """Leave a member that inflates on and on without a record; the next one is looked for."""
        assert self._members is not None
        begins = self._members.next
        self._members.abandon()
        self._open = False
        if self._parser.lost:
            self._parser.clear()
        elif self._parser.idle:
            self._parser.clear()
            yield Damage(RecordPlace(begins, 0), "junk")
        else:
            yield self._parser.drop("record_too_large")

    def _note_foreign(self, data: bytes) -> None:
        """LostRecord how the file begins, if not as WARC does; InputError for ARC."""
        if self._parser.recognized or self._foreign is not None:
            return
        if data.startswith(_ARC):
            raise InputError(f"{self._name} is not a WARC archive but {_FORMATS[_ARC]}")
        head = data.lstrip(b"\r\n\0")[: len(_WARC)]
        if not _WARC.startswith(head):
            self._foreign = data[:_ENOUGH]

    def _broken(self, event: BrokenMember) -> Iterator[Damage]:
        """Yield the damage of a member, unless it was counted already, and that of a record that went on into it."""
        parser, self._open = self._parser, False
        self.cut_short = event.reason == "truncated" or (event.begun and self._latest == event.offset)
        if event.begun and parser.lost:
            parser.clear()
            return
        place = RecordPlace(event.offset, 0)
        if event.begun:
            place = parser.place
            parser.clear()
        elif not parser.idle:
            self._next = event.offset
            yield parser.drop()
            self._next = None
        yield Damage(place, event.reason)


def _kind(head: bytes) -> str:
    return next((kind for sign, kind in _TEXTS.items() if head.lstrip().startswith(sign)), f"{head[:_ENOUGH]!r}")
