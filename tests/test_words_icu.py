"""Words by ICU: what its dictionaries know, what UAX #29 says by another library, and `words` where the two are to agree."""

from __future__ import annotations

from pathlib import Path

import oracle
import polars as pl
import pytest
import regex
from conftest import texts
from hypothesis import given, settings
from hypothesis import strategies as st

from align_data.data.pairs import normalise
from align_data.signals import find
from align_data.signals import words_icu as words_icu_module
from align_data.signals.base import Piece
from align_data.signals.words import words

icu4py = pytest.importorskip("icu4py", reason="needs the extra icu")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "urls"
HEAPED = r"['\u05f3\u05f4\u055e]\p{Cf}*['\u05f3\u05f4\u055e\p{M}]"
SEGMENTED = r"[\p{Hangul}\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"


def counts(column: list[str]) -> list[int]:
    measured = find("n_words_icu").measure
    assert measured is not None
    values = measured(Piece(pl.DataFrame({"alt_text": pl.Series(column, dtype=pl.String)})))
    assert (values.dtype, values.null_count()) == (pl.Int32, 0)
    return values.to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("😀 …", 0),
        ("a😀b", 2),
        ("東京タワーの写真", 3),  # 東京タワー の 写真
        ("我喜欢北京的天安门", 5),  # 我 喜欢 北京 的 天安门
        ("ภาพถ่ายทางอากาศ", 3),
        ("ប្រទេសកម្ពុជា", 2),
        ("Don't split mother-in-law's 3.5", 6),
        ("می\u200cخواهم کتاب\u200cها را", 3),
        ("inter\u00adnational photo\u00adgraph", 2),
        ("red\u200bbarn", 2),
        ("𠀀𠀁 x", 3),
    ],
)
def test_words_by_example(text: str, expected: int) -> None:
    assert counts([text]) == [expected]


@given(st.lists(texts | st.text("a中ก😀\U00020001 é-\u200d\r\n", max_size=20), max_size=12), st.integers(1, 60))
def test_a_text_has_the_words_that_it_has_alone(found: list[str], together: int) -> None:
    breaker = icu4py.breakers.WordBreaker
    expected = [
        sum(any(oracle.is_letter(c) or oracle.has_property(c, "N") for c in part) for part in breaker(text, "en"))
        for text in found
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(words_icu_module, "_TOGETHER", together)
        assert counts(found) == expected


@given(st.lists(texts, max_size=10))
def test_without_dictionaries_it_is_uax_29(found: list[str]) -> None:
    plain = [text for text in found if not regex.search(SEGMENTED, text)]
    assert counts(plain) == [
        sum(regex.search(r"[\p{L}\p{N}]", part) is not None for part in regex.split(r"(?wV1)\b", text))
        for text in plain
    ]


@given(
    st.lists(
        st.text("aЖبאऩक्ι\u05f3\u05f4\u055e \u00ad\u200b\u200c\u200d\u200e\u2060\ufeff\u0301'", max_size=12), max_size=10
    )
)
@settings(max_examples=300)
def test_words_are_joined_where_icu_joins_them(found: list[str]) -> None:
    """Over letters, marks, format characters and what is between letters, of the scripts that have spaces.

    But for two of the last at a time and marks upon them, which nobody writes.
    """
    normal = normalise(pl.Series([text for text in found if not regex.search(HEAPED, text)], dtype=pl.String))
    assert words(normal).list.len().to_list() == counts(normal.to_list())


def test_its_version_is_what_decides() -> None:
    assert find("n_words_icu").identity() == {"version": 1, "icu": icu4py.icu_version}


@pytest.mark.skipif(not DATA.is_dir(), reason="the real lists are not in the repository, and not here")
def test_captions_of_english_have_as_many_words_by_either() -> None:
    table = pl.read_csv(DATA / "cc3m_validation.tsv", separator="\t", has_header=False, quote_char=None)
    plain = normalise(table["column_0"]).filter(~table["column_0"].str.contains(r"[^a-zA-Z ,.]|[.]\S"))
    assert len(plain) > 5000
    assert counts(plain.to_list()) == words(plain).list.len().to_list()
