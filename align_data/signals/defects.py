"""What is in a text that nobody wrote as one: markup, URLs, names of files, what a template left behind."""

from __future__ import annotations

from collections.abc import Callable
from html.entities import html5

import polars as pl

from align_data.signals.base import Piece
from align_data.signals.markup import markup_of
from align_data.signals.repetition import flagged

ENTITY = r"&(?:#[0-9]+|#[xX][0-9A-Fa-f]+|[A-Za-z][A-Za-z0-9]*);"
"""What has the form of a character reference."""
_NAMES = pl.Series([f"&{name}" for name in html5 if name.endswith(";")])
_EXTENSIONS = "jpe?g|jfif|png|gif|webp|bmp|tiff?|svg|avif|heic|ico"
FILE_NAME = rf"[\p{{L}}\p{{M}}\p{{N}}_)\]-]\.(?i-u:{_EXTENSIONS})(?:$|[^\p{{L}}\p{{N}}])"
URL = r"(?i-u:https?|ftp)://\S|(?:^|[^\p{L}\p{N}])(?i-u:www)\.[\p{L}\p{N}]"
_PLACEHOLDERS = "title|name|alt|caption|description|text|value|image|img|url|filename|[0-9]+"
TEMPLATE = (
    r"\{\{[^{}]*\}\}|[$#]\{[^{}]*\}|\{%[^{}]*%\}|<%[^<>]*%>|\[%[^\[\]]*%\]|\[\[[^\[\]]*\]\]"  # {{title}} and its like
    # What stands in single braces may be meant, as {recipe} is at the end of titles.
    rf"|\{{(?:[A-Za-z]\w*[._]\w+|{_PLACEHOLDERS})\}}|%%[A-Za-z_]+%%|(?:^|\s)%(?:[0-9]+\$)?[sd](?:$|[\s.,;:!?])"
    r"|\[object Object\]|(?i-u:^(?:undefined|null|nan)$|lorem ipsum)"
)
SLUG = r"^[\p{L}\p{M}\p{N}]+(?:[-_]+[\p{L}\p{M}\p{N}]+)+$"
_PATH = r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*/([^?#]*)"
_EXTENSION = r"\.[A-Za-z0-9]{1,5}$"
_PATH_WORD = r"(?:[\p{L}\p{M}]|%[89A-Fa-f][0-9A-Fa-f]){2,}"


def markup(piece: Piece) -> pl.Series:
    """Count tags and comments of HTML."""
    return _counts(piece.frame["alt_text"], "<", markup_of)


def entities(piece: Piece) -> pl.Series:
    """Count character references of HTML: numbers, and names that HTML 5 knows."""
    return _counts(piece.frame["alt_text"], "&", _references)


def file_name(piece: Piece) -> pl.Series:
    """Tell whether there is the name of an image's file."""
    return _contains(piece.frame["alt_text"], ".", FILE_NAME)


def url_in_text(piece: Piece) -> pl.Series:
    """Tell whether there is a URL."""
    return piece.frame["alt_text"].str.contains(URL)


def template(piece: Piece) -> pl.Series:
    """Tell whether there is what a template should have replaced."""
    return piece.frame["alt_text"].str.contains(TEMPLATE)


def slug(piece: Piece) -> pl.Series:
    """Count what joins the parts of a text that is one slug; 0 for any other text."""
    texts = piece.frame["alt_text"]
    return _of(texts, texts.str.contains(SLUG), lambda slugs: slugs.str.count_matches("[-_]+"))


def url_path_words(piece: Piece) -> pl.Series:
    """Count the words of the URL's path; 0 where a takedown left no URL."""
    path = piece.frame["url"].str.extract(_PATH, 1).str.replace(_EXTENSION, "")
    return path.str.count_matches(_PATH_WORD).fill_null(0).cast(pl.Int32)


def _references(texts: pl.Series) -> pl.Series:
    lists = texts.str.extract_all(ENTITY)
    candidates = lists.list.explode(empty_as_null=False)
    is_reference = candidates.str.starts_with("&#") | candidates.is_in(_NAMES.implode())
    return pl.Series(flagged(lists.list.len().to_numpy(), is_reference.to_numpy()))


def _counts(texts: pl.Series, literal: str, count: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Return counts, which are 0 where a text lacks a literal: few have it."""
    return _of(texts, texts.str.contains(literal, literal=True), count)


def _of(texts: pl.Series, suspects: pl.Series, count: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Return the counts of suspects, and 0 for all other texts."""
    counts = pl.zeros(len(texts), pl.Int32, eager=True)
    rows = suspects.arg_true()
    return counts.scatter(rows, count(texts.gather(rows)).cast(pl.Int32)) if len(rows) else counts


def _contains(texts: pl.Series, literal: str, expression: str) -> pl.Series:
    return _counts(texts, literal, lambda suspects: suspects.str.contains(expression)).cast(pl.Boolean)
