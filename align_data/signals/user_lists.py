"""Lists that the user gives, and how pairs are matched with them: words and phrases, hosts, URLs, uids, frequencies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.hashing import Hashes, hash01, keys, pair_keys
from align_data.common.hosts import listed_hosts
from align_data.common.key_table import KeyTable
from align_data.common.phrases import Phrases
from align_data.common.sorting import argsort, least, starts
from align_data.common.substrings import Substrings
from align_data.signals.base import Piece
from align_data.signals.padded_keys import padded_keys, spaced_keys
from align_data.signals.text import host
from align_data.signals.word_keys import BACK, FRONT, TEXTS, WordKeys, laid_out, word_keys

ELSE = "else"
"""The class of pairs whose own class has no list."""
NO_ENTRY = 2**53
"""The balance of a text without an entry: above that of all others."""
MANY = 20_000
"""Entries from which on looking up all beginnings costs less than building an automaton for each piece."""
UNRANKED = 2**31 - 1
"""The rank of a host that is not listed: behind all others."""
NO_WORD = 2**63 - 1
"""The rarest word of a text without words: as frequent as can be."""
_MILLION = 10**6
_LOW = np.uint64(2**32 - 1)


class UserList:
    """A list, as signals ask for it."""

    def __init__(self, columns: Mapping[str, Callable[[Piece], pl.Series]]) -> None:
        self.columns = columns
        """By what a signal's name begins with, how it is measured."""

    def draws(self, piece: Piece) -> Draws:
        """Return what balancing needs of a list of words or phrases."""
        raise NotImplementedError


class ListRows(NamedTuple):
    """What is stored of a list: entries without repeats, in the order of the file."""

    classes: pl.Series
    """Of a list in several files, the class of pairs that the entry is for, such as a language; else empty."""
    entries: pl.Series
    lines: pl.Series
    """The line that each stands on first."""
    counts: pl.Series
    """How often each occurs, of a list of frequencies."""


class Draws(NamedTuple):
    """The entries of the texts of some pairs, one pair's behind another's, and a number from 0 to 1 drawn for each."""

    entries: Hashes
    """Their keys."""
    lengths: NDArray[np.int32]
    """How many entries each text has."""
    draws: NDArray[np.float64]


class EntryMatches(NamedTuple):
    """Which entries some texts have."""

    occurrences: NDArray[np.int64]
    """How many occurrences of entries each text has."""
    rows: NDArray[np.intp]
    """The rows of distinct entries, ascending."""
    entries: NDArray[np.intp]
    """The entries."""


class PhraseList(UserList):
    """Words and phrases that are looked for in the texts: `matches` tells which entries those of a piece have."""

    def __init__(self, phrase_keys: Hashes, seed: int, matches: Callable[[Piece], EntryMatches]) -> None:
        super().__init__({"list": self._occurrences, "entries": self._distinct})
        self.keys = phrase_keys
        self._seed = keys(pl.Series([str(seed)]))
        self.matches = matches

    def _occurrences(self, piece: Piece) -> pl.Series:
        return pl.Series(piece.computed(self.matches).occurrences.astype(np.int32))

    def _distinct(self, piece: Piece) -> pl.Series:
        return pl.Series(self._lengths(piece))

    def _lengths(self, piece: Piece) -> NDArray[np.int32]:
        return np.bincount(piece.computed(self.matches).rows, minlength=len(piece.frame)).astype(np.int32)

    def draws(self, piece: Piece) -> Draws:
        """Return the entries of each pair, with a number that follows from the uid, the entry and the seed alone."""
        lengths, entries = self._lengths(piece), self.keys[piece.computed(self.matches).entries]
        uids = pair_keys(keys(piece.frame["uid"]), self._seed)
        return Draws(entries, lengths, hash01(pair_keys(np.repeat(uids, lengths), entries)))


