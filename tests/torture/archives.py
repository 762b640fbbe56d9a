"""Archives one of whose records is mutated: all others are to come out of them."""

from __future__ import annotations

import zlib
from random import Random
from typing import NamedTuple

from torture.mutations import OF_ANYTHING, Mutation, header_lies, mutated

_NUMBERS = (b"0", b"1", b"-1", b"20", b"1e3", b"99999", b"3221225472", b"9" * 30, b"", b"0x10", b"\xc2\xb2")


class Mutated(NamedTuple):
    """An archive, and the records in it that were left alone."""

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
    """Return an archive of gzip members in one of which the record, or what is stored of it, was mutated."""
    at = chance.randrange(records)
    content, untouched = b"", []
    for number in range(records):
        record, block = _record(number, chance)
        if number != at:
            untouched.append((len(content), block))
            content += _gzip(record, chance)
        elif chance.random() < 0.5:
            content += _gzip(mutated(record, OF_RECORDS, chance), chance)
        else:
            content += mutated(_gzip(record, chance), OF_MEMBERS, chance)
    return Mutated(content, untouched)


def _record(number: int, chance: Random) -> tuple[bytes, bytes]:
    """Return a record, and its content."""
    body = b"<img src=%d.jpg alt=x>" % chance.getrandbits(99) * chance.choice((1, 5, 40)) + chance.randbytes(
        chance.choice((0, 40, 3000))
    )
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + body
    header = b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.example/%d\r\nContent-Length: %d\r\n\r\n"
    return header % (number, len(block)) + block + b"\r\n\r\n", block


def _gzip(content: bytes, chance: Random) -> bytes:
    packer = zlib.compressobj(chance.choice((0, 1, 6)), zlib.DEFLATED, 31)
    return packer.compress(content) + packer.flush()
