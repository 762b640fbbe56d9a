"""Every signal of the group caption against a plain oracle, on hostile texts, and by example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import caption_oracle
import oracle
import polars as pl
import pytest
from conftest import texts, urls
from hypothesis import given
from hypothesis import strategies as st

from align_data.signals import SIGNALS, Piece, code_points
from align_data.signals.stop_words import STOP_WORDS

ORACLES: dict[str, Callable[[str], Any]] = {
    "word_repeat": caption_oracle.word_repeat,
    "unique_words": caption_oracle.unique_words,
    "word_repetition_5": caption_oracle.word_repetition_5,
    "char_repetition_10": caption_oracle.char_repetition_10,
    "stop_words": lambda text: caption_oracle.stop_words(text, set(STOP_WORDS)),
    "n_words_obelics": lambda text: len(caption_oracle.caption_words(text)),
    "capital_words": caption_oracle.capital_words,
    "n_runs_and_marks": caption_oracle.runs_and_marks,
    "special_characters": caption_oracle.special_characters,
    "punctuation": caption_oracle.punctuation,
    "digits": caption_oracle.digits,
    "upper_case": caption_oracle.upper_case,
    "longest_word": caption_oracle.longest_word,
    "first_capital": caption_oracle.first_capital,
    "han_characters": caption_oracle.han_characters,
    "markup": caption_oracle.markup,
    "entities": caption_oracle.entities,
    "file_name": caption_oracle.file_name,
    "url_in_text": caption_oracle.url_in_text,
    "words_of_digits": caption_oracle.words_of_digits,
    "slug": caption_oracle.slug,
}
WITHOUT_ORACLE = {"template", "url_path_words"}
"""What is planted below in place of an oracle of texts."""
BITS = (
    *("the", "a", "The cat", "THE", "of", "red-dog", "red_dog-runs", "don't", "3d", "2013-01-28", "..", "!", ",", "-"),
    *(
        "<b>",
        "</b>",
        "<br />",
        "<a href='x'>",
        "<a href='x",
        "<3",
        "<!-- x -->",
        "<!--",
        "-->",
        "<PERSON>",
        '<a "',
        "'>",
        "<o:p/>",
        "&amp;",
        "&#39;",
        "&#x2G;",
        "&nope;",
    ),
    *("IMG_1.jpg", "x.PNG", ".gif", "a.jpgs", "https://a.example/b.jpg", "www.a.example", "http://", "wwww.a", "日本"),
    *(
        "é",
        "É",
        "ǅ",
        "İ",
        "ſ",
        "👍🏽",
        "1️⃣",
        "❤️",
        "\u0301",
        "aaaaaaaaaaaa",
        "abcabcabcabc",
        "½",
        "٣",
        "'",
        "_",
        ";",
        "&",
    ),
)
captions = (
    texts | st.lists(st.sampled_from(BITS), max_size=14).map(" ".join) | st.lists(st.sampled_from(BITS)).map("".join)
)


def piece_of(captions: Sequence[str]) -> Piece:
    return Piece(pl.DataFrame({"alt_text": captions}, {"alt_text": pl.String}))


def measured(name: str, captions: Sequence[str]) -> list[Any]:
    signal = SIGNALS[name]
    assert signal.measure is not None
    column = signal.measure(piece_of(captions))
    assert column.dtype == {"float64": pl.Float64, "int32": pl.Int32, "bool": pl.Boolean}[signal.type]
    return column.to_list()


def expect_the_oracles(captions: Sequence[str]) -> None:
    piece = piece_of(captions)
    for name, of in ORACLES.items():
        assert SIGNALS[name].measure(piece).to_list() == [of(text) for text in captions], name  # type: ignore[misc]


def test_every_signal_of_the_group_is_here() -> None:
    names = {signal.name for signal in SIGNALS.values() if signal.group == "caption"}
    assert names >= {*ORACLES, *WITHOUT_ORACLE}
    assert all(signal.on_request for signal in SIGNALS.values() if signal.name in names)


@given(st.lists(captions, min_size=1, max_size=12))
def test_captions_are_measured_as_the_oracle_does(captions: list[str]) -> None:
    expect_the_oracles([oracle.normalise(text) for text in captions])


@given(st.lists(st.text("ab ", max_size=60), min_size=1, max_size=8))
def test_repetition_is_the_oracles(captions: list[str]) -> None:
    normal = [oracle.normalise(text) for text in captions]
    for name in ("word_repeat", "unique_words", "word_repetition_5", "char_repetition_10"):
        assert measured(name, normal) == [ORACLES[name](text) for text in normal], name


@pytest.mark.parametrize("bound", ["TEXTS", "BYTES"])
def test_texts_looked_at_one_by_one(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(code_points, bound, 2)
    expect_the_oracles(["", "The cat and the cat", "", "", "日本", "x" * 30, "a-b", ""])


def test_every_stop_word_is_a_word_as_it_stands() -> None:
    assert [caption_oracle.caption_words(word) for word in STOP_WORDS] == [[word] for word in STOP_WORDS]


def test_a_long_text_and_none() -> None:
    long = "the cat sat on the mat, and " * 100 + "日本"
    expect_the_oracles([long, "x", long.upper(), "\U0001f600" * 300])
    for name in ORACLES:
        assert measured(name, []) == []


def test_as_many_texts_as_two_stretches_of_repetition() -> None:
    captions = [f"{'again ' * (n % 4)}text {n}" for n in range(9000)]
    assert measured("word_repeat", captions) == [caption_oracle.word_repeat(text) for text in captions]


def test_a_text_of_more_than_what_is_looked_at_together() -> None:
    long = " ".join(f"the {n}x" for n in range(15_000)) + " the 5x the 6x the"
    captions = ["the x", f"{long} {long}", "the"]
    assert len(captions[1]) > code_points.BYTES + code_points.TEXTS
    for name in ("stop_words", "word_repetition_5"):
        assert measured(name, captions) == [ORACLES[name](text) for text in captions]


@given(st.lists(urls, min_size=1, max_size=10))
def test_words_of_the_path_are_the_oracles(urls: list[str]) -> None:
    piece = Piece(pl.DataFrame({"url": urls}, {"url": pl.String}))
    counts = SIGNALS["url_path_words"].measure(piece)  # type: ignore[misc]
    assert counts.to_list() == [caption_oracle.url_path_words(url) for url in urls]


@pytest.mark.parametrize(
    ("url", "count"),
    [
        ("http://h.example/wp-content/uploads/2019/red_dog-running.jpg", 6),
        ("http://h.example/a1b2c3.jpeg?title=red+dog#red", 0),
        ("http://h.example", 0),
        ("http://h.example/caf%C3%A9/red%20dog", 3),
        ("HTTP://h.example/собака", 1),
        ("", 0),
    ],
)
def test_words_of_the_path_by_example(url: str, count: int) -> None:
    piece = Piece(pl.DataFrame({"url": [url]}))
    assert SIGNALS["url_path_words"].measure(piece).to_list() == [count]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("word_repeat", "a red dog", 0.0),
        ("word_repeat", "Dog dog and cat", 0.5),
        ("unique_words", "Dog dog and cat", 0.75),
        ("unique_words", "...", 0.0),
        ("word_repetition_5", "a b c d e a b c d e", 2 / 6),
        ("word_repetition_5", "one two three four", 0.0),
        ("char_repetition_10", "x" * 19, 1.0),
        ("char_repetition_10", "0123456789 0123456789", 2 / 12),
        ("stop_words", "The dog of (the) house w/o", 4 / 6),
        ("special_characters", "ab 12!", 4 / 6),
        ("special_characters", "❤️", 1.0),
        ("punctuation", "Hello, world!", 0.5),
        ("digits", "a1b2", 0.5),
        ("upper_case", "IMG 12 img", 0.5),
        ("n_words_obelics", "Dog - 2013 & “Cat” 3d", 3),
        ("n_runs_and_marks", "It's a dog, no?", 6),
        ("capital_words", "“The Red dog” 3D 12", 0.75),
        ("longest_word", "a http://x.example/b dog", 18),
        ("first_capital", "“Éclair”", True),
        ("first_capital", "3 Dogs", False),
        ("han_characters", "東京タワー 々", 3),
        ("markup", "<b>bold</b> 1 < 2 > 0 <br/>", 3),
        ("markup", "<strong>Dog</strong> <a href='http://", 3),
        ("markup", "I <3 you <john@mail.example> a <b and <PERSON>", 0),
        ("markup", "<a title='x > y'>dog</a><img alt=\"a dog", 3),
        ("markup", "<!-- 12 -->", 1),
        ("entities", "Fish &amp; chips &#8217; &#xE9; &eacute;", 4),
        ("entities", "AT&T; &nonsense; R&D & &;", 0),
        ("file_name", "IMG_9967.jpg", True),
        ("file_name", "photo (1).JPEG shot", True),
        ("file_name", "the .jpg format, jpg, x.jpgs", False),
        ("url_in_text", "see HTTPS://a.example", True),
        ("url_in_text", "from www.a.example", True),
        ("url_in_text", "http:// and awww.so", False),
        ("words_of_digits", "2013-01-28 10.55.50", 1.0),
        ("words_of_digits", "dog 2 dogs", 1 / 3),
        ("slug", "red-dog_running", 2),
        ("slug", "red-dog running", 0),
        ("slug", "dog", 0),
        ("slug", "-dog-", 0),
    ],
)
def test_by_example(name: str, text: str, value: Any) -> None:
    assert measured(name, [text]) == [value]


@pytest.mark.parametrize(
    "text",
    [
        *("{{title}}", "photo of ${name}", "#{alt}", "{% alt %}", "<%= image.alt %>", "[%alt%]", "[[Image]]"),
        *(
            "image {0}",
            "{title}",
            "{product.name}",
            "{image_alt}",
            "%%TITLE%%",
            "photo of %s",
            "%1$s by %2$s",
            "[object Object]",
        ),
        *("undefined", "NULL", "NaN", "Lorem Ipsum dolor"),
    ],
)
def test_what_a_template_left(text: str) -> None:
    assert measured("template", [text]) == [True]


@pytest.mark.parametrize(
    "text",
    [
        *("", "100% silk", "a 50%s off", "undefined behaviour", "null island", "[round sewing] case", "{}", "{a dog}"),
        *(
            "$5 {large}-ish set",
            "Turkish lamb kebabs {recipe}",
            "{Giveaway}",
            "Nan and Grandad",
            "set {1, 2}",
            "100 %",
            "<b>x</b>",
        ),
    ],
)
def test_what_no_template_left(text: str) -> None:
    assert measured("template", [text]) == [False]
