"""The head of a response, read as browsers and curl read it, and written down as any parser takes it.

Servers send heads that no standard allows before pictures that everyone sees. What is wrong in a line costs that line,
not the picture: the parser behind this sees a plain head, with the headers that are read here and one end of the body.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from align_data.fetching.chunked_body import ChunkedBody

MAX_HEAD = 2**18
"""Bytes of a head, as browsers have it."""
READ = frozenset(
    {
        *(b"connection", b"content-range", b"location", b"proxy-authenticate", b"retry-after", b"upgrade"),
        *(b"content-usage", b"tdm-policy", b"tdm-reservation", b"x-robots-tag"),
    }
)
"""The headers that are handed on, beside those that say how the body comes."""
_END = re.compile(rb"\n\r?\n")
_STATUS = re.compile(rb"(?:HTTP(\S*)|ICY)[ \t]+(\d{3})(?!\d)[ \t]*(.*)", re.IGNORECASE)
_NEW = re.compile(rb"/0*(?:1\.0*[1-9]|1\d|[2-9])")
"""The beginning of a version from 1.1 on; anything else counts as the oldest."""
_CHUNKED = b"\r\nTransfer-Encoding: chunked\r\n"
_BEGINS = (b"http", b"icy ")
_REASON = 1000
"""Bytes of what a status line says beside the status."""
_JUNK = 4
"""Bytes that may stand before the status line, beside line ends."""
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_VALUE = re.compile(rb"[\x00\r]")
_LENGTH = re.compile(rb"[0-9]{1,18}")


class NoHeadError(ValueError):
    """What came is not the head of a response."""


class Head:
    """Takes what comes of a response until its head is whole, and then makes the chunks of its body plain."""

    def __init__(self) -> None:
        self._come = bytearray()
        self._chunks: ChunkedBody | None = None
        self.whole = False

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the plain head once it is whole, and what has come of the body.

        NoHeadError for what is no head, and NoChunkError for a body that is not in chunks though its head says so.

        Heads that only say that another one follows (100, 103) are passed over.
        """
        if self.whole:
            return b"", self._body(data)
        searched = max(0, len(self._come) - 3)
        self._come += data
        plain = b""
        while not self.whole:
            if self._come.startswith((b"\r", b"\n")):
                self._come = self._come.lstrip(b"\r\n")
            end = _END.search(self._come, searched)
            if (len(self._come) if end is None else end.end()) > MAX_HEAD:
                raise NoHeadError(f"a head of more than {MAX_HEAD:,} bytes")
            if end is None:
                _begin(bytes(self._come[:16]))
                return b"", b""
            plain, interim = _plain(bytes(self._come[: end.start()]))
            self.whole, searched = not interim, 0
            del self._come[: end.end()]
        self._chunks = ChunkedBody() if _CHUNKED in plain else None
        body, self._come = bytes(self._come), bytearray()
        return plain, self._body(body)

    def _body(self, data: bytes) -> bytes:
        return data if self._chunks is None else self._chunks.take(data)


def _begin(come: bytes) -> None:
    """Refuse data that does not begin like a response."""
    if not any(
        come[at : at + len(word)].lower() == word[: max(0, len(come) - at)]
        for at in range(_JUNK + 1)
        for word in _BEGINS
    ):
        raise NoHeadError(f"no HTTP, but {come!r}")


def _plain(head: bytes) -> tuple[bytes, bool]:
    """Return a head as it should be, and whether another one follows it."""
    status_line, *lines = head.split(b"\n")
    status = next((match for at in range(_JUNK + 1) if (match := _STATUS.match(status_line, at))), None)
    if status is None:
        raise NoHeadError(f"no status line, but {status_line[:40]!r}")
    old = _NEW.match(status[1] or b"") is None
    headers = list(_headers(lines))
    framing = [
        (b"Content-Length", _length(_words(headers, b"content-length"))),
        (b"Content-Encoding", b", ".join(_words(headers, b"content-encoding"))),
    ]
    codings = [coding for coding in _words(headers, b"transfer-encoding") if coding != b"identity"]
    if codings:
        # The body's end is said by its chunks, or by that of the connection: no length holds beside them.
        packed = [coding for coding in codings if coding != b"chunked"]
        chunked = b"chunked" if b"chunked" in codings else b""
        encodings = [*_words(headers, b"content-encoding"), *packed]
        framing = [(b"Transfer-Encoding", chunked), (b"Content-Encoding", b", ".join(encodings))]
    plain = [(name, value) for name, value in headers if name in READ] + [coding for coding in framing if coding[1]]
    begin = b"HTTP/1.%d %s %s" % (not old, status[2], _NO_VALUE.sub(b" ", status[3][:_REASON]).strip())
    interim = status[2].startswith(b"1") and status[2] != b"101"
    return b"\r\n".join([begin, *(b"%s: %s" % coding for coding in plain), b"", b""]), interim


def _headers(lines: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the valid headers with lower-case names; a line that begins with a blank continues the previous one."""
    joined: list[bytes] = []
    for line in lines:
        if line[:1] in (b" ", b"\t") and joined:
            joined[-1] += b" " + line.strip()
        else:
            joined.append(line)
    for line in joined:
        name, colon, value = line.partition(b":")
        name = name.strip()
        if colon and _NAME.fullmatch(name):
            yield name.lower(), _NO_VALUE.sub(b" ", value).strip()


def _words(headers: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """Return what all headers of a name list, in small letters."""
    words = (word.strip().lower() for header, value in headers if header == name for word in value.split(b","))
    return [word for word in words if word]


def _length(values: list[bytes]) -> bytes:
    """Return the length of a body, or nothing if no valid one is given; NoHeadError if they differ."""
    lengths = {int(value) for value in values if _LENGTH.fullmatch(value)}
    if len(lengths) > 1:
        raise NoHeadError(f"Content-Length: {b', '.join(values)[:40].decode('latin-1')}")
    return b"%d" % lengths.pop() if lengths else b""
