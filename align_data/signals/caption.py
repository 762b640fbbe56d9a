"""Signals of what a text is like as a caption: statistics of its words and characters, and signs that it is none.

They are measured on request, by name or for a recipe.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.signals import characters, defects, repetition
from align_data.signals.base import Measure, Piece, Signal, Type
from align_data.signals.caption_words import Words, caption_words, keys_of
from align_data.signals.code_points import CodePoints, code_points
from align_data.signals.repetition import Shares, commonest, flagged, share, word_repetition
from align_data.signals.stop_words import STOP_WORDS
from align_data.signals.words import words

OBELICS = "OBELICS (Laurençon et al. 2023), obelics/processors/web_document_filtering.py"
_OBELICS_WORDS = (
    "Words stand between blanks, in lower case, without what is not a letter or a mark on one at their ends, as "
    "OBELICS takes them."
)


def _by_characters(of: Callable[[CodePoints], NDArray[Any]]) -> Measure:
    """Return a measure of what the code points of some thousand texts tell."""
    return lambda piece: _joined([of(text) for text in piece.once(code_points)])


def _by_caption_words(of: Callable[[Words], NDArray[Any]]) -> Measure:
    """Return a measure of what the words that OBELICS takes tell."""
    return lambda piece: _joined([of(block) for block in piece.once(_caption_words)])


def _joined(blocks: list[NDArray[Any]]) -> pl.Series:
    return pl.Series(np.concatenate(blocks))


def _caption_words(frame: pl.DataFrame) -> list[Words]:
    return [caption_words(text) for text in code_points(frame)]


def word_repeat(piece: Piece) -> pl.Series:
    """Return which share of the words the most frequent one is; 0 where none occurs twice."""
    most, _ = commonest(*piece.words)
    return pl.Series(share(np.where(most > 1, most, 0), piece.words.lengths))


def unique_words(piece: Piece) -> pl.Series:
    """Return how many different words there are to a word."""
    _, distinct = commonest(*piece.words)
    return pl.Series(share(distinct, piece.words.lengths))


def words_of_digits(piece: Piece) -> pl.Series:
    """Return which share of the words have a decimal digit."""
    texts = piece.frame["alt_text"]
    counts = np.zeros(len(texts), np.int64)
    rows = texts.str.contains(r"\p{Nd}").arg_true().to_numpy()
    if len(rows):
        lists = words(texts.gather(rows))
        has_digit = lists.list.explode(empty_as_null=False).str.contains(r"\p{Nd}").to_numpy()
        counts[rows] = flagged(lists.list.len().to_numpy(), has_digit)
    return pl.Series(share(counts, piece.words.lengths))


@cache
def _stop_words() -> pl.Series:
    return pl.Series(keys_of(list(STOP_WORDS)))


def stop_words(block: Words) -> Shares:
    """Return which share of the words are stop words."""
    is_stop = pl.Series(block.keys).is_in(_stop_words().implode()).to_numpy()
    return share(flagged(block.lengths, is_stop), block.lengths)


def _signal(
    name: str, type_: Type, unit: str, about: str, source: str, measure: Measure, needs: tuple[str, ...] = ("alt_text",)
) -> Signal:
    return Signal(
        name=name,
        kind="row",
        group="caption",
        type=type_,
        unit=unit,
        about=about,
        source=source,
        needs=needs,
        measure=measure,
        on_request=True,
    )


SIGNALS = (
    _signal(
        "word_repeat",
        "float64",
        "share of words",
        "Which share of the words (tokenizer `words`, lower-cased) the most frequent one is; 0 where no word occurs "
        "twice. So a text of three different words repeats nothing.",
        "CC12M (Changpinyo et al. 2021), section 2: a maximum fraction of word repetition; it does not say of what",
        word_repeat,
    ),
    _signal(
        "unique_words",
        "float64",
        "share of words",
        "How many different words there are to a word (tokenizer `words`, lower-cased): 1 where none repeats, 0 "
        "without words.",
        "CC3M (Sharma et al. 2018), section 3: unique-word ratio",
        unique_words,
    ),
    _signal(
        "word_repetition_5",
        "float64",
        "share of 5-grams",
        "Which share of the runs of five words occur more than once in the text; 0 for less than five words. "
        + _OBELICS_WORDS,
        OBELICS,
        _by_caption_words(lambda block: word_repetition(block, 5)),
    ),
    _signal(
        "char_repetition_10",
        "float64",
        "share of 10-grams",
        "Which share of the runs of ten code points the most frequent repeated ones are: of those that occur more "
        "than once, as many as the square root of the number of different ones. 0 for less than ten.",
        OBELICS,
        _by_characters(repetition.char_repetition_10),
    ),
    _signal(
        "stop_words",
        "float64",
        "share of words",
        f"Which share of the words are English stop words: {len(STOP_WORDS)} articles, pronouns, prepositions, "
        "conjunctions, auxiliaries, contractions and adverbs, listed in `align_data/signals/stop_words.py`. "
        + _OBELICS_WORDS,
        f"{OBELICS}, with a list of ours",
        _by_caption_words(stop_words),
    ),
    _signal(
        "n_words_obelics",
        "int32",
        "words",
        "Number of words as OBELICS counts them, so without those of digits or signs alone. " + _OBELICS_WORDS,
        OBELICS,
        _by_caption_words(lambda block: block.lengths.astype(np.int32)),
    ),
    _signal(
        "special_characters",
        "float64",
        "share of code points",
        "Which share of the code points are neither letters nor marks on letters: digits, blanks, punctuation, "
        "symbols, emoji.",
        f"{OBELICS}, which lists such characters one by one",
        _by_characters(characters.special_characters),
    ),
    _signal(
        "punctuation",
        "float64",
        "share of runs and marks",
        "Number of the marks `, ; : ? ! .` over their number and that of the runs of letters, marks on letters, "
        "numbers, `_` and `'`.",
        f"{OBELICS}, which asks it of texts of twelve such runs and marks alone",
        _by_characters(characters.punctuation),
    ),
    _signal(
        "n_runs_and_marks",
        "int32",
        "runs and marks",
        "Number of the runs and marks that `punctuation` is a share of.",
        OBELICS,
        _by_characters(lambda text: characters.n_runs_and_marks(text).astype(np.int32)),
    ),
    _signal(
        "digits",
        "float64",
        "share of code points",
        "Which share of the code points are decimal digits (Unicode's Nd).",
        "ours",
        _by_characters(characters.digits),
    ),
    _signal(
        "upper_case",
        "float64",
        "share of letters",
        "Which share of the letters are upper case or title case (Unicode's Lu and Lt); 0 without letters.",
        "ours",
        _by_characters(characters.upper_case),
    ),
    _signal(
        "capital_words",
        "float64",
        "share of words",
        "Which share of the words begin with a letter in upper case or title case; 0 without words. " + _OBELICS_WORDS,
        "CC3M (Sharma et al. 2018), section 3: capitalized-word ratio, its threshold unpublished",
        _by_caption_words(lambda block: share(block.capitals, block.lengths)),
    ),
    _signal(
        "longest_word",
        "int32",
        "code points",
        "Number of code points of the longest run between blanks.",
        "ours",
        _by_characters(characters.longest_word),
    ),
    _signal(
        "first_capital",
        "bool",
        "true or false",
        "Whether the first letter or digit of the text is upper case or title case.",
        "CC3M (Sharma et al. 2018), section 3: the first word is capitalised",
        _by_characters(characters.first_capital),
    ),
    _signal(
        "han_characters",
        "int32",
        "code points",
        "Number of characters of the script Han.",
        "Wukong (Gu et al. 2022): at least one Chinese character",
        _by_characters(characters.han_characters),
    ),
    _signal(
        "markup",
        "int32",
        "tags",
        "Number of comments and of tags of HTML's elements, such as `<b>`, `</a>` and `<br />`, also of one with an "
        "attribute that the end of the text cuts off.",
        "ours",
        defects.markup,
    ),
    _signal(
        "entities",
        "int32",
        "character references",
        "Number of character references of HTML that end in a semicolon, such as `&amp;`, `&#39;` and `&#x27;`; of "
        "names those that HTML 5 knows.",
        "ours",
        defects.entities,
    ),
    _signal(
        "file_name",
        "bool",
        "true or false",
        "Whether the name of an image's file is in the text, such as `IMG_9967.jpg`.",
        "ours",
        defects.file_name,
    ),
    _signal(
        "url_in_text",
        "bool",
        "true or false",
        "Whether the text has a URL: `http://`, `https://`, `ftp://` or `www.` and what follows.",
        "ours",
        defects.url_in_text,
    ),
    _signal(
        "template",
        "bool",
        "true or false",
        "Whether the text has what a template should have replaced, such as `{{title}}`, `${name}`, `<%= alt %>`, "
        "`{0}`, `%s`, `[object Object]`, a text of `undefined` or `null` alone, or lorem ipsum.",
        "ours",
        defects.template,
    ),
    _signal(
        "words_of_digits",
        "float64",
        "share of words",
        "Which share of the words (tokenizer `words`) have a decimal digit; 0 without words.",
        "ours",
        words_of_digits,
    ),
    _signal(
        "slug",
        "int32",
        "hyphens and underscores",
        "Where the whole text is letters and digits joined by hyphens or underscores, as in `red-dog-running`: how "
        "many joints it has. 0 for any other text.",
        "ours",
        defects.slug,
    ),
    _signal(
        "url_path_words",
        "int32",
        "words",
        "Number of words in the path of the image's URL, without its extension: two letters or more in a row, of "
        "which those that are percent-encoded count by their bytes.",
        "ours",
        defects.url_path_words,
        needs=("url",),
    ),
)
