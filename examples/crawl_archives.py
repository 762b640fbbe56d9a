"""Write archives as crawlers write them: WARC files, and the WAT that Common Crawl's writer makes of a WARC.

`Archive` writes pages, record by record, in the style of Common Crawl, wget or Browsertrix. Equal seeds give equal
bytes, and only the page being written is held. `crawl_html.Html` makes a page, and what a WAT says of it.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from random import Random
from typing import BinaryIO
from urllib.parse import urlsplit
from uuid import UUID

from crawl_html import as_json

Fields = list[tuple[str, str]]

_CHUNK = 32_114
"""Bytes of a chunk of a body."""


@dataclass(frozen=True)
class Page:
    """What a server answered, and what a WAT says of its HTML, as JSON; empty where it is not HTML."""

    url: str
    body: bytes
    metadata: str = ""
    content_type: str | None = "text/html; charset=utf-8"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


def _gzip(content: bytes, level: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    return packer.compress(content) + packer.flush()


def _by_arrow(codec: str) -> Callable[[bytes], bytes]:
    def encode(content: bytes) -> bytes:
        import pyarrow as pa  # noqa: PLC0415  for the two encodings that Python does not have

        return bytes(pa.compress(content, codec, asbytes=True))

    return encode


_ENCODINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: _gzip(content, 6),
    "deflate": zlib.compress,
    "br": _by_arrow("brotli"),
    "zstd": _by_arrow("zstd"),
}


@dataclass(frozen=True)
class Style:
    """How a crawler writes its archives."""

    software: str
    version: str = "WARC/1.0"
    bracketed: bool = False
    """Whether URIs stand in angle brackets."""
    encodings: tuple[str, ...] = ()
    """The content encodings that bodies keep, in turn."""
    chunked: bool = False
    """Whether bodies are in chunks, as they came."""
    renames: bool = False
    """Whether bodies are decoded, and the headers that tell of the encoding renamed."""
    records: tuple[str, ...] = ("request", "response")


COMMON_CRAWL = Style("Apache Nutch 1.20", renames=True, records=("request", "response", "metadata"))
WGET = Style("Wget/1.21.4", bracketed=True, chunked=True)
BROWSERTRIX = Style(
    "Browsertrix-Crawler 1.5",
    "WARC/1.1",
    encodings=("gzip", "br", "deflate", "zstd"),
    records=("response", "request"),
)
STYLES = {"common-crawl": COMMON_CRAWL, "wget": WGET, "browsertrix": BROWSERTRIX}


class Archive:
    """Writes a WARC, and the WAT of it beside it, if there is to be one."""

    def __init__(
        self,
        warc: BinaryIO,
        wat: BinaryIO | None = None,
        *,
        name: str = "CC-MAIN-20251127010000-20251127040000-00000.warc.gz",
        crawl: str = "CC-MAIN-2025-47",
        style: Style = COMMON_CRAWL,
        seed: int = 7,
        level: int = 6,
    ) -> None:
        self._warc, self._wat, self._name, self._crawl, self._style = warc, wat, name, crawl, style
        self._random, self._level, self._pages = Random(seed), level, 0
        self.offset, self.raw, self.wat_raw = 0, 0, 0
        self._info = self._id()
        self._begin()

    def _id(self) -> str:
        return f"<urn:uuid:{UUID(int=self._random.getrandbits(128), version=4)}>"

    def _date(self) -> str:
        return f"2025-11-27T{1 + self._pages // 3600 % 20:02}:{self._pages // 60 % 60:02}:{self._pages % 60:02}Z"

    def _begin(self) -> None:
        says = [
            ("isPartOf", self._crawl),
            ("publisher", "A tiny crawl"),
            ("software", self._style.software),
            ("robots", "checked"),
            ("format", "WARC File Format 1.1"),
        ]
        head = [
            ("WARC-Type", "warcinfo"),
            ("WARC-Date", self._date()),
            ("WARC-Record-ID", self._info),
            ("Content-Type", "application/warc-fields"),
            ("WARC-Filename", self._name),
        ]
        if self._wat is not None:
            written = {"WARC-Filename": self._name.replace(".warc.gz", ".warc.wat.gz"), "WARC-Record-ID": self._id()}
            about = [("Software-Info", "tiny"), ("Extracted-Date", self._date()), ("format", "WARC File Format 1.0")]
            self._put_wat(list((dict(head) | written).items()), _lines(about))
        payload = {"Actual-Content-Type": "application/warc-fields", "WARC-Info-Metadata": dict(says)}
        self._put(head, _lines(says), payload)

    def add(self, page: Page) -> int:
        """Write the records of a page; return where its response begins."""
        ids = {kind: self._id() for kind in self._style.records}
        at = 0
        for kind in self._style.records:
            if kind == "response":
                at = self.offset
            getattr(self, f"_add_{kind}")(page, ids)
        self._pages += 1
        return at

    def _head(self, kind: str, page: Page, ids: Mapping[str, str], content_type: str) -> Fields:
        uri = f"<{page.url}>" if self._style.bracketed else page.url
        return [
            ("WARC-Type", kind),
            ("WARC-Date", self._date()),
            ("WARC-Record-ID", ids[kind]),
            ("Content-Type", content_type),
            ("WARC-Warcinfo-ID", self._info),
            *((("WARC-Concurrent-To", ids["request"]),) if kind == "response" and "request" in ids else ()),
            ("WARC-IP-Address", f"203.0.113.{self._pages % 254 + 1}"),
            ("WARC-Target-URI", uri),
        ]

    def _add_request(self, page: Page, ids: Mapping[str, str]) -> None:
        parts = urlsplit(page.url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        fields = [
            ("User-Agent", f"tinybot/1.0 ({self._style.software})"),
            ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
            ("Accept-Language", "en-US,en;q=0.5"),
            ("Accept-Encoding", "br,gzip"),
            ("Host", parts.netloc),
            ("Connection", "Keep-Alive"),
        ]
        block = f"GET {path} HTTP/1.1\r\n".encode() + _lines(fields) + b"\r\n"
        begin = {"Method": "GET", "Path": path, "Version": "HTTP/1.1"}
        message = {"Request-Message": begin, **_entity(block, fields, b"")}
        head = self._head("request", page, ids, "application/http; msgtype=request")
        self._put(head, block, {"Actual-Content-Type": head[3][1], "HTTP-Request-Metadata": message})

    def _add_response(self, page: Page, ids: Mapping[str, str]) -> None:
        fields, body = self._answer(page)
        phrase = HTTPStatus(page.status).phrase
        head_block = f"HTTP/1.1 {page.status} {phrase}\r\n".encode() + _lines(fields) + b"\r\n"
        head = [
            *self._head("response", page, ids, "application/http; msgtype=response"),
            ("WARC-Protocol", "http/1.1"),
            ("WARC-Protocol", "tls/1.3"),
            ("WARC-Payload-Digest", _digest(body)),
            ("WARC-Block-Digest", _digest(head_block + body)),
            ("WARC-Identified-Payload-Type", (page.content_type or "text/html").partition(";")[0]),
        ]
        begin = {"Status": str(page.status), "Version": "HTTP/1.1", "Reason": phrase}
        message = {"Response-Message": begin, **_entity(head_block, fields, body)}
        payload = {"Actual-Content-Type": head[3][1], "HTTP-Response-Metadata": message}
        self._put(head, head_block + body, payload, page.metadata)

    def _answer(self, page: Page) -> tuple[Fields, bytes]:
        """Return the headers and the body of an answer as this crawler writes them."""
        style, body = self._style, page.body
        fields = [("Date", "Thu, 27 Nov 2025 01:00:00 GMT"), ("Server", "nginx"), ("Vary", "Accept-Encoding")]
        if page.content_type is not None:
            fields.insert(1, ("Content-Type", page.content_type))
        fields += [
            ("Set-Cookie", f"session={self._random.getrandbits(64):x}; path=/"),
            ("Set-Cookie", "seen=1; path=/"),
        ]
        fields += page.headers
        if style.renames:
            prefix = "X-Crawler-" + ("Content-Encoding" if self._pages % 2 else "content-encoding")
            fields += [(prefix, "gzip"), ("X-Crawler-Transfer-Encoding", "chunked")]
        if style.encodings:
            encoding = style.encodings[self._pages % len(style.encodings)]
            fields.append(("Content-Encoding", encoding))
            body = _ENCODINGS[encoding](body)
        if style.chunked:
            fields.append(("Transfer-Encoding", "chunked"))
            pieces = [body[at : at + _CHUNK] for at in range(0, len(body), _CHUNK)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])
        else:
            fields.append(("Content-Length", str(len(body))))
        return fields, body

    def _add_metadata(self, page: Page, ids: Mapping[str, str]) -> None:
        languages = {
            "reliable": True,
            "text-bytes": len(page.body) // 20,
            "languages": [{"code": "en", "score": 1022.0}],
        }
        says = [
            ("fetchTimeMs", str(self._random.randint(20, 900))),
            ("charset-detected", "UTF-8"),
            ("languages-cld2", as_json(languages)),
        ]
        head = self._head("metadata", page, ids, "application/warc-fields")
        records = {"Metadata-Records": [{"Name": name, "Value": value} for name, value in says]}
        payload = {"Actual-Content-Type": "application/metadata-fields", "WARC-Metadata-Metadata": records}
        self._put(head, _lines(says) + b"\r\n", payload)

    def _put(self, head: Fields, block: bytes, payload: Mapping[str, object], metadata: str = "") -> None:
        """Write a record, and the record of the WAT that is about it."""
        fields = [*head, ("Content-Length", str(len(block)))]
        record = self._record(fields, block, self._style.version)
        packed = _gzip(record, self._level)
        self._warc.write(packed)
        if self._wat is not None:
            about = self._about(record, packed, fields, block, payload)
            if metadata:  # is JSON already
                about = about.replace('"Entity-Length"', f'"HTML-Metadata":{metadata},"Entity-Length"', 1)
            target = next((value for name, value in head if name == "WARC-Target-URI"), self._name)
            refers = next(value for name, value in head if name == "WARC-Record-ID")
            wat_head = [
                ("WARC-Type", "metadata"),
                ("WARC-Target-URI", target),
                ("WARC-Date", self._date()),
                ("WARC-Record-ID", self._id()),
                ("WARC-Refers-To", refers),
                ("Content-Type", "application/json"),
            ]
            self._put_wat(wat_head, about.encode("utf-8", "replace"))
        self.offset += len(packed)
        self.raw += len(record)

    def _about(self, record: bytes, packed: bytes, fields: Fields, block: bytes, payload: Mapping[str, object]) -> str:
        """Return what a WAT says of a record, as JSON."""
        member = {
            "Deflate-Length": str(len(packed)),
            "Header-Length": "10",
            "Footer-Length": "8",
            "Inflated-CRC": str(zlib.crc32(record)),
            "Inflated-Length": str(len(record)),
        }
        container = {"Filename": self._name, "Compressed": True, "Offset": str(self.offset), "Gzip-Metadata": member}
        envelope = {
            "Format": self._style.version,
            "WARC-Header-Length": str(len(record) - len(block) - 4),
            "Block-Digest": _digest(block),
            "Actual-Content-Length": str(len(block)),
            "WARC-Header-Metadata": _mapping(fields),
            "Payload-Metadata": {**payload, "Trailing-Slop-Length": "4"},
        }
        return as_json({"Container": container, "Envelope": envelope})

    def _put_wat(self, head: Fields, block: bytes) -> None:
        assert self._wat is not None
        record = self._record([*head, ("Content-Length", str(len(block)))], block, "WARC/1.0")
        self._wat.write(_gzip(record, self._level))
        self.wat_raw += len(record)

    @staticmethod
    def _record(fields: Fields, block: bytes, version: str) -> bytes:
        return f"{version}\r\n".encode() + _lines(fields) + b"\r\n" + block + b"\r\n\r\n"


def _lines(fields: Iterable[tuple[str, str]]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode()


def _digest(content: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(content, usedforsecurity=False).digest()).decode()


def _entity(head: bytes, fields: Fields, body: bytes) -> dict[str, object]:
    return {
        "Headers-Length": str(len(head)),
        "Headers": _mapping(fields),
        "Entity-Length": str(len(body)),
        "Entity-Digest": _digest(body),
        "Entity-Trailing-Slop-Length": "0",
    }


def _mapping(fields: Sequence[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Return headers as a WAT has them: those that are repeated as a list."""
    values: dict[str, list[str]] = {}
    for name, value in fields:
        values.setdefault(name, []).append(value)
    return {name: several[0] if len(several) == 1 else several for name, several in values.items()}
