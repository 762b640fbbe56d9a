"""What a word is: the named tokenizers.

`words` is one regular expression, run by Polars over all of Unicode:

- a word is a run of letters, marks and decimal digits (Nd: ² and Ⅷ are none) that begins with a letter or digit, so
  that a variation selector behind an emoji is none;
- one apostrophe or hyphen between two such runs keeps them together: don't, mother-in-law; so does what Hebrew (geresh
  and gershayim) and Armenian (signs of stress, exclamation and question) write inside words;
- Han, Hiragana, Katakana, Thai, Lao, Khmer and Myanmar are written without spaces: there each letter or number, with
  the marks on it, is a word; so is the sound mark ー, which Unicode gives to no one script;
- format characters (Cf) are left out before: a soft hyphen, a zero width joiner or non-joiner, a word joiner or a mark
  of direction neither parts words nor tells them apart. The zero width space parts words, which is what it is for.
  Unicode's UAX #29 has both so (WB4), and takes the half-width sound marks ﾞ and ﾟ for marks, as is done here.

`whitespace` is Python's `str.split`, which DataComp counts with.
"""

from __future__ import annotations

import polars as pl

SPACELESS = r"[[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ーｰ]&&[\p{L}\p{N}]]"
FORMAT = r"[\p{Cf}--\x{200B}]"
MARK = r"[\p{M}ﾞﾟ]"
FIRST = rf"[[\p{{L}}\p{{Nd}}]--[{SPACELESS}{MARK}]]"
_RUN = rf"{FIRST}[{FIRST}{MARK}]*"
JOINER = "['’‐‑\u05f3\u05f4\u055b\u055c\u055e-]"
WORD = rf"{SPACELESS}{MARK}*|{_RUN}(?:{JOINER}{_RUN})*"
"""One word of the tokenizer `words` in a text without FORMAT, in the syntax of Rust's regex crate."""


def words(texts: pl.Series) -> pl.Series:
    """Return each text's words in order, as lists; a list of nothing for a text without words."""
    return without_format(texts).str.extract_all(WORD)


def without_format(texts: pl.Series) -> pl.Series:
    """Return texts without the characters that are no part of a word, and part none."""
    return texts.str.replace_all(FORMAT, "")


def whitespace(texts: pl.Series) -> pl.Series:
    """Return the number of words of each normalised text as `str.split` counts them, Int32."""
    # Normalised texts have single spaces between words and none around them.
    spaces = texts.str.count_matches(" ", literal=True).cast(pl.Int32)
    return spaces + (texts.str.len_bytes() > 0).cast(pl.Int32)
