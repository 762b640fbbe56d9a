"""CLD3's languages: of known sentences, the same in any company, and of hostile texts some answer."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import polars as pl
import pytest
from test_language import HOSTILE

from align_data.data.pairs import normalise
from align_data.signals import find
from align_data.signals.base import Piece

gcld3 = pytest.importorskip("gcld3", reason="needs the extra cld3")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "urls"


def languages(texts: list[str]) -> list[str]:
    measured = find("language_cld3").measure
    assert measured is not None
    column = measured(Piece(pl.DataFrame({"alt_text": pl.Series(texts, dtype=pl.String)})))
    assert (column.dtype, column.null_count()) == (pl.String, 0)
    return column.to_list()


def test_sentences_have_their_language() -> None:
    sentences = {
        "en": "The old man was sitting on the bench and reading his newspaper",
        "de": "Der alte Mann saß auf der Bank und las seine Zeitung",
        "fr": "Le vieil homme était assis sur le banc et lisait son journal",
        "es": "El hombre viejo estaba sentado en el banco y leía su periódico",
        "ja": "老人はベンチに座って新聞を読んでいた",
        "und": "",
    }
    assert languages(list(sentences.values())) == list(sentences)


def test_a_text_has_the_language_that_it_has_alone() -> None:
    texts = [*HOSTILE, *reversed(HOSTILE), "x" * 10**6, "der Hund " * 10**5]
    together = languages(texts)
    assert together == [languages([text])[0] for text in texts]
    assert together[: len(HOSTILE)] == together[len(HOSTILE) : 2 * len(HOSTILE)][::-1]
    assert all(language and language.isascii() for language in together)
    assert languages([]) == []


def test_its_version_is_what_decides() -> None:
    assert find("language_cld3").identity() == {"version": 1, "cld3": f"cld3-py {metadata.version('cld3-py')}"}


@pytest.mark.skipif(not DATA.is_dir(), reason="the real lists are not in the repository, and not here")
def test_half_of_laion_is_english_by_cld3() -> None:
    texts = normalise(pl.read_parquet(DATA / "laion_10000.parquet")["TEXT"].drop_nulls())
    assert languages(texts.to_list()).count("en") == 5072
