"""The main job on real lists: counts that were known before this project counted them."""

from __future__ import annotations

from pathlib import Path

import oracle
import polars as pl
import pytest
from conftest import build

from align_data.data.pairs import normalise
from align_data.signals import Piece, find

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "urls"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real lists are not in the repository, and not here")


def test_laion(tmp_path: Path) -> None:
    built = build(tmp_path / "out", [str(DATA / "laion_10000.parquet")], "align")
    assert (built.account.rows, built.account.pairs, built.account.rejected) == (10_000, 9_999, 1)
    pairs = pl.concat(
        [built.table("pairs"), built.table("measured/text"), built.table("measured/corpus")], how="horizontal"
    )
    raw = pl.read_parquet(DATA / "laion_10000.parquet")
    words = [len(text.split()) for text in raw["TEXT"]]
    # As the data's own README counts them: 461 texts under 3 words, 458 over 20, by white space.
    assert (sum(n < 3 for n in words), sum(n > 20 for n in words)) == (461, 458)
    for text, n_words in pairs.select("alt_text", "n_words").iter_rows():
        assert n_words == oracle.n_words(text)
    counts = oracle.ngram_counts(pairs["alt_text"].to_list())
    rarest = [oracle.rarest_ngram(text, counts) for text in pairs["alt_text"]]
    assert pairs["rarest_ngram"].to_list() == rarest


def test_conceptual_captions(tmp_path: Path) -> None:
    built = build(tmp_path / "out", [str(DATA / "cc3m_validation.tsv")], "align", ["rarest_ngram.ge=2"])
    assert (built.account.rows, built.account.pairs) == (15_833, 15_833)
    pairs = pl.concat([built.table("pairs"), built.table("measured/corpus")], how="horizontal")
    shared = pairs.filter(pl.col("images_per_text") > 10)
    assert shared["alt_text"].n_unique() == 4  # "4 captions used more than 10 times"
    assert built.audit.rules[1].fail == len(shared)
    uids = [oracle.uid(url, text) for url, text in pairs.select("url", "alt_text").iter_rows()]
    assert pairs["uid"].to_list() == uids == sorted(uids)


def test_defects_of_laions_texts() -> None:
    """As they were counted before there were signals of them: texts that pass 3 to 20 words all the same."""
    raw = pl.read_parquet(DATA / "laion_10000.parquet")
    texts = normalise(raw["TEXT"].alias("alt_text"))
    piece = Piece(texts.to_frame())
    names = ("n_words", "n_chars", "longest_word", "words_of_digits", "file_name", "slug", "entities", "markup")
    columns = [find(name).measure(piece).alias(name) for name in names]  # type: ignore[misc]
    measured = pl.DataFrame([texts, *columns])
    passing = measured.filter(pl.col("n_words").is_between(3, 20))
    assert (measured["entities"] > 0).sum() == 29
    assert passing.filter(pl.col("longest_word") == pl.col("n_chars")).height == 67  # one token between blanks
    assert passing.filter(pl.col("words_of_digits") > 0.5).height == 23
    has_url = pl.col("alt_text").str.contains("(?i)https?://")
    assert passing.filter(has_url | (pl.col("markup") > 0)).height == 40
    # Counted with other endings of files, and other slugs: 57 and 140.
    assert passing["file_name"].sum() == 58
    assert measured.filter(pl.col("n_words") < 3, pl.col("slug") > 0).height == 134
