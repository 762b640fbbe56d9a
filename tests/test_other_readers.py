"""The tables of a dataset opened as folders by other tools: every row once, and nothing beside the parts."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as pads
import pytest
from conftest import read
from test_older_datasets import beside_parts, run
from test_score import Eye, engine_of, world
from test_score import score as scored

from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.data.references import give_blocklist
from align_data.models.sharing import SharedModel
from align_data.stages.embed import embed
from align_data.stages.measure import measure
from align_data.stages.neighbours import Comparing, neighbours
from align_data.storage.store import Store

TABLES = [
    *("pairs", "rejected", "images", "content", "blocklist", "tombstones", "banned", "verdicts/some"),
    *(
        "measured/text",
        "measured/corpus",
        "measured/image",
        "measured/copies",
        "measured/score.eye",
        "measured/near.eye",
    ),
    *("embedded/eye", "embedded_texts/eye", "codebooks/eye", "neighbours/eye"),
    *("counts/ngrams", "counts/ngrams-classes", "counts/texts", "counts/texts-classes"),
]
READERS: dict[str, Callable[[Path], int]] = {
    "polars": lambda folder: pl.scan_parquet(folder).collect().height,
    "polars **": lambda folder: pl.scan_parquet(f"{folder}/**/*.parquet").collect().height,
    "pandas": lambda folder: len(pd.read_parquet(folder)),
    "pyarrow.dataset": lambda folder: pads.dataset(folder).to_table().num_rows,
    "duckdb": lambda folder: duckdb.sql(f"select * from read_parquet('{folder}/**/*.parquet')").pl().height,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a dataset with every table there is, and some pairs taken down by SHA-256."""
    folder = tmp_path_factory.mktemp("whole")
    dataset = world(folder).dataset
    (folder / "block.txt").write_text("host h.example\n")
    give_blocklist(dataset, str(folder / "block.txt"))
    measure(dataset, engine_of(dataset), Silent())
    model = SharedModel.holding("eye", None, Eye(digest=hashlib.sha256(b"eye").hexdigest()))
    scored(model, dataset, "eye", engine_of(dataset), Silent())
    embed(model, dataset, "eye", engine_of(dataset), Silent(), texts=True)
    neighbours(dataset, "eye", engine_of(dataset), Silent(), Comparing())
    (folder / "sha256.txt").write_text(next(s for s in read(dataset, "content")["sha256"] if s) + "\n" + "0" * 64)
    assert run(["takedown", dataset.store.url, "--sha256", str(folder / "sha256.txt")]).exit_code == 0
    return Path(dataset.store.root)


def test_these_are_all_the_tables(whole: Path) -> None:
    assert {part.parent.relative_to(whole).as_posix() for part in whole.rglob("*.parquet")} == {*TABLES}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("table", TABLES)
def test_each_reader_opens_each_table_by_its_folder(whole: Path, table: str, reader: str) -> None:
    assert READERS[reader](whole / table) == read(Dataset(Store(whole)), table).height


def test_values_are_the_same_whoever_reads(whole: Path) -> None:
    folder, columns = whole / "measured" / "text", ["n_words", "n_words_whitespace", "host"]
    expected = read(Dataset(Store(whole)), "measured/text").select(columns).rows()
    assert pl.scan_parquet(folder).select(columns).collect().rows() == expected
    assert list(pd.read_parquet(folder)[columns].itertuples(index=False, name=None)) == expected
    words = duckdb.sql(f"select n_words, n_words_whitespace, host from read_parquet('{folder}/*.parquet')").fetchall()
    assert words == expected
    scores = read(Dataset(Store(whole)), "measured/score.eye")["similarity_eye"].to_list()
    similar = duckdb.sql(f"select similarity_eye from read_parquet('{whole}/measured/score.eye/*.parquet')").fetchall()
    assert [score for (score,) in similar] == scores


def test_a_table_whose_folder_was_removed_is_gone_though_its_manifest_lies_elsewhere(
    whole: Path, tmp_path: Path
) -> None:
    place = shutil.copytree(whole, tmp_path / "dataset")
    shutil.rmtree(place / "verdicts" / "some")
    gone = run(["audit", str(place), "--recipe", "some"])
    assert gone.exit_code == 1
    assert "has no ledger some" in gone.output
    shutil.rmtree(place / "measured" / "text")
    assert "measured: n_words, " in run(["measure", str(place), "--signals", "n_words,n_chars"]).output
    assert pl.scan_parquet(place / "measured" / "text").collect().columns == ["n_words", "n_chars"]


def test_manifests_that_lie_beside_the_parts_are_read_and_moved_when_a_table_is_written(
    whole: Path, tmp_path: Path
) -> None:
    """As earlier versions wrote them: no reader but Polars and Daft minded."""
    place = shutil.copytree(whole, tmp_path / "dataset")
    beside_parts(place)
    before: dict[str, Any] = {str(path): path.read_bytes() for path in place.rglob("part-*.parquet")}
    assert "nothing new" in run(["measure", str(place), "--signals", "n_words"]).output
    assert run(["audit", str(place), "--recipe", "some"]).exit_code == 0
    assert before == {str(path): path.read_bytes() for path in place.rglob("part-*.parquet")}
    assert not (place / "_manifests").exists()
    (place / "measured" / "text" / "_manifest.json").unlink()
    assert "measured: n_words" in run(["measure", str(place), "--signals", "n_words"]).output
    assert [path.name for path in (place / "_manifests" / "measured").iterdir()] == ["text.json"]
    (tmp_path / "uids.txt").write_text(next(uid for uid, url in read_pairs(place) if url))
    assert run(["takedown", str(place), "--uids", str(tmp_path / "uids.txt")]).exit_code == 0
    assert pl.scan_parquet(place / "pairs").collect().height == len(read_pairs(place))
    assert not (place / "pairs" / "_manifest.json").exists()


def read_pairs(place: Path) -> list[tuple[str, str]]:
    return read(Dataset(Store(place)), "pairs").select("uid", "url").rows()
