"""A tagger of English parts of speech: an averaged perceptron, over many texts at once.

The model and its features are Honnibal's (textblob-aptagger, MIT). A word's tag depends on the two tags before it, so
the first words of all texts are tagged, then the second ones, and so on. Weights are whole thousandths: sums are exact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

BATCH = 2**15
"""Tokens that are tagged together, so that their scores stay in the processor's cache."""
_STARTS = ("-START-", "-START2-")
"""What stands for the two words and tags before the first."""
_ENDS = ("-END-", "-END2-")
_UNTAGGED = -1

Numbers = NDArray[np.int64]
Scores = NDArray[np.int32]


class Tagger:
    """Weights by feature and tag, and the words that have one tag only."""

    def __init__(self, content: bytes) -> None:
        model: Mapping[str, Any] = json.loads(content)
        # Of equally good tags the last in the alphabet is taken, and argmax takes the first.
        self.tags: list[str] = sorted(model["tags"], reverse=True)
        number = {tag: place for place, tag in enumerate(self.tags)}
        self.one_tag = {word: number[tag] for word, tag in model["words"].items()}
        features = list(model["weights"])
        self._weights: Scores = np.zeros((len(features) + 1, len(self.tags)), np.int32)
        for row, feature in enumerate(features, 1):
            for tag, weight in model["weights"][feature].items():
                self._weights[row, number[tag]] = weight
        self.rows = {feature: row for row, feature in enumerate(features, 1)}
        self._history = self._histories()
        self.taggable, self._with_tag = self._words_with_tags(features)

    def _row(self, *feature: str) -> int:
        """Return the row of a feature, 0 for one without weights."""
        return self.rows.get(" ".join(feature), 0)

    def _histories(self) -> Scores:
        """Return what the two tags before a word, the nearest first, say of its tag, and what always counts."""
        before = [*self.tags, *_STARTS]
        rows = [[self._history_rows(nearest, second) for second in before] for nearest in before]
        history: Scores = self._weights[np.array(rows)].sum(axis=2, dtype=np.int32)
        return history

    def _history_rows(self, nearest: str, second: str) -> list[int]:
        features = (("bias",), ("i-1 tag", nearest), ("i-2 tag", second), ("i tag+i-2 tag", nearest, second))
        return [self._row(*feature) for feature in features]

    def _words_with_tags(self, features: list[str]) -> tuple[dict[str, int], Numbers]:
        """Return numbers of words, and by number and tag before the row of that word behind that tag."""
        before = {tag: place for place, tag in enumerate([*self.tags, *_STARTS])}
        pairs = [feature.split(" ")[3:] for feature in features if feature.startswith("i-1 tag+i word ")]
        words = {word: place for place, word in enumerate(dict.fromkeys(word for _, word in pairs), 1)}
        rows = np.zeros((len(words) + 1, len(before)), np.int64)
        for tag, word in pairs:
            rows[words[word], before[tag]] = self._row("i-1 tag+i word", tag, word)
        return words, rows

    def tag(self, tokens: pl.Series) -> Numbers:
        """Return the number of each token's tag in `tags`, of a column of lists, one list's behind another's."""
        lengths = tokens.list.len().to_numpy().astype(np.int64)
        words = tokens.explode(empty_as_null=False).to_arrow().dictionary_encode()
        distinct = [*_STARTS, *_ENDS, *words.dictionary.to_pylist()]
        word = np.asarray(words.indices).astype(np.int64) + 4
        known = _KnownWords(self, distinct)
        tags = np.full(len(word), _UNTAGGED)
        lengths = lengths[lengths > 0]
        ends = np.cumsum(lengths)
        cuts = np.searchsorted(ends, np.arange(BATCH, len(word), BATCH))
        for start, stop in pairwise(np.unique([0, *cuts, len(lengths)]).tolist()):
            within = slice(int(ends[start] - lengths[start]), int(ends[stop - 1]))
            tags[within] = self._batch(known, word[within], lengths[start:stop])
        return tags

    def _batch(self, known: _KnownWords, word: Numbers, lengths: Numbers) -> Numbers:
        """Return the tags of the texts of these lengths, whose words lie one behind the other."""
        tags = known.one_tag[word]
        unsure = np.flatnonzero(tags == _UNTAGGED)
        scores = self._from_words(known, word, lengths, unsure)
        row_of = np.zeros(len(word), np.int64)
        row_of[unsure] = np.arange(len(unsure))
        order = np.argsort(-lengths, kind="stable")
        begins, descending = (np.cumsum(lengths) - lengths)[order], -lengths[order]
        tag_before, tag_second = np.full(len(lengths), len(self.tags)), np.full(len(lengths), len(self.tags) + 1)
        for step in range(int(-descending[0])):
            longer = int(np.searchsorted(descending, -step))
            tag_before, tag_second = tag_before[:longer], tag_second[:longer]
            at = begins[:longer] + step
            open_ = np.flatnonzero(tags[at] == _UNTAGGED)
            if len(open_):
                token, nearest = at[open_], tag_before[open_]
                behind = self._with_tag[known.with_tag[word[token]], nearest]
                sums = scores[row_of[token]] + self._history[nearest, tag_second[open_]] + self._weights[behind]
                tags[token] = sums.argmax(axis=1)
            tag_before, tag_second = tags[at], tag_before
        return tags

    def _from_words(self, known: _KnownWords, word: Numbers, lengths: Numbers, unsure: Numbers) -> Scores:
        """Return what the words at `unsure`, and those around them, say of their tags."""
        place = unsure - np.repeat(np.cumsum(lengths) - lengths, lengths)[unsure]
        behind = np.repeat(lengths, lengths)[unsure] - place - 1
        neighbours = {
            0: word[unsure],
            -1: np.where(place >= 1, word.take(unsure - 1, mode="clip"), 1),
            -2: np.where(place >= 2, word.take(unsure - 2, mode="clip"), place),
            1: np.where(behind >= 1, word.take(unsure + 1, mode="clip"), 2),
            2: np.where(behind >= 2, word.take(unsure + 2, mode="clip"), 3 - behind),
        }
        scores: Scores = np.zeros((len(unsure), len(self.tags)), np.int32)
        for offset, rows in known.rows:
            scores += self._weights[rows[neighbours[offset]]]
        return scores


class _KnownWords:
    """What the tagger knows of each distinct word."""

    def __init__(self, tagger: Tagger, words: list[str]) -> None:
        normal = [*words[:4], *(_normal(word) for word in words[4:])]
        find = tagger.rows.get
        self.one_tag = np.array([tagger.one_tag.get(word, _UNTAGGED) for word in words])
        self.with_tag = np.array([tagger.taggable.get(word, 0) for word in normal])
        features = {
            "i suffix": (0, [word[-3:] for word in words]),
            "i pref1": (0, [word[0] for word in words]),
            "i word": (0, normal),
            "i-1 word": (-1, normal),
            "i-1 suffix": (-1, [word[-3:] for word in normal]),
            "i-2 word": (-2, normal),
            "i+1 word": (1, normal),
            "i+1 suffix": (1, [word[-3:] for word in normal]),
            "i+2 word": (2, normal),
        }
        self.rows = [
            (offset, np.array([find(f"{name} {value}", 0) for value in values]))
            for name, (offset, values) in features.items()
        ]


def _normal(word: str) -> str:
    """Return what the model was trained to see of a word."""
    if "-" in word and word[0] != "-":
        return "!HYPHEN"
    if word.isdigit() and len(word) == 4:
        return "!YEAR"
    return "!DIGITS" if word[0].isdigit() else word.lower()