def of_classes(lists: Mapping[str, PhraseList], seed: int, classes: Callable[[Piece], pl.Series]) -> PhraseList:
    """Match the pairs of each class with its own list, those of a class that has none with that of ELSE.

    An entry that two classes have is two: what balancing counts and draws for one says nothing of the other.
    """
    before = dict(zip(lists, accumulate((len(of.keys) for of in lists.values()), initial=0), strict=False))
    class_keys = keys(pl.Series(list(lists), dtype=pl.String))
    own = [pair_keys(np.full(len(of.keys), key), of.keys) for key, of in zip(class_keys, lists.values(), strict=True)]

    def matches(piece: Piece) -> EntryMatches:
        of_pairs = classes(piece).fill_null(ELSE)
        of_pairs = (
            of_pairs.to_frame("class")
            .select(pl.when(pl.col("class").is_in(list(lists))).then("class").otherwise(pl.lit(ELSE)))
            .to_series()
        )
        occurrences = np.zeros(len(piece.frame), np.int64)
        rows, entries = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
        for name, of in lists.items():
            at = (of_pairs == name).arg_true().to_numpy().astype(np.intp)
            if len(at):
                in_class = of.matches(Piece(piece.frame[at]))
                occurrences[at] = in_class.occurrences
                rows.append(at[in_class.rows])
                entries.append(in_class.entries + before[name])
        together = _distinct(np.concatenate(rows), np.concatenate(entries), len(occurrences))
        return together._replace(occurrences=occurrences)

    return PhraseList(np.concatenate([np.empty(0, np.uint64), *own]), seed, matches)


def by_words(rows: ListRows, seed: int) -> PhraseList:
    """Match the words of tokenizer `words` in lower case: an entry is a run of them."""
    return _by_units(word_keys(rows.entries), lambda piece: piece.words, seed)


def padded(rows: ListRows, seed: int) -> PhraseList:
    """Match as MetaCLIP does: the entry between spaces, in the text with spaces around it and its punctuation."""
    return _by_units(spaced_keys(rows.entries), lambda piece: padded_keys(piece.frame["alt_text"]), seed)


def _by_units(entries: WordKeys, units: Callable[[Piece], WordKeys], seed: int) -> PhraseList:
    phrases = Phrases(entries.lengths, entries.keys)

    def matches(piece: Piece) -> EntryMatches:
        in_texts = phrases.occurrences(*units(piece))
        return _distinct(in_texts.rows, in_texts.phrases, len(piece.frame))

    return PhraseList(phrases.keys, seed, matches)


def substrings(rows: ListRows, seed: int) -> PhraseList:
    """Match each occurrence of the entry's characters, be it within a word."""
    occurring = _by_automaton(rows.entries) if len(rows.entries) < MANY else _by_grams(rows.entries)

    def matches(piece: Piece) -> EntryMatches:
        texts = piece.frame["alt_text"]
        return _distinct(*occurring(texts), len(texts))

    return PhraseList(keys(rows.entries), seed, matches)


Occurring = Callable[[pl.Series], tuple[NDArray[Any], NDArray[Any]]]
"""Texts to the rows and the entries of all occurrences."""


def _by_automaton(entries: pl.Series) -> Occurring:
    """Find entries by Aho and Corasick's automaton, which Polars builds for each piece: of few it costs little."""
    order, ascending = argsort(keys(entries))
    table, patterns = KeyTable(ascending), entries.implode()

    def find(texts: pl.Series) -> tuple[NDArray[Any], NDArray[Any]]:
        lists = texts.str.extract_many(patterns, overlapping=True)
        lengths = lists.list.len().to_numpy()
        rows = np.repeat(np.arange(len(lengths)), lengths)
        return rows, order[table.places(keys(lists.explode(empty_as_null=False)))]

    return find


def _by_grams(entries: pl.Series) -> Occurring:
    strings = Substrings(entries)

    def find(texts: pl.Series) -> tuple[NDArray[Any], NDArray[Any]]:
        rows, numbers = [np.empty(0, np.intp)], [np.empty(0, np.int32)]
        for start in range(0, len(texts), TEXTS):
            buffer, ends = laid_out(texts[start : start + TEXTS])
            at, in_block = strings.occurrences(buffer[FRONT:-BACK])
            rows.append(np.searchsorted(ends, at) + start)
            numbers.append(in_block)
        return np.concatenate(rows), np.concatenate(numbers)

    return find


