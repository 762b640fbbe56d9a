"""Archives one of whose records is mutated: all others are to come out of them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from itertools import chain
from random import Random
from typing import NamedTuple

import pyarrow as pa

from align_data.sources.crawl.account import CrawlAccount
from align_data.sources.crawl.pages.page_readers import page_readers
from align_data.sources.crawl.warc.reader import ArchiveReader
from align_data.sources.crawl.warc.records import Damage
from torture.mutations import OF_ANYTHING, OF_TEXTS, Mutation, header_lies, mutated

_NUMBERS = (b"0", b"1", b"-1", b"20", b"1e3", b"99999", b"3221225472", b"9" * 30, b"", b"0x10", b"\xc2\xb2")


class Mutated(NamedTuple):
    """An archive, and the records in it that were left alone."""

    name: str
    content: bytes
    untouched: list[tuple[int, bytes]]
    """Their members' offsets, and their contents."""


def lie(content: bytes, chance: Random) -> bytes:
    """Write another Content-Length."""
    name = b"Content-Length: "
    at = content.find(name) + len(name)
    end = content.find(b"\r", at)
    return content[:at] + chance.choice(_NUMBERS) + content[end:] if at >= len(name) else content


def unheaded(content: bytes, chance: Random) -> bytes:
    """Take a line of the header out, or put one in."""
    lines = content.split(b"\r\n")
    at = chance.randrange(min(len(lines), 8))
    lines[at : at + 1] = chance.choice(
        ([], [b""], [lines[at], lines[at]], [b"WARC/1.0"], [b" " + lines[at]], [b"\0" * 99])
    )
    return b"\r\n".join(lines)


OF_RECORDS: tuple[Mutation, ...] = (*OF_ANYTHING, lie, lie, unheaded)
OF_MEMBERS: tuple[Mutation, ...] = (*OF_ANYTHING, header_lies)


def mutated_archive(chance: Random, records: int = 5) -> Mutated:
    """Return an archive, mostly of gzip members; one record, what is stored of it, or what is in it, was mutated."""
    pack = chance.choice((_gzip, _gzip, _plain))
    at = chance.randrange(records)
    content, untouched = b"", []
    for number in range(records):
        kind, block = chance.choice((_response, _metadata))(number, chance)
        if number != at:
            untouched.append((len(content), block))
            content += pack(_record(kind, block), chance)
            continue
        match chance.randrange(3):
            case 0:
                content += pack(_record(kind, mutated(block, OF_TEXTS, chance)), chance)
            case 1:
                content += pack(mutated(_record(kind, block), OF_RECORDS, chance), chance)
            case _:
                content += mutated(pack(_record(kind, block), chance), OF_MEMBERS, chance)
    return Mutated("a.warc" if pack is _plain else "a.warc.gz", content, untouched)


def faults(archive: Mutated, block: int) -> Iterator[str]:
    """Yield what is wrong with how an archive is read that comes in blocks of so many bytes."""
    reader, account, damaged = ArchiveReader(archive.name), CrawlAccount(), 0
    whole: list[tuple[int, bytes]] = []
    pages = page_readers("a.warc.gz", ("alt", "title"))
    blocks = [archive.content[at : at + block] for at in range(0, len(archive.content), block)]
    for event in chain(*map(reader.feed, blocks), reader.end()):
        if isinstance(event, Damage):
            damaged += 1
            continue
        whole.append((event.place.offset, event.content))
        for read in pages.values():
            try:
                page = read(event)
            except Exception as error:
                yield f"{type(error).__name__}: {error}"
                continue
            account.count(page if isinstance(page, str) else None)
            if not isinstance(page, str):
                page[1].count_into(account)
    swallowed = whole if archive.name == "a.warc" else []
    expected = [record for record in archive.untouched if not any(_inside(record[0], other) for other in swallowed)]
    offsets = {offset for offset, _ in expected}
    if [record for record in whole if record[0] in offsets] != expected:
        yield f"{len(whole)} records, {damaged} damaged, of {len(archive.untouched)} that were left alone"
    if not account.balanced() or account.records != len(whole) * len(pages):
        yield f"{account.to_json()} does not add up"


def _inside(offset: int, record: tuple[int, bytes]) -> bool:
    """Tell whether a byte is in another record's content: by chance a wrong length may be right, in a plain archive."""
    return record[0] < offset < record[0] + len(record[1])


def _response(number: int, chance: Random) -> tuple[bytes, bytes]:
    """Return the kind of a record, and the content: of a page."""
    image = b"<figure><img src=%d.jpg srcset='/b.jpg 2x' alt='x &amp; %d'><figcaption>y</figcaption></figure>"
    body = b"".join(image % (number, n) for n in range(chance.choice((1, 5, 40))))
    body += chance.randbytes(chance.choice((0, 40, 3000)))
    encoding = chance.choice((b"gzip", b"br", b"zstd", b""))
    if encoding:
        codec = {b"gzip": "gzip", b"br": "brotli", b"zstd": "zstd"}[encoding]
        body = bytes(pa.compress(body, codec, asbytes=True))
    header = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: %s\r\n\r\n"
    return b"response", header % encoding + body


def _metadata(number: int, chance: Random) -> tuple[bytes, bytes]:
    """Return the kind of a record, and the content: what a WAT says of a page."""
    links = [
        {"path": "IMG@/src", "url": f"/{n}.jpg", "alt": "a dog", "title": "x"} for n in range(chance.choice((0, 1, 9)))
    ]
    html = {"Head": {"Base": "/b/", "Metas": [{"name": "robots", "content": "noai"}]}, "Links": links}
    message = {"Response-Message": {"Status": "200"}, "Headers": {"Content-Type": "text/html"}, "HTML-Metadata": html}
    header = {"WARC-Type": "response", "WARC-Target-URI": f"http://a.example/{number}"}
    envelope = {"WARC-Header-Metadata": header, "Payload-Metadata": {"HTTP-Response-Metadata": message}}
    about = {"Container": {"Filename": "a.warc.gz", "Offset": str(number)}, "Envelope": envelope}
    return b"metadata", json.dumps(about).encode()


def _record(kind: bytes, block: bytes) -> bytes:
    header = b"WARC/1.0\r\nWARC-Type: %s\r\nWARC-Target-URI: http://a.example/\r\nContent-Length: %d\r\n\r\n"
    return header % (kind, len(block)) + block + b"\r\n\r\n"


def _plain(content: bytes, _: Random) -> bytes:
    return content


def _gzip(content: bytes, chance: Random) -> bytes:
    packer = zlib.compressobj(chance.choice((0, 1, 6)), zlib.DEFLATED, 31)
    return packer.compress(content) + packer.flush()
