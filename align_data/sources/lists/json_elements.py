"""The lines of a file of JSON lines, or the elements of one array, each without reading more than a row can be."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from align_data.common.errors import InputError
from align_data.sources.lists.encodings import Utf8
from align_data.sources.lists.source import Source

_BLOCK = 2**20
_LINE = 2**24
"""Bytes of a line that is read; a longer one is not an image with its text."""
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class TooLong:
    """A line that was not read."""

    size: int


def lines(source: Source) -> Iterator[bytes | TooLong]:
    """Yield the lines that are not blank, or the elements of an array."""
    with Utf8(source) as stream:
        block = stream.read(_BLOCK)
        while block and not block.strip():
            block = stream.read(_BLOCK)
        head = block.split(None, 1)[0] if block else b""
        if head.startswith(b"[") and block.lstrip()[1:].lstrip()[:1] in (b"{", b"]", b""):
            yield from _elements(block, stream, source)
        else:
            yield from _lines(block, stream)


def _lines(block: bytes, stream: Utf8) -> Iterator[bytes | TooLong]:
    tail, passed = b"", 0
    while block:
        *whole, tail = (tail + block).split(b"\n")
        for line in whole:
            if passed:
                yield TooLong(passed + len(line))
                passed = 0
            elif line.strip():
                yield line
        if passed or len(tail) > _LINE:
            passed += len(tail)
            tail = b""
        block = stream.read(_BLOCK)
    if passed:
        yield TooLong(passed)
    elif tail.strip():
        yield tail


def _elements(block: bytes, stream: Utf8, source: Source) -> Iterator[bytes]:
    """Yield the elements of an array as lines."""
    # What is not UTF-8 stays, so that only its row is rejected.
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    parser = json.JSONDecoder(parse_int=str)  # only where a value ends is asked
    text = decoder.decode(block).lstrip()[1:]
    number = at = 0
    while True:
        at = _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
        try:
            if text.startswith("]", at):
                break
            if number and not text.startswith(",", at):
                raise ValueError
            begin = _SPACE.match(text, at + (number > 0)).end()  # type: ignore[union-attr]
            _, end = parser.raw_decode(text, begin)
        except (ValueError, RecursionError):
            block = stream.read(_BLOCK)
            if not block or len(text) - at > _LINE:
                raise InputError(
                    f"{source.path} is one JSON array that cannot be read from element {number + 1} on; write "
                    "one element a line, for example with: jq -c '.[]' FILE > FILE.jsonl"
                ) from None
            text, at = text[at:] + decoder.decode(block), 0
            continue
        yield text[begin:end].encode("utf-8", "surrogateescape")
        number, at = number + 1, end
    behind = text[at + 1 :]
    while not behind.strip() and (block := stream.read(_BLOCK)):
        behind = decoder.decode(block)
    if behind.strip():
        raise InputError(f"{source.path} is one JSON array followed by other data; make it JSON lines")
