"""What stands between spaces in texts, once MetaCLIP's punctuation stands between spaces too, by its keys.

MetaCLIP (facebookresearch/MetaCLIP) puts a space before and behind the text and each of these marks, and looks for
entries with a space before and behind. Such an entry is a run of what stands between spaces, also where that is
nothing, as between a comma and the space that followed it already.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from align_data.common.hashing import keys
from align_data.signals.word_keys import BACK, FRONT, LONGEST, TEXTS, Bytes, Flags, WordKeys, laid_out, strings

MARKS = ",.;:?!`"


def spaced_keys(texts: pl.Series) -> WordKeys:
    """Return what stands between spaces, also where that is nothing: of entries, whose marks are as they are."""
    split = texts.str.split(" ")
    return WordKeys(split.list.len().to_numpy().astype(np.int64), keys(split.explode()))


def padded_keys(texts: pl.Series) -> WordKeys:
    """Return what stands between spaces in texts whose marks stand between spaces."""
    together = [_keys_of(texts[start : start + TEXTS]) for start in range(0, len(texts), TEXTS)]
    return WordKeys(*map(np.concatenate, zip(*together, strict=True))) if together else spaced_keys(texts)


def _keys_of(texts: pl.Series) -> WordKeys:
    if texts.str.len_bytes().sum() + len(texts) > LONGEST:
        return spaced_keys(texts.str.replace_many(list(MARKS), [f" {mark} " for mark in MARKS]))
    buffer, ends = laid_out(texts)
    is_mark, is_break = _breaks(buffer[FRONT:-BACK])
    breaks = np.flatnonzero(is_break)
    marks = np.flatnonzero(is_mark[breaks])
    # Between two breaks is a run, and each mark is one of its own, behind the run that it ends.
    so_far = np.cumsum(is_mark[breaks])
    of_runs = np.arange(len(breaks) - 1) + so_far[:-1]
    of_marks = marks + so_far[marks] - 1
    before, final = np.empty((2, len(of_runs) + len(of_marks)), np.intp)
    before[of_runs], final[of_runs] = breaks[:-1], breaks[1:] - 1
    before[of_marks], final[of_marks] = breaks[marks] - 1, breaks[marks]
    at = np.searchsorted(breaks, ends)
    return WordKeys(np.diff(at + so_far[at], prepend=0), keys(strings(buffer, before, final)))


def _breaks(lines: Bytes) -> tuple[Flags, Flags]:
    """Tell which bytes are marks, and which are marks, spaces or line feeds."""
    is_mark = lines == ord(MARKS[0])
    for mark in MARKS[1:]:
        is_mark |= lines == ord(mark)
    return is_mark, is_mark | (lines == ord(" ")) | (lines == ord("\n"))
