"""Text files as streams of UTF-8, whatever they were written in."""

from __future__ import annotations

import codecs
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from align_data.common.errors import InputError
from align_data.sources.lists.source import Source


@dataclass(frozen=True)
class Reading:
    """What the user says of how text is to be read; None leaves it to be recognised."""

    delimiter: str | None = None
    """What is between the fields of CSV and TSV: one ASCII character."""
    encoding: str | None = None
    """None for UTF-8."""
    multiline: bool | None = None
    """Whether values of CSV hold line breaks."""

    def named(self) -> dict[str, Any]:
        """Return what was named."""
        return {name: value for name, value in asdict(self).items() if value is not None}


_MARKED = "align-data-marked"
_LOOK = 256
"""Bytes of a file that tell whether it is UTF-16 without a byte-order mark."""


def _mark(error: UnicodeError) -> tuple[str | bytes, int]:
    """Put what no UTF-8 has in the place of what cannot be read: its row is then rejected, and no other."""
    if isinstance(error, UnicodeDecodeError):
        return "\udcff", error.end
    if isinstance(error, UnicodeEncodeError):
        return b"\xff", error.end
    raise error


codecs.register_error(_MARKED, _mark)


def separator(delimiter: str) -> str:
    """Return the character that is meant; InputError for what cannot be between fields."""
    sign = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
    if len(sign) != 1 or not sign.isascii() or sign.isalnum() or sign in '"\\ \r\n\0':
        raise InputError(f"{delimiter!r} cannot separate fields; use one character, such as ',' ';' '|', and tab")
    return sign


def codec(encoding: str) -> str | None:
    """Return an encoding's name as Python writes it, None for UTF-8; InputError for one that is not of text."""
    try:
        with suppress(UnicodeError):  # a blank is half a character in UTF-16
            b" ".decode(encoding)
        codecs.getincrementaldecoder(encoding)
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError) as error:
        examples = "utf-8, utf-16, latin-1, cp1252 or shift_jis"
        raise InputError(f"{encoding!r} is not the name of a text encoding, such as {examples}") from error
    return None if name in ("utf-8", "utf-8-sig") else name


class Utf8:
    """The content of a text file as UTF-8, without its byte-order mark.

    What is not text in the source's encoding becomes bytes that are not UTF-8. Raises InputError for a file that
    begins as UTF-16 or UTF-32 does where no encoding is named.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._stream = source.stream()
        self._begun = False
        self._decoder = None
        if source.encoding is not None:
            self._decoder = codecs.getincrementaldecoder(source.encoding)(_MARKED)

    def __enter__(self) -> Utf8:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, size: int) -> bytes:
        """Return the next bytes, about `size`; none only at the end."""
        while True:
            raw: bytes = self._stream.read(size)
            data = self._converted(raw)
            if not self._begun and data:
                self._begun = True
                data = data.removeprefix(codecs.BOM_UTF8)
            if data or not raw:
                return data

    def _converted(self, raw: bytes) -> bytes:
        if self._decoder is None:
            if not self._begun:
                _refuse_utf16(raw, self._source.path)
            return raw
        try:
            return self._decoder.decode(raw, final=not raw).encode("utf-8", _MARKED)
        except UnicodeError as error:
            raise InputError(f"cannot read {self._source.path} as {self._source.encoding}: {error}") from error


def _refuse_utf16(head: bytes, path: Any) -> None:
    if head[:4] in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        raise InputError(f"{path} is UTF-32; convert it to UTF-8, or read it with --encoding utf-32")
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise InputError(f"{path} is UTF-16; convert it to UTF-8, or read it with --encoding utf-16")
    head = head[:_LOOK]
    for name, high in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
        if high and high.count(0) * 2 > len(high):
            raise InputError(f"{path} looks like UTF-16; convert it to UTF-8, or read it with --encoding {name}")
