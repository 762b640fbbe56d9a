"""The words of texts by their keys, found byte by byte: at a quarter of the cost of the regular expression.

This is not a second definition: what each character is, the expression of `words` tells, and tests hold the two
together. How texts are read follows the expression: runs of first characters with the marks on them, joined by single
joiners, and words of one character of the scripts that are written without spaces. Texts with format characters, which
are few in most languages, are left to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from align_data.common.hashing import Hashes, keys
from align_data.signals.words import FIRST, FORMAT, JOINER, MARK, SPACELESS, without_format, words

TEXTS = 2**14
"""Texts looked at together: about as many bytes as a core's cache holds, in memory that is used again."""
LONGEST = 2**31 - 64
"""Bytes of texts looked at together, at most: a word's place in them is 32 bits."""
TOLD = 0x20000
"""Characters whose class is told beforehand; texts of others, which are rare, are left to the expression."""
OFTEN = 32
"""One text in so many is often."""
_OTHER, _FIRST, _MARK, _JOINER, _SPACELESS, _FORMAT, _UNTOLD = range(7)
FRONT, BACK = 3, 16
"""Bytes before and behind the lines: the views of the first and the last word reach beyond them."""
_CASE = np.uint8(0x20)

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Places = NDArray[np.intp]


class WordKeys(NamedTuple):
    """The words of texts in lower case, by their keys."""

    lengths: NDArray[np.int64]
    """How many words each text has."""
    keys: Hashes
    """The keys of all words in order, one text's behind another's."""


class _Block(NamedTuple):
    """What was seen of the words of texts that were looked at together."""

    lengths: NDArray[np.int64]
    keys: Hashes
    apart: Places = np.empty(0, np.intp)
    """The texts of which that is not the truth: they are left to the expression."""
    formats: int = 0
    """How many characters there were that are no part of a word."""


def word_keys(texts: pl.Series) -> WordKeys:
    """Return the words of texts, put into lower case, as `words` finds them."""
    starts = range(0, max(1, len(texts)), TEXTS)
    blocks: list[_Block] = []
    strip = False
    for start in starts:
        together = texts[start : start + TEXTS]
        block = _block(together, strip=strip)
        if block.formats * OFTEN > len(together):  # as in Persian: from here on these are looked for first
            strip = True
            block = _block(together, strip=True)
        blocks.append(block)
    lengths = np.concatenate([block.lengths for block in blocks])
    apart = np.concatenate([start + block.apart for start, block in zip(starts, blocks, strict=True)])
    if not len(apart):
        return WordKeys(lengths, np.concatenate([block.keys for block in blocks]))
    by_expression = _by_expression(texts.gather(apart))
    lengths[apart] = by_expression.lengths
    right = iter(np.split(by_expression.keys, np.cumsum(by_expression.lengths)[:-1]))
    return WordKeys(lengths, np.concatenate([run for block in blocks for run in _right(block, right)]))


def _right(block: _Block, right: Iterator[Hashes]) -> Iterator[Hashes]:
    """Yield the keys of a block, those of the texts apart taken from `right`."""
    ends = np.cumsum(block.lengths)
    at = 0
    for row in block.apart.tolist():
        yield block.keys[at : ends[row] - block.lengths[row]]
        yield next(right)
        at = ends[row]
    yield block.keys[at:]


def _block(texts: pl.Series, *, strip: bool) -> _Block:
    """Look at texts together; with `strip` at what is left of them without FORMAT."""
    sizes = texts.str.len_bytes()
    if sizes.sum() + len(texts) > LONGEST:
        return _Block(*_by_expression(texts))
    is_ascii = (sizes == texts.str.len_chars()).to_numpy()
    if not is_ascii.all():  # what is ASCII is put into lower case later, for less
        wide = np.flatnonzero(~is_ascii)
        lower = texts.gather(wide).str.to_lowercase()
        texts = texts.clone().scatter(wide, without_format(lower) if strip else lower)
    buffer, ends = laid_out(texts)
    edges = _edges(buffer[FRONT:-BACK])
    lengths = np.diff(np.searchsorted(edges.final, ends), prepend=0)
    apart = np.unique(np.searchsorted(ends, edges.apart))
    return _Block(lengths, keys(strings(buffer, edges.before, edges.final)), apart, edges.formats)


def _by_expression(texts: pl.Series) -> WordKeys:
    lists = words(texts.str.to_lowercase())
    return WordKeys(lists.list.len().to_numpy().astype(np.int64), keys(lists.explode(empty_as_null=False)))


def laid_out(texts: pl.Series) -> tuple[Bytes, Places]:
    """Return the texts as lines, with a line feed before the first, and where in the lines each text ends."""
    ends = np.cumsum(texts.str.len_bytes().to_numpy() + np.int64(1), dtype=np.int64)
    joined = texts.str.join("\n").to_arrow(compat_level=pl.CompatLevel.oldest())
    size = int(ends[-1]) if len(ends) else 1
    buffer = np.zeros(FRONT + size + 1 + BACK, np.uint8)
    lines = buffer[FRONT:-BACK]
    lines[0] = lines[-1] = ord("\n")
    lines[1:size] = np.frombuffer(joined.buffers()[2] or b"", np.uint8, size - 1)
    return buffer, ends


