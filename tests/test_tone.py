"""Mojibake and polarity: what their libraries say of each text, of each distinct one asked once."""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import Any

import polars as pl
import pytest
from hostile_texts import HOSTILE
from hypothesis import given
from hypothesis import strategies as st

from align_data.signals import find, mojibake, polarity
from align_data.signals.base import Piece

TEXTS = [*HOSTILE, HOSTILE, HOSTILE[::-1], "", "a dog", "a dog", "It’s", "ItÂ’s", "naÃ¯ve cafÃ©"]


def measured(name: str, texts: list[str]) -> pl.Series:
    measure = find(name).measure
    assert measure is not None
    return measure(Piece(pl.DataFrame({"alt_text": pl.Series(texts, dtype=pl.String)})))


def bad_sequences(text: str) -> int:
    return int(importlib.import_module("ftfy.badness").badness(text))


def test_text_in_the_wrong_encoding_is_mojibake() -> None:
    pytest.importorskip("ftfy", reason="needs the extra mojibake")
    meant = ["Schöne Grüße", "“a dog’s life”", "日本語の犬", "Привет, мир", "plain"]
    assert measured("mojibake", meant).to_list() == [0] * 5
    wrong = [text.encode().decode("cp1252", "replace") for text in meant]
    assert [count > 0 for count in measured("mojibake", wrong)] == [True, True, True, True, False]


@given(st.lists(st.one_of(st.sampled_from(TEXTS), st.text("aÃ¢â‚¬ “”é²°ÂØ®", max_size=9)), max_size=9))
def test_mojibake_is_ftfys(texts: list[str]) -> None:
    pytest.importorskip("ftfy", reason="needs the extra mojibake")
    counts = measured("mojibake", texts)
    assert counts.dtype == pl.Int32
    assert counts.to_list() == [bad_sequences(text) for text in texts]


def score(text: str) -> Any:
    module = importlib.import_module("vaderSentiment.vaderSentiment")
    return module.SentimentIntensityAnalyzer().polarity_scores(text)["compound"]


def test_polarity_is_vaders() -> None:
    pytest.importorskip("vaderSentiment", reason="needs the extra polarity")
    texts = [
        *TEXTS,
        "a wonderful, lovely day!!",
        "a horrible crime 😀",
        "not good but GREAT",
        "but " * 1000,
        "!" * 10**5,
    ]
    scores = measured("polarity", texts)
    assert scores.dtype == pl.Float64
    assert scores.to_list() == [score(text[: polarity.MOST_CHARS]) for text in texts]
    assert measured("polarity", ["a wonderful day", "a horrible crime"]).sign().to_list() == [1, -1]
    assert measured("polarity", []).to_list() == []


def test_their_versions_are_what_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module, package, key in (
        ("mojibake", mojibake, "ftfy", "ftfy"),
        ("polarity", polarity, "vaderSentiment", "vader"),
    ):
        signal = find(name)
        if signal.missing() is None:
            assert signal.identity() == {"version": 1, key: f"{package} {metadata.version(package)}"}
        monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
        assert signal.missing() == f"need the extra {name}: pip install 'align-data[{name}]'"
        monkeypatch.undo()
