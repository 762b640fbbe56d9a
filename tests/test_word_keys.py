"""The words' keys, found byte by byte where texts are ASCII, against the regular expression that says what a word is."""

from __future__ import annotations

from itertools import product

import polars as pl
import pytest
from conftest import texts
from hypothesis import given
from hypothesis import strategies as st

from align_data.common.hashing import keys
from align_data.signals import word_keys as word_keys_module
from align_data.signals.word_keys import word_keys
from align_data.signals.words import words

ASCII = [chr(code) for code in range(128)]
any_texts = st.lists(texts | st.text("aB3'- \n_", max_size=40) | st.text(max_size=5), max_size=20)


def expect_the_expressions(texts: list[str]) -> None:
    column = pl.Series("alt_text", texts, pl.String)
    lengths, hashes = word_keys(column)
    lists = words(column.str.to_lowercase())
    assert lengths.tolist() == lists.list.len().to_list()
    assert hashes.tolist() == keys(lists.explode(empty_as_null=False)).tolist()


@given(any_texts)
def test_word_keys_are_those_of_the_expressions_words(texts: list[str]) -> None:
    expect_the_expressions(texts)


def test_every_character_alone_and_between_all_others() -> None:
    expect_the_expressions(
        [*ASCII, *map("".join, product(ASCII, repeat=2)), *(f"a{a}{b}B" for a in ASCII for b in ASCII)]
    )


def test_every_character_with_others_around_it() -> None:
    """Of all that are in Unicode, and some that are not; far ones a few at a time."""
    every = [*range(0xD800), *range(0xE000, 0x20100), *range(0x2A600, 0x2A700), 0xE0100, 0x10FFFF]
    characters = [chr(code) for code in every]
    expect_the_expressions(characters)
    expect_the_expressions([f"{c}b A{c}{c}b-{c}'{c}中{c}" for c in characters])


KINDS = ["a", "É", "\u0301", "'", "\u2019", "-", "中", "ー", " ", "😀", "\U00020001", "İ", "ก", "\u0e49", "\u200d", "ﾞ"]
"""A character of each class and size, and some that lower case makes longer."""


def test_every_short_text_of_every_kind_of_character() -> None:
    expect_the_expressions(["".join(text) for length in range(5) for text in product(KINDS, repeat=length)])


FORMATS = ["\u00ad", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u061c", "\U000e0041", "\U0001bca0"]
"""Characters that part no words, and U+200B, which does."""


@given(st.lists(st.text([*FORMATS, "a", "-", "é", "中", " ", "\U00020001"], max_size=12), max_size=8))
def test_texts_with_format_characters(texts: list[str]) -> None:
    expect_the_expressions(texts)
    seen = [text.translate({ord(char): None for char in FORMATS if char != "\u200b"}) for text in texts]
    assert (
        word_keys(pl.Series(texts, dtype=pl.String)).keys.tolist()
        == word_keys(pl.Series(seen, dtype=pl.String)).keys.tolist()
    )


@given(st.lists(st.text(KINDS, max_size=30), max_size=10))
def test_texts_of_every_kind_of_character(texts: list[str]) -> None:
    expect_the_expressions(texts)


def test_a_long_chain_of_marks_and_joiners() -> None:
    expect_the_expressions(
        ["a" + "\u0301" * 100_000 + "b", "\u0301" * 100_000, "a" + "-" * 100_000, "a-" * 100_000 + "é"]
    )


def test_every_short_text() -> None:
    expect_the_expressions(
        ["".join(text) for length in range(7) for text in product("aZ7'-. ", repeat=length)][:150_000]
    )


@pytest.mark.parametrize("length", [1, 3, 4, 5, 11, 12, 13, 16, 17, 240, 241, 1000])
def test_words_of_every_length_at_the_ends_of_texts(length: int) -> None:
    word = ("Supercalifragilistic" * 50)[:length]
    expect_the_expressions([word, word + "x", "-" + word, word + "'", f"{word} {word}", "é" + word, "", word])


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_texts_that_are_not_looked_at_together(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(word_keys_module, "TEXTS", at_once)
    expect_the_expressions(["one two", "", "it's", "three-", "-four", "é five", "SIX"] * 2)


def test_texts_too_long_to_be_found_byte_by_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("align_data.signals.word_keys.LONGEST", 10)
    expect_the_expressions(["Don't split mother-in-law's car", "x"])


@pytest.mark.parametrize("column", [[], [""], ["", ""], ["..."], ["é"], ["", "é", ""]])
def test_texts_of_no_words(column: list[str]) -> None:
    expect_the_expressions(column)


def test_texts_of_a_language_that_has_many_format_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_keys_module, "TEXTS", 40)
    persian = ["می\u200cخواهم کتاب\u200cها را", "plain", "", "İ\u00ad-\u2060x"]
    rare = [*["one two"] * 39, "photo\u00adgraph \U00020001", "last"]
    expect_the_expressions([*rare, *persian * 20, *rare, *["é"] * 50, *persian])
