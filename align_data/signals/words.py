"""What a word is: the named tokenizers.

`words` is one regular expression, run by Polars over all of Unicode:

- a word is a run of letters, marks and decimal digits (Nd: ² and Ⅷ are none) that begins with a letter or digit, so
  that a variation selector behind an emoji is none;
- one apostrophe or hyphen between two such runs keeps them together: don't, mother-in-law;
- Han, Hiragana, Katakana, Thai, Lao, Khmer and Myanmar are written without spaces: there each letter or number, with
  the marks on it, is a word; so is the sound mark ー, which Unicode gives to no one script.

`whitespace` is Python's `str.split`, which DataComp counts with.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.hashing import Hashes, keys
from align_data.signals.ascii_words import LONGEST, ascii_words

_SPACELESS = r"[[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ーｰ]&&[\p{L}\p{N}]]"
_FIRST = rf"[[\p{{L}}\p{{Nd}}]--{_SPACELESS}]"
_RUN = rf"{_FIRST}[{_FIRST}\p{{M}}]*"
_JOINER = "['’‐‑-]"
WORD = rf"{_SPACELESS}\p{{M}}*|{_RUN}(?:{_JOINER}{_RUN})*"
"""One word of the tokenizer `words`, in the syntax of Rust's regex crate."""


def words(texts: pl.Series) -> pl.Series:
    """Return each text's words in order, as lists; a list of nothing for a text without words."""
    return texts.str.extract_all(WORD)


class WordKeys(NamedTuple):
    """The words of texts in lower case, by their keys."""

    lengths: NDArray[np.int64]
    """How many words each text has."""
    keys: Hashes
    """The keys of all words in order, one text's behind another's."""


def word_keys(texts: pl.Series) -> WordKeys:
    """Return the words of texts, put into lower case, as `words` finds them."""
    is_ascii = (texts.str.len_bytes() == texts.str.len_chars()).to_numpy()
    if texts.str.len_bytes().sum() + len(texts) > LONGEST:
        is_ascii = np.zeros_like(is_ascii)
    if is_ascii.all():
        return WordKeys(*ascii_words(texts))
    lengths = np.empty(len(texts), np.int64)
    of_ascii = ascii_words(texts.filter(is_ascii))
    of_rest = _by_expression(texts.filter(~is_ascii))
    lengths[is_ascii], lengths[~is_ascii] = of_ascii[0], of_rest[0]
    from_ascii = np.repeat(is_ascii, lengths)
    hashes = np.empty(len(from_ascii), np.uint64)
    hashes[from_ascii], hashes[~from_ascii] = of_ascii[1], of_rest[1]
    return WordKeys(lengths, hashes)


def _by_expression(texts: pl.Series) -> tuple[NDArray[np.int64], Hashes]:
    lists = words(texts.str.to_lowercase())
    return lists.list.len().to_numpy().astype(np.int64), keys(lists.explode(empty_as_null=False))


def whitespace(texts: pl.Series) -> pl.Series:
    """Return the number of words of each normalised text as `str.split` counts them, Int32."""
    # Normalised texts have single spaces between words and none around them.
    spaces = texts.str.count_matches(" ", literal=True).cast(pl.Int32)
    return spaces + (texts.str.len_bytes() > 0).cast(pl.Int32)
