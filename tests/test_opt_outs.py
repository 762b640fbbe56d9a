"""Headers that ask not to be used to train models: the IETF's AI preferences, and TDMRep."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_data.fetching.opt_outs import opt_out, refuses_training

# The examples of draft-ietf-aipref-vocab, sections 6 and 6.4, and what its algorithm makes of others.
USAGES = [
    ("train-ai=n", True),
    ("train-ai=y", False),
    ("train-ai=y, search=n", False),
    ("search=n, train-ai=n", True),
    ("  train-ai=n  ", True),
    ("search=n\t,\ttrain-ai=n", True),
    ("train-ai=y, train-ai, search=n, search=\"n\"", False),
    ("train-ai;allow=n, train-ai=y", False),
    ('train-ai;has;parameters="?"', False),
    ("train-ai=n;exceptions=ptnr1", True),
    ('train-ai=n;a="\\"x, train-ai=y";b=?1', True),
    ("train-ai=y, train-ai=n", True),  # the last one counts
    ("train-ai=n, train-ai=y", False),
    # Tokens alone are preferences, and small letters alone are keys.
    ('train-ai="n"', False),
    ("train-ai=no", False),
    ("train-ai=?0", False),
    ("train-ai", False),
    ("Train-AI=n", False),
    ("train-ai=N", False),
    ("train-ai=(n)", False),
    # What is no dictionary says nothing.
    ("train-ai=n,", False),
    ("train-ai=n;", False),
    ("train-ai = n", False),
    ("train-ai=n search=y", False),
    ("train-ai=n, ,", False),
    (",train-ai=n", False),
    ("train-ai=n, =n", False),
    ("train-ai=n, x=\"", False),
    ("train-ai=n, x=(a b", False),
    ("", False),
    # Every type of value may stand beside it.
    ('a=1, b=-1.5, c="x, y=z", d=:aGk=:, e=?1, f=@1659578233, g=(1 "a";q=2 b);r, h, i=%"f%c3%bc", train-ai=n', True),
    ("a=1.2345, train-ai=n", False),
    # Earlier drafts: what is said of training itself stands before what is said of more.
    ("train-genai=n", True),
    ("genai=n", True),
    ("bots=n", True),
    ("all=n", True),
    ("tdm=n", True),
    ("bots=n, train-ai=y", False),
    ("bots=y, train-ai=n", True),
    ("search=n, ai-use=n", False),
]  # fmt: skip


@pytest.mark.parametrize(("usage", "refuses"), USAGES)
def test_a_usage_preference(usage: str, refuses: bool) -> None:
    assert refuses_training(usage) is refuses


def headers(**values: list[str]) -> Callable[[str], list[str]]:
    by_name = {name.replace("_", "-"): value for name, value in values.items()}
    return lambda name: by_name.get(name.lower(), [])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, None),
        ({"content_usage": ["train-ai=n"]}, "Content-Usage: train-ai=n"),
        ({"content_usage": ["search=y", "train-ai=n"]}, "Content-Usage: search=y, train-ai=n"),
        ({"content_usage": ["train-ai=n", "train-ai=y"]}, None),
        ({"x_robots_tag": ["noai"], "content_usage": ["train-ai=y"]}, "X-Robots-Tag: noai"),
        ({"tdm_reservation": ["1"]}, "tdm-reservation: 1"),
        ({"tdm_reservation": [" 1 "]}, "tdm-reservation: 1"),
        ({"tdm_reservation": ["0"]}, None),
        ({"tdm_reservation": ["2"]}, None),
        ({"tdm_reservation": ["true"]}, None),
        ({"tdm_reservation": ["0", "1"]}, "tdm-reservation: 1"),
        ({"tdm_policy": ["https://a.example/p"]}, None),
        (
            {"tdm_reservation": ["1"], "tdm_policy": ["https://a.example/p"]},
            "tdm-reservation: 1, tdm-policy: https://a.example/p",
        ),
    ],
)
def test_a_reason_names_the_header_and_its_value(values: dict[str, list[str]], reason: str | None) -> None:
    assert opt_out(headers(**values)) == reason


keys = st.from_regex(r"[a-z*][a-z0-9_.*-]{0,5}", fullmatch=True)
tokens = st.from_regex(r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]{0,5}", fullmatch=True)
strings = st.from_regex(r'"([ !#-\[\]-~]|\\\\|\\"){0,6}"', fullmatch=True)
items = tokens | strings | st.integers(-9, 999).map(str) | st.sampled_from(["1.5", "?0", ":aGk=:", "@5"])


@st.composite
def members(draw: Callable[..., str]) -> tuple[str, str | None, str]:
    """Draw a member: its key, its value, and how it is written."""
    key, value = draw(keys | st.just("train-ai")), draw(st.none() | items | st.sampled_from("yn"))
    parameters = draw(st.lists(st.tuples(keys, st.none() | items), max_size=2))
    written = "".join(f"; {name}" + ("" if it is None else f"={it}") for name, it in parameters)
    return key, value, key + ("" if value is None else f"={value}") + written


@given(st.lists(members(), min_size=1, max_size=5), st.sampled_from([",", ", ", " ,\t"]))
def test_of_any_dictionary_the_last_value_counts(drawn: list[tuple[str, str | None, str]], comma: str) -> None:
    last = {key: value for key, value, _ in drawn}
    training = [last.get(use) for use in ("train-ai", "train-genai", "genai")]
    wider = [last.get(use) for use in ("ai", "tdm", "bots", "all")]
    expected = "n" in training or (last.get("train-ai") != "y" and "n" in wider)
    assert refuses_training(comma.join(written for *_, written in drawn)) is expected


@given(st.text() | st.text('train-ai=n,; "()', max_size=60))
def test_whatever_comes_is_a_preference_or_nothing(text: str) -> None:
    assert not refuses_training(text) or re.search("=n", text)