def _distinct(rows: NDArray[Any], entries: NDArray[Any], texts: int) -> EntryMatches:
    """Return how many entries each text has, and which: each once, in the order of the rows."""
    mixed = (rows.astype(np.uint64) << np.uint64(32)) | entries.astype(np.uint64)
    both: Hashes = pl.Series(mixed).sort(multithreaded=False).to_numpy()
    both = both[starts(both)]
    occurrences = np.bincount(rows, minlength=texts)
    return EntryMatches(occurrences, (both >> np.uint64(32)).astype(np.intp), (both & _LOW).astype(np.intp))


class HostList(UserList):
    """Hosts, of which each stands for its subdomains too, ranked by the line."""

    def __init__(self, rows: ListRows, seed: int) -> None:
        del seed  # nothing is drawn
        super().__init__({"list": self._is_listed, "host_rank": self._rank})
        self._ranks = dict(zip(rows.entries, rows.lines, strict=True))

    def _is_listed(self, piece: Piece) -> pl.Series:
        return (self._rank(piece) != UNRANKED).cast(pl.Int32)

    def _rank(self, piece: Piece) -> pl.Series:
        hosts = host(piece)
        ranks = {name: self._ranks[listed] for name, listed in listed_hosts(hosts, self._ranks.keys()).items()}
        return hosts.replace_strict(ranks, default=UNRANKED, return_dtype=pl.Int32)


class ValueList(UserList):
    """Values of a column, such as uids, of which the pair's is one or not."""

    def __init__(self, rows: ListRows, column: str) -> None:
        super().__init__({"list": self._is_listed})
        hashes = keys(rows.entries)
        order, ascending = argsort(hashes)
        self._column, self._table, self._entries = column, KeyTable(ascending), rows.entries.gather(order)

    def _is_listed(self, piece: Piece) -> pl.Series:
        values = piece.frame[self._column]
        places = self._table.places(keys(values))
        entries = self._entries.gather(pl.Series(places).replace(-1, None))  # compared as themselves
        return (entries == values).fill_null(False).cast(pl.Int32)


class FrequencyList(UserList):
    """Words with how often each occurs somewhere else."""

    def __init__(self, rows: ListRows, seed: int) -> None:
        del seed  # nothing is drawn
        super().__init__({"rarest_word": self._rarest})
        words = word_keys(rows.entries)
        is_word = words.lengths == 1
        of_words = words.keys[np.repeat(is_word, words.lengths)]
        distinct, places = np.unique(of_words, return_inverse=True)
        self._table = KeyTable(distinct)
        self._counts = np.zeros(len(distinct) + 1, np.int64)  # the last is that of a word that is not listed
        np.maximum.at(self._counts, places, rows.counts.to_numpy()[is_word])

    def _rarest(self, piece: Piece) -> pl.Series:
        lengths, words = piece.words
        return pl.Series(least(self._counts[self._table.places(words)], lengths, NO_WORD))


def balance(totals: NDArray[np.int64], lengths: NDArray[np.int32], draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the least product of an entry's draw and how many pairs have it, rounded down to six decimals.

    Rounded down, for then what is below a threshold of so many decimals stays below, and nothing else comes below.
    """
    each: NDArray[np.float64] = least(draws * totals, lengths, NO_ENTRY)
    return np.floor(each * _MILLION) / _MILLION


class Match(NamedTuple):
    """A way to match pairs with a list: what it is, what its signals' names begin with, and how it is made of rows."""

    about: str
    prefixes: tuple[str, ...]
    make: Callable[[ListRows, int], UserList]


MATCHES = {
    "word": Match(
        "the text has the entry's words in a row, whatever their case", ("list", "entries", "balance"), by_words
    ),
    "substring": Match("the text has the entry's characters in a row", ("list", "entries", "balance"), substrings),
    "padded": Match(
        "as MetaCLIP: the text has the entry between spaces, once , . ; : ? ! and ` stand between spaces",
        ("list", "entries", "balance"),
        padded,
    ),
    "host": Match("the image's host, or a domain that it lies in, is an entry", ("list", "host_rank"), HostList),
    "url": Match("the image's URL is an entry", ("list",), lambda rows, _: ValueList(rows, "url")),
    "uid": Match("the pair's uid is an entry", ("list",), lambda rows, _: ValueList(rows, "uid")),
    "count": Match("the entries are words with a tab and a count behind each", ("rarest_word",), FrequencyList),
}
"""The ways to match pairs with a list."""
