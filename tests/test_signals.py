"""Every row signal against the plain oracle, on hostile text."""

from __future__ import annotations

from unicodedata import category

import oracle
import polars as pl
import pytest
from conftest import SCHEMA, bad_urls, texts, urls
from hypothesis import given
from hypothesis import strategies as st

from align_data.data.pairs import clean, finished, keyed, merge, normalise
from align_data.signals import SIGNALS, Piece, find
from align_data.signals.script import SCRIPTS
from align_data.signals.text import n_words_whitespace
from align_data.signals.words import words

many = st.lists(texts, min_size=1, max_size=20)


def series(found: list[str]) -> pl.Series:
    return pl.Series("alt_text", found, pl.String)


@given(st.lists(st.none() | texts, min_size=1, max_size=20))
def test_normalise_is_the_oracles(found: list[str | None]) -> None:
    assert normalise(pl.Series("t", found, pl.String)).to_list() == [oracle.normalise(t) for t in found]


@given(many)
def test_normalising_twice_is_normalising_once(found: list[str]) -> None:
    once = normalise(series(found))
    assert normalise(once).to_list() == once.to_list()


@given(many)
def test_words_are_the_oracles(found: list[str]) -> None:
    normal = [oracle.normalise(t) for t in found]
    assert words(series(normal)).to_list() == [oracle.words(t) for t in normal]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't split mother-in-law's car", ["Don't", "split", "mother-in-law's", "car"]),
        ("it’s e‐mail non‑stop", ["it’s", "e‐mail", "non‑stop"]),
        ("rock--n--roll 'tis dogs' -5", ["rock", "n", "roll", "tis", "dogs", "5"]),
        ("3.5 IMG_1234.jpg a/b", ["3", "5", "IMG", "1234", "jpg", "a", "b"]),
        ("naïve café naïve", ["naïve", "café", "naïve"]),
        ("東京タワー", ["東", "京", "タ", "ワ", "ー"]),
        ("ภาพถ่าย", ["ภ", "า", "พ", "ถ่", "า", "ย"]),
        ("사진 한 장", ["사진", "한", "장"]),
        ("A4-中文 中-A", ["A4", "中", "文", "中", "A"]),
        ("❤️ 👍🏽 1️⃣", ["1️⃣"]),
        ("می\u200cخواهم کتاب\u200cها را", ["میخواهم", "کتابها", "را"]),  # I want the books, in Persian
        ("ශ්\u200dරී ලංකාව", ["ශ්රී", "ලංකාව"]),  # Sri Lanka, in Sinhala
        ("র\u200d্যাব বাংলাদেশ", ["র্যাব", "বাংলাদেশ"]),  # RAB of Bangladesh, in Bengali
        ("क्\u200dष न्\u200cत", ["क्ष", "न्त"]),
        ("inter\u00adnational photo\u00adgraph con\u2060test", ["international", "photograph", "contest"]),
        ("red\u200bbarn in\u200b \u200bsnow", ["red", "barn", "in", "snow"]),  # the zero width space parts words
        ("family 👨\u200d👩\u200d👧 photo \u200d- here", ["family", "photo", "here"]),
        ("\u200eabc\u200f \ufeffdef\u202c", ["abc", "def"]),
        ("mother\u00ad-in-\u2060law don\u200d't", ["mother-in-law", "don't"]),
        ("ｶﾞｽ ﾊﾟﾝ ﾞ", ["ｶﾞ", "ｽ", "ﾊﾟ", "ﾝ"]),  # sound marks of half width
        ("צה״ל ג׳ירפה ג׳", ["צה״ל", "ג׳ירפה", "ג"]),  # the army, a giraffe, in Hebrew
        ("Արդյո՞ք լավ՞ է", ["Արդյո՞ք", "լավ", "է"]),  # whether, in Armenian
        ("x\u0301y e\u034fb", ["x\u0301y", "e\u034fb"]),
        ("", []),
    ],
)
def test_words_by_example(text: str, expected: list[str]) -> None:
    assert words(series([text]))[0].to_list() == expected


@given(many)
def test_text_signals_are_the_oracles(found: list[str]) -> None:
    normal = [oracle.normalise(t) for t in found]
    piece = Piece(pl.DataFrame({"alt_text": normal}, {"alt_text": pl.String}))
    # n_words counts the lower-cased words, which are as many.
    for name, expected in {
        "n_words": oracle.n_words,
        "n_words_whitespace": oracle.n_words_whitespace,
        "n_words_fasttext": oracle.n_words_whitespace,  # all white space of a stored text is blanks
        "n_chars": oracle.n_chars,
        "script": lambda text: oracle.script(text, SCRIPTS),
    }.items():
        assert SIGNALS[name].measure(piece).to_list() == [expected(t) for t in normal], name


@given(st.lists(texts, min_size=1, max_size=10))
def test_whitespace_is_python_split_of_the_raw_text(found: list[str]) -> None:
    # What Python takes for a separator is one for us; the other control characters vanish, and could join words.
    raw = ["".join(c for c in t if category(c) != "Cc" or c.isspace()) for t in found]
    piece = Piece(pl.DataFrame({"alt_text": normalise(series(raw))}))
    assert n_words_whitespace(piece).to_list() == [len(t.split()) for t in raw]


