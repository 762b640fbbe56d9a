"""What no reader of archives on one core can beat: gunzip alone, and parsing alone; prints JSON.

    python benchmarks/crawl_limits.py FILE gunzip|parse

`gunzip` inflates every member with isal. `parse` holds a part of the file's pages in memory, and then either parses
HTML into a tree with turbohtml, or the JSON of a WAT into typed values with msgspec. Seconds are of CPU time.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import turbohtml
from isal import igzip_lib

HELD = 150_000_000
"""Bytes of pages that parsing alone is measured on."""
BLOCK = 1 << 15
"""Bytes inflated at once: what lies behind a member's end is copied, so more costs more."""


class _Link(msgspec.Struct, gc=False):
    path: Any = None
    url: Any = None
    alt: Any = None
    title: Any = None


class _Html(msgspec.Struct, rename={"links": "Links"}):
    links: list[_Link] = []


class _Response(msgspec.Struct, rename={"html": "HTML-Metadata"}):
    html: _Html | None = None


class _Payload(msgspec.Struct, rename={"response": "HTTP-Response-Metadata"}):
    response: _Response | None = None


class _Envelope(msgspec.Struct, rename={"payload": "Payload-Metadata"}):
    payload: _Payload | None = None


class _Record(msgspec.Struct, rename={"envelope": "Envelope"}):
    envelope: _Envelope | None = None


def members(path: Path) -> Iterator[bytes]:
    """Yield what each gzip member of a file holds."""
    with path.open("rb") as file:
        pending = b""
        inflater, held = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), []
        while pending or (pending := file.read(BLOCK)):
            held.append(inflater.decompress(pending))
            pending = b""
            if inflater.eof:
                yield b"".join(held)
                pending = inflater.unused_data
                inflater, held = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), []


def gunzip(path: Path) -> dict[str, float]:
    """Inflate a file."""
    began, raw = time.process_time(), 0
    for content in members(path):
        raw += len(content)
    return {"seconds": time.process_time() - began, "bytes": raw}


def parse(path: Path) -> dict[str, float]:
    """Parse the pages that a part of a file has, or what it says of them."""
    wat = ".wat." in path.name
    bodies: list[bytes] = []
    held = 0
    for content in members(path):
        _, _, block = content.partition(b"\r\n\r\n")
        if wat and b'"IMG@/src"' in block:
            bodies.append(block)
        elif not wat and (response := re.match(rb"HTTP/1.1 200 .*?\r\n\r\n", block, re.DOTALL)):
            bodies.append(block[response.end() :])
        held += len(block)
        if held > HELD:
            break
    decoder = msgspec.json.Decoder(_Record)
    began = time.process_time()
    for body in bodies:
        if wat:
            decoder.decode(body)
        else:
            turbohtml.parse(body.decode("utf-8", "replace"))
    return {"seconds": time.process_time() - began, "bytes": sum(map(len, bodies))}


if __name__ == "__main__":
    print(json.dumps({"gunzip": gunzip, "parse": parse}[sys.argv[2]](Path(sys.argv[1]))))
