"""A page's bytes as text, in the charset that browsers would take, by the tables of WHATWG's standard."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import turbohtml
import turbohtml.detect

PRESCANNED = 4_096
"""Bytes of a page in which a declaration of its charset is looked for."""
_FALLBACK = "windows-1252"
_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16le", codecs.BOM_UTF16_BE: "utf-16be"}
_NOT_IN_UTF_8 = {"utf-16le": b"\0", "utf-16be": b"\0", "iso-2022-jp": b"\x1b"}
"""Charsets whose pages can be valid UTF-8 all the same, and the byte that no page in UTF-8 has."""
_IN_META = {"utf-16le": "utf-8", "utf-16be": "utf-8", "x-user-defined": "windows-1252"}
"""What browsers take for charsets that a meta element cannot rightly declare."""
_LABEL = re.compile(r"[A-Za-z0-9_.:-]{1,40}")
_IN_TYPE = re.compile(r"charset\s*+=\s*+[\"']?+\s*+([^\s\"';,]++)", re.IGNORECASE)
_COMMENT_OR_META = re.compile(
    rb"<!--.*?-->|<meta(?=[\s/])((?:[^>\"']++|\"[^\"]*+\"|'[^']*+')*+)>", re.IGNORECASE | re.DOTALL
)
_ATTRIBUTE = re.compile(rb"([^\s/=>\"'][^\s/=>]*+)(?:\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s>\"'][^\s>]*+)))?+")
_XML = re.compile(rb"<\?xml\s[^>]*?encoding\s*=\s*[\"']([^\"'>]*)[\"'>]")


class PageText(NamedTuple):
    """A page's text, and the name of its charset, as the standard writes it but in lower case."""

    text: str
    charset: str


def decoded(body: bytes, content_types: Sequence[str]) -> PageText:
    """Decode a page by its byte order mark, its header Content-Type, a meta element or an XML declaration.

    What is valid UTF-8 is that, whatever is declared; what is neither, nor of a declared charset that is known, is
    windows-1252. What cannot be decoded becomes U+FFFD.
    """
    for mark, charset in _BOMS.items():
        if body.startswith(mark):
            return PageText(body[len(mark) :].decode(charset, "replace"), charset)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return _as_declared(body, _declared(body, content_types))
    if any(sign in body for sign in _NOT_IN_UTF_8.values()):
        charset = _declared(body, content_types)
        if charset in _NOT_IN_UTF_8 and _NOT_IN_UTF_8[charset] in body:
            return _as_declared(body, charset)
    return PageText(text, "utf-8")


def _as_declared(body: bytes, charset: str) -> PageText:
    return PageText(body.decode(f"whatwg-{charset}", "replace"), charset)


def _declared(body: bytes, content_types: Sequence[str]) -> str:
    for label in _labels(body, content_types):
        if charset := _known(label):
            return charset
    return _FALLBACK


def _labels(body: bytes, content_types: Sequence[str]) -> Iterator[str]:
    """Yield the charsets that a page is declared to have, the most credible first."""
    for content_type in content_types:
        yield from _IN_TYPE.findall(content_type)
    head = body[:PRESCANNED]
    for element in _COMMENT_OR_META.finditer(head):
        label = _of_meta(element[1] or b"")
        yield _IN_META.get(_known(label), label)
    if xml := _XML.match(head.lstrip()):
        yield xml[1].decode("latin-1").strip()


def _of_meta(markup: bytes) -> str:
    """Return the charset that the attributes of a meta element declare; "" if they declare none."""
    attributes: dict[str, str] = {}
    for name, *values in _ATTRIBUTE.findall(markup.lower()):
        attributes.setdefault(name.decode("latin-1"), b"".join(values).decode("latin-1").strip())
    if "charset" in attributes:
        return attributes["charset"]
    in_type = _IN_TYPE.search(attributes.get("content", "")) if attributes.get("http-equiv") == "content-type" else None
    return in_type[1] if in_type else ""


@lru_cache(maxsize=1024)
def _known(label: str) -> str:
    """Return the charset of a label; "" if there is none, or one that browsers refuse to decode."""
    if not _LABEL.fullmatch(label):
        return ""
    try:
        charset = str(turbohtml.parse(b"", encoding=label).encoding).lower()
    except LookupError:
        return ""
    return "" if charset == "replacement" else charset
