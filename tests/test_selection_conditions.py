"""Conditions on one column: what they find is what plain Python finds, and what they cannot be is one sentence."""

from __future__ import annotations

import unicodedata
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_data.selection import Condition
from align_data.selection.conditions import ConditionError

CASED = [
    letter
    for letter in map(chr, range(0x110000))
    if unicodedata.ucd_3_2_0.category(letter) not in ("Cn", "Cs") and letter.casefold() != letter.upper()
]
"""Letters with a case that Unicode has had for so long that every table here knows them."""
LATER = ("\u1fd3", "\u1fe3", "\ufb05")
"""Letters that Unicode came to fold to others after 2023."""
FEW = st.sampled_from("aAsSſßẞkK\u212aiIİıσΣς é́ﬁ.|*")
TEXTS = st.text(st.one_of(FEW, st.sampled_from([letter for letter in CASED if letter not in LATER])), max_size=6)


def folded(text: str) -> str:
    """Fold letters one by one: where Unicode folds one to several, to the one that is its lower case, if there is one."""
    return "".join(_folded(letter) for letter in text)


def _folded(letter: str) -> str:
    for fold in (letter.casefold(), letter.lower()):
        if len(fold) == 1:
            return fold
    return letter


def held(line: str, values: list[Any], dtype: Any = pl.String) -> list[bool]:
    frame = pl.DataFrame({"x": values}, {"x": dtype})
    return frame.select(Condition.parse(line).holds(frame.schema["x"])).to_series().to_list()


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=5))
def test_contains_folds_letters_one_by_one(asked: str, texts: list[str]) -> None:
    condition = Condition("x", "~", asked)
    frame = pl.DataFrame({"x": [*texts, asked, asked.upper(), asked.lower(), None]})
    found = frame.select(condition.holds(pl.String())).to_series().to_list()
    assert found == [folded(asked) in folded(text) for text in [*texts, asked, asked.upper(), asked.lower()]] + [False]


@pytest.mark.parametrize("asked", ["ss", "ß", "STRASSE", "i", "İ", "ı", "K", "ﬁ", "fi", "ΟΔΟΣ", "."])
def test_letters_that_are_nearly_others_are_told_apart(asked: str) -> None:
    texts = ["Straße", "STRASSE", "ẞ", "Iıİi", "ı", "\u212a", "ﬁn", "FIN", "οδος", "x.y", "xy"]
    assert held(f"x~{asked}", texts) == [folded(asked) in folded(text) for text in texts]


@given(st.lists(st.sampled_from(["a", "b", "A", "", "null", "a|b"]), max_size=4), st.booleans())
def test_one_of_several_values(asked: list[str], equal: bool) -> None:
    if asked:
        condition = Condition.equal("x", *asked)
        values = ["a", "A", "b", "c", "", "null", "a|b", None]
        line = str(condition) if equal else str(condition).replace("=", "!=", 1)
        assert held(line, values) == [value is not None and (value in asked) == equal for value in values]


def test_thousands_of_alternatives_are_looked_up() -> None:
    line = "x=" + "|".join(f"h{number}.example" for number in range(0, 9000, 3))
    assert held(line, [f"h{number}.example" for number in range(6)]) == [True, False, False] * 2


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (r"x~~\1", r"x~~\1: not a regular expression that can be searched: backreferences are not supported"),
        (
            "x~~(?<=a)b",
            (
                "x~~(?<=a)b: not a regular expression that can be searched: look-around, including look-ahead and "
                "look-behind, is not supported"
            ),
        ),
        ("x~~[a", "x~~[a: not a regular expression that can be searched: unclosed character class"),
        ("x~~(a{999}){999}", "x~~(a{999}){999}: too long, or repeats too much, to be searched for"),
        ("x~\udcff", r"'\udcff' is no text in UTF-8, so no pair has it"),
        ("x=a|\udcff", r"'\udcff' is no text in UTF-8, so no pair has it"),
        (r'x="\ud800"', r"'\ud800' is no text in UTF-8, so no pair has it"),
        ("x~", "x~: no text to look for"),
        ("x ~~ ", "x~~: no text to look for"),
    ],
)
def test_what_cannot_be_searched_is_one_line(line: str, sentence: str) -> None:
    with pytest.raises(ConditionError) as error:
        held(line, ["a"])
    assert str(error.value) == sentence


def test_a_text_too_long_to_be_searched_for_is_said() -> None:
    with pytest.raises(ConditionError, match="too long"):
        held("x~" + "stock photo é" * 20_000, ["a"])


@pytest.mark.parametrize("value", ["1_0", "\uff19", "0x1", "nan", "", "1 0", "--1", "1e", "."])
def test_what_only_python_takes_for_a_number_is_none(value: str) -> None:
    with pytest.raises(ConditionError, match=r"x is a number, and .* is none"):
        held(f"x>={value}", [1], pl.Int64)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-2, 2))
def test_whole_numbers_are_compared_to_their_last_digit(number: int, apart: int) -> None:
    """A pHash has 19 digits, a float 15."""
    other = min(max(number + apart, -(2**63)), 2**63 - 1)
    assert held(f"x={other}", [number, None], pl.Int64) == [number == other, False]
    assert held(f"x>={other}", [number, None], pl.Int64) == [number >= other, False]


@given(st.text(st.sampled_from('a"| \n\r\t\0\x1f\x7f\\'), max_size=5))
def test_a_value_is_written_on_one_line_that_a_shell_can_have(value: str) -> None:
    condition = Condition.equal("x", value)
    assert not set(str(condition)) & set("\n\r\t\0\x1f")
    assert Condition.parse(str(condition)).values == (value,)
