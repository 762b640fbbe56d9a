"""What happens to bytes on their way: each mutation is a function of bytes and chance, and gives other bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from random import Random

Mutation = Callable[[bytes, Random], bytes]
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)


def flip(content: bytes, chance: Random) -> bytes:
    """Change a few bits."""
    found = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        if found:
            found[chance.randrange(len(found))] ^= 1 << chance.randrange(8)
    return bytes(found)


def truncate(content: bytes, chance: Random) -> bytes:
    """Cut the end off."""
    return content[: chance.randrange(len(content) + 1)]


def cut_out(content: bytes, chance: Random) -> bytes:
    """Take a stretch out."""
    start, end = _stretch(content, chance)
    return content[:start] + content[end:]


def repeat(content: bytes, chance: Random) -> bytes:
    """Put a stretch somewhere else once more."""
    start, end = _stretch(content, chance)
    at = chance.randrange(len(content) + 1)
    return content[:at] + content[start:end] + content[at:]


def _stretch(content: bytes, chance: Random) -> tuple[int, int]:
    start = chance.randrange(len(content) + 1)
    return start, min(len(content), start + chance.choice((1, 4, 30, 300)))


def header_lies(content: bytes, chance: Random) -> bytes:
    """Put a number that is seldom right near the beginning."""
    number, order = chance.choice(_NUMBERS), chance.choice("<>")
    packed = struct.pack(f"{order}H", number & 0xFFFF) if chance.random() < 0.5 else struct.pack(f"{order}I", number)
    at = chance.randrange(max(1, min(len(content), 80)))
    return content[:at] + packed + content[at + len(packed) :]


def quote(content: bytes, chance: Random) -> bytes:
    """Put in what means something to a reader of texts."""
    at = chance.randrange(len(content) + 1)
    sign = chance.choice((b'"', b'""', b'\\"', b"'", b",", b"\t", b";", b"\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf"))
    return content[:at] + sign + content[at:]


def nest(content: bytes, chance: Random) -> bytes:
    """Open brackets, very many of them."""
    at, sign = chance.randrange(len(content) + 1), chance.choice((b"[", b"{", b'{"a":', b"- ", b"? ", b"*a", b"&a ["))
    return content[:at] + sign * chance.choice((10, 1_000, 20_000)) + content[at:]


OF_ANYTHING: Sequence[Mutation] = (flip, truncate, cut_out, repeat)
OF_IMAGES: Sequence[Mutation] = (*OF_ANYTHING, header_lies)
OF_TEXTS: Sequence[Mutation] = (*OF_ANYTHING, quote, quote, nest)


def mutated(content: bytes, mutations: Sequence[Mutation], chance: Random, most: int = 3) -> bytes:
    """Return bytes that a few mutations have been through."""
    for mutation in chance.choices(mutations, k=chance.randint(1, most)):
        content = mutation(content, chance)
    return content