class _Edges(NamedTuple):
    """Where words are in the lines, and what keeps some texts apart."""

    before: Places
    """The place before each word's first byte."""
    final: Places
    """That of its last one."""
    apart: Places
    """Of characters that are no part of a word, and of those beyond TOLD."""
    formats: int
    """How many of the former there are."""


def _edges(lines: Bytes) -> _Edges:
    """Return where the words are; ASCII letters are put into lower case in place."""
    capital = (lines - np.uint8(ord("A"))) < 26  # what is below wraps around to above
    lines += capital.view(np.uint8) * _CASE
    in_run = (lines - np.uint8(ord("a"))) < 26
    in_run |= (lines - np.uint8(ord("0"))) < 10
    joiners = np.flatnonzero((lines == ord("'")) | (lines == ord("-")))
    leads = np.flatnonzero(lines >= 0xC0)
    if not len(leads):
        _join(in_run, joiners, joiners)
        at = np.flatnonzero(in_run[1:] != in_run[:-1])
        return _Edges(at[0::2], at[1::2], leads, 0)
    lasts, classes = _characters(lines, leads)

    def places(of: int) -> tuple[Places, Places]:
        return leads[classes == of], lasts[classes == of]

    alone = np.zeros_like(in_run)
    _fill(in_run, *places(_FIRST))
    _fill(alone, *places(_SPACELESS))
    _fill_marks(in_run, alone, *places(_MARK))
    _join(in_run, *map(np.append, (joiners, joiners), places(_JOINER)))
    in_word = in_run | alone
    at = np.flatnonzero(in_word[1:] != in_word[:-1])
    spaceless, _ = places(_SPACELESS)
    if len(spaceless):
        # Where one word ends and the next begins, an end and a beginning at the same place.
        touching = np.append(spaceless[in_word[spaceless - 1]] - 1, np.flatnonzero(alone[:-1] & in_run[1:]))
        at = np.sort(np.concatenate([at, touching, touching]), kind="stable")
    apart = np.flatnonzero(classes >= _FORMAT)
    return _Edges(at[0::2], at[1::2], leads[apart], int(np.count_nonzero(classes[apart] == _FORMAT)))


def _characters(lines: Bytes, leads: Places) -> tuple[Places, Bytes]:
    """Return where the characters that begin at `leads` end, and the class of each; all of more than one byte."""
    lead, second, third, fourth = (lines.take(leads + i, mode="clip").astype(np.int32) for i in range(4))
    code = (lead & 0x1F) << 6 | second & 0x3F
    of_three, of_four = lead >= 0xE0, lead >= 0xF0
    code = np.where(of_three, (code << 6 | third & 0x3F) & 0xFFFF, code)
    code = np.where(of_four, code << 6 | fourth & 0x3F, code)
    return leads + 1 + of_three + of_four, _classes().take(code, mode="clip")


@cache
def _classes() -> Bytes:
    """Return the class of every character below TOLD, and behind them that of all others."""
    # Surrogates are not characters.
    characters = pl.Series([" " if 0xD800 <= code < 0xE000 else chr(code) for code in range(TOLD)])
    classes = np.full(TOLD + 1, _OTHER, np.uint8)
    classes[TOLD] = _UNTOLD
    expressions = {FIRST: _FIRST, MARK: _MARK, JOINER: _JOINER, SPACELESS: _SPACELESS, FORMAT: _FORMAT}
    for expression, of in expressions.items():
        classes[:TOLD][characters.str.contains(f"^{expression}$").to_numpy()] = of
    return classes


def _fill(flags: Flags, leads: Places, lasts: Places) -> None:
    """Set the flags of all bytes of characters of one to four bytes."""
    for at in (leads, leads + 1, lasts - 1, lasts) if leads is not lasts else (leads,):
        flags[at] = True


def _fill_marks(in_run: Flags, alone: Flags, leads: Places, lasts: Places) -> None:
    """Put marks to the run or the word of one character that they follow, be it behind other marks."""
    begins = np.ones(len(leads), bool)
    begins[1:] = leads[1:] != lasts[:-1] + 1
    before = (leads[begins] - 1)[np.cumsum(begins) - 1]
    for flags in (in_run, alone):
        follow = flags[before]
        _fill(flags, leads[follow], lasts[follow])


def _join(in_run: Flags, leads: Places, lasts: Places) -> None:
    """Put joiners between two runs to these."""
    between = in_run[leads - 1] & in_run[lasts + 1]
    _fill(in_run, leads[between], lasts[between])


def strings(buffer: Bytes, before: Places, final: Places) -> pl.Series:
    """Return the words between `before` and `final` as strings that are views of the buffer: nothing is copied.

    A view is 16 bytes: a length, and 12 bytes of text or, for a longer one, its first 4, the buffer and the place.
    """
    # The four bytes before a word make room for its length. What follows a short word stays in its view: what hashes
    # it does not look there.
    views = np.ndarray(len(buffer) - 15, "V16", buffer, strides=(1,))[before].view(np.int32).reshape(-1, 4)
    lengths = final - before
    views[:, 0] = lengths
    long = np.flatnonzero(lengths > 12)
    views[long, 2] = 0
    views[long, 3] = before[long] + FRONT + 1
    buffers = [None, pa.py_buffer(views), pa.py_buffer(buffer)]
    return pl.Series(pa.Array.from_buffers(pa.string_view(), len(views), buffers))
