"""What texts are made of: which share of them are letters, digits, upper case, marks of punctuation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from align_data.signals.caption_words import between_blanks
from align_data.signals.code_points import CORE, DIGIT, HAN, LETTER, RUN, STOP, UPPER, CodePoints, Counts, Flags
from align_data.signals.repetition import Shares, share


def special_characters(text: CodePoints) -> Shares:
    """Return which share of the code points are no letters, and no marks on letters."""
    return share(text.lengths - text.count(text.has(CORE)), text.lengths)


def digits(text: CodePoints) -> Shares:
    """Return which share of the code points are decimal digits."""
    return share(text.count(text.has(DIGIT)), text.lengths)


def upper_case(text: CodePoints) -> Shares:
    """Return which share of the letters are upper case."""
    return share(text.count(text.has(UPPER)), text.count(text.has(LETTER)))


def punctuation(text: CodePoints) -> Shares:
    """Return which share of the runs and the marks of punctuation are marks."""
    return share(text.count(text.has(STOP)), n_runs_and_marks(text))


def n_runs_and_marks(text: CodePoints) -> Counts:
    """Count the runs of letters, marks on them and numbers, and the marks of punctuation."""
    in_run = text.has(RUN)
    return text.count(in_run & ~text.before(in_run)) + text.count(text.has(STOP))


def longest_word(text: CodePoints) -> NDArray[np.int32]:
    """Return how many code points the longest run between blanks has."""
    begins, ends = between_blanks(text)
    words = text.count_at(begins)
    longest = np.zeros(len(words), np.int32)
    full = words > 0
    if full.any():
        behind = np.cumsum(words[full])
        longest[full] = np.maximum.reduceat(ends - begins, behind - words[full])
    return longest


def first_capital(text: CodePoints) -> Flags:
    """Tell whether the first letter or digit is upper case."""
    places = np.append(np.flatnonzero(text.has(LETTER | DIGIT)), len(text.points))
    first = places[np.searchsorted(places[:-1], text.begins)]
    is_capital: Flags = text.has(UPPER)[np.minimum(first, len(text.points) - 1)]
    return is_capital & (first < text.ends)


def han_characters(text: CodePoints) -> NDArray[np.int32]:
    """Count the characters of the script Han."""
    return text.count(text.has(HAN)).astype(np.int32)