@given(st.lists(st.text(" \n\r\t\v\f\0\x1c\x85\xa0\u3000ab中", max_size=12), max_size=10))
def test_fasttext_reads_a_raw_text_byte_by_byte(found: list[str]) -> None:
    piece = Piece(pl.DataFrame({"alt_text": series(found)}))
    assert SIGNALS["n_words_fasttext"].measure(piece).to_list() == [oracle.n_words_fasttext(t) for t in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a b\nc", 4), ("a\n\n b", 4), (" \t ", 0), ("東京\u3000タワー\xa0x", 1), ("\0a\0", 1)],  # </s> is a word
)
def test_words_of_fasttext_by_example(text: str, expected: int) -> None:
    piece = Piece(pl.DataFrame({"alt_text": [text]}))
    assert SIGNALS["n_words_fasttext"].measure(piece).to_list() == [expected]


@given(st.lists(urls, min_size=1, max_size=10))
def test_host_is_the_oracles(found: list[str]) -> None:
    piece = Piece(pl.DataFrame({"url": found}))
    assert SIGNALS["host"].measure(piece).to_list() == [oracle.host(u) for u in found]


@given(
    st.lists(
        st.tuples(urls | bad_urls | texts.map(lambda t: f"http://{t}"), st.none() | texts), min_size=1, max_size=10
    )
)
def test_rejected_rows_are_the_oracles(found: list[tuple[str | None, str | None]]) -> None:
    frame = pl.DataFrame(
        {"url": [u for u, _ in found], "alt_text": [t for _, t in found]}, {"url": pl.String, "alt_text": pl.String}
    )
    good, bad = clean(frame.with_row_index("row", 1).with_columns(pl.col("row").cast(pl.Int64)))
    reasons = [oracle.reject_reason(u, t) for u, t in found]
    assert bad.select("row", "reason").rows() == [(i, r) for i, r in enumerate(reasons, 1) if r]
    assert good["row"].to_list() == [i for i, r in enumerate(reasons, 1) if r is None]


@pytest.mark.parametrize(
    ("width", "height", "min_side", "aspect"),
    [
        (200, 300, 200, 1.5),
        (201, 603, 201, 3.0),
        (None, 5, None, None),
        (5, None, None, None),
        (1, 2_000_000_000, 1, 2e9),
    ],
)
def test_sizes(width: int | None, height: int | None, min_side: int | None, aspect: float | None) -> None:
    frame = pl.DataFrame(
        {"declared_width": [width], "declared_height": [height]},
        {"declared_width": pl.Int32, "declared_height": pl.Int32},
    )
    assert SIGNALS["min_side"].measure(Piece(frame)).to_list() == [min_side]
    assert SIGNALS["aspect"].measure(Piece(frame)).to_list() == [aspect]


def test_languages_of_plain_sentences() -> None:
    found = [
        "a cat sits on the mat in the house",
        "ein Hund läuft über die grüne Wiese",
        "un chien court dans le jardin",
        "",
    ]
    piece = Piece(pl.DataFrame({"alt_text": found}))
    assert find("language").measure(piece).to_list() == ["en", "de", "fr", "und"]
    scores = find("language_score").measure(piece).to_list()
    assert all(0.5 < score <= 1 for score in scores[:3])
    assert scores[3] == 0


@given(many, st.data())
def test_splitting_the_input_never_changes_a_row_signal(found: list[str], data: st.DataObject) -> None:
    frame = pl.DataFrame({name: pl.Series(name, [None] * len(found), dtype) for name, dtype in SCHEMA.items()})
    robots = pl.Series([[None, "", "noai", "noarchive"][len(text) % 4] for text in found], dtype=pl.String)
    frame = frame.with_columns(alt_text=normalise(series(found)), url=pl.lit("http://a/1"), robots=robots)
    frame = frame.with_columns(text_from=pl.lit("alt"))
    cut = data.draw(st.integers(0, len(found)))
    for signal in SIGNALS.values():
        if signal.kind == "row" and signal.measure is not None and signal.missing() is None:
            whole = signal.measure(Piece(frame)).to_list()
            parts = [signal.measure(Piece(part)).to_list() for part in (frame[:cut], frame[cut:])]
            assert whole == parts[0] + parts[1], signal.name


@given(st.lists(st.tuples(urls, texts), min_size=1, max_size=12))
def test_uids_are_the_oracles(found: list[tuple[str, str]]) -> None:
    frame = pl.DataFrame({"url": [u for u, _ in found], "alt_text": [t for _, t in found]})
    made = finished(merge(keyed(frame, [])))
    assert made["uid"].to_list() == sorted({oracle.uid(u, t) for u, t in found})
    assert made["uid"].to_list() == [oracle.uid(u, t) for u, t in made.select("url", "alt_text").iter_rows()]


def test_what_a_word_is_as_the_reference_says() -> None:
    cases = {
        "a1 1a 12": ["a1", "1a", "12"],
        "\ufe0fa \u0301b": ["a", "b"],  # a mark begins no word
        "² Ⅷ ① ½": [],  # numbers, and not decimal digits
        "٣۳ ३": ["٣۳", "३"],
        "ラーメン": ["ラ", "ー", "メ", "ン"],
        "aーb": ["a", "ー", "b"],
        "don't mother-in-law -a a-": ["don't", "mother-in-law", "a", "a"],
    }
    assert words(pl.Series(list(cases))).to_list() == list(cases.values())
