"""An attribute's text as a row has it: what ingest would make of it, but for NFC."""

from __future__ import annotations

import re

TEXTS = ("alt", "title", "caption")
"""Texts that an image can have; it makes a row for each that is asked for."""
# As data/pairs.normalise has it: control characters that are not white space are dropped.
_DROPPED = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
MAX_LANGUAGE = 100
"""Characters of a page's attribute lang; a tag of BCP 47 is far shorter."""
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def collapsed(text: str) -> str:
    """Return a text with single spaces between its words, without control characters.

    White space is what Python's str.isspace says; so ingest, which makes NFC of it besides, finds nothing to collapse.
    Half a surrogate pair, which UTF-8 cannot say, becomes U+FFFD.
    """
    if text.isprintable():  # but for a plain space there is no white space in it
        return text.strip(" ") if "  " not in text else " ".join(text.split())
    text = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", _DROPPED.sub("", text))
    return " ".join(text.split())


def language_of(lang: str | None) -> str | None:
    """Return a page's attribute lang; None for none, an empty one, and one far longer than any tag of BCP 47."""
    language = collapsed(lang) if lang else ""
    return language if 0 < len(language) <= MAX_LANGUAGE else None
