"""Archives are read as warcio reads them; a damaged record costs itself, and wherever reading begins it goes on the same."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.archives import faults, mutated_archive
from warcio.archiveiterator import ArchiveIterator
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from align_data.common.errors import InputError
from align_data.sources.crawl.reasons import DAMAGED
from align_data.sources.crawl.warc import reader as archive_reader
from align_data.sources.crawl.warc.reader import ArchiveReader, ResumePoint
from align_data.sources.crawl.warc.records import LARGEST_RECORD, ArchiveRecord, Damage

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "warc"
Event = ArchiveRecord | Damage


def gz(content: bytes, level: int = 6) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    return packer.compress(content) + packer.flush()


def warc(
    number: int, *, length: int | str | None = None, body: bytes = b"<img src=a.jpg alt=x>", ends: str = "\r\n"
) -> bytes:
    """A response whose Content-Length is `length` where that is given, and absent where it is ''."""
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n".replace(b"\r\n", ends.encode()) + body
    size = len(block) if length is None else length
    lines = ["WARC/1.0", "WARC-Type: response", f"WARC-Target-URI: http://a.example/{number}"]
    lines += [f"Content-Length: {size}"] * (size != "")
    return ends.join([*lines, "", ""]).encode() + block + (ends * 2).encode()


GOOD = [warc(number) for number in range(10)]


def read(
    content: bytes, name: str = "a.warc.gz", *, block: int = 10**9, start: ResumePoint | None = None
) -> tuple[list[Event], ArchiveReader]:
    reader = ArchiveReader(name, start)
    events: list[Event] = []
    for at in range(start.offset if start else 0, len(content), block):
        events += reader.feed(content[at : at + block])
    return events + list(reader.end()), reader


def numbers(events: Iterable[Event]) -> list[int | str]:
    return [
        event.reason if isinstance(event, Damage) else int(event.headers["warc-target-uri"].rpartition("/")[2])
        for event in events
    ]


def archive(fifth: bytes | None = None, *, stored: bool = False) -> bytes:
    return b"".join(record if stored else gz(record) for record in [*GOOD[:5], fifth or GOOD[5], *GOOD[6:]])


def corrupt(member: bytes) -> bytes:
    return member[:60] + bytes([member[60] ^ 255]) + member[61:]


BUT_FIVE = [0, 1, 2, 3, 4, 6, 7, 8, 9]
TRAPS: dict[str, tuple[bytes, list[int | str], bool]] = {
    "plain": (archive(stored=True), list(range(10)), False),
    "members": (archive(), list(range(10)), False),
    "truncated": (archive()[:-30], [*range(9), "truncated"], True),
    "truncated plain": (archive(stored=True)[:-30], [*range(9), "truncated"], True),
    "corrupt member": (
        b"".join([*map(gz, GOOD[:5]), corrupt(gz(GOOD[5])), *map(gz, GOOD[6:])]),
        [0, 1, 2, 3, 4, "gzip", 6, 7, 8, 9],
        False,
    ),
    "corrupt checksum": (
        b"".join([*map(gz, GOOD[:5]), gz(GOOD[5])[:-5] + b"12345", *map(gz, GOOD[6:])]),
        [0, 1, 2, 3, 4, "gzip", 6, 7, 8, 9],
        False,
    ),
    "corrupt first": (b"\0\1" + archive()[2:], ["junk", *range(1, 10)], False),
    "zeros between": (b"".join([*map(gz, GOOD[:5]), b"\0" * 700, *map(gz, GOOD[5:])]), list(range(10)), False),
    "junk between": (
        b"".join([*map(gz, GOOD[:5]), b"\x1f\x8b\x08 junk" * 9, *map(gz, GOOD[5:])]),
        [0, 1, 2, 3, 4, "gzip", 5, 6, 7, 8, 9],
        False,
    ),
    "junk behind": (archive() + b"junk", [*range(10), "junk"], False),
    "too small": (archive(warc(5, length=20)), [0, 1, 2, 3, 4, "length", 6, 7, 8, 9], False),
    "too large": (archive(warc(5, length=100_000)), [0, 1, 2, 3, 4, "length", 6, 7, 8, 9], False),
    "too small plain": (archive(warc(5, length=20), stored=True), [0, 1, 2, 3, 4, "length", 6, 7, 8, 9], False),
    "too large plain": (archive(warc(5, length=300), stored=True), [0, 1, 2, 3, 4, "length", 6, 7, 8, 9], False),
    "beyond the end": (archive(warc(5, length=100_000), stored=True), [0, 1, 2, 3, 4, "length", 6, 7, 8, 9], False),
    "3 GiB": (archive(warc(5, length=3 * 2**30)), [0, 1, 2, 3, 4, "length", 6, 7, 8, 9], False),
    "3 GiB plain": (archive(warc(5, length=3 * 2**30), stored=True), [0, 1, 2, 3, 4, "length", 6, 7, 8, 9], False),
    "no length": (archive(warc(5, length="")), [0, 1, 2, 3, 4, "length", 6, 7, 8, 9], False),
    "negative": (archive(warc(5, length=-1)), [0, 1, 2, 3, 4, "length", 6, 7, 8, 9], False),
    "no number": (archive(warc(5, length="1e3"), stored=True), [0, 1, 2, 3, 4, "length", 6, 7, 8, 9], False),
    "no record": (archive(b"NOT A WARC RECORD\r\n\r\nfoo\r\n\r\n"), [0, 1, 2, 3, 4, "header", 6, 7, 8, 9], False),
    "header without end": (
        archive(b"WARC/1.0\r\nWARC-Type: response\r\n"),
        [0, 1, 2, 3, 4, "header", 6, 7, 8, 9],
        False,
    ),
    "long header": (
        archive(b"WARC/1.0\r\nA: " + b"b" * 100_000 + GOOD[5][8:]),
        [0, 1, 2, 3, 4, "header", 6, 7, 8, 9],
        False,
    ),
    "no type": (
        archive(GOOD[5].replace(b"-Type", b"-Kind"), stored=True),
        [0, 1, 2, 3, 4, "header", 6, 7, 8, 9],
        False,
    ),
    "lf": (b"".join(gz(warc(number, ends="\n")) for number in range(10)), list(range(10)), False),
    "lf plain": (b"".join(warc(number, ends="\n") for number in range(10)), list(range(10)), False),
    "lf afterwards": (b"".join(gz(record.replace(b"\r\n", b"\n")) for record in GOOD), list(range(10)), False),
    "lf afterwards plain": (b"".join(GOOD).replace(b"\r\n", b"\n"), list(range(10)), False),
    "one member": (gz(b"".join(GOOD)), list(range(10)), False),
    "one member truncated": (gz(b"".join(GOOD), 0)[:-100], [*range(9), "truncated"], True),
    "members of parts": (
        b"".join(gz(b"".join(GOOD)[at : at + 101]) for at in range(0, len(b"".join(GOOD)), 101)),
        list(range(10)),
        False,
    ),
    "two in a member": (
        b"".join(gz(one + other) for one, other in zip(GOOD[::2], GOOD[1::2], strict=True)),
        list(range(10)),
        False,
    ),
    "more blank lines": (b"\r\n\r\n\r\n".join(GOOD), list(range(10)), False),
    "no blank lines": (b"".join(record[:-4] for record in GOOD), list(range(10)), False),
    "empty": (b"", [], True),
    "zeros": (b"\0" * 1000, [], True),
    "a member of nothing": (gz(b""), [], True),
    "a byte": (b"W", ["truncated"], True),
    "a byte of gzip": (b"\x1f", ["truncated"], True),
}


@pytest.mark.parametrize("name", TRAPS)
def test_all_records_around_a_bad_one_come_out_and_it_is_counted(name: str) -> None:
    content, expected, cut_short = TRAPS[name]
    events, reader = read(content)
    assert numbers(events) == expected
    assert reader.cut_short == cut_short
    assert {event.reason for event in events if isinstance(event, Damage)} <= DAMAGED.keys()


@pytest.mark.parametrize("name", TRAPS)
@pytest.mark.parametrize("block", [1, 7, 300])
def test_blocks_change_nothing(name: str, block: int) -> None:
    content = TRAPS[name][0]
    assert read(content, block=block)[0] == read(content)[0]


@pytest.mark.parametrize("name", [name for name in TRAPS if len(TRAPS[name][1]) > 1])
def test_another_reader_goes_on_behind_every_event(name: str) -> None:
    content, _, cut_short = TRAPS[name]
    events, _ = read(content)
    reader, positions = ArchiveReader("a.warc.gz"), []
    for at in range(0, len(content), 500):
        positions += [reader.resume_point for _ in reader.feed(content[at : at + 500])]
    positions += [reader.resume_point for _ in reader.end()]
    assert len(positions) == len(events)
    for number, position in enumerate(positions, 1):
        behind, other = read(content, block=400, start=ResumePoint(*position))
        assert behind == events[number:]
        assert number == len(events) or other.cut_short == cut_short


@pytest.mark.parametrize("name", TRAPS)
def test_a_place_is_where_the_record_begins(name: str) -> None:
    content, _, _ = TRAPS[name]
    for event in read(content)[0]:
        if isinstance(event, ArchiveRecord):
            offset, inside = event.place
            stored = content[offset:]
            if stored.startswith(b"\x1f\x8b"):
                stored = zlib.decompressobj(31).decompress(stored)
            assert stored[inside:].startswith(b"WARC/1.0")


@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        (
            b"filedesc://a.arc 0.0.0.0 20100101000000 text/plain 200 - - 0 a.arc 100\n1 0 X\n",
            "a.arc",
            "ARC, the format before WARC",
        ),
        (gz(b"filedesc://a.arc 0.0.0.0 20100101000000 text/plain 200"), "a.arc.gz", "ARC, the format before WARC"),
        (b"PK\x03\x04" + b"\0" * 99, "a.wacz", "ZIP; if it is WACZ, give the files of its folder archive/"),
        (b"\x28\xb5\x2f\xfd" + b"\0" * 99, "a.warc.zst", "Zstandard"),
        (b"BZh91AY&SY" + b"\0" * 99, "a.warc.bz2", "bzip2"),
        (b"<!DOCTYPE html><title>404", "a.warc.gz", "begins as HTML or XML"),
        (b" <html>", "a.warc", "begins as HTML or XML"),
        (gz(b"<html>not here</html>"), "a.warc.gz", "begins as HTML or XML"),
        (b'{"a": 1}', "a", "begins as JSON"),
        (b"x", "a", "begins as b'x'"),
        (gz(b"x"), "a", "begins as b'x'"),
    ],
)
@pytest.mark.parametrize("block", [1, 1000])
def test_what_is_not_warc_is_a_sentence(content: bytes, name: str, sentence: str, block: int) -> None:
    with pytest.raises(InputError, match=f"^{name} is not a WARC archive.*") as error:
        read(content, name, block=block)
    assert sentence in str(error.value)


def test_a_damaged_member_of_many_records_gives_those_before_the_damage() -> None:
    chance = Random(1)
    content = gz(b"".join(warc(number, body=chance.randbytes(10_000)) for number in range(10)))
    for damaged in (content[:-5] + b"12345", content[:90_000] + bytes(100) + content[90_100:]):
        events, reader = read(damaged + gz(GOOD[3]))
        assert numbers(events)[-2:] == ["gzip", 3]
        assert numbers(events)[:5] == [0, 1, 2, 3, 4]
        assert not reader.cut_short
        assert read(damaged, block=1000)[0] == events[:-1]
        assert read(damaged)[1].cut_short  # whatever was behind it is not known


@pytest.mark.parametrize("seed", range(10))
def test_a_mutated_record_costs_no_other(seed: int) -> None:
    chance = Random(seed)
    for _ in range(100):
        assert list(faults(mutated_archive(chance), chance.choice((64, 999, 10**6)))) == []


def test_a_record_that_is_gone_is_a_fault() -> None:
    archive = mutated_archive(Random(1))
    offset, _ = archive.untouched[-1]
    assert list(faults(archive._replace(content=archive.content[:offset]), 10**6))


def oracle(content: bytes) -> list[tuple[str, str, bytes]]:
    return [
        (record.rec_type, (record.rec_headers.get_header("WARC-Target-URI") or ""), record.raw_stream.read())
        for record in ArchiveIterator(io.BytesIO(content), no_record_parse=True)
    ]


def as_oracle(events: Iterable[Event]) -> list[tuple[str, str, bytes]]:
    assert all(isinstance(event, ArchiveRecord) for event in events)
    return [(event.kind, event.url, event.content) for event in events if isinstance(event, ArchiveRecord)]


@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")  # warcio's files
@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.binary(max_size=300), st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=30)
        ),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
    st.integers(1, 3000),
)
def test_records_of_warcio_are_read_as_warcio_reads_them(
    pages: list[tuple[bytes, str]], zipped: bool, block: int
) -> None:
    file = io.BytesIO()
    writer = WARCWriter(file, gzip=zipped)
    for body, value in pages:
        headers = StatusAndHeaders("200 OK", [("X-Value", value)], protocol="HTTP/1.1")
        writer.write_record(
            writer.create_warc_record(f"http://a.example/{value}", "response", io.BytesIO(body), http_headers=headers)
        )
    content = file.getvalue()
    events, reader = read(content, block=block)
    assert as_oracle(events) == oracle(content)
    assert not reader.cut_short


@pytest.mark.skipif(not REAL.is_dir(), reason="real archives lie outside the repository")
@pytest.mark.parametrize("path", sorted(REAL.glob("*.warc.gz")), ids=lambda path: path.name)
def test_real_archives_are_read_as_warcio_reads_them(path: Path) -> None:
    content = path.read_bytes()
    stored = gzip.decompress(content)
    for form in (content, stored, gz(stored)):
        assert as_oracle(read(form, block=50_000)[0]) == oracle(stored)


def big(size: int, member: bool) -> Iterator[bytes]:
    """A record of so many bytes between two good ones, a piece at a time."""
    head = b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: %d\r\n\r\n" % size
    if not member:
        yield from [GOOD[0], head, *[bytes(2**20)] * (size >> 20), b"\r\n\r\n", GOOD[1]]
        return
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    first, block = (packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH) for part in (head, bytes(2**20)))
    checksum = zlib.crc32(head)
    for _ in range(size >> 20):
        checksum = zlib.crc32(bytes(2**20), checksum)
    checksum = zlib.crc32(b"\r\n\r\n", checksum)
    yield gz(GOOD[0]) + gz(b"")[:10] + first
    yield from [block] * (size >> 20)
    yield (
        packer.compress(b"\r\n\r\n")
        + packer.flush()
        + struct.pack("<II", checksum, (len(head) + size + 4) & 0xFFFFFFFF)
    )
    yield gz(GOOD[1])


@pytest.mark.parametrize(("size", "member"), [(LARGEST_RECORD + 2**20, True), (3 * 2**30, True), (3 * 2**30, False)])
def test_a_record_too_large_is_passed_over(size: int, member: bool) -> None:
    reader = ArchiveReader("a.warc.gz" if member else "a.warc")
    events = [event for piece in big(size, member) for event in reader.feed(piece)] + list(reader.end())
    assert numbers(events) == [0, "record_too_large", 1]


@pytest.mark.parametrize("filling", [b"\0", b"\r\n", b"x"])
def test_a_member_that_inflates_on_and_on_is_left_and_counted(filling: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether what is in it could be padding or nothing at all."""
    monkeypatch.setattr(archive_reader, "_FRUITLESS", 2**20)
    bomb = gz(filling * 2**26)
    events, _ = read(b"".join(map(gz, GOOD[:5])) + bomb + b"".join(map(gz, GOOD[5:])), block=4096)
    assert numbers(events) == [0, 1, 2, 3, 4, "header" if filling == b"x" else "junk", *range(5, 10)]
    damage = events[5]
    assert damage.place.offset == len(b"".join(map(gz, GOOD[:5])))
    assert numbers(read(gz(GOOD[0]) + gz(filling * 2**10) * (filling != b"x") + gz(GOOD[1]))[0]) == [0, 1]
