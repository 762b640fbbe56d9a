"""An attribute's text as a row has it: what ingest would make of it, but for NFC."""

from __future__ import annotations

import re

# As data/pairs.normalise has it: control characters that are not white space are dropped.
_DROPPED = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
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
