"""Languages of a column at once are those that the library gives one text at a time, to the last bit of the score."""

from __future__ import annotations

import platform
import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_data.data.pairs import normalise
from align_data.signals import find, language, language_model
from align_data.signals.base import Piece

fasttext = pytest.importorskip("fasttext", reason="needs the extra lang")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "urls"
ROUNDING = 0 if platform.machine() == "x86_64" else 1e-6  # elsewhere the library's compiler joins steps of arithmetic
SCRIPTS = [
    (0x61, 0x7A), (0x61, 0x7A), (0x20, 0x7E), (0xC0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x530, 0x58F), (0x590, 0x5FF),
    (0x600, 0x6FF), (0x900, 0x97F), (0x980, 0x9FF), (0xB80, 0xBFF), (0xE00, 0xE7F), (0x10A0, 0x10FF), (0x1200, 0x137F),
    (0x1780, 0x17FF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x1F300, 0x1F64F), (0x10400, 0x1044F),
]  # fmt: skip
HOSTILE = [
    "", " ", "a", "é", "☕", "👩‍👩‍👧‍👦", "<", ">", "<>", "> <", "<a> <b>", "</s>", "a dog </s> ein Hund und die Katze", "a</s>", "</s>a",
    "__label__de", "__label__de the dog and the cat", "__label__xyz der Hund und die Katze", "a__label__de", "__label__", "de",
    " a", "a ", "a  b", "a\tb", "a\x00b", "a\x0bb", "der\rHund", "a\u00a0b", "a\u3000b", "a\u2028b", "\ufeffa", "e\u0301",
    "x" * 4095, "x" * 4096, "x" * 4097, "é" * 2048, "é" * 2049, "word " * 3000 + "end", "a b " * 1023 + "abc", "1 2 3", "-", "IMG_1234.JPG",
    "der die das", "the The THE", "İstanbul'da bir gün", "\U00010400\U00010428", "ﬁne", "a\u200bb", "漢字かな交じり文", "สวัสดีชาวโลก",
]  # fmt: skip


def by_the_library(texts: list[str]) -> list[tuple[str, float]]:
    """Return what was measured when each text was given to the library."""
    model = language._library()
    expected = []
    for text in texts:
        labels, scores = model.predict(text) if text else ((), ())
        expected.append((labels[0].removeprefix("__label__"), min(1.0, scores[0])) if labels else ("und", 0.0))
    return expected


def check(texts: list[str]) -> None:
    piece = Piece(pl.DataFrame({"alt_text": pl.Series(texts, dtype=pl.String)}))
    languages, scores = find("language").measure(piece), find("language_score").measure(piece)
    assert (languages.dtype, scores.dtype) == (pl.String, pl.Float64)
    for text, name, score, expected in zip(texts, languages, scores, by_the_library(texts), strict=True):
        assert name == expected[0], text
        assert abs(score - expected[1]) <= ROUNDING, text


def made_up(number: int, seed: int) -> list[str]:
    """Return texts of words that the model knows and of letters of all scripts, of up to 40 words."""
    source = random.Random(seed)
    known = language._model()._words.categories.to_list()[1:]

    def word() -> str:
        if source.random() < 0.4:
            return source.choice(known)
        low, high = source.choice(SCRIPTS)
        return "".join(chr(source.randint(low, high)) for _ in range(source.randint(1, 12)))

    return [" ".join(word() for _ in range(source.choice([1, 2, 3, 5, 8, 12, 40]))) for _ in range(number)]


def test_texts_of_all_scripts() -> None:
    check(normalise(pl.Series(made_up(20_000, 1))).to_list())


def test_what_the_library_reads_otherwise() -> None:
    check(HOSTILE)
    check([f"{left} {right}" for left in HOSTILE[:40] for right in HOSTILE[:40] if "\n" not in left + right])


@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])), max_size=8))
def test_any_text(texts: list[str]) -> None:
    check(texts)


def test_a_text_has_the_same_language_in_any_company(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*made_up(300, 2), *HOSTILE]
    monkeypatch.setattr(language_model, "CHUNK", 500)
    monkeypatch.setattr(language_model, "BATCH", 7)
    check(texts)
    check([])
    check(["word " * 200] * 3)


def test_few_texts_are_left_to_the_library() -> None:
    texts = pl.Series(made_up(5_000, 3))
    numbers, _ = language._model().predict(texts.filter(~texts.str.contains("  |^ | $")))
    assert 0 < (numbers == language_model.UNCLEAR).mean() < 0.1


def test_another_model_is_left_to_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "_LID_176", "of another file")
    monkeypatch.setattr(language, "_model", lambda: pytest.fail("it is not known how to read it"))
    check(["a cat sits on the mat", "", "ein Hund läuft über die Wiese"])


@pytest.mark.skipif(not DATA.is_dir(), reason="the real lists are not in the repository, and not here")
def test_real_texts() -> None:
    laion = pl.read_parquet(DATA / "laion_10000.parquet")["TEXT"].drop_nulls()
    captions = pl.Series((DATA / "cc3m_validation.tsv").read_text().splitlines()).str.split("\t").list.first()
    check(normalise(laion).to_list())
    check(normalise(captions).to_list())
