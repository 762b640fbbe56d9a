"""What a page's image elements become: rows, repeated ones, or a reason why one makes none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from align_data.sources.crawl.account import CrawlAccount
from align_data.sources.crawl.pages.srcset import largest
from align_data.sources.crawl.pages.texts import TEXTS, collapsed
from align_data.sources.crawl.pages.urls import Base
from align_data.sources.crawl.rows import ImageRow

MAX_IMAGES = 10_000
"""Images of a page that can make rows: each row repeats what the page says of all of them."""
MAX_TEXT = 2**21
"""Characters of alt and title, which belong to one image; in UTF-8 no more than what ingest takes."""
MAX_CAPTION = 10_000
"""Characters of a caption, which all images of its figure share."""

_LIMITS = {"alt": MAX_TEXT, "title": MAX_TEXT, "caption": MAX_CAPTION}
_row = tuple.__new__  # which takes half the time that ImageRow does
_WHOLE = re.compile(r"[ \t\n\f\r]*\+?([0-9]{1,10})[ \t\n\f\r]*")
_MAX_SIZE = 2**31 - 1


class Attributes(Protocol):
    """What a WAT has of an image element."""

    url: str | None
    alt: str | None
    title: str | None


class PageImages:
    """The images of a page, judged in the order of the document; `rows` are what they make."""

    __slots__ = (
        "_further_texts",
        "_images",
        "_refused",
        "_repeated",
        "_resolve",
        "_seen",
        "_wanted",
        "rows",
        "size",
        "texts",
    )

    def __init__(self, base: Base, texts: Sequence[str]) -> None:
        self.rows: list[ImageRow] = []
        self.size = 0
        """Characters of the rows."""
        self.texts = tuple(texts)
        self._resolve = base.resolve
        self._wanted = [(TEXTS.index(kind), kind, _LIMITS[kind]) for kind in texts]
        self._seen: set[tuple[str, str]] = set()
        self._refused: list[str] = []
        self._images = self._further_texts = self._repeated = 0

    def add(
        self,
        url: str | None,
        alt: str | None,
        title: str | None = None,
        caption: str | None = None,
        *,
        url_from: str = "src",
        width: str | None = None,
        height: str | None = None,
        srcset: str | None = None,
    ) -> None:
        """Judge the next image: its text, then its URL.

        Attributes are as they stand there, and the caption is as `collapsed` has it; None where there is none.
        """
        position = self._images
        self._images = position + 1
        texts = self._chosen((alt, title, caption))
        if not texts:
            return
        if position >= MAX_IMAGES:
            self._refused.append("images_over_limit")
            return
        absolute, reason = self._resolve(url)
        if reason:
            self._refused.append(reason)
            return
        self._further_texts += len(texts) - 1
        further = None
        for text, kind in texts:
            key = (absolute, text)
            if key in self._seen:
                self._repeated += 1
                continue
            self._seen.add(key)
            if further is None:
                best = self._resolve(largest(srcset))[0] if srcset else None
                further = (
                    _text(title, MAX_TEXT) if title else None,
                    caption if caption and len(caption) <= MAX_CAPTION else None,
                    _size(width) if width else None,
                    _size(height) if height else None,
                    url_from,
                    best or None,
                    position,
                )
            self.rows.append(_row(ImageRow, (absolute, text, kind, *further)))
            self.size += len(absolute) + len(text) + sum(len(value) for value in further if isinstance(value, str))

    def add_all(self, images: Sequence[Attributes]) -> None:
        """Judge images as `add` does, in a third of the time where rows are made of alt alone."""
        add, resolve, seen, rows, refused = self.add, self._resolve, self._seen, self.rows, self._refused
        quick, size = MAX_IMAGES if self.texts == ("alt",) and not self._images else 0, 0
        for position, image in enumerate(images[:quick]):
            alt = image.alt
            if not alt or len(alt) > MAX_TEXT or not (text := collapsed(alt)):
                refused.append("alt_missing" if alt is None else "alt_too_long" if len(alt) > MAX_TEXT else "alt_empty")
                continue
            key = (image.url or "", text)
            if key not in seen:  # what is in there resolves to itself
                absolute, reason = resolve(image.url)
                if reason:
                    refused.append(reason)
                    continue
                key = (absolute, text)
            if key in seen:
                self._repeated += 1
                continue
            seen.add(key)
            title = _text(image.title, MAX_TEXT) if image.title else None
            size += len(key[0]) + len(text) + (len(title) if title else 0)
            rows.append(_row(ImageRow, (key[0], text, "alt", title, None, None, None, "src", None, position)))
        self._images += min(len(images), quick)
        self.size += size
        for image in images[quick:]:
            add(image.url, image.alt, image.title)

    def _chosen(self, values: tuple[str | None, ...]) -> list[tuple[str, str]]:
        """Return the texts that are asked for, and their kinds; refuse an image without, for the first of them."""
        texts: list[tuple[str, str]] = []
        for place, kind, limit in self._wanted:
            value = values[place]
            if not value or len(value) > limit:
                continue
            text = value if kind == "caption" else collapsed(value)
            if text:
                texts.append((text, kind))
        if not texts:
            place, kind, limit = self._wanted[0]
            value = values[place]
            fault = "missing" if value is None else "too_long" if len(value) > limit else "empty"
            self._refused.append(f"{kind}_{fault}")
        return texts

    def count_into(self, account: CrawlAccount) -> None:
        """Add what became of the images, when all of them have been judged."""
        account.images += self._images
        account.further_texts += self._further_texts
        account.rows += len(self.rows)
        for reason in self._refused:
            account.refused[reason] += 1
        account.repeated += self._repeated


def _text(value: str, limit: int) -> str | None:
    """Return an attribute's text; None for an empty one, and one of more characters than the limit."""
    return (collapsed(value) or None) if len(value) <= limit else None


def _size(value: str) -> int | None:
    """Return a whole number of pixels; None for all else, such as 50% and 100px."""
    if len(value) < 10 and value.isascii() and value.isdigit():
        return int(value)
    whole = _WHOLE.fullmatch(value)
    size = int(whole[1]) if whole else _MAX_SIZE + 1
    return size if size <= _MAX_SIZE else None
